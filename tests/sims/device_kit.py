"""A simulated device at the end of a wire that the test holds: time, frames and faults are its."""

from typing import Any

import msgspec
import numpy as np

from runtime.layout import Floats
from runtime.robot_codes import DeviceState, DropCode, Role, StopCategory
from runtime.robot_wire import (
    Arm,
    Command,
    Error,
    FromClient,
    GroupSample,
    Heartbeat,
    Hello,
    Observation,
    Release,
    Status,
    Stop,
    StopReport,
    Welcome,
)
from sims.robot_device import Measured, Outgoing, RobotDevice
from sims.robot_log import Entry, ExecutionLog, Period
from sims.robot_motion import JointBounds
from sims.robot_sessions import RobotFacts

MS = 1_000_000
PERIOD_NS = 2 * MS
DT_S = PERIOD_NS * 1e-9
WATCHDOG_NS = 20 * MS
LEASE_NS = 200 * MS
START_NS = 1_000 * MS
ROBOT, CONTRACT = b"r" * 32, b"c" * 32
JOINTS = 2
SPEED_RAD_S = 2.0
DECELERATION_RAD_S2 = np.array([10.0, 20.0])
FAST = np.array([0.5, -0.5])
FACTS = RobotFacts(
    robot="toy",
    joints=("a", "b"),
    groups=(("force", 3),),
    period_ns=PERIOD_NS,
    watchdog_ns=WATCHDOG_NS,
    lease_ns=LEASE_NS,
    robot_hash=ROBOT,
    contract_hash=CONTRACT,
)
BOUNDS = JointBounds(
    np.array([-1.0, -2.0]),
    np.array([1.0, 2.0]),
    np.array([SPEED_RAD_S, SPEED_RAD_S]),
    DECELERATION_RAD_S2,
)


class Bench:
    """A device whose joints follow their target exactly, one period late."""

    def __init__(self) -> None:
        self.now_ns = START_NS
        self.log = ExecutionLog()
        self.sessions = 100
        start = np.zeros(JOINTS)
        self.device = RobotDevice(FACTS, BOUNDS, start, self._draw, self.log)
        self.q, self.dq = start.copy(), start.copy()
        self.ready = True
        self.entries: list[Entry] = []
        self.out: list[Outgoing] = []

    def _draw(self) -> int:
        self.sessions += 1
        return self.sessions

    def step(self, periods: int = 1, skipped: int = 0) -> list[Outgoing]:
        """Let periods pass; return what was sent in the last."""
        for _ in range(periods):
            self.now_ns += PERIOD_NS * (1 + skipped)
            joints = GroupSample(1, self.now_ns, (*self.q.tolist(), *self.dq.tolist(), 0.0, 0.0))
            force = GroupSample(1, self.now_ns, (0.0, 0.0, 0.0))
            measured = Measured(self.q.copy(), self.dq.copy(), (joints, force), self.ready)
            self.out = self.device.step(self.now_ns, measured, skipped)
            self.dq = (self.device.target_rad - self.q) / (PERIOD_NS * 1e-9)
            self.q = self.device.target_rad.copy()
            self.entries += self.log.drain()
        return self.out

    def give(self, routing: bytes, message: FromClient) -> list[Outgoing]:
        """Hand one message over, now."""
        answers = self.device.receive(routing, message, self.now_ns)
        self.entries += self.log.drain()
        return answers

    @property
    def periods(self) -> list[Period]:
        """Every period so far."""
        return [entry for entry in self.entries if isinstance(entry, Period)]

    @property
    def state(self) -> DeviceState:
        return self.device.state


