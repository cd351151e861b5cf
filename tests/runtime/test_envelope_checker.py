"""The judge is judged: it sees what breaks an invariant by little, and nothing else."""

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.runtime.invariant_checker import JointInvariants, check, segments

DT_S = 0.01
LIMITS = (JointInvariants(-1.0, 2.0, 3.0, 20.0, 400.0),)


def from_jerks(jerks: list[float]) -> NDArray[np.float64]:
    """Integrate rad/s^3 per tick to positions, from rest at 0."""
    a = np.cumsum([0.0, *jerks]) * DT_S
    v = np.cumsum(a) * DT_S
    return (np.cumsum(v) * DT_S)[:, None]


@pytest.mark.parametrize(
    ("curve", "what"),
    [
        (lambda k: from_jerks([400.0 * k, -400.0 * k, 0.0]), "jerk"),
        (lambda k: from_jerks([-400.0 * k]), "jerk"),
        (lambda k: from_jerks([400.0] * 4 + [400.0 + 2000.0 * (k - 1.0)]), "acceleration"),
        (lambda k: np.linspace(0.0, 3.0 * k * DT_S * 4, 5)[:, None], "velocity"),
        (lambda k: np.full((3, 1), 2.0 + 3.0 * (k - 1.0)), "position"),
        (lambda k: np.full((3, 1), -1.0 - 3.0 * (k - 1.0)), "position"),
    ],
)
def test_it_sees_two_parts_in_a_million_too_much_and_passes_half_a_part(
    curve: object, what: str
) -> None:
    assert callable(curve)
    broken = {v.what for v in check(curve(1.0 + 2e-6), DT_S, LIMITS).violations}
    kept = {v.what for v in check(curve(1.0 + 0.5e-6), DT_S, LIMITS).violations}
    assert what in broken
    assert what not in kept


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_is_a_violation(bad: float) -> None:
    q = np.zeros((9, 1))
    q[4, 0] = bad
    with np.errstate(invalid="ignore"):
        assert "position" in {v.what for v in check(q, DT_S, LIMITS).violations}


def test_a_violation_says_where_and_how_much() -> None:
    q = np.zeros((9, 2))
    q[5:, 1] = 0.01
    verdict = check(q, DT_S, LIMITS * 2)
    first = verdict.violations[0]
    assert (first.joint, first.tick, first.what) == (1, 5, "acceleration")
    assert first.value == pytest.approx(100.0)
    assert first.limit == 20.0
    assert verdict.largest_share["acceleration"] == pytest.approx(5.0)
    assert verdict.ticks == 9


def test_a_new_segment_begins_at_rest() -> None:
    q = np.concatenate([np.zeros((5, 1)), np.ones((5, 1))])
    assert len(check(q, DT_S, LIMITS).violations) > 0
    assert check(q, DT_S, LIMITS, (0, 5)).violations == ()
    assert len(check(q, DT_S, LIMITS, (0, 4)).violations) > 0


def test_segments_begin_after_silence_and_with_an_epoch_that_rested() -> None:
    sent = [False, True, True, True, True, False, True, True]
    epoch = [0, 1, 1, 2, 3, 3, 3, 3]
    rest = [True, False, True, False, True, True, False, True]
    assert segments(sent, epoch, rest) == [0, 3, 4]


def test_wrong_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="must be"):
        check(np.zeros((4, 2)), DT_S, LIMITS)
    with pytest.raises(ValueError, match="must be"):
        check(np.zeros(4), DT_S, LIMITS)
    with pytest.raises(ValueError, match="must contain 0"):
        check(np.zeros((4, 1)), DT_S, LIMITS, (1,))
    assert check(np.zeros((0, 1)), DT_S, LIMITS).ticks == 0


def test_with_history_a_segment_may_begin_in_motion() -> None:
    moving = np.cumsum(np.full((9, 1), 2.5 * DT_S), axis=0)
    assert len(check(moving, DT_S, LIMITS).violations) > 0
    assert check(moving, DT_S, LIMITS, history=3).violations == ()
    two = np.concatenate([moving, moving])
    assert check(two, DT_S, LIMITS, (0, 9), history=3).violations == ()
    two[14] += 0.01
    found = check(two, DT_S, LIMITS, (0, 9), history=3).violations
    assert found[0].tick == 14
    assert check(moving[:3], DT_S, LIMITS, history=3).violations == ()
