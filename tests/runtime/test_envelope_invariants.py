"""Whatever is asked, the commands keep their invariants; honest motion passes untouched."""

import math
import random
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import ruckig
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from runtime.envelope.envelope import Envelope
from runtime.messages import Limit
from runtime.robot_spec import JointLimits
from tests.runtime.invariant_checker import JointInvariants, Verdict, check

# the Panda's limits as its manufacturer gives them, less nothing: rad, rad/s, rad/s^2, rad/s^3
PANDA = (
    JointInvariants(-2.8973, 2.8973, 2.175, 15.0, 7500.0),
    JointInvariants(-1.7628, 1.7628, 2.175, 7.5, 3750.0),
    JointInvariants(-2.8973, 2.8973, 2.175, 10.0, 5000.0),
    JointInvariants(-3.0718, -0.0698, 2.175, 12.5, 6250.0),
    JointInvariants(-2.8973, 2.8973, 2.61, 15.0, 7500.0),
    JointInvariants(-0.0175, 3.7525, 2.61, 20.0, 10000.0),
    JointInvariants(-2.8973, 2.8973, 2.61, 20.0, 10000.0),
)
HOME = (0.0, -0.5, 0.0, -2.0, 0.0, 1.5, 0.7)
PERIODS_S = (0.001, 0.002, 0.005, 0.01)


def as_limits(rows: tuple[JointInvariants, ...]) -> tuple[JointLimits, ...]:
    return tuple(
        JointLimits(
            name=f"joint{number}",
            position_min_rad=row.q_min,
            position_max_rad=row.q_max,
            velocity_max_rad_s=row.v_max,
            acceleration_max_rad_s2=row.a_max,
            jerk_max_rad_s3=row.j_max,
        )
        for number, row in enumerate(rows, 1)
    )