class Client:
    """One client that does everything right, unless it is told otherwise."""

    def __init__(self, bench: Bench, routing: bytes = b"one", role: Role = Role.COMMANDER) -> None:
        self.bench = bench
        self.routing = routing
        self.role = role
        self.nonce = 0
        self.session = 0
        self.count = 0
        self.stamp_ns = 1
        self.epoch = 0
        self.seen: Observation | None = None
        self.q: Floats = np.zeros(JOINTS)

    def hello(self) -> Hello:
        self.nonce += 1
        return Hello(
            nonce=self.nonce, role=self.role, who="w", robot_hash=ROBOT, contract_hash=CONTRACT
        )

    def join(self) -> None:
        """Get a session and see a first observation."""
        ((_, answer),) = self.bench.give(self.routing, self.hello())
        assert isinstance(answer, Welcome), answer
        self.session, self.epoch = answer.session, answer.epoch
        self.look(self.bench.step())

    def look(self, out: list[Outgoing]) -> None:
        for routing, message in out:
            if routing == self.routing and isinstance(message, Observation):
                self.seen = message
                self.epoch = max(self.epoch, message.epoch)

    def step(self, periods: int = 1) -> None:
        for _ in range(periods):
            self.look(self.bench.step())

    def head(self) -> dict[str, Any]:
        self.count += 1
        self.stamp_ns += PERIOD_NS
        return {
            "session": self.session,
            "count": self.count,
            "stamp_ns": self.stamp_ns,
            "answers_stamp_ns": self.seen.stamp_ns if self.seen else 0,
        }

    def heartbeat(self, signals_seen: int = 0) -> Heartbeat:
        return Heartbeat(signals_seen=signals_seen, **self.head())

    def arm(self, epoch: int | None = None) -> Arm:
        wanted = self.epoch + 1 if epoch is None else epoch
        return Arm(epoch=wanted, who="w", **self.head())

    def renewed(self, arm: Arm) -> Arm:
        """Return an ARM as it is said again."""
        return msgspec.structs.replace(arm, **self.head())

    def release(self) -> Release:
        return Release(**self.head())

    def command(
        self, q: Floats | None = None, dq: Floats | None = None, epoch: int | None = None
    ) -> Command:
        self.q = self.q if q is None else q
        return Command(
            epoch=self.epoch if epoch is None else epoch,
            answers_sequence=self.seen.sequence if self.seen else 0,
            valid_for_ns=WATCHDOG_NS,
            q=tuple(self.q.tolist()),
            dq=tuple((np.zeros(JOINTS) if dq is None else dq).tolist()),
            **self.head(),
        )

    def give(self, message: FromClient) -> list[Outgoing]:
        return self.bench.give(self.routing, message)

    def dropped(self, message: FromClient) -> DropCode:
        """Hand a message over that has no effect; return the code that says why."""
        before = self.bench.device.taken
        answers = self.give(message)
        assert self.bench.device.taken == before
        ((_, error),) = answers
        assert isinstance(error, Error)
        return error.code

    def taken(self, message: FromClient) -> None:
        """Hand a message over that has its effect."""
        assert not self.give(message)

    def rest_and_arm(self) -> None:
        """Join, wait until the robot may be armed, and arm it."""
        self.join()
        self.alive(55)
        self.taken(self.arm())
        self.epoch += 1
        self.q = self.bench.q.copy()
        assert self.bench.state is DeviceState.ARMED

    def alive(self, periods: int) -> None:
        """Let periods pass with heartbeats."""
        for _ in range(periods):
            self.taken(self.heartbeat())
            self.step()

    def move(self, speed: Floats, periods: int) -> None:
        """Move evenly, one command a period."""
        for _ in range(periods):
            self.taken(self.command(self.q + speed * (PERIOD_NS * 1e-9), speed))
            self.step()


def stop(number: int, category: StopCategory = StopCategory.TWO) -> Stop:
    return Stop(id=number, category=category, who="somebody", why="a test")


def reports(out: list[Outgoing]) -> list[StopReport]:
    return [message for _, message in out if isinstance(message, StopReport)]


def statuses(out: list[Outgoing]) -> list[Status]:
    return [message for _, message in out if isinstance(message, Status)]


def state_of(client: Client) -> DeviceState:
    return client.bench.device.state


def armed() -> Client:
    client = Client(Bench())
    client.rest_and_arm()
    return client
