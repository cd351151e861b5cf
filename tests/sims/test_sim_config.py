"""The sim block: what is wrong is refused by name."""

import pytest

from runtime.errors import ConfigError
from sims.config import load_sim, substeps
from tests.sims.kit import config_with


def test_committed_block_is_valid_and_fields_can_be_chosen() -> None:
    sim = load_sim(config_with(), field="nominal", seed=7)
    assert (sim.field, sim.seed) == ("nominal", 7)
    assert {"nominal", "field"} <= set(sim.fields)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"physics_step_s": 0.003}, "sim.physics_step_s: 0.003 s does not divide"),
        ({"physics_step_s": 0.004}, "does not divide the servo period 0.002 s"),
        ({"physics_step_s": -0.001}, "physics_step_s"),
        ({"physics_step_s": "1 ms"}, "physics_step_s"),
        ({"field": "elsewhere"}, "no block 'elsewhere'; it has: nominal, field"),
        ({"seed": -1}, "seed"),
        ({"task": {"clearance_mm": 1.0}}, "task.clearance_mm: unknown key"),
        ({"task": {"start_height_m": [0.07, 0.04]}}, "low 0.07 is above high 0.04"),
        ({"contact": {"time_constant_s": 0.0}}, "contact.time_constant_s"),
        ({"contact": {"impedance_max": float("nan")}}, "contact.impedance_max"),
        ({"fields": {"nominal": {}}}, "fields.nominal.payload_kg: is missing"),
    ],
)
def test_wrong_block_is_refused_by_name(changes: dict[str, object], named: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_sim(config_with(**changes))
    assert named in str(caught.value)


def test_missing_block_is_refused() -> None:
    with pytest.raises(ConfigError, match="sim: is missing"):
        load_sim(config_with().model_copy(update={"sim": {}}))


@pytest.mark.parametrize(
    ("step_s", "servo_hz", "expected"),
    [(0.002, 500.0, 1), (0.001, 500.0, 2), (0.0005, 1000.0, 2), (0.001, 100.0, 10)],
)
def test_whole_steps_make_a_period(step_s: float, servo_hz: float, expected: int) -> None:
    assert substeps(step_s, servo_hz) == expected
