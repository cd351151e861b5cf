"""What a supervisor asks for in an operator's place: to arm, and to go on after a stop.

Going on is for simulated robots that nobody attends: a run must not end at its first stop, nor wait
for ever. A person's stop is a person's to end.
"""

import time
from collections.abc import Callable, Sequence

from runtime.faults import Fault
from runtime.messages import Mode, Request
from runtime.operator_port import OperatorClient
from runtime.wire import OperatorRequest

_ASK_S = 0.5
# a hold that ends by itself has ended by then
_PATIENCE_S = 3.0
_REARMS_MAX = 20
_BLOCKED = (Mode.STOPPED.name, Mode.HOLD.name)


class Arming:
    """Asks until it is granted, with one request on its way at a time: none may come late.

    `arm`: ask to arm at the start. `goes_on`: re-arm after stops and lasting holds, at most
    _REARMS_MAX times; `rearms` counts them. `say` gets every refusal and every such request once.
    """

    def __init__(self, *, arm: bool, goes_on: bool, say: Callable[[str], None]) -> None:
        self._wanted = Request.ARM if arm else Request.NONE
        self._goes_on = goes_on
        self._say = say
        self._asked = Request.NONE
        self._asked_s = 0.0
        self._refusal = ""
        self._blocked_since_s = 0.0
        self.rearms = 0

    @property
    def gave_up(self) -> bool:
        """True when the robot was re-armed too often: going on does not help."""
        return self.rearms > _REARMS_MAX

    def see(self, mode: str, faults: Sequence[str]) -> None:
        """Look at the newest mode and active faults, by name: where the robot is blocked, going on
        begins with a REARM."""
        if not self._goes_on or self.gave_up or self._wanted is Request.REARM:
            return
        if not self._blocked(mode, faults) or Fault.OPERATOR_STOP.name in faults:
            self._blocked_since_s = 0.0
            return
        now_s = time.monotonic()
        self._blocked_since_s = self._blocked_since_s or now_s
        if now_s - self._blocked_since_s > _PATIENCE_S:
            self._blocked_since_s = 0.0
            self._go_on(f"{mode} because of {', '.join(faults)}")

    def ask(self, client: OperatorClient) -> None:
        """Take an answer, and ask for what is wanted."""
        reply = client.receive()
        if reply is not None:
            asked, self._asked = self._asked, Request.NONE
            if reply.accepted:
                # out of a stop the robot is ready, and armed by another request
                stopped = asked is Request.REARM and reply.mode is Mode.READY
                self._wanted = Request.ARM if stopped else Request.NONE
            elif reply.text != self._refusal:
                self._refusal = reply.text
                self._say(f"{asked.name} not granted: {reply.text}")
        now_s = time.monotonic()
        waits = self._asked is Request.NONE and now_s - self._asked_s > _ASK_S
        if self._wanted is not Request.NONE and waits:
            self._asked, self._asked_s = self._wanted, now_s
            client.send(OperatorRequest(self._wanted, "supervisor, for --arm"))

    def _blocked(self, mode: str, faults: Sequence[str]) -> bool:
        """Whether only a REARM leads on; a fault of the first second may keep a robot from being
        armed at all."""
        if self._wanted is Request.NONE:
            return mode in _BLOCKED
        refused = bool(self._refusal) and bool(faults)
        return refused and (mode in _BLOCKED or mode == Mode.READY.name)

    def _go_on(self, blocked: str) -> None:
        """Re-arm, or give up where that was done too often."""
        self.rearms += 1
        if self.gave_up:
            self._say(
                f"{blocked}, after {_REARMS_MAX} re-arms in this run: the run is ended; look at "
                "the last stops in its record (trimtab report), and mend what causes them"
            )
        else:
            self._wanted = Request.REARM
            self._say(f"{blocked}: re-arming")
