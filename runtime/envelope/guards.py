"""Guards: limits on what was measured. A push breaks them whatever we send, so a guard changes no
command; its row in the fault table decides what follows.

Every guard is a margin: 1 far from it, 0 at it, negative past it, -inf for a measurement that is
not finite, which counts as past. A new guard is a class here, its name in messages.GUARDS, its
setting in config.GuardsConfig and its row in the fault table.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Protocol

from runtime.faults import Fault
from runtime.robot_spec import RobotSpec

Vector3 = tuple[float, float, float]


class Box(Protocol):
    """An axis-aligned box in the robot's base frame, m."""

    @property
    def low_m(self) -> Vector3:
        """The corner with the smallest coordinates."""
        ...

    @property
    def high_m(self) -> Vector3:
        """The corner with the largest coordinates."""
        ...


class ForceSettings(Protocol):
    """What a person sets for the contact force."""

    @property
    def max_n(self) -> float:
        """Largest magnitude of the filtered force."""
        ...


class GuardSettings(Protocol):
    """What a person sets; config.GuardsConfig is one (this floor must not reach files)."""

    @property
    def torque_share(self) -> float:
        """Share of each joint's torque_max_nm at which the guard stands."""
        ...

    @property
    def tracking_error_rad(self) -> float:
        """Largest distance between command and measurement of any joint."""
        ...

    @property
    def joint_speed_share(self) -> float:
        """Share of each joint's velocity_max_rad_s at which the guard stands."""
        ...

    @property
    def tool_speed_m_s(self) -> float:
        """Largest speed of the tool."""
        ...

    @property
    def elbow_speed_m_s(self) -> float:
        """Largest speed of the elbow."""
        ...

    @property
    def workspace(self) -> Box:
        """Where the tool may be."""
        ...

    @property
    def contact_force(self) -> ForceSettings | None:
        """The largest contact force; None where the robot feels none."""
        ...


@dataclass(slots=True)
class Measured:
    """What the arm does now, as far as guards judge it. Sequences have one number per joint.

    `drive_nm`: what the drives press with because of the reference. `motor_nm`: the same and what
    gravity asks of the motors.
    """

    q_commanded: Sequence[float]
    q: Sequence[float]
    dq: Sequence[float]
    drive_nm: Sequence[float]
    motor_nm: Sequence[float]
    tool_position_in_base_m: Sequence[float] = field(default_factory=lambda: [0.0] * 3)
    tool_speed_m_s: float = 0.0
    elbow_speed_m_s: float = 0.0
    contact_force_n: float = 0.0


class Guard(Protocol):
    """One guard, made of the robot's spec and the settings that people made.

    `key`: its name in messages.GUARDS. `fault`: the row that says what follows.
    """

    key: ClassVar[str]
    fault: ClassVar[Fault]

    def __init__(self, spec: RobotSpec, settings: GuardSettings) -> None: ...

    def margin(self, seen: Measured) -> float:
        """Return how far the guard is. Raises ValueError for a wrong number of joints."""
        ...


class Torque:
    """Estimated motor torque over its share of the joint's torque_max_nm, worst joint."""

    key: ClassVar[str] = "torque"
    fault: ClassVar[Fault] = Fault.TORQUE_GUARD

    def __init__(self, spec: RobotSpec, settings: GuardSettings) -> None:
        self._max_nm = [joint.torque_max_nm * settings.torque_share for joint in spec.joints]

    def margin(self, seen: Measured) -> float:
        """Return how far the guard is."""
        return _left(seen.motor_nm, self._max_nm)


class Tracking:
    """Distance between command and measurement (rad), worst joint."""

    key: ClassVar[str] = "tracking"
    fault: ClassVar[Fault] = Fault.TRACKING_GUARD

    def __init__(self, spec: RobotSpec, settings: GuardSettings) -> None:
        self._max_rad = [settings.tracking_error_rad] * len(spec.joints)

    def margin(self, seen: Measured) -> float:
        """Return how far the guard is."""
        return _left_around(seen.q, seen.q_commanded, self._max_rad)


