"""Exactly at a limit, one representable number inside, one outside; and what is no command."""

import math
from functools import cache
from typing import Any

import pytest

from runtime.envelope.certificate import ENVELOPE_SEAL, Certificate
from runtime.envelope.envelope import Envelope
from runtime.envelope.joint import JointAdmission, Reference
from runtime.envelope.stop import JointStop
from runtime.messages import Command, Limit
from runtime.robot_spec import JointLimits
from tests.runtime.envelope_kit import answer

DT_S = 0.002
LIMITS = JointLimits(
    name="j",
    position_min_rad=-1.0,
    position_max_rad=1.0,
    velocity_max_rad_s=2.0,
    acceleration_max_rad_s2=10.0,
    jerk_max_rad_s3=4000.0,
)
SIDES = pytest.mark.parametrize("side", [1.0, -1.0])


@cache
def law() -> JointStop:
    """Made when a test asks for it, so that a law that cannot be made fails a test."""
    try:
        return JointStop(LIMITS, DT_S)
    except ValueError as error:
        pytest.fail(f"refused: {error}")


def beyond(value: float) -> float:
    """The next number further from zero."""
    return math.nextafter(value, math.copysign(math.inf, value))


def within(value: float) -> float:
    """The next number nearer to zero."""
    return math.nextafter(value, 0.0)


def at_rest(q: float = 0.0) -> Reference:
    return JointAdmission(LIMITS, DT_S).rest(q)


def state(q: float, v: float, a: float) -> Reference:
    """A reference in motion, with the stop that it would keep."""
    plan = law().plan(q, v, a)
    return Reference(
        q=q, v=v, a=a, stop_a=plan.a_next, q_low=plan.q_low, q_high=plan.q_high,
        limited_by=0, margin=0.0,
    )  # fmt: skip


def asked_for(last: Reference, a: float) -> float:
    """The place whose finite differences make acceleration `a` after `last`."""
    return last.q + (last.v + a * DT_S) * DT_S


@SIDES
def test_position(side: float) -> None:
    joint = JointAdmission(LIMITS, DT_S)
    end = joint.rest(side)
    assert joint.admit(end, side).limited_by == 0
    out = joint.admit(end, beyond(side))
    assert (out.q, out.limited_by) == (side, Limit.POSITION)
    assert joint.admit(end, within(side)).q == within(side)


@SIDES
def test_jerk(side: float) -> None:
    """The limit that is kept is the given one less the rounding of positions: parts in 10^6."""
    joint = JointAdmission(LIMITS, DT_S)
    h = 4000.0 * DT_S
    for share, limited in ((1.0 - 1e-6, 0), (1.0, Limit.JERK), (1.0 + 1e-6, Limit.JERK)):
        result = joint.admit(at_rest(), asked_for(at_rest(), side * share * h))
        assert result.limited_by == limited
        assert abs(result.a) <= h
        assert abs(result.a) == pytest.approx(min(share, 1.0) * h, rel=2e-6)


@SIDES
def test_acceleration(side: float) -> None:
    joint = JointAdmission(LIMITS, DT_S)
    last = state(0.0, side * 0.2, side * 9.0)
    for share, limited in ((1.0 - 1e-6, 0), (1.0, Limit.ACCELERATION), (1.01, Limit.ACCELERATION)):
        result = joint.admit(last, asked_for(last, side * share * 10.0))
        assert result.limited_by == limited
        assert abs(result.a) <= 10.0


@SIDES
def test_velocity(side: float) -> None:
    joint = JointAdmission(LIMITS, DT_S)
    last = answer(state, 0.0, side * law().velocity_max_rad_s * (1.0 - 1e-9), 0.0)
    slow = answer(joint.admit, last, last.q + last.v * DT_S)
    assert slow.limited_by == 0
    fast = joint.admit(last, last.q + side * 2.001 * DT_S)
    assert fast.limited_by == Limit.VELOCITY
    assert abs(fast.v) <= 2.0
    assert abs(fast.v) == pytest.approx(2.0, rel=1e-6)


@SIDES
def test_the_stop_ends_at_the_end_of_the_range_and_not_a_step_later(side: float) -> None:
    """On the last state from which the stop fits, the kept stop is sent; before, what was asked."""
    joint = JointAdmission(LIMITS, DT_S)
    speed, slow = 1.0, -10.0
    length = law().plan(0.0, speed, slow).q_high
    last = state(side * (1.0 - length), side * speed, side * slow)
    go_on = answer(joint.admit, last, last.q + last.v * DT_S)
    assert go_on.limited_by & Limit.POSITION
    assert side * go_on.q_high <= 1.0 if side > 0 else go_on.q_low >= -1.0
    earlier = state(side * (0.9 - length), side * speed, side * slow)
    kept = answer(joint.admit, earlier, asked_for(earlier, side * (slow + 1.0)))
    assert kept.limited_by == 0


