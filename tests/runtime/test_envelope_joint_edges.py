"""One joint's next step, numbers written out: how near the search comes and at what cost, which
limit gets the name where two nearly meet, and what counts as margin."""

import math
import random
from functools import cache

import pytest

from runtime.envelope.joint import JointAdmission, Reference
from runtime.envelope.stop import JointStop, StopPlan
from runtime.messages import Limit
from runtime.robot_spec import JointLimits

DT_S = 0.002
LOW, HIGH = -0.5, 2.5
LIMITS = JointLimits(
    name="j",
    position_min_rad=LOW,
    position_max_rad=HIGH,
    velocity_max_rad_s=2.0,
    acceleration_max_rad_s2=10.0,
    jerk_max_rad_s3=1000.0,
)
# what one tick's jerk does, in rad/s^2 and in rad/s: five of the first are the acceleration limit
H, UNIT_V = 2.0, 0.004
# ramping 5 units of acceleration down takes 5 + 4 + 3 + 2 + 1 units of velocity
FAR = 15 * UNIT_V
SIDES = pytest.mark.parametrize("side", [1.0, -1.0])
MIDDLE = 1.0


@cache
def joint() -> JointAdmission:
    try:
        return JointAdmission(LIMITS, DT_S)
    except (ValueError, ZeroDivisionError) as error:
        pytest.fail(f"refused: {error}")


@cache
def law() -> JointStop:
    try:
        return JointStop(LIMITS, DT_S)
    except (ValueError, ZeroDivisionError) as error:
        pytest.fail(f"refused: {error}")


def state(side: float, beside: float, v: float, a: float) -> Reference:
    """A reference that moves towards `side`, `beside` the middle; a mirror image for -1."""
    q = MIDDLE + side * beside
    plan = law().plan(q, side * v, side * a)
    return Reference(
        q, side * v, side * a, plan.a_next, plan.q_low, plan.q_high, 0, 0.0
    )  # fmt: skip


def mirrored(last: Reference, side: float) -> Reference:
    return state(side, last.q - MIDDLE, last.v, last.a)


def asked(last: Reference, a: float) -> float:
    """The place whose finite differences make acceleration `a` after `last`."""
    return last.q + (last.v + a * DT_S) * DT_S


class Plans:
    """Counts how often the stop law is asked for a plan."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        plan = JointStop.plan

        def counted(law: JointStop, q: float, v: float, a: float) -> StopPlan:
            self.count += 1
            return plan(law, q, v, a)

        monkeypatch.setattr(JointStop, "plan", counted)

    def taken(self, last: Reference, q_desired: float) -> tuple[Reference, int]:
        """The step, and how many plans it took."""
        self.count = 0
        return joint().admit(last, q_desired), self.count


# -- the search -----------------------------------------------------------------------------------


def fits(q: float, v: float, a: float) -> bool:
    plan = law().plan(q, v, a)
    return plan.q_low >= LOW and plan.q_high <= HIGH


def nearest_by_halving(last: Reference, high: float) -> float:
    """The largest acceleration up to `high`, seen towards the upper end, whose stop fits."""
    low = last.stop_a
    for _ in range(60):
        middle = 0.5 * (low + high)
        v = last.v + middle * DT_S
        if fits(last.q + v * DT_S, v, middle):
            low = middle
        else:
            high = middle
    return low


def nearly_too_late(rng: random.Random) -> Reference:
    """Towards the upper end, from where the stop fits, by less than a tick's motion."""
    v, a = rng.uniform(0.05, 1.5), rng.uniform(-8.0, 8.0)
    reach = law().plan(0.0, v, a).q_high
    return state(1.0, HIGH - MIDDLE - reach - rng.uniform(0.0, 1.0) * v * DT_S, v, a)


