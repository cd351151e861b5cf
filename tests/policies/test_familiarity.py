"""How far an observation is from training, and that honest runs are near and absurd ones far."""

import math

import numpy as np
import pytest

from policies.familiarity import Familiarity
from runtime.faults import Fault
from runtime.messages import Mode, TickInputs
from runtime.policy_contract import TrainingStatistics
from tests.runtime.control_kit import Rig, faults, panda, trained_base

STATISTICS = TrainingStatistics(
    samples=100,
    minimum=(-1.0, 10.0, 5.0),
    maximum=(1.0, 14.0, 5.0),
    mean=(0.0, 11.0, 5.0),
    std=(0.5, 2.0, 0.0),
)
MIDDLE = [0.0, 12.0, 5.0]


@pytest.mark.parametrize(
    ("feature", "value", "distance"),
    [
        (0, 1.0, 1.0),
        (0, -1.0, 1.0),
        (0, 2.0, 3.0),
        (0, -1.5, 2.0),
        (1, 14.0, 1.0),
        (1, 16.0, 2.0),
        (1, 6.0, 3.0),
        (2, 5.0 + 1e-6, 2.0),
    ],
)
def test_one_is_the_edge_and_a_standard_deviation_is_one(
    feature: int, value: float, distance: float
) -> None:
    raw = np.array(MIDDLE)
    raw[feature] = value
    assert Familiarity(STATISTICS).distance(raw) == pytest.approx(distance, rel=1e-4)


def test_inside_is_below_one() -> None:
    wide = STATISTICS.model_copy(update={"maximum": (1.0, 14.0, 6.0), "std": (0.5, 2.0, 1.0)})
    assert Familiarity(wide).distance(np.array([0.0, 12.0, 5.5])) == pytest.approx(0.5)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("feature", range(3))
def test_what_is_not_finite_is_infinitely_far(feature: int, bad: float) -> None:
    raw = np.array(MIDDLE)
    raw[feature] = bad
    assert Familiarity(STATISTICS).distance(raw) == math.inf


def acting(field: str) -> Rig:
    """Return a rig whose trained base has just begun its episode."""
    rig = Rig(base=trained_base(), field=field)
    rig.until(lambda record: record.mode[0] == Mode.BASE and record.base_sequence[0] > 3)
    return rig


@pytest.mark.parametrize("field", ["nominal", "field"])
def test_an_honest_run_is_familiar(field: str) -> None:
    rig = acting(field)
    rig.run(1500)
    seen = rig.table()
    farthest = float(seen["base_unfamiliarity"].max())
    assert 0.9 < farthest < panda().config.base.max_unfamiliarity
    assert not (seen["faults"] & (1 << Fault.OBSERVATION_UNFAMILIAR)).any()


@pytest.mark.parametrize("task", [[0.0] * 4, [0.6, 0.3, 0.1, 0.0], [1e6, 0.0, 0.0, 0.0]])
def test_an_absurd_task_is_far_past_the_limit(task: list[float]) -> None:
    rig = acting("nominal")
    read = rig.link.read

    def damaged(inputs: TickInputs) -> None:
        read(inputs)
        inputs.view["observation_task"][:] = task

    rig.link.read = damaged  # type: ignore[method-assign]
    record = rig.until(lambda seen: "OBSERVATION_UNFAMILIAR" in faults(seen), 30)
    assert record.base_unfamiliarity[0] > 10.0