@SIDES
@pytest.mark.parametrize("steps", [1, 2, 7, 30])
def test_the_kept_stop_is_its_own_next_step(side: float, steps: int) -> None:
    """One tick along it, the same stop is left: no longer, and not another one."""
    last = state(0.0, side * 0.8, side * 3.0)
    joint = JointAdmission(LIMITS, DT_S)
    end = last.q_high if side > 0 else last.q_low
    for _ in range(steps):
        last = joint.brake(last, 0)
    later = last.q_high if side > 0 else last.q_low
    assert later == pytest.approx(end, rel=1e-7)


def test_margin_counts_the_share_of_every_limit() -> None:
    joint = JointAdmission(LIMITS, DT_S)
    assert joint.rest(0.5).margin == 0.5
    assert joint.rest(-0.75).margin == 0.25
    half_speed = joint.brake(state(0.0, 1.0, 0.0), 0)
    assert half_speed.margin == pytest.approx(0.0, abs=1e-9), "the stop takes the whole jerk"
    coasting = joint.admit(state(0.0, 0.5, 0.0), 0.5 * DT_S)
    assert coasting.margin == pytest.approx(0.75)


@pytest.mark.parametrize("bits", [0, int(Limit.FINITE)])
def test_a_brake_carries_the_reason_that_it_was_given(bits: int) -> None:
    assert JointAdmission(LIMITS, DT_S).brake(at_rest(), bits).limited_by == bits


@pytest.mark.parametrize("key", ["velocity_max_rad_s", "acceleration_max_rad_s2"])
def test_limits_are_kept_less_what_rounding_adds(key: str) -> None:
    kept = getattr(law(), key)
    assert 0.0 < getattr(LIMITS, key) - kept < 1e-7


def test_what_a_speed_takes_to_be_ramped_away() -> None:
    h = law().jerk_step_rad_s2
    # 3 + 2 + 1 units of speed: strength 3
    assert answer(law().strength, 6.0 * h * DT_S) == pytest.approx(3.0 * h)
    assert answer(law().strength, 0.0) == 0.0
    assert law().strength(-1.0) == 0.0


def test_what_the_whole_acceleration_takes_to_be_ramped_away() -> None:
    """10 rad/s^2 are 1.25 of what a tick's jerk does: 1.25 + 0.25 units of speed, 0.016 each."""
    assert law().ramp_velocity_rad_s == pytest.approx(1.5 * 0.016, rel=1e-6)


@pytest.mark.parametrize("dt_s", [5e-324, 0.1])
def test_the_longest_period_and_none(dt_s: float) -> None:
    if dt_s == 0.1:
        try:
            assert JointStop(LIMITS, dt_s).dt_s == 0.1
        except ValueError as error:
            pytest.fail(f"refused: {error}")
        with pytest.raises(ValueError, match="dt_s is"):
            JointStop(LIMITS, beyond(0.1))
    else:
        with pytest.raises(ValueError, match="rounding of positions hides it"):
            JointStop(LIMITS, 1e-9)


def test_a_certificate_needs_the_seal_and_nothing_else() -> None:
    command = Command(1, 2, 3, 4, 5, [0.0], [0.0])
    try:
        certificate = Certificate(command, ENVELOPE_SEAL)
    except TypeError as error:
        pytest.fail(f"refused: {error}")
    assert certificate.command is command


@pytest.mark.parametrize("seal", [None, object(), "seal"])
def test_without_the_seal_there_is_no_certificate(seal: Any) -> None:
    with pytest.raises(TypeError, match="pass the command through the envelope"):
        Certificate(Command(1, 2, 3, 4, 5, [0.0], [0.0]), seal)


def test_an_envelope_that_was_never_asked_has_nothing_to_certify() -> None:
    envelope = Envelope((LIMITS,), DT_S)
    with pytest.raises(RuntimeError, match="calls admit or brake first"):
        envelope.certify(0, 0, 0, 0, 0)
    assert (envelope.q, envelope.v, envelope.a) == ([0.0], [0.0], [0.0])
    assert (envelope.limited_by, envelope.margin) == ([0], [1.0])
    assert (envelope.clearance_m, envelope.nearest_barrier) == (0.0, -1)
    assert envelope.finite
