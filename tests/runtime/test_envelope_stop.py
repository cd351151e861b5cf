"""The stop law's closed form against a simulation of the law, tick by tick."""

import math
from typing import NamedTuple

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from runtime.envelope.stop import JointStop
from runtime.robot_spec import JointLimits
from tests.runtime.envelope_kit import answer

MAX_TICKS = 200_000


class Simulated(NamedTuple):
    q_low: float
    q_high: float
    v_low: float
    v_high: float
    first_a: float
    ticks: int


def limits(
    a_max: float, j_max: float, v_max: float = 1000.0, reach: float = 1e6, name: str = "j"
) -> JointLimits:
    return JointLimits(
        name=name,
        position_min_rad=-reach,
        position_max_rad=reach,
        velocity_max_rad_s=v_max,
        acceleration_max_rad_s2=a_max,
        jerk_max_rad_s3=j_max,
    )


def hardest_brake(w: float, a_max: float) -> float:
    """Solve x + (x-1) + (x-2) + ... = w for x by walking the steps, in units; at most a_max."""
    taken, steps = 0.0, 0
    while taken + steps + 1 < w:
        taken += steps + 1
        steps += 1
    return min(a_max, steps + (w - taken) / (steps + 1))


def simulate(w: float, alpha: float, a_max: float) -> Simulated:
    """Run the law in units of one tick's jerk from q = 0 until it rests; extents of q and w."""
    q, first, ticks = 0.0, math.nan, 0
    low_q = high_q = 0.0
    low_w = high_w = w
    while w != 0.0 or alpha != 0.0:
        wanted = -math.copysign(hardest_brake(abs(w), a_max), w) if w else 0.0
        alpha = min(max(wanted, alpha - 1.0), alpha + 1.0)
        w += alpha
        w = 0.0 if abs(w) < 1e-11 else w
        q += w
        first = alpha if ticks == 0 else first
        low_q, high_q = min(low_q, q), max(high_q, q)
        low_w, high_w = min(low_w, w), max(high_w, w)
        ticks += 1
        assert ticks < MAX_TICKS
    return Simulated(low_q, high_q, low_w, high_w, 0.0 if ticks == 0 else first, ticks)


def compare(w: float, alpha: float, a_max: float, dt_s: float, j_max: float) -> None:
    """Scale a state in units to SI and compare the plan with the simulation."""
    h = j_max * dt_s
    stop = JointStop(limits(a_max * h, j_max), dt_s)
    h = stop.jerk_step_rad_s2
    a_units = stop.acceleration_max_rad_s2 / h
    alpha = max(-a_units, min(a_units, alpha))
    plan = stop.plan(0.0, w * h * dt_s, alpha * h)
    truth = simulate(w, alpha, a_units)
    scale = 1.0 + max(-truth.q_low, truth.q_high)
    unit_q, unit_v = h * dt_s * dt_s, h * dt_s
    # the closed form is on the safe side by a billionth of the length
    assert plan.q_low / unit_q == pytest.approx(truth.q_low, abs=2e-9 * scale)
    assert plan.q_high / unit_q == pytest.approx(truth.q_high, abs=2e-9 * scale)
    assert plan.q_low / unit_q <= truth.q_low + 1e-10 * scale
    assert plan.q_high / unit_q >= truth.q_high - 1e-10 * scale
    assert plan.v_low / unit_v == pytest.approx(min(0.0, truth.v_low), abs=1e-9 * scale)
    assert plan.v_high / unit_v == pytest.approx(max(0.0, truth.v_high), abs=1e-9 * scale)
    assert plan.a_next / h == pytest.approx(truth.first_a, abs=1e-9 * scale)


@settings(max_examples=600, deadline=None)
@given(
    w=st.one_of(st.floats(-400.0, 400.0), st.floats(-3.0, 3.0), st.integers(-60, 60).map(float)),
    share=st.one_of(st.floats(-1.0, 1.0), st.sampled_from([-1.0, 0.0, 1.0])),
    a_max=st.one_of(st.floats(0.05, 40.0), st.integers(1, 20).map(float)),
    dt_s=st.sampled_from([0.001, 0.002, 0.005, 0.01]),
)
@example(w=0.0, share=0.0, a_max=5.0, dt_s=0.002)
@example(w=0.0, share=-1.0, a_max=5.0, dt_s=0.002)
@example(w=10.0, share=-1.0, a_max=4.0, dt_s=0.002)
@example(w=6.0, share=-1.0, a_max=4.0, dt_s=0.002)
def test_the_closed_form_is_the_simulation(
    w: float, share: float, a_max: float, dt_s: float
) -> None:
    answer(compare, w, share * a_max, a_max, dt_s, 5000.0)


@pytest.mark.parametrize("whole", range(12))
@pytest.mark.parametrize("nudge", [-1e-12, 0.0, 1e-12, 0.5])
def test_where_the_number_of_steps_changes(whole: int, nudge: float) -> None:
    at_a_corner = whole * (whole + 1) / 2 + nudge
    for alpha in (-float(whole), -whole - 0.5, 0.0, 1.0, 2.5):
        compare(at_a_corner, alpha, 12.0, 0.002, 5000.0)


@pytest.mark.parametrize("more", [0.01, 0.06, 0.07, 0.12])
@pytest.mark.parametrize("strength", [1.5, 2.5, 7.5])
def test_between_two_whole_steps_the_law_is_no_parabola(strength: float, more: float) -> None:
    """Half-way between it takes away an eighth of a unit more than x (x + 1)/2 says."""
    w = 0.5 * strength * (strength + 1.0) + more
    for ramp in range(3):
        before = w + ramp * (strength - ramp) + 0.5 * ramp * (ramp + 1)
        compare(before, 1.0 + ramp - strength, 12.0, 0.002, 5000.0)


