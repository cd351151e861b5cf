"""Each limit of the commanded reference: when it acts, what it is called, how much is left."""

import numpy as np
import pytest

from runtime.envelope.envelope import Envelope
from runtime.messages import Limit
from tests.runtime.envelope_kit import (
    DT_S,
    as_limits,
    at_full_speed,
    push_until,
    resting,
    send,
)
from tests.runtime.invariant_checker import JointInvariants, check

# -- what is left ---------------------------------------------------------------------------------


def test_margin_at_rest_is_the_share_of_half_the_range() -> None:
    assert resting((0.0, -0.75)).margin == [1.0, 1.0]
    assert resting((1.0, -2.0)).margin == [0.0, 0.0]
    assert resting((0.5, 0.1875)).margin == pytest.approx([0.5, 0.25])
    assert resting((-0.5, -1.6875)).margin == pytest.approx([0.5, 0.25])
    assert resting((0.5, 0.1875)).limited_by == [0, 0]


def test_margin_is_the_smallest_share_left() -> None:
    step = 4000.0 * DT_S**3
    envelope = resting((0.0, -0.75))
    envelope.admit([0.25 * step, -0.75])
    assert envelope.margin == pytest.approx([0.75, 1.0], abs=1e-6)
    send(envelope)
    # the same acceleration again: no jerk, and 2 of 10 rad/s^2
    envelope.admit([envelope.q[0] + (envelope.v[0] + envelope.a[0] * DT_S) * DT_S, -0.75])
    assert envelope.a[0] == pytest.approx(2.0, rel=1e-6)
    assert envelope.margin == pytest.approx([0.8, 1.0], abs=1e-6)
    fast = at_full_speed()
    fast.admit([0.0, fast.q[1] + 0.75 * DT_S])
    assert fast.margin[1] == 0.0
    fast = resting((0.0, -0.75))
    for tick in range(1, 400):
        fast.admit([0.0, -0.75 + 1e-7 * tick * (tick + 1) / 2])
        send(fast)
    assert fast.limited_by == [0, 0]
    assert fast.margin[1] == pytest.approx(1.0 - fast.v[1], abs=1e-4)


# -- what acts -----------------------------------------------------------------------------------


def test_a_place_at_the_end_of_the_range_can_be_held() -> None:
    envelope = resting((1.0, -2.0))
    envelope.admit([1.0, -2.0])
    assert envelope.limited_by == [0, 0]
    assert envelope.q == [1.0, -2.0]
    assert envelope.at_rest


def test_a_place_beyond_the_end_is_limited_by_position_alone() -> None:
    envelope = resting((1.0, -2.0))
    envelope.admit([1.0 + 1e-12, -9.0])
    assert envelope.limited_by == [Limit.POSITION, Limit.POSITION]
    assert envelope.q == [1.0, -2.0]


def test_each_limit_is_named_when_it_acts() -> None:
    jerk = 4000.0
    step = jerk * DT_S**3
    envelope = resting()
    envelope.admit([step * (1 - 1e-6), 0.0])
    assert envelope.limited_by == [0, 0]
    envelope = resting()
    envelope.admit([step * (1 + 1e-6), -5.0])
    assert envelope.limited_by == [Limit.JERK, Limit.JERK]
    assert envelope.margin == [0.0, 0.0]
    seen = set()
    for _ in range(400):
        envelope.admit([5.0, -5.0])
        seen.update(envelope.limited_by)
        send(envelope)
    assert seen >= {Limit.JERK, Limit.ACCELERATION, Limit.VELOCITY, Limit.POSITION}
    assert not any(bits & Limit.FINITE for bits in seen)


@pytest.mark.parametrize(("share", "limited"), [(1.0 - 1e-6, 0), (1.0 + 1e-6, Limit.VELOCITY)])
def test_speed_is_limited_at_its_limit_and_not_before(share: float, limited: int) -> None:
    envelope = at_full_speed()
    envelope.admit([0.0, envelope.q[1] + share * DT_S])
    assert envelope.limited_by[1] == limited
    assert envelope.v[1] == pytest.approx(min(share, 1.0), rel=1e-8)


def test_a_speed_that_only_the_next_ticks_would_break_is_limited_now() -> None:
    """Ramping the acceleration down takes ticks; the speed they still add counts already."""
    gentle = JointInvariants(-2.0, 2.0, 1.0, 8.0, 200.0)
    envelope = Envelope((as_limits("j", gentle),), DT_S)
    envelope.rest_at([-1.5])
    push_until(envelope, [1.5], 0, Limit.VELOCITY)
    assert envelope.v[0] < 0.9
    assert envelope.a[0] > 5.0


@pytest.mark.parametrize(("share", "limited"), [(1.0 - 1e-6, 0), (1.0 + 1e-6, Limit.ACCELERATION)])
def test_acceleration_is_limited_at_its_limit_and_not_before(share: float, limited: int) -> None:
    envelope = resting()
    push_until(envelope, [1.0, 0.0], 0, Limit.ACCELERATION)
    assert envelope.a[0] == pytest.approx(10.0, rel=1e-9)
    envelope.admit([envelope.q[0] + (envelope.v[0] + share * 10.0 * DT_S) * DT_S, 0.0])
    assert envelope.limited_by[0] == limited
    assert envelope.a[0] == pytest.approx(10.0, rel=2e-6)


@pytest.mark.parametrize("side", [-1.0, 1.0])
def test_every_limit_holds_on_both_sides(side: float) -> None:
    low = JointInvariants(-1.0, 1.0, 1.0, 8.0, 3000.0)
    envelope = Envelope((as_limits("j", low),), DT_S)
    envelope.rest_at([-side])
    seen, sent = set(), [envelope.q]
    for _ in range(2000):
        envelope.admit([9.0 * side])
        seen.add(envelope.limited_by[0])
        sent.append(send(envelope).q)
    assert seen == {Limit.JERK, Limit.ACCELERATION, Limit.VELOCITY, Limit.POSITION}
    verdict = check(np.array(sent), DT_S, (low,), tolerance=0.0)
    assert verdict.violations == ()
    assert min(verdict.largest_share.values()) > 0.9999
    assert envelope.q == [pytest.approx(side, abs=1e-9)]
