"""Anything, in any order, among obstacles: what was sent keeps its distance, and so does the stop.

The machine of test_envelope_stateful.py, with the planar arm in a crowded place and distances
judged by shapes of the tests' own.
"""

import math

import msgspec
import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from runtime.envelope.envelope import Envelope, EnvelopeState
from runtime.geometry_spec import BoxSpec, KeepOut, PlaneSpec
from runtime.messages import Limit
from tests.runtime.geometry_kit import MARGIN_M, TABLE, Judge, planar, step
from tests.runtime.invariant_checker import JointInvariants, check

TICKS_MIN = 8000
LIMITED_MIN = 200
TOLERANCE_M = 1e-7
VOLUMES: tuple[KeepOut, ...] = (
    TABLE,
    BoxSpec(
        shape="box",
        name="crate",
        center_m=(0.1, 0.55, 0.1),
        half_size_m=(0.1, 0.1, 0.1),
        yaw_rad=0.5,
    ),
    PlaneSpec(shape="plane", name="wall", point_m=(0.0, -0.6, 0.0), normal=(0.0, 1.0, 0.0)),
)
SHARES = st.lists(st.floats(-1.2, 1.2), min_size=3, max_size=3)
COUNTS = st.integers(20, 120)


class AnythingAskedAmongObstacles(RuleBasedStateMachine):
    """Drives one envelope; `ticks` and `limited` count those of all."""

    ticks = 0
    limited = 0

    @initialize()
    def begin(self) -> None:
        """Stand at home."""
        self.robot = planar()
        self.geometry = self.robot.geometry(VOLUMES, own=False)
        self.judge = Judge(self.robot, self.geometry.names, VOLUMES)
        self.envelope = self.robot.envelope(self.geometry)
        self.sent = [list(self.robot.home)]
        self.judged = 0

    def place(self, shares: list[float]) -> list[float]:
        """The place at those shares of the joints' ranges; beyond 1, outside."""
        low, high = self.robot.low, self.robot.high
        wide = np.resize(np.array(shares), len(low))
        here: list[float] = (0.5 * (low + high) + 0.5 * wide * (high - low)).tolist()
        return here

    def ask(self, desired: list[float] | None) -> None:
        """One tick; what no barrier may be nearer than is never promised away."""
        self.sent.append(step(self.envelope, desired))
        kind = type(self)
        kind.ticks += 1
        kind.limited += any(bits & Limit.GEOMETRY for bits in self.envelope.limited_by)
        assert self.envelope.clearance_m >= 0.0

    @rule(shares=SHARES, count=COUNTS)
    def pull(self, shares: list[float], count: int) -> None:
        """To one place, through whatever is in the way."""
        for _ in range(count):
            self.ask(self.place(shares))

    @rule(one=SHARES, other=SHARES, half=st.integers(1, 20), count=COUNTS)
    def to_and_fro(self, one: list[float], other: list[float], half: int, count: int) -> None:
        """A square wave between two places."""
        for tick in range(count):
            self.ask(self.place(one if (tick // half) % 2 else other))

    @rule(seed=st.integers(0, 2**32), size=st.integers(-6, 0), count=COUNTS)
    def shake(self, seed: int, size: int, count: int) -> None:
        """Noise."""
        rng = np.random.default_rng(seed)
        for _ in range(count):
            here = np.array(self.envelope.q)
            self.ask((here + rng.normal(0.0, 10.0**size, len(here))).tolist())

    @rule(bad=st.sampled_from([math.nan, math.inf, -math.inf, 1e300, -1e300]))
    def absurd(self, bad: float) -> None:
        """No place at all."""
        self.ask([bad, *self.envelope.q[1:]])

    @rule(count=COUNTS)
    def brake(self, count: int) -> None:
        """The kept stop."""
        for _ in range(count):
            self.ask(None)

    @rule(shares=SHARES)
    def an_error_between_admission_and_certificate(self, shares: list[float]) -> None:
        """What was not certified never happened."""
        self.envelope.admit(self.place(shares))
        self.envelope.emergency()
        self.sent.append(self.envelope.certify(0, 0, 0, 0, 1).command.q)

    @rule(shares=SHARES)
    def a_keyframe(self, shares: list[float]) -> None:
        """Another envelope goes on from plain data, bit for bit."""
        twin = self.fresh()
        here = self.place(shares)
        self.ask(here)
        assert step(twin, here) == self.sent[-1]
        self.envelope = twin

    def fresh(self) -> Envelope:
        """A new envelope in the state of the other."""
        packed = msgspec.msgpack.encode(self.envelope.save())
        twin = Envelope(
            self.robot.limits, self.robot.dt_s, self.robot.geometry(VOLUMES, own=False)
        )
        twin.restore(msgspec.msgpack.decode(packed, type=EnvelopeState))
        return twin

    @invariant()
    def everything_keeps_its_distance(self) -> None:
        """What was sent since the last time, and the stop from here."""
        cut = self.fresh()
        stop: list[list[float]] = []
        while not cut.at_rest:
            stop.append(step(cut, None))
            assert len(stop) < 3000
        new = self.sent[self.judged :]
        for q in new[::6] + new[-1:] + stop[::6] + stop[-1:]:
            distance, name = self.judge.nearest(q)
            assert distance >= MARGIN_M - TOLERANCE_M, name
        self.judged = len(self.sent)

    def teardown(self) -> None:
        """And the joints' own limits."""
        if not hasattr(self, "sent"):
            return
        rows = [
            JointInvariants(
                limit.position_min_rad,
                limit.position_max_rad,
                limit.velocity_max_rad_s,
                limit.acceleration_max_rad_s2,
                limit.jerk_max_rad_s3,
            )
            for limit in self.robot.limits
        ]
        verdict = check(np.array(self.sent), self.robot.dt_s, rows, tolerance=1e-9)
        assert verdict.violations == ()


def test_anything_in_any_order_keeps_its_distance() -> None:
    kind = AnythingAskedAmongObstacles
    kind.ticks = kind.limited = 0
    machine = settings(max_examples=10, stateful_step_count=30, derandomize=True, deadline=None)
    run_state_machine_as_test(kind, settings=machine)
    print(f"{kind.ticks} ticks, a barrier acted in {kind.limited}")
    assert kind.ticks >= TICKS_MIN
    assert kind.limited >= LIMITED_MIN
