"""A client's side of the robot protocol: one session with a device (PROTOCOL.md, sections 3 to 7).

Pure: messages of the device and the time go in, messages for it come out. Nothing here sends.
"""

from collections.abc import Sequence

import msgspec

from runtime import messages
from runtime.messages import Device, Outcome, SignalKind, SignalSource, TaskSignal
from runtime.robot_codes import DeviceState, DropCode, Refusal
from runtime.robot_wire import (
    Arm,
    Command,
    Error,
    Heartbeat,
    Observation,
    Refused,
    Release,
    Signal,
    Status,
    Welcome,
)

_DEVICE_OF_STATE = {
    DeviceState.IDLE: Device.HOLDING,
    DeviceState.ARMED: Device.FOLLOWS,
    DeviceState.BRAKING: Device.BRAKING,
    DeviceState.STOPPING: Device.STOPPED,
    DeviceState.STOPPED: Device.STOPPED,
    DeviceState.FAULT: Device.NOT_READY,
}

_OTHER_ROBOT = "`trimtab hashes` shows what its driver must be built for"
# refusals that may pass by themselves, and a way out of each
MAY_PASS = {
    Refusal.LEASE: "stop that one first; one that died loses the lease by itself",
    Refusal.NOT_NOW: "start again once the robot is ready",
}

FromSession = Observation | Signal | Status | Error


class RobotSession:
    """What one WELCOME began. `observation`: the newest, None before the first; `said`: the last
    ERROR's words, empty before one; `status`: the newest; `owes_heartbeat`: a SIGNAL came, which
    only a HEARTBEAT acknowledges.

    The daemon counts epochs by itself, and so does the device; `arm` brings them together. A
    command carries the daemon's epoch plus what was added then.
    """

    def __init__(self, welcome: Welcome) -> None:
        self.welcome = welcome
        self.observation: Observation | None = None
        self.status: Status | None = None
        self.said = ""
        self.owes_heartbeat = False
        self._device_epoch = welcome.epoch
        self._armed: Arm | None = None
        self._news: list[str] = []
        self._ahead = 0
        self._count = 0
        self._answers_ns = 0
        self._answered = 0
        self._older_ns = 0
        self._numbers = [0] * len(welcome.groups)
        self._lost = [0] * len(welcome.groups)
        self._shown = [0] * len(welcome.groups)
        self._signals_seen = 0
        self._signals: list[TaskSignal] = []

    @property
    def device(self) -> Device:
        """What the device does with our commands, by its newest observation.

        Nobody armed it in this session: it holds. What it said before it can have heard of the
        newest ARM does not answer that.
        """
        seen = self.observation
        if seen is not None and seen.state is DeviceState.FAULT:
            return Device.NOT_READY
        if self._armed is None:
            return Device.HOLDING
        if seen is None or seen.epoch < self._armed.epoch:
            return Device.ARMING
        return _DEVICE_OF_STATE[seen.state]

    def news(self) -> Sequence[str]:
        """Return what the device said since the last call of stops and of what it dropped."""
        news, self._news = self._news, []
        return news

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
            self._tell_news(self.status, message)
            self.status = message
        else:
            self.said = f"{message.code.name}: {message.text}"

    def look(self) -> Sequence[int]:
        """Return for each group of the newest observation the number of its sample: one that nobody
        looked at because a newer one had arrived is not counted, one that never arrived is.
        """
        if self.observation is not None:
            groups = self.observation.groups
            self._answered = groups[0].sequence
            self._older_ns = self.observation.stamp_ns - groups[0].stamp_ns
            for index, sample in enumerate(groups):
                if sample.sequence != self._shown[index]:
                    self._numbers[index] += 1 + self._lost[index]
                    self._shown[index] = sample.sequence
                    self._lost[index] = 0
        return self._numbers

    def signals(self) -> Sequence[TaskSignal]:
        """Return the task signals since the last call, oldest first, each once."""
        signals, self._signals = self._signals, []
        return signals

    def _tell_news(self, before: Status | None, now: Status) -> None:
        """The first STATUS tells of what was before us: of that only a stop is news."""
        if now.stop_id and (before is None or now.stop_id != before.stop_id):
            self._news.append(f"the robot was stopped by {now.stop_who!r}: {now.stop_why!r}")
        if before is None:
            return
        pairs = zip(DropCode, before.counts, now.counts, strict=True)
        dropped = [f"{new - old} {code.name.lower()}" for code, old, new in pairs if new > old]
        if dropped:
            self._news.append(f"the robot dropped messages: {', '.join(dropped)}")

    def _observe(self, message: Observation) -> None:
        known = self.observation
        if known is not None and message.sequence <= known.sequence:
            return
        if known is not None:
            for index, (old, new) in enumerate(zip(known.groups, message.groups, strict=True)):
                # one that went backwards began anew: what was between is lost
                step = new.sequence - old.sequence
                self._lost[index] += max(0, step - 1) if step >= 0 else 1
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
        """Return the ARM for the daemon's `epoch`: one above the device's, so that whatever the
        device does before it hears this, a stop above all, makes it old. Its epoch counts as its
        OBSERVATIONs tell it, beside the state that whoever arms goes by."""
        self._ahead = self._device_epoch + 1 - epoch
        self._armed = Arm(
            session=self.welcome.session,
            count=self._next(),
            stamp_ns=now_ns,
            answers_stamp_ns=self._answers_ns,
            epoch=epoch + self._ahead,
            who=who,
        )
        return self._armed

    def arm_again(self, now_ns: int) -> Arm | None:
        """Return the newest ARM once more where the device has not answered it: frames are lost."""
        if self._armed is None or self.device is not Device.ARMING:
            return None
        self._armed = msgspec.structs.replace(
            self._armed, count=self._next(), stamp_ns=now_ns, answers_stamp_ns=self._answers_ns
        )
        return self._armed

    def command(self, command: messages.Command, now_ns: int) -> Command:
        """Return a COMMAND that says what the daemon's command says.

        The daemon answers the joints' own sample. On the wire an OBSERVATION is answered, so what
        the sample was older than that is taken from how long the command is valid.
        """
        older_ns = self._older_ns
        return Command(
            session=self.welcome.session,
            count=self._next(),
            stamp_ns=now_ns,
            answers_stamp_ns=max(0, command.answers_device_stamp_ns + older_ns),
            epoch=command.epoch + self._ahead,
            answers_sequence=self._answered,
            valid_for_ns=max(0, command.valid_for_ns - max(0, older_ns)),
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


def refusal_words(refused: Refused) -> str:
    """Return a REFUSED as a sentence with the way out, a stranger's words escaped."""
    compared = f": we have {refused.yours!r}, it has {refused.mine!r}" if refused.mine else ""
    return (
        f"the robot refuses: {refused.code.name.lower().replace('_', ' ')}, {refused.text!r}"
        f"{compared}; {MAY_PASS.get(refused.code, _OTHER_ROBOT)}"
    )
