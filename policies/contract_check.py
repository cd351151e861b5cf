"""Does a contract fit the robot, the config and our terms? Every contradiction is named at once."""

from collections.abc import Iterator

from policies.terms import TERMS
from runtime.config import Config
from runtime.errors import ContractError
from runtime.messages import GroupSize, Sizes
from runtime.policy_contract import ActionSpec, PolicyContract, TermSpec
from runtime.robot_spec import RobotSpec

_TOOL_NAMES = ("x", "y", "z", "yaw")
_TOOL_UNITS = ("m", "m", "m", "rad")
_RATE_TOLERANCE = 1e-9


def check_against(contract: PolicyContract, robot: RobotSpec, config: Config, source: str) -> None:
    """Refuse a contract that contradicts the robot spec, the config or the known terms.

    `source` names the policy file in the message.

    Raises:
        ContractError: one line for each contradiction, with the field or term and both values.
    """
    problems = [
        *_robot_problems(contract, robot),
        *_rate_problems(contract, config),
        *_term_problems(contract, config),
        *_action_problems(contract, robot, config),
        *_start_problems(contract, robot),
    ]
    if problems:
        raise ContractError(
            f"{source} does not fit this robot and config:\n  "
            + "\n  ".join(problems)
            + "\nUse the policy that was trained for them, or train one."
        )


def _robot_problems(contract: PolicyContract, robot: RobotSpec) -> Iterator[str]:
    if contract.robot != robot.name:
        yield f"robot: the contract says {contract.robot!r}, the robot spec {robot.name!r}"
    if contract.joint_names != robot.joint_names:
        yield (
            f"joint_names: the contract says {list(contract.joint_names)}, the robot spec "
            f"{list(robot.joint_names)}; names and order must be equal"
        )


def _rate_problems(contract: PolicyContract, config: Config) -> Iterator[str]:
    servo_hz = config.control.servo_hz
    ratio = servo_hz / contract.rate_hz
    if not (ratio >= 1 and abs(ratio - round(ratio)) <= _RATE_TOLERANCE * ratio):
        yield (
            f"rate_hz: the contract says {contract.rate_hz}, control.servo_hz is {servo_hz}; "
            "the servo rate must be a whole multiple"
        )
    if not (config.base.max_age_s >= 1.0 / contract.rate_hz):
        yield (
            f"rate_hz: the contract says {contract.rate_hz}, so an action is "
            f"{1.0 / contract.rate_hz} s old before the next; base.max_age_s is "
            f"{config.base.max_age_s}"
        )


def _term_problems(contract: PolicyContract, config: Config) -> Iterator[str]:
    sizes = Sizes(
        joints=len(contract.joint_names),
        action=len(contract.action.names),
        setpoint=len(contract.action.names),
        groups=tuple(GroupSize(g.name, g.size) for g in config.observations.groups),
    )
    seen: set[str] = set()
    for term in contract.terms:
        if term.name in seen:
            yield f"term {term.name} stands twice; once is allowed"
        seen.add(term.name)
        yield from _one_term(term, contract.action, sizes)


def _one_term(term: TermSpec, action: ActionSpec, sizes: Sizes) -> Iterator[str]:
    known = TERMS.get(term.name)
    if known is None:
        yield f"term {term.name!r} is unknown; known terms: {', '.join(TERMS)}"
        return
    if action.kind not in known.kinds:
        yield (
            f"term {term.name} has no meaning for action kind {action.kind}; it needs "
            f"{', '.join(known.kinds)}"
        )
    expected: list[tuple[str, object, object]] = [
        ("group", term.group, known.group),
        ("unit", term.unit, known.unit),
        ("scale", term.scale, (known.scale,) * term.size),
        ("offset", term.offset, (0.0,) * term.size),
    ]
    try:
        expected.append(("size", term.size, known.size(sizes)))
    except ContractError as error:
        yield str(error)
    for key, said, wanted in expected:
        if said != wanted:
            yield f"term {term.name}: {key}: the contract says {said!r}, this daemon has {wanted!r}"


def _action_problems(contract: PolicyContract, robot: RobotSpec, config: Config) -> Iterator[str]:
    action = contract.action
    tool = action.kind == "tool_delta"
    names = _TOOL_NAMES if tool else robot.joint_names
    units = _TOOL_UNITS if tool else ("rad",) * len(robot.joint_names)
    for key, said, wanted in (("names", action.names, names), ("units", action.units, units)):
        if said != wanted:
            yield f"action.{key}: the contract says {list(said)}, {action.kind} has {list(wanted)}"
    if tool:
        yield from _tool_speed_problems(contract, config)
    else:
        yield from _joint_target_problems(action, robot)


def _tool_speed_problems(contract: PolicyContract, config: Config) -> Iterator[str]:
    """A set-point that may outrun the tool-speed guard trips it with an honest action."""
    action = contract.action
    for name, unit, scale, offset, low, high in zip(
        action.names,
        action.units,
        action.scale,
        action.offset,
        action.low,
        action.high,
        strict=True,
    ):
        fastest = max(abs(low * scale + offset), abs(high * scale + offset)) * contract.rate_hz
        if unit == "m" and not (fastest <= config.guards.tool_speed_m_s):
            yield (
                f"action {name}: scale {scale} at {contract.rate_hz} Hz allows {fastest} m/s, "
                f"guards.tool_speed_m_s is {config.guards.tool_speed_m_s}"
            )


def _joint_target_problems(action: ActionSpec, robot: RobotSpec) -> Iterator[str]:
    # not strict: another number of joints is named under action.names
    for name, scale, offset, low, high, limit in zip(
        action.names,
        action.scale,
        action.offset,
        action.low,
        action.high,
        robot.command_limits(),
        strict=False,
    ):
        ends = sorted((low * scale + offset, high * scale + offset))
        if not (limit.position_min_rad <= ends[0] and ends[1] <= limit.position_max_rad):
            yield (
                f"action {name}: targets reach from {ends[0]} to {ends[1]} rad, commands of joint "
                f"{limit.name} are limited to {limit.position_min_rad} to {limit.position_max_rad}"
            )


def _start_problems(contract: PolicyContract, robot: RobotSpec) -> Iterator[str]:
    start = contract.start
    # not strict: another number of joints is named under joint_names
    for joint, low, high, speed in zip(
        robot.joints,
        start.position_min_rad,
        start.position_max_rad,
        start.speed_max_rad_s,
        strict=False,
    ):
        if not (joint.position_min_rad <= low <= high <= joint.position_max_rad):
            yield (
                f"start: joint {joint.name} may start from {low} to {high} rad, the robot spec "
                f"allows {joint.position_min_rad} to {joint.position_max_rad}"
            )
        if not (0.0 <= speed <= joint.velocity_max_rad_s):
            yield (
                f"start: joint {joint.name} may start at {speed} rad/s, the robot spec allows "
                f"0 to {joint.velocity_max_rad_s}"
            )
