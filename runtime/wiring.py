"""Composition: the only file of the runtime that knows policies/ and sims/ (inside functions)."""

import base64
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from runtime.clock import seconds_to_ns
from runtime.config import Config, load_config, load_robot, resolve
from runtime.envelope.barriers import Workspace
from runtime.envelope.envelope import Envelope
from runtime.envelope.geometry import Geometry
from runtime.envelope.guards import Guards
from runtime.episodes import EpisodeManager
from runtime.errors import ConfigError, LinkError
from runtime.fallback import Fallback
from runtime.faults import tighten
from runtime.fingerprint import fingerprint
from runtime.interfaces import (
    BasePolicy,
    BaseWorker,
    GateClient,
    Link,
    LinkDescription,
    RecordSink,
    ResidualPolicy,
)
from runtime.kinematics import DifferentialIk, Kinematics
from runtime.loop import ControlLoop, LoopParts
from runtime.messages import GroupSize, Sizes, new_record, tick_layout
from runtime.motion import MotionParts
from runtime.operator_port import Port
from runtime.plugin import link_factory
from runtime.policy_contract import PolicyInterface
from runtime.realtime import Paces
from runtime.record_format import RecordHeader
from runtime.robot_spec import RobotSpec
from runtime.scripted import ScriptedMotion
from runtime.setpoints import JointSetpoints, Setpoints, ToolSetpoints
from runtime.tick import ControlTick, TickSettings
from runtime.tick_parts import (
    authority,
    measured_arm,
    monitor_limits,
    predicates,
    residual_watch,
)
from runtime.trajectory import Trajectory
from runtime.warm_up import warm_up

MODEL_FILE = "model.xml"
BASE_FILE = "base.onnx.base64"
_TOOL_SETPOINT_SIZE = 4


@dataclass(frozen=True)
class Deployment:
    """A checked config with the robot spec and files that it names."""

    config: Config
    config_file: Path
    robot: RobotSpec
    model_file: Path
    base_file: Path

    def group_sizes(self) -> tuple[GroupSize, ...]:
        """Return the configured observation groups in record order."""
        return tuple(GroupSize(g.name, g.size) for g in self.config.observations.groups)


def load_deployment(config_file: Path, *, base_to_come: bool = False) -> Deployment:
    """Read config and robot spec, and find every file that they name.

    `base_to_come`: the base policy need not exist yet; it will be written beside the config.

    Raises:
        ConfigError: something is missing, unknown or contradictory.
    """
    config = load_config(config_file)
    robot = load_robot(config, config_file)
    base_file = config_file.resolve().parent / config.base.file
    return Deployment(
        config=config,
        config_file=config_file,
        robot=robot,
        model_file=resolve(robot.tool.mjcf, config_file),
        base_file=base_file if base_to_come else resolve(config.base.file, config_file),
    )


def load_base(deployment: Deployment) -> BasePolicy:
    """Open the base policy and check its contract against robot and config.

    Raises:
        ContractError: the file is no policy, or term by term what does not fit.
    """
    from policies.base import OnnxBasePolicy
    from policies.contract_check import check_against

    base = OnnxBasePolicy.load(deployment.base_file)
    source = str(deployment.base_file)
    check_against(base.contract, deployment.robot, deployment.config, source)
    return base


def zero_residual() -> ResidualPolicy:
    """Return residual version 0, which is exactly zero."""
    from policies.residual import ZeroResidual

    return ZeroResidual()


def load_residual(
    deployment: Deployment, contract: PolicyInterface, seed: int | None
) -> ResidualPolicy:
    """Return the residual that the config describes, at version 0; the base alone without one.

    `seed`: of its exploration; None takes one from the operating system.

    Raises:
        ContractError: the robot's record lacks one of the residual's terms.
    """
    from policies.residual import LearnedResidual

    config = deployment.config.residual
    if config is None:
        return zero_residual()
    record = new_record(sizes_for(deployment, contract))
    return LearnedResidual(contract, config, record, seed)