class JointSpeed:
    """Measured joint speed over its share of the manufacturer's limit, worst joint."""

    key: ClassVar[str] = "joint_speed"
    fault: ClassVar[Fault] = Fault.JOINT_SPEED_GUARD

    def __init__(self, spec: RobotSpec, settings: GuardSettings) -> None:
        self._max_rad_s = [
            joint.velocity_max_rad_s * settings.joint_speed_share for joint in spec.joints
        ]

    def margin(self, seen: Measured) -> float:
        """Return how far the guard is."""
        return _left(seen.dq, self._max_rad_s)


class ToolSpeed:
    """Measured speed of the tool (m/s)."""

    key: ClassVar[str] = "tool_speed"
    fault: ClassVar[Fault] = Fault.TOOL_SPEED_GUARD

    def __init__(self, spec: RobotSpec, settings: GuardSettings) -> None:
        self._max_m_s = settings.tool_speed_m_s

    def margin(self, seen: Measured) -> float:
        """Return how far the guard is."""
        return _left_of(seen.tool_speed_m_s, self._max_m_s)


class ElbowSpeed:
    """Measured speed of the elbow (m/s): it may hurry where the tool stands still."""

    key: ClassVar[str] = "elbow_speed"
    fault: ClassVar[Fault] = Fault.ELBOW_SPEED_GUARD

    def __init__(self, spec: RobotSpec, settings: GuardSettings) -> None:
        self._max_m_s = settings.elbow_speed_m_s

    def margin(self, seen: Measured) -> float:
        """Return how far the guard is."""
        return _left_of(seen.elbow_speed_m_s, self._max_m_s)


class Workspace:
    """Distance of the tool to the nearest wall over half the box's width across it."""

    key: ClassVar[str] = "workspace"
    fault: ClassVar[Fault] = Fault.WORKSPACE_GUARD

    def __init__(self, spec: RobotSpec, settings: GuardSettings) -> None:
        sides = list(zip(settings.workspace.low_m, settings.workspace.high_m, strict=True))
        self._middle_m = [0.5 * (low + high) for low, high in sides]
        self._half_m = [0.5 * (high - low) for low, high in sides]

    def margin(self, seen: Measured) -> float:
        """Return how far the guard is."""
        return _left_around(seen.tool_position_in_base_m, self._middle_m, self._half_m)


class ContactForce:
    """Magnitude of the filtered contact force; always far where the robot feels none."""

    key: ClassVar[str] = "contact_force"
    fault: ClassVar[Fault] = Fault.CONTACT_FORCE_GUARD

    def __init__(self, spec: RobotSpec, settings: GuardSettings) -> None:
        force = settings.contact_force
        self._max_n = math.inf if force is None else force.max_n

    def margin(self, seen: Measured) -> float:
        """Return how far the guard is."""
        return _left_of(seen.contact_force_n, self._max_n)


# in the order of messages.GUARDS
REGISTRY: tuple[type[Guard], ...] = (
    Torque,
    Tracking,
    JointSpeed,
    ToolSpeed,
    ElbowSpeed,
    Workspace,
    ContactForce,
)
GUARD_FAULTS = tuple(guard.fault for guard in REGISTRY)
WORKSPACE = REGISTRY.index(Workspace)


class Guards:
    """The guards of one robot and config."""

    def __init__(self, spec: RobotSpec, settings: GuardSettings) -> None:
        self._margins = [guard(spec, settings).margin for guard in REGISTRY]

    def margins(self, seen: Measured) -> list[float]:
        """Return how far each guard is, in the order of messages.GUARDS.

        Raises:
            ValueError: the number of joints or coordinates differs.
        """
        return [margin(seen) for margin in self._margins]


def _left(values: Sequence[float], limits: Sequence[float]) -> float:
    """Return the smallest share of a limit that its value leaves; -inf if a value is NaN."""
    worst = 0.0
    for value, limit in zip(values, limits, strict=True):
        used = abs(value) / limit
        if not (used <= worst):
            worst = used if used > worst else math.inf
    return 1.0 - worst


def _left_around(
    values: Sequence[float], middle: Sequence[float], limits: Sequence[float]
) -> float:
    """Return `_left` of how far each value is from its middle."""
    worst = 0.0
    for value, about, limit in zip(values, middle, limits, strict=True):
        used = abs(value - about) / limit
        if not (used <= worst):
            worst = used if used > worst else math.inf
    return 1.0 - worst


def _left_of(value: float, limit: float) -> float:
    """Return `_left` of one value."""
    used = abs(value) / limit
    return 1.0 - used if used >= 0.0 else -math.inf
