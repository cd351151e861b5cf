"""Anything, in any order, for a hundred thousand ticks: the invariants of what was sent hold.

The machine plays the tick and whatever is behind it: places near and absurd, ramps, noise, what is
not a number, braking, commands that were admitted and never certified, errors, keyframes, new
beginnings. The independent checker judges every command.
"""

import math
import random
from typing import Final

import msgspec
import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from runtime.envelope.envelope import Envelope, EnvelopeState
from runtime.messages import Limit
from tests.runtime.envelope_kit import numbered_limits
from tests.runtime.invariant_checker import JointInvariants, check

TICKS_MIN: Final = 100_000
TOLERANCE: Final = 1e-9
CONTEXT: Final = 3
PERIODS_S = (0.001, 0.002, 0.005, 0.01)
ROBOTS = (
    (JointInvariants(-1.0, 1.0, 2.0, 10.0, 4000.0), JointInvariants(-2.0, 0.5, 1.0, 8.0, 3000.0)),
    # a narrow range, a slow one, one whose acceleration a single tick of jerk exceeds
    (JointInvariants(-0.02, 0.03, 1.0, 8.0, 500.0), JointInvariants(-1.0, 1.0, 0.05, 2.0, 50.0)),
    (JointInvariants(-0.5, 0.5, 3.0, 0.5, 9000.0), JointInvariants(-3.0, 3.0, 2.0, 40.0, 300.0)),
)
ABSURD = (math.nan, math.inf, -math.inf, 1e300, -1e300, 1.7e308, 5e-324, -0.0)


SHARES = st.floats(-1.5, 1.5)
COUNTS = st.integers(20, 160)
SEEDS = st.integers(0, 2**32)


