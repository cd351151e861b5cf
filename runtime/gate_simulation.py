"""The gate's check in a nominal simulation: a candidate beside the base alone, both in lockstep.

It asks for no success, for what helps in the field may hurt in the nominal simulation; it asks that
nothing becomes dangerous there.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from runtime.errors import ConfigError, LinkError, StartRefused
from runtime.events import Event
from runtime.fault_tracker import names
from runtime.faults import Response, Row
from runtime.gate_wire import Grant, References
from runtime.interfaces import (
    BasePolicy,
    GateHealth,
    Link,
    RecorderHealth,
    ResidualPolicy,
)
from runtime.messages import Outcome, Stage, TickRecord
from runtime.operator_port import ScriptedPort
from runtime.tick import ControlTick
from runtime.wiring import Deployment, Surroundings, build_loop, open_link

# sampling noise of a largest force over a few episodes
_FORCE_SHARE = 0.25
_FORCE_MARGIN_N = 5.0
_PATIENCE_S = 60.0
_WAY_OUT = "name one that simulates the robot, or set gate.simulation_field to null"
_HEALTHY = RecorderHealth(dropped=0, lost=False)


class FixedGate:
    """A gate that grants one thing for ever and offers nothing."""

    def __init__(self, grant: Grant) -> None:
        self.grant = grant

    def health(self) -> GateHealth:
        """Nobody can be lost."""
        return GateHealth()

    def after(self, record: TickRecord, residual: ResidualPolicy) -> Sequence[Event]:
        """Nothing arrives."""
        return ()

    def close(self) -> None:
        """Nothing to close."""


@dataclass
class Found:
    """What some simulated episodes showed. `faults`: those that held or stopped the robot."""

    faults: set[str] = field(default_factory=set)
    force_max_n: float = 0.0


class _Watch:
    """A sink that keeps what the check asks about, and says when the episodes are over."""

    def __init__(self, rows: Sequence[Row], episodes: int, patience_ticks: int) -> None:
        self.found = Found()
        self._mask = sum(1 << row.fault for row in rows if row.response >= Response.HOLD)
        self._left = episodes
        self._patience = patience_ticks

    def record(self, record: TickRecord) -> None:
        """Look at one tick."""
        self.found.force_max_n = max(self.found.force_max_n, record.contact_force_n.item())
        acting = record.faults.item() & self._mask
        if acting:
            self.found.faults.update(names(acting))
        self._patience -= 1
        if record.outcome.item() != Outcome.NONE:
            self._left -= 1

    def is_done(self, _: ControlTick) -> bool:
        """Return whether nothing more is to be learned: a held robot ends no episode."""
        return self._left <= 0 or self._patience <= 0 or bool(self.found.faults)

    def event(self, event: Event) -> None:
        """Let the event go."""

    def health(self) -> RecorderHealth:
        """Nothing can be lost."""
        return _HEALTHY

    def close(self) -> None:
        """Nothing to close."""


class SimulationCheck:
    """Runs candidates in the simulation that the config's `gate.simulation_link` opens.

    Raises:
        StartRefused: what it opens is no simulation in lockstep; above all the link that drives a
            real robot, which is not to be opened a second time.
    """

    def __init__(
        self, deployment: Deployment, base: BasePolicy, rows: Sequence[Row], *, simulated: bool
    ) -> None:
        asked = deployment.config.gate
        assert asked is not None
        self._name = asked.simulation_link
        if self._name == deployment.config.link and not simulated:
            raise StartRefused(
                f"gate.simulation_link {self._name}: that link drives a real robot, and is no "
                f"simulation to check in; {_WAY_OUT}"
            )
        self._deployment = deployment
        self._base = base
        self._rows = rows
        self._field = asked.simulation_field
        self._episodes = asked.simulation_episodes
        self._base_alone: Found | None = None
        self._try()

    def _try(self) -> None:
        """Find out now, and not when the first candidate comes, whether it can be used."""
        try:
            link = self._open()
        except (ConfigError, LinkError) as error:
            raise StartRefused(f"gate.simulation_link {self._name}: {error}; {_WAY_OUT}") from error
        said = link.describe()
        link.close()
        if not (said.simulated and said.lockstep):
            raise StartRefused(
                f"gate.simulation_link {self._name}: no simulation in lockstep; {_WAY_OUT}"
            )

    def _open(self) -> Link:
        contract, field = self._base.contract, self._field
        name = self._name
        return open_link(self._deployment, contract, lockstep=True, field=field, seed=0, name=name)

    def compare(self, residual: ResidualPolicy, zero: ResidualPolicy) -> str:
        """Return what became worse than with `zero`, the base alone, or nothing."""
        actions = len(self._base.contract.action.names)
        if self._base_alone is None:
            nothing = Grant(Stage.OBSERVE, [0.0] * actions)
            self._base_alone = self._run(zero, nothing)
        # the base's shares of the nominal field are nobody's limits: compared is what comes of it
        uncompared = References(base_limited=1.0, base_pressed=1.0)
        granted = Grant(
            Stage.ADAPTIVE, [1.0] * actions, noise_share=0.0, references=uncompared
        )
        found = self._run(residual, granted)
        return worse(found, self._base_alone)

    def _run(self, residual: ResidualPolicy, grant: Grant) -> Found:
        link = self._open()
        patience = round(
            _PATIENCE_S * self._deployment.config.control.servo_hz * max(1, self._episodes)
        )
        watch = _Watch(self._rows, self._episodes, patience)
        surroundings = Surroundings(
            link=link,
            base=self._base,
            residual=residual,
            sink=watch,
            port=ScriptedPort(),
            pacer=None,
            gate=FixedGate(grant),
        )
        build_loop(self._deployment, surroundings, watch.is_done).run()
        link.close()
        return watch.found


def worse(found: Found, base: Found) -> str:
    """Return what a candidate's episodes showed that the base's did not, or nothing."""
    new = sorted(found.faults - base.faults)
    if new:
        return f"{', '.join(new)} acts, and does not with the base alone"
    allowed_n = base.force_max_n * (1.0 + _FORCE_SHARE) + _FORCE_MARGIN_N
    if not (found.force_max_n <= allowed_n):
        return (
            f"contact force up to {found.force_max_n:.4g} N; allowed {allowed_n:.4g} N, which is "
            f"the base's own {base.force_max_n:.4g} N and a margin"
        )
    return ""
