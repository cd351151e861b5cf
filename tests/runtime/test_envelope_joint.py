"""One joint's next step: as near as can be to what was asked, part of the way, or back in."""

import math
import random
from functools import cache

import pytest

from runtime.envelope.joint import RECOVERABLE_RAD, JointAdmission, Reference
from runtime.envelope.stop import JointStop, StopPlan
from runtime.messages import Limit
from runtime.robot_spec import JointLimits

DT_S = 0.002
LIMITS = JointLimits(
    name="j",
    position_min_rad=-1.0,
    position_max_rad=1.0,
    velocity_max_rad_s=2.0,
    acceleration_max_rad_s2=10.0,
    jerk_max_rad_s3=1000.0,
)
# what one tick's jerk does: rad/s^2, rad
H = 1000.0 * DT_S
UNIT_Q = H * DT_S**2
SIDES = pytest.mark.parametrize("side", [1.0, -1.0])


@cache
def joint() -> JointAdmission:
    try:
        return JointAdmission(LIMITS, DT_S)
    except (ValueError, ZeroDivisionError) as error:
        pytest.fail(f"refused: {error}")


def state(q: float, v: float, a: float) -> Reference:
    plan = JointStop(LIMITS, DT_S).plan(q, v, a)
    return Reference(q, v, a, plan.a_next, plan.q_low, plan.q_high, 0, 0.0)


def mirrored(last: Reference, side: float) -> Reference:
    """The same state, seen in a mirror where `side` is -1."""
    return last if side > 0 else state(-last.q, -last.v, -last.a)


def place(last: Reference, a: float) -> float:
    return last.q + (last.v + a * DT_S) * DT_S


def just_stoppable(rng: random.Random) -> Reference:
    """A state whose stop ends inside the range, by less than a tick's motion."""
    v, a = rng.uniform(0.05, 1.5), rng.uniform(-8.0, 8.0)
    reach = state(0.0, v, a).q_high
    return state(1.0 - reach - rng.uniform(0.0, 1.0) * v * DT_S, v, a)


# -- the search for the nearest step ------------------------------------------------------------


@SIDES
@pytest.mark.parametrize("jerk", [0.9, 99.0], ids=["a little", "much"])
def test_the_search_ends_at_the_limit(side: float, jerk: float) -> None:
    """What is left to the end of the range is less than a few ticks' jerk does, mostly much less;
    or the step is the one that jerk or acceleration allow."""
    rng, lefts = random.Random(4), []
    for _ in range(400):
        last = mirrored(just_stoppable(rng), side)
        got = joint().admit(last, place(last, last.a + side * jerk * H))
        assert -1.0 <= got.q_low <= got.q_high <= 1.0
        assert abs(got.a - last.a) <= H * (1.0 + 1e-12)
        if got.limited_by != Limit.POSITION:
            continue
        # and never on the stop's other side
        assert side * got.a >= side * last.stop_a - 1e-9
        lefts.append((1.0 - got.q_high if side > 0 else got.q_low + 1.0) / UNIT_Q)
    assert len(lefts) > 300
    assert min(lefts) >= 0.0
    assert max(lefts) < 3.5
    assert sum(lefts) / len(lefts) < 0.4


