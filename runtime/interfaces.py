"""The Protocols between the runtime and what it is composed with."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, runtime_checkable

from runtime.clock import Clock
from runtime.config import Config
from runtime.events import Event
from runtime.gate_wire import Grant
from runtime.layout import Floats
from runtime.messages import Command, GroupSize, TaskSignal, TickInputs, TickRecord
from runtime.policy_contract import PolicyInterface
from runtime.robot_spec import RobotSpec


@dataclass(frozen=True)
class LinkDescription:
    """What a link says of the robot behind it; wiring compares it with spec and config.

    `simulated`: only such a link accepts an arm request from the command line. `lockstep`: the
    robot waits for the command, and time is the link's own. `seeds` and `facts` (such as the
    simulated field) stand in the record's header.
    """

    robot: str
    joint_names: tuple[str, ...]
    groups: tuple[GroupSize, ...]
    simulated: bool
    lockstep: bool
    seeds: Mapping[str, int] = field(default_factory=dict)
    facts: Mapping[str, str] = field(default_factory=dict)


class CertifiedCommand(Protocol):
    """A command with the envelope's certificate; see envelope/certificate.py."""

    @property
    def command(self) -> Command:
        """The command itself."""
        ...


class Link(Protocol):
    """The robot, or its simulation. Nothing here blocks, except a lockstep `write`."""

    @property
    def clock(self) -> Clock:
        """The clock that stamps what `read` delivers."""
        ...

    def describe(self) -> LinkDescription:
        """Return what stands behind the link."""
        ...

    def read(self, inputs: TickInputs) -> None:
        """Put the newest sample of each group into `inputs`: values, group_sequence,
        group_received_ns, group_device_stamp_ns, link_received_ns. Without news it leaves them.
        `device`: what the robot's own controller does with our commands.
        """
        ...

    def signals(self) -> Sequence[TaskSignal]:
        """Return the task signals that arrived since the last call, oldest first."""
        ...

    def news(self) -> Sequence[str]:
        """Return what the robot said since the last call that the record should hold, in words."""
        ...

    def arm(self, epoch: int) -> None:
        """The robot is taken hold of: commands of `epoch` follow, from the measured pose on. A
        person armed it, or armed it before and a hold is over in which it had let go."""
        ...

    def write(self, certified: CertifiedCommand | None) -> None:
        """Send a command; None says that this tick has none (disarmed): lockstep time still runs.

        Raises:
            LinkError: the certificate is not the envelope's, or the link is closed.
        """
        ...

    def close(self) -> None:
        """Let go of the robot, which holds by itself."""
        ...


@runtime_checkable
class PacingLink(Link, Protocol):
    """A link whose robot can pace the ticks."""

    def wait(self, until_ns: int) -> bool:
        """Wait until there is something that `read` has not shown yet, or until a time of `clock`;
        return whether there is."""
        ...


class LinkFactory(Protocol):
    """What the config's `link` names: opens the robot, or its simulation."""

    def __call__(
        self,
        config: Config,
        config_file: Path,
        robot: RobotSpec,
        episode_s: float,
        *,
        lockstep: bool,
        field: str | None,
        seed: int | None,
    ) -> Link:
        """Open it. `episode_s`: how long an episode lasts; `field`, `seed`: for simulations.

        Raises:
            TrimtabError: it cannot be opened as asked.
        """
        ...


class BasePolicy(Protocol):
    """The frozen base: reads a record, writes an action in action units."""

    @property
    def contract(self) -> PolicyInterface:
        """The policy's I/O contract."""
        ...

    @property
    def unfamiliarity(self) -> float:
        """How far the last observation was from those of its training; 1 is the edge, and 0 what
        a policy says that never trained."""
        ...

    def act(self, record: TickRecord, out: Floats) -> None:
        """Write the action (shape [action]) for `record` into `out`."""
        ...


