"""Admission of one joint's command: as asked, or as near to it as the invariants allow."""

import msgspec

from runtime.envelope.stop import JointStop, StopPlan
from runtime.messages import Limit
from runtime.robot_spec import JointLimits

# the search for the nearest admissible step aims so far inside the limit, as a share of how far one
# tick's jerk changes the reference, and ends at most twice as far inside, or after so many tries
_TRIES = 4
_AIM = 5e-4

# of the velocity limit, so that rounding does not make a correction look like a violation
_VELOCITY_SHARE = 1.0 - 1e-12

# plain ints: IntFlag arithmetic costs more than the whole admission
_POSITION = int(Limit.POSITION)
_VELOCITY = int(Limit.VELOCITY)
_ACCELERATION = int(Limit.ACCELERATION)
_JERK = int(Limit.JERK)


class Reference(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """The commanded reference of one joint after a tick.

    `q` rad, `v` rad/s, `a` rad/s^2: the command and its finite differences. `stop_a` rad/s^2: the
    acceleration of the next tick of the stop kept beside it. `q_low`, `q_high` rad: how far that
    stop goes, `q` included. `limited_by`: bits of messages.Limit. `margin`: see `JointAdmission`.
    """

    q: float
    v: float
    a: float
    stop_a: float
    q_low: float
    q_high: float
    limited_by: int
    margin: float


# how far outside its command range a joint may be taken over, to move back in: what a hand or a
# soft drive does to a joint that was commanded to the end of its range
RECOVERABLE_RAD = 0.2


class JointAdmission:
    """Admits or corrects commands of one joint; has no state but its limits.

    Every reference it returns lies inside all invariants, and so does the whole stop from it: by
    induction the kept stop's next step always may be sent.

    `margin` is the smallest share left of four: velocity 1 - |v|/V, acceleration 1 - |a|/A,
    jerk 1 - |j|/J, and position as the distance between the place where the kept stop would end
    and the nearest end of the range, over half the range. 0: something is at its limit.

    A joint that begins at rest outside its range may only move back in: as long as it is outside,
    neither a command nor any pose of a kept stop is further out than the command before. The
    bound needs no memory, it is where the reference was last.

    `limited_by` names what bound the result: JERK or ACCELERATION where the tick itself could not
    change faster; VELOCITY or POSITION where more would have left no stop inside that limit, or
    where the place asked for was itself outside.
    """

    def __init__(self, limits: JointLimits, dt_s: float) -> None:
        """Take one joint's limits and the servo period. Raises ValueError, see JointStop."""
        self.name = limits.name
        self._stop = JointStop(limits, dt_s)
        self._dt = dt_s
        self._h = self._stop.jerk_step_rad_s2
        self._a_max = self._stop.acceleration_max_rad_s2
        self._v_max = self._stop.velocity_max_rad_s
        self._q_min = self._stop.position_min_rad
        self._q_max = self._stop.position_max_rad
        self._aim = _AIM * self._h * dt_s * dt_s
        self._half_range = 0.5 * (self._q_max - self._q_min)
        # with more left than the hardest acceleration needs, velocity limits nothing
        self._velocity_far = self._stop.ramp_velocity_rad_s

    def outside(self, q: float) -> str:
        """Return why the joint cannot begin at rest at `q` rad; empty when it can."""
        excess = max(self._q_min - q, q - self._q_max)
        if excess <= RECOVERABLE_RAD:
            return ""
        if not (q < self._q_min or q > self._q_max):
            return f"joint {self.name} is at {q} rad, which is no position"
        return (
            f"joint {self.name} is at {q:.6f} rad, {excess:.6f} rad outside its command range "
            f"[{self._q_min:.6f}, {self._q_max:.6f}]; from up to {RECOVERABLE_RAD} rad outside it "
            "can move back by itself: move it there by hand"
        )

    def rest(self, q: float) -> Reference:
        """Return the reference at rest at `q` rad, which must not be `outside`."""
        return self._reference(0.0, self._stop.plan(q, 0.0, 0.0), 0)

    def admit(self, last: Reference, q_desired: float) -> Reference:
        """Return the reference one tick after `last`: at `q_desired` (finite, rad) bit for bit if
        that is inside every invariant, else limited."""
        q = q_desired
        if not (self._q_min <= q <= self._q_max):
            q = self._inside(last, q)
        v = (q - last.q) / self._dt
        a = (v - last.v) / self._dt
        if abs(a - last.a) <= self._h and abs(a) <= self._a_max:
            plan = self._stop.plan(q, v, a)
            if not self._broken(last, plan):
                return self._reference(last.a, plan, 0 if q == q_desired else _POSITION)
        return self._limited(last, a)

    def part_way(
        self, last: Reference, wish: Reference, share: float, limited_by: int
    ) -> Reference:
        """Return the reference one tick after `last` whose acceleration lies `share` of the way
        from the kept stop to `wish`, admitted one tick after `last` too; else the kept stop's.

        `limited_by` is added to the wish's where the result is another.
        """
        if share >= 1.0 or wish.a == last.stop_a:
            return wish
        if share > 0.0:
            a = last.stop_a + share * (wish.a - last.stop_a)
            plan = self._stop.plan(*self._move(last, a))
            if not self._broken(last, plan):
                return self._reference(last.a, plan, wish.limited_by | limited_by)
        return self._reference(last.a, self._kept(last), wish.limited_by | limited_by)

    def brake(self, last: Reference, limited_by: int) -> Reference:
        """Return the next step of the stop kept by `last`; computes no decision of its own."""
        return self._reference(last.a, self._kept(last), limited_by)

    def _kept(self, last: Reference) -> StopPlan:
        q, v, a = self._move(last, last.stop_a)
        # rounding may carry the end of a stop an ulp past the range that it was certified for
        return self._stop.plan(self._inside(last, q), v, a)

    def _inside(self, last: Reference, q: float) -> float:
        """Return `q` inside the range, or no further out than `last`."""
        return min(max(q, min(self._q_min, last.q)), max(self._q_max, last.q))

    def _limited(self, last: Reference, a_desired: float) -> Reference:
        a, limited_by = self._clip(last, a_desired)
        plan = self._stop.plan(*self._move(last, a))
        broken = self._broken(last, plan)
        if not broken:
            return self._reference(last.a, plan, limited_by)
        return self._nearest(last, plan, broken)

    def _clip(self, last: Reference, a: float) -> tuple[float, int]:
        """Return `a` inside what jerk, acceleration and velocity allow, and which of them acted."""
        high, why = self._ceiling(last.a, self._v_max * _VELOCITY_SHARE - last.v)
        if a > high:
            return max(high, last.a - self._h), why
        floor, why = self._ceiling(-last.a, self._v_max * _VELOCITY_SHARE + last.v)
        if a < -floor:
            return min(-floor, last.a + self._h), why
        return a, 0

    def _ceiling(self, a_last: float, room: float) -> tuple[float, int]:
        """Return the largest next acceleration, and which limit makes it so.

        `room` (rad/s) is what velocity has left. Ramping a' down to zero adds speed, a' included,
        just as a stop beginning with a' would take away: the law of the stop says how much.
        """
        high, why = a_last + self._h, _JERK
        if high > self._a_max:
            high, why = self._a_max, _ACCELERATION
        if room < self._velocity_far:
            slow = self._stop.strength(room)
            if slow < high:
                return slow, _VELOCITY
        return high, why

    def _nearest(self, last: Reference, bad: StopPlan, limited_by: int) -> Reference:
        """Return the step nearest to `bad`, which is not admitted, that was found on the way from
        the kept stop, which is; what is returned is certified.

        A bounded regula falsi on how far the stop goes, after Anderson and Björck (A new high order
        method of regula falsi type for computing a root of an equation, BIT 13, 1973): where a try
        falls on the same side as the one before, the other end counts for less, by as much as the
        curve bends. The plain rule would keep that end and close in from one side for ever.
        """
        good, up, aim = None, bad.a > last.stop_a, self._aim
        end_a, end = last.stop_a, self._beyond(last, last, up)
        at_a, at = bad.a, max(aim, self._beyond(last, bad, up))
        tries = _TRIES if end < -aim else 0
        for _ in range(tries):
            a = at_a - (at_a - end_a) * at / (at - end)
            plan = self._stop.plan(*self._move(last, a))
            beyond = self._beyond(last, plan, up)
            if self._broken(last, plan):
                beyond = max(aim, beyond)
            else:
                good = plan
                if beyond >= -aim:
                    break
            if (beyond > 0.0) is (at > 0.0):
                end *= max(1.0 - beyond / at, 0.0)
            else:
                end_a, end = at_a, at
            at_a, at = a, beyond
        return self._reference(last.a, good or self._kept(last), limited_by)

    def _move(self, last: Reference, a: float) -> tuple[float, float, float]:
        """Return q, v, a one tick after `last` under acceleration `a`."""
        v = last.v + a * self._dt
        if abs(v) <= self._stop.v_zero_rad_s:
            v = 0.0
        return last.q + v * self._dt, v, a

    def _broken(self, last: Reference, plan: StopPlan) -> int:
        """Return which invariants the stop breaks; written so that NaN breaks them."""
        broken = 0
        if not (plan.q_high <= self._q_max and plan.q_low >= self._q_min) and not (
            plan.q_high <= self._ceiling_of(last, plan) and plan.q_low >= self._floor_of(last, plan)
        ):
            broken = _POSITION
        if not (plan.v_high <= self._v_max and plan.v_low >= -self._v_max):
            broken |= _VELOCITY
        return broken

    def _floor_of(self, last: Reference, plan: StopPlan | Reference) -> float:
        """Return the lowest place that the stop may reach: the end of the range, or, below it,
        where the reference is or was last."""
        if last.q >= self._q_min:
            return self._q_min
        return min(self._q_min, max(plan.q, last.q))

    def _ceiling_of(self, last: Reference, plan: StopPlan | Reference) -> float:
        if last.q <= self._q_max:
            return self._q_max
        return max(self._q_max, min(plan.q, last.q))

    def _beyond(self, last: Reference, stop: StopPlan | Reference, up: bool) -> float:
        """Return how far (rad) a stop goes beyond the place that the search aims at."""
        if up:
            return stop.q_high - self._ceiling_of(last, stop) + self._aim
        return self._floor_of(last, stop) - stop.q_low + self._aim

    def _reference(self, a_last: float, plan: StopPlan, limited_by: int) -> Reference:
        v, a, low, high = plan.v, plan.a, plan.q_low, plan.q_high
        # one by one: a loop takes a fifth more time, `min` over five numbers half as much again
        margin = (self._q_max - high) / self._half_range
        if (left := (low - self._q_min) / self._half_range) < margin:
            margin = left
        if (left := 1.0 - abs(v) / self._v_max) < margin:
            margin = left
        if (left := 1.0 - abs(a) / self._a_max) < margin:
            margin = left
        if (left := 1.0 - abs(a - a_last) / self._h) < margin:
            margin = left
        if margin < 0.0:
            margin = 0.0
        return Reference(plan.q, v, a, plan.a_next, low, high, limited_by, margin)
