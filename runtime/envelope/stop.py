"""The stop manoeuvre of one joint: the hardest stop that the invariants allow, on the tick grid.

The reference of a joint is (q, v, a), with a tick of a' = a + j dt, v' = v + a' dt,
q' = q + v' dt: exactly the finite differences v_k = (q_k - q_(k-1))/dt and so on. With the units
h = J dt (acceleration a tick can change), h dt (velocity) and h dt^2 (position), a tick is

    alpha' = alpha + j/J,  w' = w + alpha',  |alpha' - alpha| <= 1,  |alpha| <= A/h.

Braking that has just reached strength x must still be ramped down to zero, x-1, x-2, ..., and so
takes T(x) = sum over i >= 1 of max(x - i, 0) of velocity with it. From w > 0 the hardest braking
that does not overshoot is the x with x + T(x) = w =: W(x). With m = ceil(x), T is
(m-1) x - m (m-1)/2, so W(x) = m x - m (m-1)/2 and x = w/m + (m-1)/2 with
m = ceil((sqrt(1 + 8 w) - 1)/2). The stop takes alpha' = -min(x, A/h), clipped to one unit of
change. One tick on, W(x) - x = T(x) = W(x - 1): the next strength is smaller by exactly one unit,
so it meets the jerk limit, and the last two ticks give w = 0 and alpha = 0 exactly.

So every stop is a ramp (full jerk towards braking), a hold at A, and a descent; sums of
polynomials give its extent without simulating it. Only a joint that already brakes too hard
(-alpha - 1 > x) passes through w = 0 and comes back; seen in the other direction that is the same
ramp, begun at negative velocity.
"""

import math
from math import ceil, floor, sqrt

import msgspec

from runtime.robot_spec import JointLimits

# the sums below round; a stop is judged longer than computed by a billionth of its length
_LONGER = 1.0 + 1e-9
# velocities below this share of the limit are the rounding of an exact zero
_ZERO_SHARE = 1e-15
_DT_MAX_S = 0.1


class StopPlan(msgspec.Struct, frozen=True, gc=False):
    """Where the stop from the state (`q` rad, `v` rad/s, `a` rad/s^2) takes the joint.

    `q_low`, `q_high` (rad) and `v_low`, `v_high` (rad/s) include the state itself; `a_next`
    (rad/s^2) is the acceleration of the stop's next tick.
    """

    q: float
    v: float
    a: float
    q_low: float
    q_high: float
    v_low: float
    v_high: float
    a_next: float