def test_the_search_takes_no_more_tries_than_it_may(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = 0
    plan = JointStop.plan

    def counted(self: JointStop, q: float, v: float, a: float) -> StopPlan:
        nonlocal calls
        calls += 1
        return plan(self, q, v, a)

    monkeypatch.setattr(JointStop, "plan", counted)
    rng, most, total = random.Random(5), 0, 0
    for _ in range(400):
        last = just_stoppable(rng)
        calls = 0
        joint().admit(last, 5.0)
        most = max(most, calls)
        total += calls
    # the plan that was asked for, the clipped one, the kept one, and eight tries
    assert most <= 11
    assert total / 400 < 10.0


@SIDES
def test_the_velocity_that_is_searched_for_is_the_limit(side: float) -> None:
    """From beside the limit with acceleration to spare, no step is lost and none goes past it."""
    for share in (0.9, 0.99, 0.999, 0.9999):
        last = mirrored(state(-0.5, 2.0 * share, 0.0), side)
        for _ in range(40):
            last = joint().admit(last, last.q + side * 1.0)
            assert abs(last.v) <= 2.0
        assert abs(last.v) == pytest.approx(2.0, rel=1e-9)


@SIDES
def test_a_step_that_is_not_limited_says_so(side: float) -> None:
    """Nor does one from which another tick's jerk would be too much."""
    last = mirrored(state(0.0, 0.5, 1.0), side)
    for jerk in (-0.999, -0.5, 0.0, 0.5, 0.999):
        got = joint().admit(last, place(last, side * (1.0 + jerk * H)))
        assert got.limited_by == 0
        assert got.a == pytest.approx(side * (1.0 + jerk * H), abs=1e-6)


# -- part of the way ------------------------------------------------------------------------------


@SIDES
@pytest.mark.parametrize("share", [0.25, 0.5, 0.999])
def test_part_of_the_way_lies_between_the_kept_stop_and_the_wish(side: float, share: float) -> None:
    last = mirrored(state(0.0, 0.6, 1.0), side)
    wish = joint().admit(last, place(last, side * 2.0))
    got = joint().part_way(last, wish, share, int(Limit.GEOMETRY))
    assert got.a == pytest.approx(last.stop_a + share * (wish.a - last.stop_a), rel=1e-9)
    assert got.limited_by == Limit.GEOMETRY
    assert got.v == pytest.approx(last.v + got.a * DT_S)


@pytest.mark.parametrize("share", [1.0, 1.5, math.nextafter(1.0, 0.0)])
def test_the_whole_way_is_the_wish_itself(share: float) -> None:
    last = state(0.0, 0.6, 1.0)
    wish = joint().admit(last, place(last, 2.0))
    got = joint().part_way(last, wish, share, int(Limit.GEOMETRY))
    assert (got == wish) is (share >= 1.0)


@pytest.mark.parametrize("share", [0.0, -1.0, math.nan, 5e-324])
def test_no_part_of_the_way_is_the_kept_stop(share: float) -> None:
    last = state(0.0, 0.6, 1.0)
    wish = joint().admit(last, place(last, 9.0))
    assert wish.limited_by == Limit.JERK
    got = joint().part_way(last, wish, share, int(Limit.GEOMETRY))
    assert got == joint().brake(last, int(Limit.GEOMETRY | Limit.JERK))
    assert got.a == last.stop_a


def test_a_wish_that_is_the_stop_is_nothing_to_share() -> None:
    last = state(0.0, 0.6, 1.0)
    wish = joint().brake(last, 0)
    assert joint().part_way(last, wish, 0.3, int(Limit.GEOMETRY)) == wish


@SIDES
def test_part_of_the_way_to_what_is_not_admitted_is_the_kept_stop(side: float) -> None:
    reach = state(0.0, 1.0, 0.0).q_high
    last = mirrored(state(1.0 - reach, 1.0, 0.0), side)
    # never admitted: its stop passes the end of the range
    wish = joint().brake(last, 0)
    wild = Reference(wish.q, wish.v, side * H, 0.0, 0.0, 0.0, int(Limit.JERK), 0.0)
    got = joint().part_way(last, wild, 0.9, int(Limit.GEOMETRY))
    assert got == joint().brake(last, int(Limit.GEOMETRY | Limit.JERK))


# -- a start outside ------------------------------------------------------------------------------


@SIDES
@pytest.mark.parametrize(
    ("beside", "refused"), [(-1e-9, False), (0.0, False), (1e-9, True), (math.inf, True)]
)
def test_so_far_outside_it_may_begin(side: float, beside: float, refused: bool) -> None:
    at = side * (1.0 + RECOVERABLE_RAD + beside)
    said = joint().outside(at)
    assert bool(said) is refused
    assert (f"joint j is at {at:.6f} rad, {0.2 + beside:.6f} rad outside" in said) is refused


def test_what_is_no_place_is_outside() -> None:
    assert joint().outside(math.nan) == "joint j is at nan rad, which is no position"


def test_exactly_so_far_outside_it_may_begin() -> None:
    """Where float64 has no doubt: 0.2 above 0."""
    low = JointAdmission(LIMITS.model_copy(update={"position_max_rad": 0.0}), DT_S)
    assert low.outside(RECOVERABLE_RAD) == ""
    assert low.outside(math.nextafter(RECOVERABLE_RAD, 1.0)) != ""


@SIDES
def test_outside_it_moves_in_and_never_further_out(side: float) -> None:
    """In and to a halt, in and to a halt: no halt swings back out."""
    rng, ticks = random.Random(6), 0
    for _ in range(12):
        last = joint().rest(side * 1.19)
        assert last.margin == 0.0
        while side * last.q > 1.0:
            wish = side * rng.choice((-1.0, 5.0, side * last.q))
            for _ in range(rng.randint(1, 15)):
                before = last
                last = joint().admit(last, wish)
                assert side * last.q <= max(1.0, side * before.q)
                assert abs(last.v) <= 2.0
                assert abs(last.a) <= 10.0
                ticks += 1
            assert ticks < 100_000
            stop = last
            for _ in range(2000):
                before = stop
                stop = joint().brake(stop, 0)
                assert side * stop.q <= max(1.0, side * before.q)
                if stop.v == stop.a == 0.0:
                    break
            else:
                pytest.fail("the stop does not end")


@SIDES
def test_outside_asked_to_stay_it_stays_and_asked_further_it_does_too(side: float) -> None:
    last = joint().rest(side * 1.1)
    for wish in (1.1, 1.1001, 5.0):
        got = joint().admit(last, side * wish)
        assert (got.q, got.v, got.a) == (side * 1.1, 0.0, 0.0)
        assert got.limited_by == (0 if wish == 1.1 else Limit.POSITION)


@SIDES
def test_outside_the_way_in_is_taken_as_asked(side: float) -> None:
    last = joint().rest(side * 1.1)
    for tick in range(1, 40):
        wish = side * (1.1 - 1e-9 * tick**3)
        last = joint().admit(last, wish)
        assert (last.q, last.limited_by) == (wish, 0)


# -- margin ---------------------------------------------------------------------------------------


@SIDES
def test_the_margin_counts_speed_and_acceleration_of_either_sign(side: float) -> None:
    coasting = mirrored(state(0.0, 1.5, 0.0), side)
    assert joint().admit(coasting, place(coasting, 0.0)).margin == pytest.approx(0.25)
    pulling = mirrored(state(0.0, 0.0, 6.0), side)
    assert joint().admit(pulling, place(pulling, side * 6.0)).margin == pytest.approx(0.4)
    jerked = mirrored(state(0.0, 0.0, 1.0), side)
    wish = place(jerked, side * (1.0 - 0.7 * H))
    assert joint().admit(jerked, wish).margin == pytest.approx(0.3)
