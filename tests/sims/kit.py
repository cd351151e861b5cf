"""A whole loop in one process: the peg task, the scripted expert, and a sink that remembers."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from policies.residual import ZeroResidual
from runtime.config import Config, load_config, load_robot
from runtime.demonstrate import expert_interface
from runtime.events import Event, EventKind
from runtime.faults import Fault
from runtime.interfaces import RecorderHealth
from runtime.loop import ControlLoop, LoopParts
from runtime.messages import Outcome, TickRecord
from runtime.operator_port import ScriptedPort
from runtime.policy_contract import PolicyInterface
from runtime.robot_spec import RobotSpec
from runtime.wiring import Deployment, build_tick, load_deployment, open_link, sizes_for
from sims.config import SimConfig, load_sim
from sims.expert import ScriptedExpert
from sims.link import SimulatedLink
from sims.plant import Plant

ROOT = Path(__file__).resolve().parents[2]
CONFIG_FILE = ROOT / "config.yaml"
SERVO_HZ = 500.0
MEMORY_STEPS = 20


def config_with(**changes: object) -> Config:
    """The committed config with keys of its sim block replaced (dicts are merged)."""
    config = load_config(CONFIG_FILE)
    sim = dict(config.sim)
    for key, value in changes.items():
        sim[key] = {**sim[key], **value} if isinstance(value, dict) else value
    return config.model_copy(update={"sim": sim})


def field_with(name: str = "nominal", **changes: object) -> Config:
    """The committed config whose field `name` has some keys replaced."""
    config = load_config(CONFIG_FILE)
    return config_with(field=name, fields={name: {**config.sim["fields"][name], **changes}})


def robot_spec() -> RobotSpec:
    return load_robot(load_config(CONFIG_FILE), CONFIG_FILE)


def make_plant(config: Config | None = None, field: str | None = None, seed: int = 3) -> Plant:
    sim: SimConfig = load_sim(config or load_config(CONFIG_FILE), field, seed)
    return Plant(ROOT / robot_spec().tool.mjcf, robot_spec(), sim, SERVO_HZ)


def interface(deployment: Deployment) -> PolicyInterface:
    """The expert's: the actions of the committed base's own spec."""
    from policies.demonstrations import DemonstrationSpec
    from runtime.config import parse, read_yaml

    file = ROOT / "policies/bases/peg.yaml"
    return expert_interface(deployment, parse(DemonstrationSpec, read_yaml(file), str(file)))


def with_short_memory(deployment: Deployment) -> Deployment:
    """The deployment with a residual that is judged after seconds, not after minutes."""
    config = deployment.config
    assert config.residual is not None
    watch = config.residual.watch.model_copy(update={"memory_steps": MEMORY_STEPS})
    residual = config.residual.model_copy(update={"watch": watch})
    return replace(deployment, config=config.model_copy(update={"residual": residual}))


class MemorySink:
    """Keeps events and, if asked, every record's bytes."""

    def __init__(self, keep: bool = False) -> None:
        self.records: list[bytes] = []
        self.events: list[Event] = []
        self._keep = keep

    def record(self, record: TickRecord) -> None:
        if self._keep:
            # stage times are this machine's, everything else is the simulation's
            record.stage_ns[:] = 0
            self.records.append(bytes(record.raw))

    def event(self, event: Event) -> None:
        if event.kind is not EventKind.KEYFRAME:
            self.events.append(event)

    def health(self) -> RecorderHealth:
        return RecorderHealth(dropped=0, lost=False)

    def close(self) -> None:
        pass


class PegLoop:
    """The loop with the expert as its base; `attach` may put something between its parts."""

    def __init__(
        self,
        field: str = "nominal",
        seed: int = 3,
        *,
        keep: bool = False,
        attach: Callable[[LoopParts], LoopParts] = lambda parts: parts,
        deployment: Deployment | None = None,
    ) -> None:
        deployment = deployment or load_deployment(CONFIG_FILE, base_to_come=True)
        contract = interface(deployment)
        link = open_link(deployment, contract, lockstep=True, field=field, seed=seed)
        assert isinstance(link, SimulatedLink)
        self.link = link
        self.sink = MemorySink(keep)
        self.port = ScriptedPort()
        self.tick = build_tick(deployment, contract)
        expert = ScriptedExpert(link.plant, contract, seed)
        parts = LoopParts(self.tick, link, expert, ZeroResidual(), self.sink, self.port, None)
        self.loop = ControlLoop(
            attach(parts), sizes_for(deployment, contract), 500, is_done=lambda: False
        )
        self.outcomes: list[Outcome] = []
        self.limited_ticks = 0
        self.ticks = 0

    def step(self) -> TickRecord:
        record = self.loop.tick_once()
        self.ticks += 1
        self.limited_ticks += bool(np.any(record.limited_by))
        if record.outcome[0]:
            self.outcomes.append(Outcome(int(record.outcome[0])))
        return record

    def run_until(self, done: Callable[[TickRecord], bool], ticks: int) -> TickRecord:
        """Tick until `done` says so; fails after `ticks`."""
        for _ in range(ticks):
            if done(record := self.step()):
                return record
        mask = int(record.faults[0])
        active = [fault.name for fault in Fault if mask >> fault & 1]
        raise AssertionError(f"not done after {ticks} ticks; active faults: {active}")

    def run_episodes(self, count: int) -> None:
        self.run_until(lambda _: len(self.outcomes) >= count, count * 5000)