class JointStop:
    """The stop law of one joint.

    Public attributes are the limits that the reference keeps: those given, less what the rounding
    of q to float64 can add to finite differences; and `ramp_velocity_rad_s`, the velocity that
    ramping the largest acceleration down to zero takes.
    """

    __slots__ = (
        "_a_squared",
        "_a_units",
        "_h",
        "_hold_above",
        "_unit_q",
        "_unit_v",
        "acceleration_max_rad_s2",
        "dt_s",
        "jerk_step_rad_s2",
        "position_max_rad",
        "position_min_rad",
        "ramp_velocity_rad_s",
        "v_zero_rad_s",
        "velocity_max_rad_s",
    )

    def __init__(self, limits: JointLimits, dt_s: float) -> None:
        """Take the limits of one joint and the servo period.

        Raises:
            ValueError: a limit is not finite, not positive, or so small that at this period
                float64 positions cannot resolve it; or the period is not in (0, 0.1] s.
        """
        if not (0.0 < dt_s <= _DT_MAX_S):
            raise ValueError(f"dt_s is {dt_s}; allowed: above 0, up to {_DT_MAX_S} s")
        low, high = limits.position_min_rad, limits.position_max_rad
        if not (-math.inf < low < high < math.inf):
            raise ValueError(f"joint {limits.name}: position range [{low}, {high}] is no range")
        self.dt_s = dt_s
        self.position_min_rad = low
        self.position_max_rad = high
        # q is stored to half an ulp; its k-th differences are off by up to 2^k half ulps, and as
        # much again comes from computing and checking them
        ulp = math.ulp(max(abs(low), abs(high)))
        self.velocity_max_rad_s = _inset(limits, "velocity_max_rad_s", 2 * ulp / dt_s)
        self.acceleration_max_rad_s2 = _inset(limits, "acceleration_max_rad_s2", 4 * ulp / dt_s**2)
        jerk = _inset(limits, "jerk_max_rad_s3", 8 * ulp / dt_s**3)
        self.v_zero_rad_s = _ZERO_SHARE * self.velocity_max_rad_s
        self._h = self.jerk_step_rad_s2 = jerk * dt_s
        self._unit_v = self._h * dt_s
        self._unit_q = self._unit_v * dt_s
        self._a_units = self.acceleration_max_rad_s2 / self._h
        self._a_squared = self._a_units**2
        self._hold_above = _velocity_of(self._a_units)
        self.ramp_velocity_rad_s = self._hold_above * self._unit_v

    def plan(self, q: float, v: float, a: float) -> StopPlan:
        """Return the extent of the whole stop from (q rad, v rad/s, a rad/s^2), |a| <= A."""
        w = v / self._unit_v
        alpha = a / self._h
        unit_q = self._unit_q
        unit_v = self._unit_v
        if w < 0.0 or (w == 0.0 and alpha < 0.0):
            w, alpha, unit_q, unit_v = -w, -alpha, -unit_q, -unit_v
        back = v_back = 0.0
        too_hard = -alpha - 1.0
        if too_hard > 0.0 and w < _velocity_of(too_hard):
            w, alpha, unit_q, unit_v = -w, -alpha, -unit_q, -unit_v
            back, v_back = _turn(w, alpha), v
        length, strength = self._stop(w, alpha)
        # a joint that turns may end short of where it is
        end = q + length * _LONGER * unit_q if length > 0.0 else q
        start = q + back * _LONGER * unit_q
        peak = w
        if alpha > 1.0:
            rising = floor(alpha)
            peak += rising * alpha - 0.5 * rising * (rising + 1)
        peak_v = peak * unit_v
        a_next = strength * unit_v / self.dt_s
        if unit_q > 0.0:
            return StopPlan(q, v, a, start, end, v_back, peak_v, a_next)
        return StopPlan(q, v, a, end, start, peak_v, v_back, a_next)

    def strength(self, v: float) -> float:
        """Return the acceleration (rad/s^2, >= 0) that takes away just `v` rad/s when it is ramped
        to zero at full jerk, the ticks of the ramp included; 0 for v < 0. Knows no other limit."""
        _, x = _strength_of(max(0.0, v / self._unit_v))
        return x * self._h

    def _stop(self, w: float, alpha: float) -> tuple[float, float]:
        """Return the stop's length and its first alpha', in units, for a joint that is on the
        braking curve, can reach it from here by ramping down, or starts at w < 0 < alpha."""
        ramp = self._ramp(w, alpha)
        length = 0.0
        if ramp:
            length = _moved(ramp, w, alpha)
            w += ramp * (alpha - 0.5 * (ramp + 1))
        hold = 0
        if w > self._hold_above:
            hold = ceil((w - self._hold_above) / self._a_units)
            length += hold * (w - self._a_units * (0.5 * (hold + 1)))
            w -= hold * self._a_units
        x = w
        if w > 1.0:
            # descent: with r = x - (m - 1), velocities T(r + j) = j r + j (j - 1)/2, j = m-1 ... 0
            m, x = _strength_of(w)
            length += 0.5 * m * (m - 1) * (x - (m - 1) + (m - 2) / 3.0)
        if ramp:
            return length, alpha - 1.0
        return length, -self._a_units if hold else -x

    def _ramp(self, w: float, alpha: float) -> int:
        """Return how many full-jerk ticks precede hold or descent.

        After n of them the next strength can be at most y = n + 1 - alpha; the ramp is over when
        that suffices: y >= A/h, or y >= 0 and w_n <= W(y). With W(y) = y (y + 1)/2 + r (1 - r)/2,
        r = ceil(y) - y, the second condition reads s - y^2 <= r (1 - r)/2, and s does not depend on
        n: the root of s is y, exact to one tick.
        """
        c = 1.0 - alpha
        s = w + 0.5 * c * (c - 1.0)
        y = self._a_units if s >= self._a_squared else (sqrt(s) if s > 0.0 else 0.0)
        steps = ceil(y - c)
        if steps > 0:
            y = c + steps - 1
            r = ceil(y) - y
            if y >= 0.0 and s - y * y <= 0.5 * r * (1.0 - r):
                return steps - 1
            return steps
        return 0


def _inset(limits: JointLimits, key: str, rounding: float) -> float:
    limit = float(getattr(limits, key))
    # the differences themselves are computed in floats too: a few parts in 10^16
    inside = limit * (1.0 - 1e-12) - rounding
    if not (0.0 < 0.99 * limit < inside < math.inf):
        raise ValueError(
            f"joint {limits.name}: {key} is {limit}; at this servo period it must be finite and "
            f"above {100 * rounding:.3g}, or the rounding of positions hides it"
        )
    return inside


def _velocity_of(x: float) -> float:
    """Return W(x): the velocity that a stop beginning with strength x >= 0 takes away, units."""
    m = ceil(x)
    return m * (x - 0.5 * (m - 1))


def _strength_of(w: float) -> tuple[int, float]:
    """Return m = ceil(x), at least 1, and the x with W(x) = w >= 0."""
    m = ceil(0.5 * (sqrt(1.0 + 8.0 * w) - 1.0)) or 1
    return m, w / m + 0.5 * (m - 1)


def _moved(steps: int, w: float, alpha: float) -> float:
    """Return the sum of w_1 ... w_steps with w_i = w + i alpha - i (i + 1)/2, in units."""
    return steps * (w + 0.5 * (steps + 1) * (alpha - (steps + 2) / 3.0))


def _turn(w: float, alpha: float) -> float:
    """Return how far (<= 0, units) a joint at w < 0 goes before the ramp from alpha turns it."""
    b = 2.0 * alpha - 1.0
    steps = floor(0.5 * (b - sqrt(max(0.0, b * b + 8.0 * w))))
    return _moved(steps, w, alpha)
