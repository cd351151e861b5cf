"""What a device may have done, judged from outside: from what it was given and what its log says.

Shares nothing with the device but the numbers of the bench, and those of the protocol by hand.
"""

import numpy as np

from runtime.layout import Floats
from runtime.robot_wire import Command, FromClient, Hello, Release, Stop, Welcome
from sims.robot_device import Outgoing
from sims.robot_log import Period
from tests.sims.device_kit import (
    BOUNDS,
    DECELERATION_RAD_S2,
    LEASE_NS,
    PERIOD_NS,
    SPEED_RAD_S,
    WATCHDOG_NS,
    Bench,
)

DT_S = PERIOD_NS * 1e-9
ROUNDING_RAD = 1e-9


class Checker:
    """Follows a bench; every method raises AssertionError for what must not have happened."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.given = 0
        self.sent: dict[tuple[int, int], Command] = {}
        self.stops: set[int] = set()
        self.epoch_floor = 0
        self.commander = 0
        self.known: set[int] = set()
        self.said_ns: dict[int, int] = {}
        self.taken_ns: dict[int, int] = {}
        self.over: set[int] = set()
        self.target: Floats = bench.device.target_rad
        self.pace: Floats = np.zeros_like(self.target)
        self.last: Command | None = None
        self.armed_epoch = -1
        self.coasted = 0

    def give(self, routing: bytes, message: FromClient) -> list[Outgoing]:
        """Hand a message over and judge what became of it."""
        device = self.bench.device
        self.given += 1
        taken, before = device.taken, (device.state, device.epoch)
        known = isinstance(message, Stop) and message.id in self.stops
        if isinstance(message, Command):
            self.sent.setdefault((message.session, message.count), message)
        answers = self.bench.give(routing, message)
        session = getattr(message, "session", 0)
        self.said_ns[session] = self.bench.now_ns
        if device.taken > taken:
            self.taken_ns[session] = self.bench.now_ns
            if isinstance(message, Release):
                self.over.add(session)
        if isinstance(message, Stop):
            if known:
                assert (device.state, device.epoch) == before, "a repeated STOP changed something"
            else:
                assert device.epoch > before[1], "a STOP must raise the epoch"
            self.stops.add(message.id)
            self.epoch_floor = device.epoch if not known else self.epoch_floor
        for _, answer in answers:
            if isinstance(answer, Welcome) and isinstance(message, Hello):
                self._welcomed(answer, message)
        return answers

    def _welcomed(self, welcome: Welcome, hello: Hello) -> None:
        known, self.known = self.known, self.known | {welcome.session}
        if hello.role == 0 or welcome.session in known:
            return
        heard_ns = self.taken_ns.get(self.commander)
        if self.commander and self.commander not in self.over:
            silent = heard_ns is None or self.bench.now_ns - heard_ns > LEASE_NS
            assert silent, "a second lease while the first lives"
        self.commander = welcome.session
        self.taken_ns[welcome.session] = self.bench.now_ns

    def step(self, periods: int, skipped: int = 0) -> list[Outgoing]:
        """Let periods pass and judge each."""
        out: list[Outgoing] = []
        for _ in range(periods):
            seen, measured = len(self.bench.entries), self.bench.q.copy()
            out = self.bench.step(1, skipped)
            for entry in self.bench.entries[seen:]:
                if isinstance(entry, Period):
                    self._period(entry, measured, skipped)
        self.counts()
        return out

    def _period(self, period: Period, measured: Floats, skipped: int) -> None:
        target = np.array(period.target_rad)
        assert np.all(np.isfinite(target))
        assert np.all(target >= BOUNDS.position_min_rad - ROUNDING_RAD), "beyond its range"
        assert np.all(target <= BOUNDS.position_max_rad + ROUNDING_RAD), "beyond its range"
        pace = (target - self.target) / DT_S
        if period.did == "command":
            self._command(period, target, measured)
        elif period.did == "coast":
            self.coasted += 1 + skipped
            assert self.coasted <= 3, "more than three periods without a command"
            assert np.allclose(pace, self.pace, atol=1e-6), "coasting changed the speed"
        elif period.did == "brake":
            slower = np.abs(self.pace) - np.abs(pace)
            assert np.all(self.pace * pace >= -1e-9), "braking turned round"
            assert np.all(slower >= -1e-6), "braking went faster"
            assert np.all(slower <= DECELERATION_RAD_S2 * DT_S + 1e-6), "braked too hard"
            self.pace = pace
        else:
            assert np.all(pace == 0.0), "a robot that holds moves"
            assert np.all(self.pace == 0.0) or np.all(np.abs(self.pace) < 1e-6), "froze in motion"
            self.pace = np.zeros_like(pace)
        self.target = target

    def _command(self, period: Period, target: Floats, measured: Floats) -> None:
        command = self.sent[period.session, period.count]
        assert np.array_equal(target, command.q)
        assert command.epoch >= self.epoch_floor, "older than a stop"
        assert command.epoch >= period.epoch, "of an older epoch"
        assert command.session == self.commander and command.session not in self.over, "no lease"
        silent_ns = self.bench.now_ns - self.said_ns[command.session]
        assert silent_ns <= LEASE_NS, "the lease is over"
        last = self.last
        first = last is None or last.session != command.session or self.armed(period)
        if first:
            assert np.all(np.abs(target - measured) <= 0.05 + ROUNDING_RAD), "a jump"
        elif last is not None:
            assert command.count > last.count, "executed twice"
            between_ns = min(max(command.stamp_ns - last.stamp_ns, 0), WATCHDOG_NS)
            allowed = SPEED_RAD_S * (between_ns * 1e-9 + DT_S)
            assert np.all(np.abs(target - np.array(last.q)) <= allowed + ROUNDING_RAD), "a leap"
        self.last, self.pace, self.coasted = command, np.array(command.dq), 0
        self.armed_epoch = period.epoch

    def armed(self, period: Period) -> bool:
        """True when the device was armed anew since the last command."""
        changes = [e for e in self.bench.entries if getattr(e, "after", None) == 1]
        newest = changes[-1] if changes else None
        return newest is not None and getattr(newest, "epoch", 0) > self.armed_epoch

    def counts(self) -> None:
        """Judge that every message is accounted for, once."""
        device, follower = self.bench.device, self.bench.device.follower
        assert device.received == self.given
        assert device.received == device.taken + sum(device.drops.values()), "counts do not add up"
        waiting = follower.offered - follower.executed - follower.withdrawn
        assert waiting in (0, 1)
        done = sum(1 for period in self.bench.periods if period.did == "command")
        assert follower.executed == done