def sizes_for(deployment: Deployment, contract: PolicyInterface) -> Sizes:
    """Return the message sizes that robot, contract and config give."""
    joints = len(deployment.robot.joints)
    tool = contract.action.kind == "tool_delta"
    return Sizes(
        joints=joints,
        action=len(contract.action.names),
        setpoint=_TOOL_SETPOINT_SIZE if tool else joints,
        groups=deployment.group_sizes(),
    )


def ticks_per_step(config: Config, rate_hz: float) -> int:
    """Return servo ticks per policy step.

    Raises:
        ConfigError: the servo rate is not a multiple of the policy rate.
    """
    ticks = round(config.control.servo_hz / rate_hz)
    if not (ticks >= 1 and abs(ticks * rate_hz - config.control.servo_hz) <= 1e-9 * rate_hz):
        raise ConfigError(
            f"control.servo_hz {config.control.servo_hz} is no multiple of the policy's rate "
            f"{rate_hz} Hz; allowed: a whole multiple of it between 100 and 1000"
        )
    return ticks


def build_geometry(deployment: Deployment) -> Geometry:
    """Compose what the commanded reference keeps away from.

    Raises:
        ConfigError: the robot's model does not fit, or home is too near to something.
    """
    config, robot = deployment.config, deployment.robot
    box = config.guards.workspace
    return Geometry.load(
        str(deployment.model_file),
        robot.tool.site,
        robot.command_limits(),
        [joint.home_rad for joint in robot.joints],
        config.geometry,
        Workspace(box.low_m, box.high_m),
    )


def build_tick(deployment: Deployment, contract: PolicyInterface) -> ControlTick:
    """Compose a ControlTick from plain, checked data.

    Raises:
        ConfigError: rates or the robot's model do not fit.
    """
    config, robot = deployment.config, deployment.robot
    limits = robot.command_limits()
    control, per_step = config.control, ticks_per_step(config, contract.rate_hz)
    dt_s = 1.0 / control.servo_hz
    home = [joint.home_rad for joint in robot.joints]
    kinematics = Kinematics(
        str(deployment.model_file), robot.tool.site, robot.joint_names, home
    )
    setpoints: Setpoints
    if contract.action.kind == "tool_delta":
        setpoints = ToolSetpoints(contract.action, kinematics, DifferentialIk(kinematics, limits))
    else:
        setpoints = JointSetpoints(contract.action)
    parts = MotionParts(
        envelope=Envelope(limits, dt_s, build_geometry(deployment)),
        trajectory=Trajectory(limits, dt_s, control.motion_share),
        setpoints=setpoints,
        scripted=ScriptedMotion(
            home=home,
            retract_to_m=config.episode.retract_to_m,
            step_m=config.episode.speed_m_s * per_step * dt_s,
            ticks_per_step=per_step,
            blend_s=control.blend_s,
            speed_share=control.homing_speed_share,
        ),
        fallback=Fallback(
            holding_torque_nm=[joint.holding_torque_max_nm for joint in robot.joints],
            relax_every_ticks=per_step,
            relax_s=control.blend_s,
            speed_share=control.homing_speed_share,
        ),
    )
    settings = TickSettings(
        sizes=sizes_for(deployment, contract),
        robot=robot,
        rows=tighten(config.faults),
        monitors=monitor_limits(config, robot, contract.action.residual_bound),
        start=contract.start,
        blend_s=control.blend_s,
        command_valid_ns=seconds_to_ns(control.command_valid_s),
    )
    episodes = EpisodeManager(
        config.episode.steps,
        per_step,
        config.episode.settle_s,
        predicates(config),
        by_person=config.episode.reset == "person",
    )
    arm = measured_arm(config, robot, kinematics)
    granted = authority(config, settings.sizes.action)
    watch = residual_watch(config, contract.action.residual_bound)
    guards = Guards(robot, config.guards)
    return ControlTick(settings, parts, episodes, guards, arm, granted, watch)


def open_link(
    deployment: Deployment,
    contract: PolicyInterface,
    *,
    lockstep: bool,
    field: str | None = None,
    seed: int | None = None,
    name: str | None = None,
) -> Link:
    """Open the link that the config names, or another one by its `name`, and compare it with spec
    and config.

    Raises:
        ConfigError: the link cannot be found, or its part of the config cannot be used.
        LinkError: what stands behind the link is another robot, or has other groups.
    """
    config = deployment.config
    link = link_factory(name or config.link, deployment.config_file)(
        config,
        deployment.config_file,
        deployment.robot,
        config.episode.steps / contract.rate_hz,
        lockstep=lockstep,
        field=field,
        seed=seed,
    )
    check_link(deployment, link)
    return link