def test_an_acceleration_that_one_tick_of_jerk_exceeds() -> None:
    for w in (-5.0, -0.3, 0.0, 0.1, 0.5, 3.2):
        for alpha in (-0.5, -0.2, 0.0, 0.5):
            compare(w, alpha, 0.5, 0.01, 5000.0)


def test_braking_too_hard_comes_back_from_the_other_side() -> None:
    stop = JointStop(limits(20.0, 1000.0), 0.002)
    plan = stop.plan(1.0, 0.05, -20.0)
    assert plan.q_high > 1.0
    assert plan.q_low < 1.0
    assert plan.v_low < 0.0
    mirrored = stop.plan(-1.0, -0.05, 20.0)
    assert mirrored.q_low == -plan.q_high
    assert mirrored.q_high == -plan.q_low


def test_rest_stays() -> None:
    plan = JointStop(limits(10.0, 1000.0), 0.002).plan(0.3, 0.0, 0.0)
    assert (plan.q_low, plan.q_high, plan.v_low, plan.v_high) == (0.3, 0.3, 0.0, 0.0)
    assert plan.a_next == 0.0


@pytest.mark.parametrize("dt_s", [0.0, -0.002, 0.2, math.nan, math.inf])
def test_a_period_that_is_none(dt_s: float) -> None:
    with pytest.raises(ValueError, match="dt_s is"):
        JointStop(limits(10.0, 1000.0), dt_s)


@pytest.mark.parametrize(
    ("low", "high"), [(1.0, 1.0), (1.0, -1.0), (math.nan, 1.0), (0.0, math.inf), (-math.inf, 0.0)]
)
def test_a_range_that_is_none(low: float, high: float) -> None:
    bad = limits(10.0, 1000.0).model_copy(
        update={"position_min_rad": low, "position_max_rad": high}
    )
    with pytest.raises(ValueError, match="joint j: position range"):
        JointStop(bad, 0.002)


@pytest.mark.parametrize(
    "key", ["velocity_max_rad_s", "acceleration_max_rad_s2", "jerk_max_rad_s3"]
)
@pytest.mark.parametrize("value", [0.0, -1.0, 1e-9, math.nan, math.inf])
def test_a_limit_that_is_none_or_drowns_in_rounding(key: str, value: float) -> None:
    bad = limits(10.0, 1000.0, reach=1e5).model_copy(update={key: value})
    with pytest.raises(ValueError, match=f"joint j: {key} is"):
        JointStop(bad, 0.002)


@pytest.mark.parametrize("a_max", [3.5, 7.0])
def test_the_closed_form_on_a_grid(a_max: float) -> None:
    """Every eighth of a unit of speed and of acceleration, where steps begin and turns happen."""
    for alpha in (step / 8 for step in range(-int(8 * a_max), int(8 * a_max) + 1)):
        for w in (step / 8 for step in range(120)):
            compare(w, alpha, a_max, 0.002, 5000.0)


def test_the_length_has_its_margin() -> None:
    stop = JointStop(limits(20.0, 1000.0), 0.002)
    h = stop.jerk_step_rad_s2
    # from 6 units of speed: 3 + 1 + 0
    plan = stop.plan(0.0, 6.0 * h * 0.002, -2.0 * h)
    assert plan.q_high / (h * 0.002**2) == pytest.approx(4.0 * (1.0 + 1e-9), rel=1e-12)
    # braking too hard at 3.5 units of speed, it goes on by half a unit before it comes back
    on = stop.plan(0.0, 3.5 * h * 0.002, -4.0 * h)
    assert on.q_high / (h * 0.002**2) == pytest.approx(0.5 * (1.0 + 1e-9), rel=1e-12)


@pytest.mark.parametrize(("low", "high"), [(-8.0, 1.0), (-1.0, 8.0), (2.0, 8.0), (-8.0, -2.0)])
def test_the_limits_kept_are_those_given_less_the_rounding(low: float, high: float) -> None:
    """A k-th difference of positions that are rounded to ulp/2 is off by 2^k ulp/2 at most, and as
    much again comes from computing and checking it."""
    given_limits = limits(10.0, 1000.0, v_max=2.0).model_copy(
        update={"position_min_rad": low, "position_max_rad": high}
    )
    stop, ulp, dt_s = JointStop(given_limits, 0.002), math.ulp(8.0), 0.002
    kept = (
        (2.0, stop.velocity_max_rad_s, 2 * ulp / dt_s),
        (10.0, stop.acceleration_max_rad_s2, 4 * ulp / dt_s**2),
        (1000.0 * dt_s, stop.jerk_step_rad_s2, 8 * ulp / dt_s**2),
    )
    for limit, inside, rounding in kept:
        assert limit - inside == pytest.approx(limit * 1e-12 + rounding, rel=1e-2, abs=0.0)
    assert stop.v_zero_rad_s == pytest.approx(2e-15, rel=1e-6, abs=0.0)
    assert (stop.position_min_rad, stop.position_max_rad) == (low, high)


@pytest.mark.parametrize(("times", "refused"), [(99.0, True), (30.0, True), (102.0, False)])
def test_a_limit_must_be_a_hundred_times_the_rounding(times: float, refused: bool) -> None:
    rounding = 2 * math.ulp(1e6) / 0.002
    few = limits(10.0, 1e6, reach=1e6, v_max=times * rounding).model_copy(
        update={"acceleration_max_rad_s2": 1e5, "jerk_max_rad_s3": 1e9}
    )
    if not refused:
        assert JointStop(few, 0.002).velocity_max_rad_s > 0.98 * times * rounding
        return
    with pytest.raises(ValueError, match=f"finite and above {100 * rounding:.3g}, or"):
        JointStop(few, 0.002)