@SIDES
def test_the_search_comes_as_near_as_halving_does(
    side: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In shares of what one tick's jerk changes."""
    rng, plans = random.Random(8), Plans(monkeypatch)
    errors, counts = [], []
    for _ in range(1000):
        last = nearly_too_late(rng)
        best = nearest_by_halving(last, min(10.0, last.a + H))
        got, count = plans.taken(mirrored(last, side), MIDDLE + side * 9.0)
        if got.limited_by == Limit.POSITION:
            assert LOW <= got.q_low <= got.q_high <= HIGH
            errors.append((best - side * got.a) / H)
            counts.append(count)
    assert len(errors) > 900
    assert min(errors) > -1e-9
    assert max(errors) < 0.01
    assert sum(errors) / len(errors) < 5e-5
    # one for the end of the way, and four tries; some need fewer
    assert max(counts) == 5
    assert sum(counts) / len(counts) < 4.9


def test_the_search_aims_a_little_inside() -> None:
    """At half a thousandth of what one tick's jerk moves: most steps get there."""
    rng, left = random.Random(9), []
    for _ in range(400):
        got = joint().admit(nearly_too_late(rng), HIGH + 1.0)
        left.append((HIGH - got.q_high) / (UNIT_V * DT_S))
    left.sort()
    assert 4e-4 < left[200] < 6e-4


@SIDES
@pytest.mark.parametrize("left", [0.0, 2e-9, 6e-9])
def test_where_the_kept_stop_is_at_the_end_there_is_no_search(
    side: float, left: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One plan for what the tick could do, one for the kept stop: the search would end up to a
    thousandth of 8e-6 rad before the end."""
    reach, plans = law().plan(0.0, 1.0, -4.0).q_high, Plans(monkeypatch)
    last = state(side, HIGH - MIDDLE - reach - left, 1.0, -4.0)
    got, count = plans.taken(last, MIDDLE + side * 9.0)
    assert (got.a, got.limited_by, count) == (last.stop_a, Limit.POSITION, 2)
    # but a hundredth of a millionth before it there is
    last = state(side, HIGH - MIDDLE - reach - 1e-8, 1.0, -4.0)
    got, count = plans.taken(last, MIDDLE + side * 9.0)
    assert got.a * side > last.stop_a * side


@SIDES
def test_at_the_end_of_the_range_what_lies_beyond_costs_one_plan(
    side: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    plans, end = Plans(monkeypatch), MIDDLE + side * 1.5
    last = joint().rest(end)
    for wish in (end, end + side * 1e-9, end + side * 9.0):
        got, count = plans.taken(last, wish)
        assert (got.q, got.v, got.a, count) == (end, 0.0, 0.0, 1)
        assert got.limited_by == (0 if wish == end else Limit.POSITION)


@SIDES
def test_what_is_beyond_the_range_is_no_nearer_than_its_end(side: float) -> None:
    """Short of the end by less than a tick could go: asked for the end or beyond, it gets there."""
    last = joint().rest(MIDDLE + side * (1.5 - 1e-7))
    for beyond, limit in ((0.0, 0), (1e-9, Limit.POSITION), (0.1, Limit.POSITION)):
        got = joint().admit(last, MIDDLE + side * (1.5 + beyond))
        assert (got.q, got.limited_by) == (MIDDLE + side * 1.5, limit)


# -- velocity -------------------------------------------------------------------------------------


@SIDES
def test_the_velocity_limit_needs_no_search(side: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """A closed form says how much; the plan of it is one, the plan of what was asked another."""
    plans = Plans(monkeypatch)
    for room in (0.0, 0.5, 1.0, 3.0, 5.9):
        last = state(side, 0.0, 2.0 * (1.0 - 1e-9) - room * UNIT_V, 0.0)
        wish = asked(last, side * 9.0)
        got, count = plans.taken(last, wish)
        # up to one unit at once, up to three ramped as 2 + 1, up to six as 3 + 2 + 1
        strength = room if room <= 1.0 else 2.0 if room == 3.0 else 1.0 + (room - 1.0) * 0.5
        limit = Limit.VELOCITY if room < 1.0 else Limit.JERK
        assert got.limited_by == limit or room == 1.0
        assert side * got.a == pytest.approx(min(1.0, strength) * H, abs=1e-5)
        assert count == 1


@SIDES
@pytest.mark.parametrize("room", [14.9, 15.1, 12.0])
def test_beside_the_velocity_limit_jerk_may_be_what_limits(side: float, room: float) -> None:
    """Velocity leaves room for nearly the whole acceleration, the tick's jerk for one unit of it;
    with more room than the whole takes, velocity is not asked."""
    last = state(side, 0.0, 2.0 * (1.0 - 1e-9) - room * UNIT_V, 0.0)
    for wish in (asked(last, side * 4.0), asked(last, side * 90.0)):
        got = joint().admit(last, wish)
        assert got.limited_by == Limit.JERK
        assert got.a == pytest.approx(side * H, rel=1e-5)


@SIDES
@pytest.mark.parametrize(
    ("beside", "limit"), [(-1e-3, Limit.VELOCITY), (0.0, Limit.ACCELERATION)]
)
def test_the_room_that_the_whole_acceleration_takes(
    side: float, beside: float, limit: Limit
) -> None:
    """From 4 units of acceleration one more is the limit, and takes 15 units of velocity."""
    room = FAR * (1.0 + 1e-6 + beside)
    last = state(side, 0.0, 2.0 - room, 8.5)
    got = joint().admit(last, asked(last, side * 90.0))
    assert got.limited_by == limit
    assert side * got.a == pytest.approx(10.0, rel=1e-3)


@SIDES
def test_the_velocity_that_is_kept(side: float) -> None:
    """A millionth of a millionth below what the stop law keeps, so that rounding breaks nothing."""
    last = state(side, 0.0, 1.9, 0.0)
    for _ in range(60):
        last = joint().admit(last, last.q + side)
    below = 1.0 - abs(last.v) / law().velocity_max_rad_s
    assert below == pytest.approx(1e-12, rel=1e-3, abs=0.0)


@SIDES
def test_exactly_the_velocity_limit_is_asked_for_and_given(side: float) -> None:
    """With a period that is a power of two, differences of positions from 0 are exact."""
    judged = 0
    for v_max in (1.0, 1.25, 1.5, 1.75, 2.0):
        limits = LIMITS.model_copy(update={"velocity_max_rad_s": v_max, "position_min_rad": -2.5})
        kept = JointStop(limits, 2.0**-9)
        v = side * kept.velocity_max_rad_s
        plan = kept.plan(0.0, v, 0.0)
        if max(plan.v_high, -plan.v_low) != kept.velocity_max_rad_s:
            continue
        judged += 1
        last = Reference(0.0, v, 0.0, plan.a_next, plan.q_low, plan.q_high, 0, 0.0)
        got = JointAdmission(limits, 2.0**-9).admit(last, v * 2.0**-9)
        assert (got.v, got.a, got.limited_by) == (v, 0.0, 0)
    assert judged >= 2


# -- rest -----------------------------------------------------------------------------------------


@SIDES
def test_a_stop_ends_at_rest_after_as_many_ticks_as_it_has_steps(side: float) -> None:
    """What rounding leaves of a velocity of zero is zero."""
    rng = random.Random(11)
    for _ in range(300):
        first = rng.uniform(0.5, 4.9)
        steps = math.ceil(first)
        speed = sum(first - step for step in range(steps)) * law().jerk_step_rad_s2 * DT_S
        last = state(side, rng.uniform(-0.5, 0.5), speed, -first * law().jerk_step_rad_s2)
        for tick in range(steps):
            assert last.v != 0.0, tick
            last = joint().brake(last, 0)
        assert last.v == 0.0
        assert joint().brake(last, 0).a == 0.0


@SIDES
@pytest.mark.parametrize(("share", "moves"), [(1.0, False), (1.0 + 1e-15, True), (0.5, False)])
def test_so_slow_is_rest(side: float, share: float, moves: bool) -> None:
    slow = share * law().v_zero_rad_s / DT_S
    last = Reference(MIDDLE, 0.0, 0.0, side * slow, MIDDLE, MIDDLE, 0, 0.0)
    if share == 1.0:
        assert slow * DT_S == law().v_zero_rad_s
    assert (joint().brake(last, 0).v != 0.0) is moves


# -- jerk and acceleration ------------------------------------------------------------------------


@SIDES
def test_a_reversal_is_as_much_jerk_as_it_is(side: float) -> None:
    """From 5 to -5 is ten, although the sum is none."""
    last = state(side, 0.0, 0.5, 5.0)
    got = joint().admit(last, asked(last, side * -5.0))
    assert got.limited_by == Limit.JERK
    assert got.a == pytest.approx(side * 3.0, rel=1e-6)


@SIDES
def test_where_jerk_and_acceleration_meet_it_is_the_jerk(side: float) -> None:
    """Their limits leave the same next acceleration: what the tick could not do has the name."""
    a_last = law().acceleration_max_rad_s2 - law().jerk_step_rad_s2
    assert a_last + law().jerk_step_rad_s2 == law().acceleration_max_rad_s2
    for beside, limit in ((0.0, Limit.JERK), (1e-9, Limit.ACCELERATION), (-1e-9, Limit.JERK)):
        last = state(side, 0.0, 0.5, a_last + beside)
        assert joint().admit(last, asked(last, side * 90.0)).limited_by == limit


# -- margin ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("at", "margin"), [(MIDDLE, 1.0), (HIGH, 0.0), (LOW, 0.0), (2.0, 1 / 3), (0.1, 0.4)]
)
def test_at_rest_the_margin_is_what_the_range_leaves(at: float, margin: float) -> None:
    rest = joint().rest(at)
    assert rest.margin == pytest.approx(margin, abs=1e-12)
    assert rest.limited_by == 0
    assert (rest.v, rest.a, rest.stop_a, rest.q_low, rest.q_high) == (0.0, 0.0, 0.0, at, at)


@pytest.mark.parametrize(("at", "margin"), [(2.6, 0.0), (-0.7, 0.0)])
def test_outside_there_is_no_margin(at: float, margin: float) -> None:
    assert joint().rest(at).margin == margin


@SIDES
def test_in_motion_the_place_that_counts_is_where_the_stop_ends(side: float) -> None:
    last = state(side, 1.2, 0.2, 0.0)
    got = joint().admit(last, asked(last, 0.0))
    end = got.q_high if side > 0 else got.q_low
    assert got.margin == pytest.approx((1.5 - abs(end - MIDDLE)) / 1.5)
    assert got.margin < (1.5 - abs(got.q - MIDDLE)) / 1.5 - 1e-4
