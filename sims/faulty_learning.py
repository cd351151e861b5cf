"""What learns, with one thing broken: wrappers of the residual, the gate, and of what is said of
episodes. They pass everything else on; see faulty.py.
"""

from collections.abc import Callable, Sequence

from runtime.events import Event
from runtime.gate_wire import Grant
from runtime.interfaces import GateClient, GateHealth, Link, ResidualAnswer, ResidualPolicy
from runtime.layout import Floats
from runtime.messages import (
    Outcome,
    SignalKind,
    SignalSource,
    Stage,
    TaskSignal,
    TickInputs,
    TickRecord,
)
from sims.faulty import FaultyLink, Switch

_FAILED = TaskSignal(SignalKind.OUTCOME, SignalSource.DRIVER, Outcome.FAILURE)


class FaultyResidual:
    """A residual whose answer `damage` may change."""

    def __init__(
        self, inner: ResidualPolicy, switch: Switch, damage: Callable[[ResidualAnswer], None]
    ) -> None:
        self._inner = inner
        self._switch = switch
        self._damage = damage

    @property
    def version(self) -> int:
        """The inner residual's version."""
        return self._inner.version

    @property
    def refused(self) -> int:
        """How many offers the inner residual refused."""
        return self._inner.refused

    def act(
        self, record: TickRecord, base_action: Floats, grant: Grant, out: ResidualAnswer
    ) -> None:
        """Act, then damage the answer."""
        self._inner.act(record, base_action, grant, out)
        if self._switch.act():
            self._damage(out)

    def offer(self, data: bytes) -> str:
        """Offer it to the inner residual."""
        return self._inner.offer(data)

    def go_back(self, data: bytes) -> str:
        """Let the inner residual go back."""
        return self._inner.go_back(data)


class FaultyGate:
    """A gate with `health` and `grant` in the stead of its own, where they are not None, or one
    that offers `offered` in every tick. Without an inner gate nothing is granted.
    """

    def __init__(
        self,
        inner: GateClient | None,
        actions: int,
        switch: Switch,
        health: GateHealth | None = None,
        grant: Grant | None = None,
        offered: bytes = b"",
    ) -> None:
        self._inner = inner
        self._nothing = Grant(Stage.OBSERVE, [0.0] * actions)
        self._switch = switch
        self._health = health
        self._grant = grant
        self._offered = offered

    @property
    def grant(self) -> Grant:
        """What the inner gate grants, or the damage."""
        if self._grant is not None and self._switch.act():
            return self._grant
        return self._nothing if self._inner is None else self._inner.grant

    def health(self) -> GateHealth:
        """Return the inner gate's health, or the damage."""
        if self._health is not None and self._switch.act():
            return self._health
        return GateHealth() if self._inner is None else self._inner.health()

    def after(self, record: TickRecord, residual: ResidualPolicy) -> Sequence[Event]:
        """Pass on what the inner gate does, and offer something of our own."""
        if self._offered and self._switch.act():
            residual.offer(self._offered)
        return () if self._inner is None else self._inner.after(record, residual)

    def close(self) -> None:
        """Close the inner gate."""
        if self._inner is not None:
            self._inner.close()


class FailingEpisodes(FaultyLink):
    """A link that says of the running episode that it failed, every `every` samples."""

    def __init__(self, inner: Link, switch: Switch, every: int) -> None:
        super().__init__(inner, switch)
        self._every = every
        self._count = 0

    def read(self, inputs: TickInputs) -> None:
        """Read, and count while the damage is switched on."""
        super().read(inputs)
        self._count = self._count + 1 if self._switch.active else 0

    def signals(self) -> Sequence[TaskSignal]:
        """Return the signals, and a failure when it is time for one."""
        signals = super().signals()
        if self._count < self._every or not self._switch.act():
            return signals
        self._count = 0
        return [*signals, _FAILED]
