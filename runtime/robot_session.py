"""A client's side of the robot protocol: one session with a device (PROTOCOL.md, sections 3 to 7).

Pure: messages of the device and the time go in, messages for it come out. Nothing here sends.
"""

from collections.abc import Sequence

from runtime import messages
from runtime.messages import Outcome, SignalKind, SignalSource, TaskSignal
from runtime.robot_codes import DeviceState
from runtime.robot_wire import (
    Arm,
    Command,
    Error,
    Heartbeat,
    Observation,
    Release,
    Signal,
    Status,
    Welcome,
)

FromSession = Observation | Signal | Status | Error


class RobotSession:
    """What one WELCOME began. `observation`: the newest, None before the first; `said`: the last
    ERROR's words, empty before one; `status`: the newest; `owes_heartbeat`: a SIGNAL came, which
    only a HEARTBEAT acknowledges.

    The daemon counts epochs by itself, and so does the device; `arm` brings them together. A
    command carries the daemon's epoch plus what was added then, which only grows: what is newer
    here is newer there.
    """

    def __init__(self, welcome: Welcome) -> None:
        self.welcome = welcome
        self.observation: Observation | None = None
        self.status: Status | None = None
        self.said = ""
        self.owes_heartbeat = False
        self._device_epoch = welcome.epoch
        self._ahead = 0
        self._count = 0
        self._answers_ns = 0
        self._signals_seen = 0
        self._signals: list[TaskSignal] = []

    @property
    def state(self) -> DeviceState:
        """What the device last said of itself."""
        return DeviceState.IDLE if self.observation is None else self.observation.state

    # -- what the device says -------------------------------------------------------------------

    def take(self, message: FromSession) -> None:
        """Take a message; one of another session, or older than what is known, changes nothing."""
        if message.session != self.welcome.session:
            return
        if isinstance(message, Observation):
            self._observe(message)
        elif isinstance(message, Signal):
            self._hear(message)
        elif isinstance(message, Status):
            self.status = message
            self._device_epoch = max(self._device_epoch, message.epoch)
        else:
            self.said = f"{message.code.name}: {message.text}"

    def signals(self) -> Sequence[TaskSignal]:
        """Return the task signals since the last call, oldest first, each once."""
        signals, self._signals = self._signals, []
        return signals

    def _observe(self, message: Observation) -> None:
        known = self.observation
        if known is not None and message.sequence <= known.sequence:
            return
        self.observation = message
        self._answers_ns = max(self._answers_ns, message.stamp_ns)
        self._device_epoch = max(self._device_epoch, message.epoch)

    def _hear(self, message: Signal) -> None:
        """Signals come in order, and again until they were acknowledged."""
        self.owes_heartbeat = True
        if message.number != self._signals_seen + 1:
            return
        self._signals_seen = message.number
        self._signals.append(
            TaskSignal(
                SignalKind(message.kind),
                SignalSource.DRIVER,
                Outcome(message.outcome),
                message.target,
            )
        )

    # -- what the client says -------------------------------------------------------------------

    def heartbeat(self, now_ns: int) -> Heartbeat:
        """Return the next HEARTBEAT."""
        self.owes_heartbeat = False
        return Heartbeat(
            session=self.welcome.session,
            count=self._next(),
            stamp_ns=now_ns,
            answers_stamp_ns=self._answers_ns,
            signals_seen=self._signals_seen,
        )

    def arm(self, epoch: int, who: str, now_ns: int) -> Arm:
        """Return the ARM for the daemon's `epoch`: above all that the device has known."""
        self._ahead = max(self._ahead, self._device_epoch + 1 - epoch)
        return Arm(
            session=self.welcome.session,
            count=self._next(),
            stamp_ns=now_ns,
            answers_stamp_ns=self._answers_ns,
            epoch=epoch + self._ahead,
            who=who,
        )

    def command(self, command: messages.Command, now_ns: int) -> Command:
        """Return a COMMAND that says what the daemon's command says."""
        return Command(
            session=self.welcome.session,
            count=self._next(),
            stamp_ns=now_ns,
            answers_stamp_ns=command.answers_device_stamp_ns,
            epoch=command.epoch + self._ahead,
            answers_sequence=command.answers_sequence,
            valid_for_ns=command.valid_for_ns,
            q=tuple(command.q),
            dq=tuple(command.dq),
        )

    def release(self, now_ns: int) -> Release:
        """Return the RELEASE that ends the session."""
        return Release(
            session=self.welcome.session,
            count=self._next(),
            stamp_ns=now_ns,
            answers_stamp_ns=self._answers_ns,
        )

    def _next(self) -> int:
        self._count += 1
        return self._count
