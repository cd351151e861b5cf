"""The parts of a loop with one thing broken: wrappers that pass everything else on.

Each looks at the Switch of its injector, which says whether to act and counts how often it did.
"""

import os
import signal
import time
import traceback
from collections.abc import Callable, Sequence
from typing import Any

from runtime.clock import Clock
from runtime.events import Event
from runtime.interfaces import (
    BaseAnswer,
    BasePolicy,
    BaseWorker,
    CertifiedCommand,
    Link,
    LinkDescription,
    RecorderHealth,
    RecordSink,
)
from runtime.layout import Floats
from runtime.messages import Mode, Request, SignalKind, TaskSignal, TickInputs, TickRecord
from runtime.operator_port import Port
from runtime.policy_contract import PolicyInterface
from runtime.realtime import Paces, Wake
from runtime.trajectory import Trajectory


class Switch:
    """What the wrappers of one injector share: whether it is on, and how often they acted."""

    def __init__(self) -> None:
        self.active = False
        self.acted = 0

    def act(self) -> bool:
        """True, and counted, when the damage is switched on."""
        self.acted += self.active
        return self.active


class FaultyLink:
    """A link whose samples `damage` may change after each read; `before` sees each write.

    `lose`: nothing arrives and nothing is sent while the switch is on.
    """

    def __init__(
        self,
        inner: Link,
        switch: Switch,
        damage: Callable[[TickInputs], None] | None = None,
        before_write: Callable[[], None] | None = None,
        lose: bool = False,
    ) -> None:
        self.inner = inner
        self._switch = switch
        self._damage = damage
        self._before_write = before_write
        self._lose = lose

    @property
    def clock(self) -> Clock:
        """The inner link's clock."""
        return self.inner.clock

    def describe(self) -> LinkDescription:
        """Return what stands behind the inner link."""
        return self.inner.describe()

    def read(self, inputs: TickInputs) -> None:
        """Read, then damage what was read."""
        if self._lose and self._switch.act():
            return
        self.inner.read(inputs)
        if self._damage is not None and self._switch.act():
            self._damage(inputs)

    def signals(self) -> Sequence[TaskSignal]:
        """Return the inner link's signals."""
        return self.inner.signals()

    def news(self) -> Sequence[str]:
        """Return what the inner link's robot said."""
        return self.inner.news()

    def arm(self, epoch: int) -> None:
        """Tell the inner link."""
        self.inner.arm(epoch)

    def write(self, certified: CertifiedCommand | None) -> None:
        """Send on, unless the link is lost."""
        if self._before_write is not None and self._switch.act():
            self._before_write()
        self.inner.write(None if self._lose and self._switch.active else certified)

    def close(self) -> None:
        """Close the inner link."""
        self.inner.close()


class FrozenGroup:
    """Damage: one observation group stays as it was when the switch went on.

    `index` counts the groups, 0 the joints. With `every` > 1 the group gets through on every
    `every`-th read: samples are lost, but it does not grow old.
    """

    def __init__(self, index: int, names: Sequence[str], every: int = 0) -> None:
        self._index = index
        self._fields = ("q", "dq", "tau") if index == 0 else (f"observation_{names[index]}",)
        self._every = every
        self._reads = 0
        self._kept: dict[str, Any] = {}

    def __call__(self, inputs: TickInputs) -> None:
        """Put back what was kept, or keep what arrived."""
        self._reads += 1
        fresh = not self._kept or (self._every > 0 and self._reads % self._every == 0)
        for name in self._fields:
            view = inputs.view[name]
            self._exchange(name, view, fresh)
        for name in ("group_sequence", "group_received_ns", "group_device_stamp_ns"):
            view = inputs.view[name]
            self._exchange(name, view[self._index : self._index + 1], fresh)

    def _exchange(self, name: str, view: Any, fresh: bool) -> None:
        if fresh:
            self._kept[name] = view.copy()
        else:
            view[:] = self._kept[name]


class HeldBackStart(FaultyLink):
    """Holds every episode's beginning back until the arm moves, because `push` pushes it."""

    def __init__(
        self, inner: Link, switch: Switch, push: Callable[[bool], None], speed_rad_s: float
    ) -> None:
        super().__init__(inner, switch)
        self._push = push
        self._speed_rad_s = speed_rad_s
        self._held: list[TaskSignal] = []
        self._moving = False

    def read(self, inputs: TickInputs) -> None:
        """Read, and see whether the arm moves by now."""
        super().read(inputs)
        self._moving = bool(abs(inputs.dq).max() > self._speed_rad_s)

    def signals(self) -> Sequence[TaskSignal]:
        """Return the signals, beginnings only once the arm moves."""
        signals = list(super().signals())
        begins = [signal for signal in signals if signal.kind is SignalKind.EPISODE_BEGIN]
        if begins and self._switch.act():
            self._held, signals = begins, [signal for signal in signals if signal not in begins]
            self._push(True)
        elif self._held and self._moving:
            self._push(False)
            signals, self._held = [*signals, *self._held], []
        return signals


class FaultyBase:
    """A base policy whose action `damage` may change, or which raises or takes time in it.

    `strangeness` is added to what it says of the observation's distance from training.
    """

    def __init__(
        self,
        inner: BasePolicy,
        switch: Switch,
        damage: Callable[[Floats], None],
        strangeness: float = 0.0,
    ) -> None:
        self._inner = inner
        self._switch = switch
        self._damage = damage
        self._strangeness = strangeness

    @property
    def contract(self) -> PolicyInterface:
        """The inner policy's contract."""
        return self._inner.contract

    @property
    def unfamiliarity(self) -> float:
        """What the inner policy says of its last observation, and what is added."""
        return self._inner.unfamiliarity + self._strangeness * self._switch.active

    def act(self, record: TickRecord, out: Floats) -> None:
        """Act, then damage the action."""
        self._inner.act(record, out)
        if self._switch.act():
            self._damage(out)


