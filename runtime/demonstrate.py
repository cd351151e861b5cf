"""Collects demonstrations: the scripted expert drives the ordinary loop in nominal simulation.

Part of the composition floor, beside wiring.py: it may know policies/ and sims/.
"""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from runtime.config import parse, read_yaml
from runtime.events import Event
from runtime.interfaces import RecorderHealth
from runtime.layout import Floats
from runtime.messages import Outcome, TickRecord
from runtime.operator_port import ScriptedPort
from runtime.policy_contract import PolicyInterface, StartEnvelope
from runtime.tick import ControlTick
from runtime.wiring import (
    Deployment,
    Surroundings,
    build_loop,
    load_deployment,
    open_link,
    zero_residual,
)

if TYPE_CHECKING:
    from policies.demonstrations import DemonstrationSpec, DemonstrationWriter
    from sims.expert import ScriptedExpert

NOISE_STD = (0.0, 0.1, 0.25)


class _DemonstratingExpert:
    """Acts as the expert, with noise, and writes down features beside the noiseless action."""

    def __init__(
        self, expert: "ScriptedExpert", spec: "DemonstrationSpec", writer: "DemonstrationWriter"
    ) -> None:
        from policies.features import RawFeatures

        self._make_features: Callable[[TickRecord], RawFeatures] = lambda record: RawFeatures(
            [term.name for term in spec.terms], spec.action.kind, record
        )
        self._features: RawFeatures | None = None
        self._expert = expert
        self._writer = writer

    @property
    def contract(self) -> PolicyInterface:
        """What the loop must know of the expert."""
        return self._expert.contract

    @property
    def unfamiliarity(self) -> float:
        """The expert never trained."""
        return self._expert.unfamiliarity

    def act(self, record: TickRecord, out: Floats) -> None:
        """Act, and note what was seen and what the expert would have done."""
        self._features = self._features or self._make_features(record)
        self._expert.act(record, out)
        self._writer.add(
            self._features.read(record),
            self._expert.label,
            int(record.episode[0]),
            record.q,
            record.dq,
        )


class _NoRecord:
    """A sink that keeps nothing: demonstrations are their own record."""

    def record(self, record: TickRecord) -> None:
        """Let the tick go."""

    def event(self, event: Event) -> None:
        """Let the event go."""

    def health(self) -> RecorderHealth:
        """Nothing is ever lost of nothing."""
        return RecorderHealth(dropped=0, lost=False)

    def close(self) -> None:
        """Nothing to close."""


def expert_interface(deployment: Deployment, spec: "DemonstrationSpec") -> PolicyInterface:
    """Return what the loop needs to know of an expert that may take over anywhere, at rest."""
    joints = deployment.robot.joints
    return PolicyInterface(
        name=f"{spec.name}-expert",
        robot=spec.robot,
        joint_names=spec.joint_names,
        rate_hz=spec.rate_hz,
        action=spec.action,
        start=StartEnvelope(
            position_min_rad=tuple(joint.position_min_rad for joint in joints),
            position_max_rad=tuple(joint.position_max_rad for joint in joints),
            speed_max_rad_s=(spec.start.speed_rad_s,) * len(joints),
        ),
    )


def collect(
    config_file: Path,
    spec_file: Path,
    out: Path,
    episodes: int,
    seed: int,
    report: Callable[[int, int], None],
) -> Path:
    """Collect `episodes` successful demonstrations in the field `nominal`, without failures.

    Writes `out` (.npz) and returns the path of the spec beside it. `report` gets the number of
    successes and of attempts.

    Raises:
        ConfigError: config, spec or simulation cannot be used.
        ContractError: what was collected does not fit the spec.
    """
    from policies.demonstrations import DemonstrationSpec, DemonstrationWriter
    from sims.expert import ScriptedExpert
    from sims.link import SimulatedLink

    deployment = load_deployment(config_file, base_to_come=True)
    spec = parse(DemonstrationSpec, read_yaml(spec_file), str(spec_file))
    interface = expert_interface(deployment, spec)
    link = open_link(deployment, interface, lockstep=True, field="nominal", seed=seed)
    assert isinstance(link, SimulatedLink)
    writer = DemonstrationWriter(spec)
    expert = ScriptedExpert(link.plant, interface, seed, NOISE_STD)
    counts = {"success": 0, "all": 0}

    def done(tick: ControlTick) -> bool:
        record = tick.record
        if record.outcome[0] != Outcome.NONE:
            counts["all"] += 1
            if record.outcome[0] == Outcome.SUCCESS:
                counts["success"] += 1
            else:
                writer.drop_episode(int(record.episode[0]))
            report(counts["success"], counts["all"])
        return counts["success"] >= episodes

    demonstrating = _DemonstratingExpert(expert, spec, writer)
    surroundings = Surroundings(
        link, demonstrating, zero_residual(), _NoRecord(), ScriptedPort(), None
    )
    build_loop(deployment, surroundings, done).run()
    return writer.save(out)