def drive(
    rows: tuple[JointInvariants, ...],
    dt_s: float,
    start: tuple[float, ...],
    asked: Iterator[list[float]],
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Send everything asked through an envelope; return commands and limited_by per tick.

    Half a second of nothing but the kept stop follows, at the end of which it must be at rest.
    """
    envelope = Envelope(as_limits(rows), dt_s)
    envelope.rest_at(start)
    sent, limited = [list(start)], [[0] * len(rows)]
    for tick, desired in enumerate(asked):
        envelope.admit(desired)
        sent.append(envelope.certify(0, tick, 0, 0, 1).command.q)
        limited.append(envelope.limited_by)
    for tick in range(math.ceil(1.0 / dt_s)):
        envelope.brake()
        sent.append(envelope.certify(0, tick, 0, 0, 1).command.q)
        limited.append(envelope.limited_by)
    assert envelope.at_rest
    return np.array(sent), np.array(limited)


def judged(rows: tuple[JointInvariants, ...], dt_s: float, q: NDArray[np.float64]) -> Verdict:
    """The independent checker's verdict, at a tolerance far below the one that is promised."""
    return check(q, dt_s, rows, tolerance=1e-9)


# -- a chain of clamps fails, the envelope does not -----------------------------------------------

Clamp = Callable[[float, float, float, float], float]


def clamp(value: float, low: float, high: float) -> float:
    return min(max(value, low), high)


def chain(order: str, row: JointInvariants, dt: float) -> Clamp:
    """Return a classical limiter that clamps in the given order (p, v, a, j) on finite
    differences: next q from (desired, q, v, a)."""

    def limited(desired: float, q: float, v: float, a: float) -> float:
        target = desired
        for what in order:
            v_new = (target - q) / dt
            a_new = (v_new - v) / dt
            if what == "p":
                target = clamp(target, row.q_min, row.q_max)
            elif what == "v":
                target = q + clamp(v_new, -row.v_max, row.v_max) * dt
            elif what == "a":
                target = q + (v + clamp(a_new, -row.a_max, row.a_max) * dt) * dt
            else:
                j = clamp((a_new - a) / dt, -row.j_max, row.j_max)
                target = q + (v + (a + j * dt) * dt) * dt
        return target

    return limited


def to_the_end_and_back(ticks: int) -> list[float]:
    """Ask joint 2 for places beyond its range, in turns."""
    return [3.0 if (tick // 500) % 2 == 0 else -3.0 for tick in range(ticks)]


@pytest.mark.parametrize("order", ["pvaj", "javp", "vajp"])
def test_a_chain_of_clamps_breaks_invariants(order: str) -> None:
    row, dt = PANDA[1], 0.002
    limiter = chain(order, row, dt)
    q = v = a = 0.0
    sent = [q]
    for desired in to_the_end_and_back(3000):
        q_new = limiter(desired, q, v, a)
        v_new = (q_new - q) / dt
        q, v, a = q_new, v_new, (v_new - v) / dt
        sent.append(q)
    verdict = check(np.array(sent)[:, None], dt, (row,))
    worst = {what: round(share, 2) for what, share in verdict.largest_share.items()}
    print(f"clamps in order {order}: {len(verdict.violations)} violations, used {worst}")
    assert len(verdict.violations) > 0


def test_the_envelope_keeps_them_where_the_chain_fails() -> None:
    rows, dt = (PANDA[1],), 0.002
    sent, limited = drive(rows, dt, (0.0,), iter([[x] for x in to_the_end_and_back(3000)]))
    verdict = judged(rows, dt, sent)
    worst = {what: round(share, 6) for what, share in verdict.largest_share.items()}
    print(f"envelope: {len(verdict.violations)} violations, used {worst}")
    assert verdict.violations == ()
    # and it is not merely timid: it goes to both ends, at full speed, with all that is allowed
    assert all(share > 0.999 for share in verdict.largest_share.values())
    assert set(limited.ravel().tolist()) >= {Limit.JERK, Limit.ACCELERATION, Limit.POSITION}


# -- adversaries ----------------------------------------------------------------------------------


def white_noise(rng: random.Random, rows: tuple[JointInvariants, ...]) -> Iterator[list[float]]:
    while True:
        yield [rng.uniform(row.q_min - 1, row.q_max + 1) for row in rows]


def nyquist(rng: random.Random, rows: tuple[JointInvariants, ...]) -> Iterator[list[float]]:
    sign = 1.0
    while True:
        sign = -sign
        yield [sign * row.q_max for row in rows]


def square_waves(rng: random.Random, rows: tuple[JointInvariants, ...]) -> Iterator[list[float]]:
    halves = [rng.randint(2, 400) for _ in rows]
    tick = 0
    while True:
        tick += 1
        pairs = zip(rows, halves, strict=True)
        yield [row.q_max if (tick // half) % 2 else row.q_min for row, half in pairs]


def random_walk(rng: random.Random, rows: tuple[JointInvariants, ...]) -> Iterator[list[float]]:
    q = [0.5 * (row.q_min + row.q_max) for row in rows]
    step = 10.0 ** rng.uniform(-5, -1)
    while True:
        q = [at + rng.gauss(0.0, step) for at in q]
        yield list(q)


def at_the_limits(rng: random.Random, rows: tuple[JointInvariants, ...]) -> Iterator[list[float]]:
    while True:
        hold = rng.randint(1, 300)
        chosen = [rng.choice((row.q_min, row.q_max)) for row in rows]
        nudge = rng.choice((0.0, 1e-15, 1e-9, -1e-9, 1e-3))
        for _ in range(hold):
            yield [q + nudge for q in chosen]


def garbage(rng: random.Random, rows: tuple[JointInvariants, ...]) -> Iterator[list[float]]:
    bad = (math.nan, math.inf, -math.inf, 1e300, -1e300, 1.7e308, -1.7e308, 5e-324, -0.0)
    while True:
        for _ in range(rng.randint(1, 200)):
            yield [rng.uniform(row.q_min, row.q_max) for row in rows]
        yield [rng.choice(bad) if rng.random() < 0.5 else 0.0 for _ in rows]


def sign_flips(rng: random.Random, rows: tuple[JointInvariants, ...]) -> Iterator[list[float]]:
    tick = 0
    while True:
        tick += 1
        sign = -1.0 if rng.random() < 0.02 else 1.0
        yield [sign * row.q_max * math.sin(0.003 * tick) for row in rows]


ADVERSARIES = (
    white_noise, nyquist, square_waves, random_walk, at_the_limits, garbage, sign_flips,
)  # fmt: skip


def take(source: Iterator[list[float]], count: int) -> Iterator[list[float]]:
    return (next(source) for _ in range(count))


@pytest.mark.parametrize("dt_s", PERIODS_S)
@pytest.mark.parametrize("adversary", ADVERSARIES)
def test_no_adversary_breaks_an_invariant(
    adversary: Callable[[random.Random, tuple[JointInvariants, ...]], Iterator[list[float]]],
    dt_s: float,
) -> None:
    source = adversary(random.Random(7), PANDA)
    sent, _ = drive(PANDA, dt_s, HOME, take(source, 1500))
    assert judged(PANDA, dt_s, sent).violations == ()


@settings(max_examples=60, deadline=None)
@given(
    row=st.builds(
        JointInvariants,
        q_min=st.floats(-3.0, -0.001),
        q_max=st.floats(0.001, 3.0),
        v_max=st.floats(0.05, 20.0),
        a_max=st.floats(0.5, 200.0),
        j_max=st.floats(50.0, 50000.0),
    ),
    dt_s=st.sampled_from(PERIODS_S),
    asked=st.lists(
        st.tuples(
            st.one_of(st.floats(-4.0, 4.0), st.floats(), st.sampled_from([-3.0, 0.0, 3.0])),
            st.integers(1, 60),
        ),
        min_size=1,
        max_size=12,
    ),
)
def test_no_limits_and_no_sequence_break_an_invariant(
    row: JointInvariants, dt_s: float, asked: list[tuple[float, int]]
) -> None:
    ticks = ([value] for value, count in asked for _ in range(count))
    envelope = Envelope(as_limits((row,)), dt_s)
    envelope.rest_at([0.0])
    sent = [[0.0]]
    for tick, desired in enumerate(ticks):
        envelope.admit(desired)
        sent.append(envelope.certify(0, tick, 0, 0, 1).command.q)
        if not math.isfinite(desired[0]):
            assert not envelope.finite
            assert envelope.limited_by == [Limit.FINITE]
    while not envelope.at_rest:
        envelope.brake()
        sent.append(envelope.certify(0, 0, 0, 0, 1).command.q)
        assert len(sent) < 200_000
    assert check(np.array(sent), dt_s, (row,)).violations == ()


# -- honest motion --------------------------------------------------------------------------------


def planned(
    rows: tuple[JointInvariants, ...], dt_s: float, share: float, places: list[list[float]]
) -> list[list[float]]:
    """A ruckig trajectory from place to place, at rest in each, with a share of the limits."""
    generator = ruckig.Ruckig(len(rows), dt_s)
    ask = ruckig.InputParameter(len(rows))
    out = ruckig.OutputParameter(len(rows))
    ask.max_velocity = [row.v_max * share for row in rows]
    ask.max_acceleration = [row.a_max * share for row in rows]
    ask.max_jerk = [row.j_max * share for row in rows]
    ask.current_position = places[0]
    curve = [list(places[0])]
    for place in places[1:]:
        ask.target_position = place
        result = ruckig.Result.Working
        while result == ruckig.Result.Working:
            result = generator.update(ask, out)
            # ruckig ends an ulp or two beside the target, which may be the very end of a range
            pairs = zip(out.new_position, rows, strict=True)
            curve.append([clamp(q, row.q_min, row.q_max) for q, row in pairs])
            out.pass_to_input(ask)
    return curve


@pytest.mark.parametrize("dt_s", PERIODS_S)
def test_honest_motion_passes_bit_for_bit(dt_s: float) -> None:
    rng = random.Random(3)
    places = [list(HOME)]
    for number in range(12):
        inside = 0.0 if number % 4 == 0 else 0.05
        places.append(
            [
                rng.choice((row.q_min, row.q_max))
                if inside == 0.0
                else rng.uniform(row.q_min + inside, row.q_max - inside)
                for row in PANDA
            ]
        )
    curve = planned(PANDA, dt_s, 0.9, places)
    sent, limited = drive(PANDA, dt_s, HOME, iter(curve[1:]))
    assert not limited.any(), np.argwhere(limited)[:5]
    assert (sent[: len(curve)] == np.array(curve)).all()


def test_motion_is_smooth_where_it_is_limited() -> None:
    """At rest beyond the end of the range, the command settles at the end and stays there."""
    sent, limited = drive((PANDA[1],), 0.002, (0.0,), iter([[3.0]] * 2000))
    assert sent[1500, 0] == pytest.approx(PANDA[1].q_max, abs=1e-6)
    assert limited[1500, 0] == Limit.POSITION


@pytest.mark.parametrize("end", [-1.7628, 1.7628])
def test_the_way_to_the_end_of_the_range_takes_no_longer_than_it_must(end: float) -> None:
    """However far beyond the end it is asked: the least time that the limits allow, by ruckig."""
    shoulder = PANDA[1]
    ask = ruckig.InputParameter(1)
    ask.target_position = [end]
    ask.max_velocity, ask.max_acceleration = [shoulder.v_max], [shoulder.a_max]
    ask.max_jerk = [shoulder.j_max]
    curve = ruckig.Trajectory(1)
    ruckig.Ruckig(1).calculate(ask, curve)
    sent, _ = drive((shoulder,), 0.002, (0.0,), iter([[3.0 * end]] * 900))
    arrived = int(np.argmax(np.abs(sent[:, 0] - end) < 1e-5))
    assert 0 < arrived <= curve.duration / 0.002 + 4


def test_a_desired_speed_above_the_limit_is_followed_at_the_limit() -> None:
    dt = 0.002
    ramp = [[-1.5 + 3.0 * 0.002 * tick] for tick in range(500)]
    sent, limited = drive((PANDA[1],), dt, (-1.5,), iter(ramp))
    speed = np.diff(sent[:500, 0]) / dt
    assert speed.max() == pytest.approx(2.175, rel=1e-4)
    assert Limit.VELOCITY in limited.ravel().tolist()