class AnythingAsked(RuleBasedStateMachine):
    """Drives one envelope; `ticks` counts what all machines together have certified."""

    ticks = 0

    @initialize(robot=st.sampled_from(ROBOTS), dt_s=st.sampled_from(PERIODS_S), share=SHARES)
    def begin(
        self, robot: tuple[JointInvariants, ...], dt_s: float, share: float
    ) -> None:
        """Take a robot and a place to begin."""
        self.rows, self.dt_s = robot, dt_s
        self.envelope = Envelope(numbered_limits(robot), dt_s)
        self.envelope.rest_at(self.inside(share))
        self.sent = [list(self.envelope.q)]
        self.judged = 0
        self.sequence = 0

    def inside(self, share: float) -> list[float]:
        """The place at that share of the range, at most an end of it."""
        share = max(-1.0, min(1.0, share))
        return [clamped(at_share(row, share), row) for row in self.rows]

    # -- what may happen --------------------------------------------------------------------------

    @rule(first=SHARES, second=SHARES, count=COUNTS)
    def go_to_a_place(self, first: float, second: float, count: int) -> None:
        """Ask for the same place, inside or outside, again and again."""
        shares = (first, second)
        place = [at_share(row, share) for row, share in zip(self.rows, shares, strict=True)]
        for _ in range(count):
            self.ask(place)

    @rule(speed=st.floats(-3.0, 3.0), count=COUNTS)
    def ramp(self, speed: float, count: int) -> None:
        """Ask for motion at a share of the speed limit."""
        for _ in range(count):
            here = self.envelope.q
            self.ask(
                [q + speed * row.v_max * self.dt_s for q, row in zip(here, self.rows, strict=True)]
            )

    @rule(seed=SEEDS, size=st.integers(-9, 1), count=COUNTS)
    def shake(self, seed: int, size: int, count: int) -> None:
        """Ask for noise around where the reference is, from nothing to everything."""
        rng = random.Random(seed)
        for _ in range(count):
            self.ask([q + rng.gauss(0.0, 10.0**size) for q in self.envelope.q])

    @rule(half=st.integers(1, 30), size=st.floats(0.0, 2.0), count=COUNTS)
    def square_wave(self, half: int, size: float, count: int) -> None:
        """Ask for one side and the other, as fast as a tick."""
        for tick in range(count):
            share = size if (tick // half) % 2 else -size
            self.ask([at_share(row, share) for row in self.rows])

    @rule(seed=SEEDS, count=st.integers(1, 20))
    def absurd(self, seed: int, count: int) -> None:
        """Ask for what is no number, or none that a robot has a use for."""
        rng = random.Random(seed)
        for _ in range(count):
            self.ask([rng.choice((*ABSURD, q)) for q in self.envelope.q])

    @rule(count=COUNTS)
    def brake(self, count: int) -> None:
        """Follow the kept stop."""
        for _ in range(count):
            self.envelope.brake()
            assert self.envelope.limited_by == [0, 0]
            self.certify()

    @rule(share=SHARES, again=st.booleans())
    def an_error_between_admission_and_certificate(self, share: float, again: bool) -> None:
        """What was admitted and not certified never happened."""
        issued = self.envelope.save().issued
        self.envelope.admit([at_share(row, share) for row in self.rows])
        assert self.envelope.save().issued == issued
        if again:
            self.envelope.admit([at_share(row, -share) for row in self.rows])
        self.envelope.emergency()
        self.certify()

    @rule(pending=st.booleans(), share=SHARES)
    def a_keyframe(self, pending: bool, share: float) -> None:
        """Go on in another envelope, from plain data."""
        if pending:
            self.envelope.admit([at_share(row, share) for row in self.rows])
        packed = msgspec.msgpack.encode(self.envelope.save())
        twin = Envelope(numbered_limits(self.rows), self.dt_s)
        twin.restore(msgspec.msgpack.decode(packed, type=EnvelopeState))
        assert twin.save() == self.envelope.save()
        self.envelope = twin
        if pending:
            self.certify()

    @precondition(lambda self: self.envelope.at_rest)
    @rule(share=SHARES)
    def begin_elsewhere(self, share: float) -> None:
        """The drive did not follow, and takes hold again somewhere else."""
        self.judge()
        self.envelope.rest_at(self.inside(share))
        self.sent = [list(self.envelope.q)]
        self.judged = 0

    # -- what must hold ---------------------------------------------------------------------------

    def ask(self, desired: list[float]) -> None:
        """Admit and certify; what was not limited is what was asked, bit for bit."""
        envelope = self.envelope
        envelope.admit(desired)
        finite = all(map(math.isfinite, desired))
        assert envelope.finite is finite
        for asked, given, bits in zip(desired, envelope.q, envelope.limited_by, strict=True):
            if not finite:
                assert bits == (0 if math.isfinite(asked) else Limit.FINITE)
            elif bits == 0:
                assert given == asked
        self.certify()

    def certify(self) -> None:
        """Take the command as sent."""
        self.sequence += 1
        command = self.envelope.certify(1, self.sequence, 0, 0, 1).command
        assert command.q == self.envelope.q
        assert command.dq == self.envelope.v
        assert all(0.0 <= margin <= 1.0 for margin in self.envelope.margin)
        self.sent.append(command.q)
        AnythingAsked.ticks += 1

    def judge(self) -> None:
        """Check what was sent since the last time, with the ticks that its differences need."""
        begun = max(0, self.judged - CONTEXT)
        verdict = check(np.array(self.sent[begun:]), self.dt_s, self.rows, tolerance=TOLERANCE)
        skipped = 0 if begun == 0 else CONTEXT
        assert [v for v in verdict.violations if v.tick >= skipped] == []
        self.judged = len(self.sent)

    def stop_of_a_twin(self) -> None:
        """From here the kept stop ends at exact rest, inside everything."""
        twin = Envelope(numbered_limits(self.rows), self.dt_s)
        twin.restore(self.envelope.save())
        sent = self.sent[-1 - CONTEXT :]
        context = CONTEXT if len(self.sent) > CONTEXT else 0
        while not twin.at_rest:
            twin.brake()
            sent = [*sent, twin.certify(1, 0, 0, 0, 1).command.q]
            assert len(sent) < 5000
        verdict = check(np.array(sent), self.dt_s, self.rows, tolerance=TOLERANCE)
        assert [v for v in verdict.violations if v.tick >= context] == []

    @invariant()
    def nothing_was_or_will_be_broken(self) -> None:
        """After every rule: judge what was sent, and the stop from here."""
        self.judge()
        self.stop_of_a_twin()


def at_share(row: JointInvariants, share: float) -> float:
    """The place at that share of half the range from its middle; beyond 1, outside."""
    middle, half = 0.5 * (row.q_min + row.q_max), 0.5 * (row.q_max - row.q_min)
    return middle + share * half


def clamped(q: float, row: JointInvariants) -> float:
    return min(max(q, row.q_min), row.q_max)


def test_anything_in_any_order_keeps_the_invariants() -> None:
    AnythingAsked.ticks = 0
    machine = settings(max_examples=70, stateful_step_count=40, derandomize=True, deadline=None)
    run_state_machine_as_test(AnythingAsked, settings=machine)
    print(f"{AnythingAsked.ticks} ticks")
    assert AnythingAsked.ticks >= TICKS_MIN
