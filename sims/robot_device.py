"""The robot's own side of the protocol (runtime/PROTOCOL.md), version 1, as a pure state machine.

No socket and no clock: messages come in with the connection they came on and the time, `step` is
called once a period, and what is to be sent comes back. It plays the hardware behind the link, so
it shares no code with the envelope or the tick.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import msgspec
import numpy as np

from runtime.layout import Floats
from runtime.robot_codes import (
    VERSION,
    DeviceState,
    DropCode,
    OutcomeCode,
    SignalCode,
    StopCategory,
)
from runtime.robot_wire import (
    Arm,
    Command,
    Error,
    FromClient,
    FromDevice,
    GroupSample,
    Heartbeat,
    Hello,
    Observation,
    OtherHello,
    Refused,
    Release,
    Status,
    Stop,
    clipped,
)
from sims.robot_follower import Follower
from sims.robot_log import Changed, ExecutionLog, Joined, Period, Stopped, arrived, dropped
from sims.robot_motion import JointBounds, RestWatch
from sims.robot_sessions import (
    ErrorBudget,
    RobotFacts,
    Session,
    SessionMessage,
    Sessions,
    refuse_version,
)
from sims.robot_stops import Standing, StopLedger

REQUEST_AGE_NS = 200_000_000
# how far ahead a client may go: somebody else still has to name a higher one after it
EPOCH_LEAP = 2**32

Outgoing = tuple[bytes, FromDevice]
Reason = tuple[DropCode, str]

_READY_TO_ARM = (DeviceState.IDLE, DeviceState.STOPPED)


@dataclass(frozen=True)
class Measured:
    """What the drives measured for this period: `q_rad`, `dq_rad_s` [n], and every group in the
    order of WELCOME, `joints` first. `ready`: whether the drives take commands at all."""

    q_rad: Floats
    dq_rad_s: Floats
    groups: tuple[GroupSample, ...]
    ready: bool = True


class RobotDevice:
    """A robot behind the protocol. `target_rad` [n] is what its drives follow in this period.

    Args:
        facts: what it says of itself.
        bounds: the drives' own limits.
        start_rad: where the joints stand [n].
        draw: makes fresh session numbers, above 0.
        log: gets every period, every dropped message and every stop.
        categories: stop categories that its drives can do.
    """

    def __init__(
        self,
        facts: RobotFacts,
        bounds: JointBounds,
        start_rad: Floats,
        draw: Callable[[], int],
        log: ExecutionLog,
        categories: tuple[StopCategory, ...] = (StopCategory.TWO,),
    ) -> None:
        self._facts = facts
        self._follower = Follower(facts, bounds, start_rad)
        self._log = log
        self._sessions = Sessions(facts, draw)
        self._stops = StopLedger(categories)
        self._errors = ErrorBudget()
        self._measured = Measured(start_rad.copy(), np.zeros_like(start_rad), ())
        self._rest = RestWatch()
        self._latched = False
        self._sequence = 0
        self.state = DeviceState.IDLE
        self.epoch = 0
        self.drops: Counter[DropCode] = Counter()
        self.received = 0
        self.taken = 0

    @property
    def target_rad(self) -> Floats:
        """The joint target [n] of the period that the last `step` began."""
        return self._follower.motion.target_rad

    @property
    def follower(self) -> Follower:
        """What executes the commands, with its counts."""
        return self._follower

    @property
    def driven(self) -> bool:
        """True while somebody's commands are executed."""
        return self.state is DeviceState.ARMED

    # -- messages -------------------------------------------------------------------------------

    def receive(
        self, routing: bytes, message: FromClient | OtherHello, now_ns: int
    ) -> list[Outgoing]:
        """Take one message out of the connection `routing`; return what is answered at once."""
        self.received += 1
        match message:
            case OtherHello():
                self.taken += 1
                return [(routing, refuse_version(message, VERSION))]
            case Hello():
                return self._hello(routing, message, now_ns)
            case Stop():
                return self._stop(routing, message, now_ns)
            case _:
                return self._in_session(routing, message, now_ns)

    def malformed(self, routing: bytes, reason: str, now_ns: int) -> list[Outgoing]:
        """Count a frame that is no message; only who has a session is told."""
        self.received += 1
        answers = self._drop(routing, None, (DropCode.MALFORMED, reason), now_ns)
        session = self._sessions.of(routing)
        if session is None:
            return []
        return [(to, msgspec.structs.replace(e, session=session.number)) for to, e in answers]

    def _hello(self, routing: bytes, hello: Hello, now_ns: int) -> list[Outgoing]:
        ready = self.state is not DeviceState.FAULT
        answer = self._sessions.hello(routing, hello, self.epoch, now_ns, ready=ready)
        self.taken += 1
        session, what = 0, "began"
        if isinstance(answer, Refused):
            what = f"refused: {answer.text}"
        else:
            session = answer.session
        self._log.add(Joined(now_ns, session, hello.role, hello.who, what))
        return [(routing, answer)]

    def _stop(self, routing: bytes, stop: Stop, now_ns: int) -> list[Outgoing]:
        self.taken += 1
        if self._stops.take(routing, stop):
            self._latched = True
            self._follower.withdraw()
            self.epoch += 1
            if self.state is not DeviceState.FAULT:
                self._change(DeviceState.STOPPING, now_ns, f"STOP by {stop.who}: {stop.why}")
            self._log.add(Stopped(now_ns, stop.id, stop.category, stop.who, stop.why, self.epoch))
        return [(routing, self._stops.report(routing, stop.id, self._standing(now_ns)))]

    def _in_session(self, routing: bytes, message: SessionMessage, now_ns: int) -> list[Outgoing]:
        session = self._sessions.find(routing, message.session)
        if session is None:
            said = "no session of this connection"
            return self._drop(routing, message, (DropCode.FOREIGN, said), now_ns)
        code = session.judge(message, self._age_max_ns(message), now_ns)
        if code is not None:
            return self._drop(routing, message, (code, ""), now_ns)
        if isinstance(message, Heartbeat):
            session.seen(message.signals_seen)
            self.taken += 1
            return []
        if isinstance(message, Release):
            self._end(session, "released", now_ns)
            self.taken += 1
            return []
        if session is not self._sessions.holder:
            said = "only who holds the lease may say that"
            return self._drop(routing, message, (DropCode.FOREIGN, said), now_ns)
        if isinstance(message, Arm):
            refusal = self._arm(message, now_ns)
        else:
            refusal = self._accept(message, now_ns)
        if refusal is not None:
            return self._drop(routing, message, refusal, now_ns)
        self.taken += 1
        return []

    def _age_max_ns(self, message: SessionMessage) -> int:
        if isinstance(message, Command):
            return min(message.valid_for_ns, self._facts.watchdog_ns)
        return self._facts.lease_ns if isinstance(message, Heartbeat) else REQUEST_AGE_NS

    def _arm(self, arm: Arm, now_ns: int) -> Reason | None:
        # exactly: a stop that came before it has made it old, whoever sent it not knowing
        if not (self.epoch < arm.epoch):
            return DropCode.OLD_EPOCH, f"allowed: {self.epoch + 1}"
        if arm.epoch != self.epoch + 1:
            return DropCode.LIMITS, f"allowed: {self.epoch + 1}"
        if self.state not in _READY_TO_ARM or not self._rest.at_rest:
            return DropCode.NOT_AT_REST, f"the robot is {self.state.name} and " + (
                "stands" if self._rest.at_rest else "has moved within 0.1 s"
            )
        self.epoch = arm.epoch
        self._latched = False
        self._follower.arm(now_ns)
        self._change(DeviceState.ARMED, now_ns, f"ARM by {arm.who}")
        return None

    def _accept(self, command: Command, now_ns: int) -> Reason | None:
        """Take a COMMAND for the next period, or return why not, in the order of section 6."""
        if command.epoch < self.epoch:
            return DropCode.OLD_EPOCH, f"the robot is at epoch {self.epoch}"
        if not (command.epoch <= self.epoch + EPOCH_LEAP):
            return DropCode.LIMITS, f"allowed: epochs up to {self.epoch + EPOCH_LEAP}"
        if self.state is not DeviceState.ARMED:
            return DropCode.NOT_ARMED, f"the robot is {self.state.name}"
        refusal = self._follower.refusal(command, self._measured.q_rad)
        if refusal is not None:
            return refusal
        self.epoch = command.epoch
        self._follower.offer(command)
        self._log.add(arrived(command, now_ns))
        return None

    # -- periods --------------------------------------------------------------------------------

    def step(self, now_ns: int, measured: Measured, skipped: int = 0) -> list[Outgoing]:
        """Begin one period: renew `target_rad`, and return what is to be sent.

        `skipped`: periods before this one in which nobody called, because they had passed.
        """
        self._measured = measured
        self._sequence += 1
        for session in self._sessions.silent(now_ns):
            self._end(session, "silent", now_ns)
        self._watch_drive(now_ns)
        before = self.target_rad
        did = self._move(now_ns, skipped)
        self._watch_rest(now_ns, moved=not np.array_equal(before, self.target_rad))
        out: list[Outgoing] = list(self._stops.due(self._standing(now_ns)))
        for session in self._sessions:
            out.extend((session.routing, message) for message in self._tell(session, now_ns))
        self._log.add(self._period(now_ns, did, skipped))
        return out

    def signal(
        self,
        kind: SignalCode,
        outcome: OutcomeCode = OutcomeCode.NONE,
        target: Sequence[float] = (),
    ) -> None:
        """Tell every session of the task; `target`: of RESET_BEGIN."""
        for session in self._sessions:
            session.tell(kind, outcome, tuple(target))

    def _watch_drive(self, now_ns: int) -> None:
        if not self._measured.ready:
            self._lose(DeviceState.FAULT, "the drive is not ready", now_ns)
        elif self.state is DeviceState.FAULT and np.all(np.isfinite(self._measured.q_rad)):
            # somebody may have moved the arm meanwhile: it must not go back by itself
            self._follower.motion.rest_at(self._measured.q_rad)
            after = DeviceState.STOPPING if self._latched else DeviceState.BRAKING
            self._change(after, now_ns, "the drive is ready")

    def _move(self, now_ns: int, skipped: int) -> str:
        """Renew the target and return how: command, coast, brake or hold."""
        if self.state is DeviceState.ARMED:
            did = self._follower.follow(now_ns, skipped)
            if did is not None:
                return did
            self._lose(DeviceState.BRAKING, "commands are missing", now_ns)
        return self._follower.brake()

    def _watch_rest(self, now_ns: int, *, moved: bool) -> None:
        """Leave BRAKING and STOPPING once the robot stands."""
        told = moved or not self._follower.motion.stands
        self._rest.look(now_ns, self._measured.dq_rad_s, told=told)
        if self._rest.at_rest and self.state is DeviceState.BRAKING:
            self._change(DeviceState.IDLE, now_ns, "at rest")
        elif self._rest.at_rest and self.state is DeviceState.STOPPING:
            self._change(DeviceState.STOPPED, now_ns, "at rest")

    # -- what goes out --------------------------------------------------------------------------

    def _tell(self, session: Session, now_ns: int) -> list[FromDevice]:
        session.sent(now_ns, max(self._facts.lease_ns, REQUEST_AGE_NS))
        out: list[FromDevice] = [
            Observation(
                session=session.number,
                sequence=self._sequence,
                stamp_ns=now_ns,
                answers_stamp_ns=session.newest_stamp_ns,
                state=self.state,
                epoch=self.epoch,
                executed_count=self._follower.executed_count,
                groups=self._measured.groups,
            )
        ]
        if session.status_due(self.state, now_ns):
            out.append(self._status(session.number, now_ns))
        out.extend(session.due_signals(now_ns))
        return out

    def _status(self, session: int, now_ns: int) -> Status:
        stop = self._stops.newest
        return Status(
            session=session,
            stamp_ns=now_ns,
            state=self.state,
            epoch=self.epoch,
            stop_id=stop.id if stop else 0,
            stop_who=stop.who if stop else "",
            stop_why=stop.why if stop else "",
            counts=tuple(self.drops[code] for code in DropCode),
        )

    def _standing(self, now_ns: int) -> Standing:
        speed = float(np.abs(self._measured.dq_rad_s).max())
        return Standing(self.state, self.epoch, self._rest.at_rest, speed, now_ns)

    # -- bookkeeping ----------------------------------------------------------------------------

    def _lose(self, after: DeviceState, why: str, now_ns: int) -> None:
        """Change to a state in which no command is executed; losing ARMED raises the epoch."""
        if self.state is DeviceState.ARMED:
            self._follower.withdraw()
            self.epoch += 1
        self._change(after, now_ns, why)

    def _change(self, after: DeviceState, now_ns: int, why: str) -> None:
        if after is not self.state:
            self._log.add(Changed(now_ns, self.state, after, self.epoch, clipped(why)))
            self.state = after

    def _end(self, session: Session, why: str, now_ns: int) -> None:
        """End a session; whoever commanded leaves the robot to brake by itself."""
        held = session is self._sessions.holder
        self._sessions.end(session)
        self._log.add(Joined(now_ns, session.number, session.role, session.who, why))
        if held:
            if self.state is DeviceState.ARMED:
                self._lose(DeviceState.BRAKING, f"the lease ended: {why}", now_ns)
            self._follower.forget()

    def _drop(
        self,
        routing: bytes,
        message: FromClient | OtherHello | None,
        refusal: Reason,
        now_ns: int,
    ) -> list[Outgoing]:
        """Count and log a message that has no effect, and say so if its sender may be told."""
        code, text = refusal
        self.drops[code] += 1
        entry = dropped(message, code, text, now_ns)
        self._log.add(entry)
        if not self._errors.spend(routing, now_ns):
            return []
        error = Error(session=entry.session, type=entry.type, code=code, text=clipped(text))
        return [(routing, error)]

    def _period(self, now_ns: int, did: str, skipped: int) -> Period:
        holder = self._sessions.holder
        return Period(
            now_ns,
            self.state,
            self.epoch,
            did,
            holder.number if holder is not None else 0,
            self._follower.executed_count,
            skipped,
            self.target_rad.tolist(),
            float(np.abs(self._measured.dq_rad_s).max()),
        )