def check_link(deployment: Deployment, link: Link) -> None:
    """Compare what a link says of itself with spec and config. Raises LinkError."""
    said = link.describe()
    wanted = {
        "robot": (said.robot, deployment.robot.name),
        "joint order": (said.joint_names, deployment.robot.joint_names),
        "observation groups": (
            [(g.name, g.size) for g in said.groups],
            [(g.name, g.size) for g in deployment.group_sizes()],
        ),
    }
    for what, (behind, configured) in wanted.items():
        if behind != configured:
            raise LinkError(
                f"{what}: the link has {behind}, the config {configured}; make them the same"
            )


@dataclass(frozen=True)
class Surroundings:
    """What a loop is connected to, besides its tick.

    `first_epoch`: above that of any earlier process, for a device that outlives them. `gate`: None
    where the base runs alone. `worker`: where it thinks in real time; None asks it in line.
    """

    link: Link
    base: BasePolicy
    residual: ResidualPolicy
    sink: RecordSink
    port: Port
    pacer: Paces | None
    first_epoch: int = 0
    gate: GateClient | None = None
    worker: BaseWorker | None = None


def build_loop(
    deployment: Deployment,
    surroundings: Surroundings,
    is_done: Callable[[ControlTick], bool],
    tick: ControlTick | None = None,
) -> ControlLoop:
    """Compose a loop. `is_done` looks at the tick after each step; True ends the run at rest.

    `tick`: what `build_tick` returned before, where a refusal must come before a record begins.
    """
    contract = surroundings.base.contract
    tick = tick or build_tick(deployment, contract)
    sizes = sizes_for(deployment, contract)
    warm_up(tick, sizes, deployment.robot)
    tick.state.epoch = surroundings.first_epoch
    parts = LoopParts(
        tick=tick,
        link=surroundings.link,
        base=surroundings.base,
        residual=surroundings.residual,
        sink=surroundings.sink,
        port=surroundings.port,
        pacer=surroundings.pacer,
        gate=surroundings.gate,
        worker=surroundings.worker,
    )
    keyframe_ticks = round(deployment.config.control.servo_hz)
    return ControlLoop(parts, sizes, keyframe_ticks, lambda: is_done(tick))


def record_header(
    deployment: Deployment,
    contract: PolicyInterface,
    run: str,
    clock: str,
    link: LinkDescription,
) -> RecordHeader:
    """Return everything that a reader needs to understand and replay the run, files included."""
    sizes = sizes_for(deployment, contract)
    return RecordHeader(
        run=run,
        robot_id=deployment.config.robot_id,
        started_utc=datetime.now(UTC).isoformat(timespec="seconds"),
        clock=clock,
        servo_hz=deployment.config.control.servo_hz,
        joints=list(deployment.robot.joint_names),
        groups={group.name: group.size for group in sizes.groups},
        action=sizes.action,
        setpoint=sizes.setpoint,
        layout=tick_layout(sizes).table(),
        fingerprint=fingerprint(),
        config=deployment.config_file.read_text(encoding="utf-8"),
        robot=deployment.robot.model_dump_json(),
        contract=contract.model_dump_json(),
        seeds=dict(link.seeds),
        link={"robot": link.robot, "simulated": str(link.simulated), **link.facts},
        files={
            MODEL_FILE: deployment.model_file.read_text(encoding="utf-8"),
            BASE_FILE: base64.b64encode(deployment.base_file.read_bytes()).decode(),
        },
    )


def save_picture(link: Link, path: Path) -> None:
    """Render a simulated robot as it stands into a PNG; a link to hardware has no picture.

    Raises:
        TrimtabError: no GL library is present.
    """
    from sims.link import SimulatedLink
    from sims.render import save_picture as save

    if isinstance(link, SimulatedLink):
        path.parent.mkdir(parents=True, exist_ok=True)
        save(link.plant, path)