class FaultyWorker:
    """A base's worker that is frozen for `delay_s` after each question, or whose answer `damage`
    may change, or replace by what it raises. `strangeness` as in FaultyBase."""

    def __init__(
        self,
        inner: BaseWorker,
        switch: Switch,
        damage: Callable[[Floats], None],
        strangeness: float = 0.0,
        delay_s: float = 0.0,
    ) -> None:
        self._inner = inner
        self._switch = switch
        self._damage = damage
        self._strangeness = strangeness
        self._delay_s = delay_s
        self._frozen_until_s = 0.0

    @property
    def pid(self) -> int:
        """The inner worker's process number."""
        return self._inner.pid

    def ask(self, record: TickRecord) -> None:
        """Ask, and freeze who is to answer."""
        if self._delay_s > 0.0 and self._switch.act():
            os.kill(self.pid, signal.SIGSTOP)
            self._frozen_until_s = time.monotonic() + self._delay_s
        self._inner.ask(record)

    def look(self, woke_ns: int = 0) -> BaseAnswer | None:
        """Return the inner answer, damaged."""
        if self._frozen_until_s and time.monotonic() >= self._frozen_until_s:
            self._thaw()
        answer = self._inner.look(woke_ns)
        if answer is None or self._delay_s > 0.0:
            return answer
        answer.unfamiliarity += self._strangeness * self._switch.active
        if self._switch.act():
            try:
                self._damage(answer.action)
            except Exception:
                answer.failure = traceback.format_exc()
        return answer

    def close(self) -> None:
        """Close the inner worker."""
        if self._frozen_until_s:
            self._thaw()
        self._inner.close()

    def _thaw(self) -> None:
        os.kill(self.pid, signal.SIGCONT)
        self._frozen_until_s = 0.0


class FaultySink:
    """A recorder that drops ticks (`drop`), or that stops acknowledging."""

    def __init__(self, inner: RecordSink, switch: Switch, drop: bool) -> None:
        self._inner = inner
        self._switch = switch
        self._drop = drop
        self._dropped = 0

    def record(self, record: TickRecord) -> None:
        """Hand over one tick, or lose it."""
        if self._drop and self._switch.act():
            self._dropped += 1
            return
        self._inner.record(record)

    def event(self, event: Event) -> None:
        """Hand over one event."""
        self._inner.event(event)

    def health(self) -> RecorderHealth:
        """Return the inner health and the damage."""
        health = self._inner.health()
        lost = not self._drop and self._switch.act()
        return RecorderHealth(health.dropped + self._dropped, health.lost or lost)

    def close(self) -> None:
        """Close the inner recorder."""
        self._inner.close()


class FaultyPort:
    """An operator who asks for `request` once, or a supervisor who is gone (`request` NONE)."""

    def __init__(self, inner: Port, switch: Switch, request: Request) -> None:
        self._inner = inner
        self._switch = switch
        self._request = request
        self._asked = False

    def poll(self) -> None:
        """Take in what arrived."""
        self._inner.poll()

    def wait(self, timeout_s: float) -> bool:
        """Wait until something arrived."""
        return self._inner.wait(timeout_s)

    def request(self) -> Request:
        """Return the injected request once per activation, else the inner one."""
        if not self._switch.active:
            self._asked = False
        elif self._request is not Request.NONE and not self._asked:
            self._asked = self._switch.act()
            return self._request
        return self._inner.request()

    def signals(self) -> list[TaskSignal]:
        """Return the signals that arrived."""
        return self._inner.signals()

    def events(self, tick: int, now_ns: int) -> list[Event]:
        """Return what people did."""
        return self._inner.events(tick, now_ns)

    def answer(self, refused: bool, mode: Mode, text: str, *, at_rest: bool) -> None:
        """Say what became of the last request."""
        self._inner.answer(refused, mode, text, at_rest=at_rest)

    @property
    def supervisor_lost(self) -> bool:
        """True when the supervisor is gone or the damage says so."""
        lost = self._request is Request.NONE and self._switch.act()
        return lost or self._inner.supervisor_lost

    def close(self) -> None:
        """Close the inner port."""
        self._inner.close()


class LatePacer:
    """A pacer that wakes `missed` deadlines late. Without an inner pacer (lockstep) it only says
    so; with one, `sleep` makes it true."""

    def __init__(
        self, inner: Paces | None, switch: Switch, missed: int, sleep: Callable[[int], None]
    ) -> None:
        self._inner = inner
        self._switch = switch
        self._missed = missed
        self._sleep = sleep

    def wait(self) -> Wake:
        """Return at a deadline, late while the switch is on."""
        late = self._switch.act()
        if self._inner is None:
            return Wake(0, self._missed if late else 0)
        if late:
            self._sleep(self._missed)
        return self._inner.wait()


class FaultyTrajectory(Trajectory):
    """A trajectory generator whose next joint target (rad) `damage` may change, or raise in."""

    def __init__(
        self,
        inner: Trajectory,
        switch: Switch,
        damage: Callable[[list[float]], list[float]],
    ) -> None:
        # shares every attribute with the inner one, so that keyframes still see its state
        self.__dict__ = inner.__dict__
        self._switch = switch
        self._damage = damage

    def next(self) -> list[float]:
        """Advance one tick, then damage the target."""
        q = super().next()
        return self._damage(q) if self._switch.act() else q
