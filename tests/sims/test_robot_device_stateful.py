"""Anything may come over the wire at any time: what a device executes stays within the protocol.

Each rule is also tried on a device with one mistake planted, which must turn it red.
"""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test

from runtime.robot_codes import DeviceState, DropCode, Role
from runtime.robot_wire import FromClient, Stop
from sims.robot_device import RobotDevice
from sims.robot_follower import Follower
from sims.robot_motion import Motion
from sims.robot_sessions import Session, Sessions
from sims.robot_stops import StopLedger
from tests.sims.device_checker import Checker
from tests.sims.device_kit import LEASE_NS, PERIOD_NS, Bench, Client, stop

WHO = st.sampled_from([0, 1, 2])
OFTEN = st.sampled_from([0, 0, 0, 1])
SPEEDS = st.sampled_from([0.0, 0.3, -0.7, 1.5, -1.9, 2.5])
PLACES = st.sampled_from([0.0, 0.003, -0.02, 0.08, 0.08, 0.3, 3.0, float("nan"), float("inf")])


class CheckedClient(Client):
    """Everything that it gives is judged."""

    def __init__(self, checker: Checker, routing: bytes, role: Role) -> None:
        super().__init__(checker.bench, routing, role)
        self.checker = checker
        self.said: list[FromClient] = []

    def say(self, message: FromClient) -> None:
        self.said.append(message)
        for _, answer in self.checker.give(self.routing, message):
            self.session = getattr(answer, "session", self.session) or self.session

    def see(self, periods: int = 1, skipped: int = 0) -> None:
        for _ in range(periods):
            self.look(self.checker.step(1, skipped))