@dataclass
class BaseAnswer:
    """What a base policy's worker answered; reused.

    `action`: shape [action], action units; the one before where inference failed. `inference_ns`:
    from the question until the worker was finished. `failure`: why there is no action; empty if
    there is one. `lost`: the worker itself is gone.
    """

    action: Floats
    unfamiliarity: float = 0.0
    inference_ns: int = 0
    failure: str = ""
    lost: bool = False


class BaseWorker(Protocol):
    """Where a base thinks beside the loop; one question at a time. Never blocks for longer than
    the slack of a period."""

    @property
    def pid(self) -> int:
        """The worker's process number."""
        ...

    def ask(self, record: TickRecord) -> None:
        """Ask about a record; its bytes are copied."""
        ...

    def look(self, woke_ns: int = 0) -> BaseAnswer | None:
        """Return the answer to the last question, or None while there is none. `woke_ns`: when the
        running tick was due (CLOCK_MONOTONIC), to wait in its slack; 0 does not wait."""
        ...

    def close(self) -> None:
        """Let the worker go."""
        ...


@dataclass
class ResidualAnswer:
    """What a residual says for one record; buffers of shape [action], reused.

    `action`: in action units, noise included, inside the contract's bound. `noise`: the part of
    it that was drawn. `takes_part`: False in a segment that was drawn for the base alone; the
    action is then exactly zero.
    """

    action: Floats
    noise: Floats
    takes_part: bool = False


class ResidualPolicy(Protocol):
    """The residual: bounded by itself; version 0 is exactly zero."""

    @property
    def version(self) -> int:
        """The snapshot's version."""
        ...

    @property
    def refused(self) -> int:
        """How many offers were refused so far."""
        ...

    def act(
        self, record: TickRecord, base_action: Floats, grant: Grant, out: ResidualAnswer
    ) -> None:
        """Write the residual's answer for `record` into `out`. `grant`: its stage, and in what
        share of the episodes the residual takes part and is disturbed."""
        ...

    def offer(self, data: bytes) -> str:
        """Take over an encoded snapshot (snapshot.py) between two ticks; return why not, empty if
        it is live now. `data` is one that the gate passed; the cheap checks are made again."""
        ...

    def go_back(self, data: bytes) -> str:
        """Return to an earlier snapshot between two ticks, or to version 0 (`data` is empty);
        return why not, empty if it is live now."""
        ...


@dataclass(frozen=True)
class GateHealth:
    """What control knows of gate and learner. `weights_age_ns`: of episodes that ran since the last
    snapshot went live, link's clock, while new ones are expected; else 0. `held`: a person took the
    residual away."""

    gate_lost: bool = False
    learner_lost: bool = False
    weights_age_ns: int = 0
    held: bool = False


class GateClient(Protocol):
    """Control's side of the gate. Never blocks in real time; in lockstep `after` may wait."""

    @property
    def grant(self) -> Grant:
        """Stage and authority granted now."""
        ...

    def health(self) -> GateHealth:
        """Return whether gate and learner still beat (cheap)."""
        ...

    def after(self, record: TickRecord, residual: ResidualPolicy) -> Sequence[Event]:
        """Between two ticks: take what arrived, hand offers to `residual`, answer; return what
        the record must hold of it."""
        ...

    def close(self) -> None:
        """Let go of the gate."""
        ...


@dataclass(frozen=True)
class RecorderHealth:
    """What control knows of its recorder."""

    dropped: int
    lost: bool


class RecordSink(Protocol):
    """Where ticks and events go. Never blocks in real time; in lockstep it may wait."""

    def record(self, record: TickRecord) -> None:
        """Hand over one tick."""
        ...

    def event(self, event: Event) -> None:
        """Hand over one event."""
        ...

    def health(self) -> RecorderHealth:
        """Return drops so far and whether the recorder still acknowledges."""
        ...

    def close(self) -> None:
        """Wait (bounded) until what was handed over is acknowledged, then let go."""
        ...