class AnyWire(RuleBasedStateMachine):
    """Two commanders, an observer, stops from anywhere, replays, silence, a drive that fails."""

    def __init__(self) -> None:
        super().__init__()
        self.bench = Bench()
        self.checker = Checker(self.bench)
        roles = (Role.COMMANDER, Role.COMMANDER, Role.OBSERVER)
        self.clients = [
            CheckedClient(self.checker, bytes([number]), role) for number, role in enumerate(roles)
        ]

    @rule(who=WHO)
    def join(self, who: int) -> None:
        client = self.clients[who]
        client.say(client.hello())
        client.see()

    @rule(who=WHO, periods=st.integers(1, 60))
    def live(self, who: int, periods: int) -> None:
        client = self.clients[who]
        for _ in range(periods):
            client.say(client.heartbeat())
            client.see()

    @rule(periods=st.sampled_from([1, 2, 3, 4, 10, 60, LEASE_NS // PERIOD_NS + 1]),
          skipped=st.sampled_from([0, 0, 0, 1, 4]))  # fmt: skip
    def silence(self, periods: int, skipped: int) -> None:
        for client in self.clients:
            client.look(self.checker.step(1, skipped))
        self.checker.step(periods)

    @rule(who=OFTEN, speed=SPEEDS, periods=st.sampled_from([0, 1, 5, 15]), odd=st.booleans(),
          place=PLACES, ahead=st.integers(-1, 2), again=st.booleans())  # fmt: skip
    def drive(
        self, who: int, speed: float, periods: int, odd: bool, place: float, ahead: int, again: bool
    ) -> None:
        """As an honest client does it: join, wait, arm, move; perhaps with an odd end. The one that
        holds the lease, if one does: else nearly every message would be a stranger's."""
        holders = [c for c in self.clients if c.session == self.checker.commander != 0]
        client = holders[0] if holders else self.clients[who]
        who = self.clients.index(client)
        if self.bench.device.state is not DeviceState.ARMED:
            client.say(client.hello())
            client.see()
            self.live(who, 55)
            client.epoch = self.bench.device.epoch
            client.say(client.arm())
            client.q = self.bench.q.copy()
        client.epoch = self.bench.device.epoch
        pace = np.array([speed, -speed])
        for _ in range(periods):
            client.say(client.command(client.q + pace * (PERIOD_NS * 1e-9), pace))
            client.see()
        if again:
            self.replay(who, who, 1)
            client.see()
        if odd:
            self.command_anything(who, place, speed, ahead)
            client.see()

    @rule(place=st.sampled_from([0.04, 0.08, 0.3]))
    def begin_elsewhere(self, place: float) -> None:
        """The first command after ARM is not where the robot stands."""
        self.checker.give(b"anybody", stop(len(self.checker.stops) + 10))
        self.drive(0, 0.0, 0, odd=True, place=place, ahead=0, again=False)

    @rule(who=WHO, place=PLACES, speed=SPEEDS, ahead=st.integers(-1, 2))
    def command_anything(self, who: int, place: float, speed: float, ahead: int) -> None:
        client = self.clients[who]
        q = self.bench.device.target_rad + np.array([place, 0.0])
        epoch = max(0, self.bench.device.epoch + ahead)
        client.say(client.command(q, np.array([speed, 0.0]), epoch))
        client.q = self.bench.device.target_rad.copy()

    @rule(who=WHO, to=WHO, back=st.integers(1, 30))
    def replay(self, who: int, to: int, back: int) -> None:
        said = self.clients[who].said
        if said:
            self.checker.give(self.clients[to].routing, said[-min(back, len(said))])

    @rule(who=OFTEN)
    def release(self, who: int) -> None:
        self.clients[who].say(self.clients[who].release())

    @rule(who=WHO, number=st.integers(1, 6), behind=st.integers(0, 3))
    def stop_it(self, who: int, number: int, behind: int) -> None:
        """Commands are on their way when the STOP comes, and arrive after it."""
        client = self.clients[who]
        client.epoch = self.bench.device.epoch
        late = [client.command(client.q) for _ in range(behind)]
        self.checker.give(b"anybody", stop(number))
        for message in late:
            client.say(message)
        client.see()

    @rule(periods=st.integers(1, 5))
    def fail(self, periods: int) -> None:
        if self.bench.device.follower.motion.stands:
            self.bench.ready = False
            self.checker.step(periods)
            self.bench.ready = True
            self.checker.step(1)
            self.checker.target = self.bench.device.target_rad

    @rule()
    def nonsense(self) -> None:
        self.checker.given += 1
        self.bench.device.malformed(b"anybody", "", self.bench.now_ns)

    @rule()
    def account(self) -> None:
        self.checker.counts()


def run(examples: int, steps: int = 20) -> None:
    run_state_machine_as_test(
        AnyWire,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            derandomize=True,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_what_is_executed_stays_within_the_protocol() -> None:
    run(examples=100)


def _nothing(*given: object) -> None:
    """What a planted mistake does instead."""


def keep_the_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    """A STOP brakes, and raises nothing."""
    real = RobotDevice._stop

    def planted(self: RobotDevice, routing: bytes, message: Stop, now_ns: int) -> object:
        before = self.epoch
        answers = real(self, routing, message, now_ns)
        self.epoch = before
        return answers

    monkeypatch.setattr(RobotDevice, "_stop", planted)


def forget_old_epochs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands of before a stop are executed after the next ARM."""
    real = RobotDevice._accept

    def planted(self: RobotDevice, command: object, now_ns: int) -> object:
        epoch, self.epoch = self.epoch, 0
        refusal = real(self, command, now_ns)  # type: ignore[arg-type]
        self.epoch = max(epoch, self.epoch)
        return refusal

    monkeypatch.setattr(RobotDevice, "_accept", planted)


def never_end_a_lease(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Sessions, "end", _nothing)


def share_the_lease(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Sessions, "_refusal", _nothing)


def brake_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    def planted(self: Motion) -> None:
        self.speed_rad_s = np.zeros_like(self.speed_rad_s)

    monkeypatch.setattr(Motion, "brake", planted)


def coast_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sims.robot_follower.COAST_PERIODS", 4)


def freeze_in_motion(monkeypatch: pytest.MonkeyPatch) -> None:
    def planted(self: Follower) -> str:
        self.motion.speed_rad_s = np.zeros_like(self.motion.speed_rad_s)
        return "hold"

    monkeypatch.setattr(Follower, "brake", planted)


def let_it_leap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Follower, "_leap", _nothing)


def take_replays(monkeypatch: pytest.MonkeyPatch) -> None:
    real = Session.judge

    def planted(self: Session, *given: object) -> object:
        self._count = 0
        return real(self, *given)  # type: ignore[arg-type]

    monkeypatch.setattr(Session, "judge", planted)


def lose_a_count(monkeypatch: pytest.MonkeyPatch) -> None:
    real = RobotDevice._drop

    def planted(self: RobotDevice, *given: object) -> object:
        answers = real(self, *given)  # type: ignore[arg-type]
        self.drops[DropCode.FOREIGN] = 0
        return answers

    monkeypatch.setattr(RobotDevice, "_drop", planted)


def stop_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    real = StopLedger.take

    def planted(self: StopLedger, routing: bytes, message: Stop) -> bool:
        real(self, routing, message)
        return True

    monkeypatch.setattr(StopLedger, "take", planted)


def ignore_the_first_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sims.robot_follower.JUMP_RAD", 0.5)


@pytest.mark.parametrize(
    ("mistake", "said"),
    [
        (keep_the_epoch, "must raise the epoch"),
        (forget_old_epochs, "older"),
        (never_end_a_lease, "no lease"),
        (share_the_lease, "a second lease"),
        (brake_at_once, "braked too hard"),
        (coast_on, "more than three periods"),
        (freeze_in_motion, "froze in motion"),
        (let_it_leap, "a leap"),
        (take_replays, "executed twice"),
        (lose_a_count, "do not add up"),
        (stop_twice, "a repeated STOP"),
        (ignore_the_first_place, "a jump"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_planted_mistake_is_found(
    monkeypatch: pytest.MonkeyPatch, mistake: Callable[[pytest.MonkeyPatch], None], said: str
) -> None:
    mistake(monkeypatch)
    with pytest.raises(AssertionError, match=said):
        run(examples=300)
