"""The robot spec: what a robot is and what it may never exceed. Plain, checked data; no files.

Every limit is required: a missing one refuses to start. The manufacturer's limits are given;
command limits lie inside them by the declared tracking margin.
"""

import math
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, model_validator

from runtime.units import kilograms, newton_metres, radians

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Share = Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)]
Name = Annotated[str, Field(min_length=1)]

# Larger values are nobody's: two turns either way, 290 turns a minute at the joint, and what the
# lightest arms reach. In degrees, nearly every robot's limits are above them.
Angle = Annotated[float, Field(allow_inf_nan=False), radians(4.0 * math.pi)]
# The lower ends are far below what moves, and above what the rounding of positions hides.
Speed = Annotated[float, Field(ge=1e-3, allow_inf_nan=False), radians(30.0)]
Acceleration = Annotated[float, Field(ge=1e-2, allow_inf_nan=False), radians(1e3)]
Jerk = Annotated[float, Field(ge=1e-1, allow_inf_nan=False), radians(2e5)]
SmallAngle = Annotated[Positive, radians(1.0)]
Torque = Annotated[Positive, newton_metres(5e3)]

# an acceleration that takes longer to build up, or a stop that takes longer, is a slip of the pen
_RAMP_MAX_S = 1.0
_STOP_MAX_S = 10.0
_HALVINGS = 60


class StrictModel(BaseModel):
    """Base of everything that people write: unknown keys, inf and nan are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class JointSpec(StrictModel):
    """One joint: the manufacturer's limits and the drive's gains, SI units."""

    name: Name
    position_min_rad: Angle
    position_max_rad: Angle
    velocity_max_rad_s: Speed
    acceleration_max_rad_s2: Acceleration
    jerk_max_rad_s3: Jerk
    torque_max_nm: Torque
    holding_torque_max_nm: Torque
    stiffness_nm_rad: Positive
    damping_nm_s_rad: NotNegative
    home_rad: Angle

    @model_validator(mode="after")
    def _consistent(self) -> "JointSpec":
        if not (self.position_min_rad < self.position_max_rad):
            raise ValueError(
                f"joint {self.name}: position_min_rad {self.position_min_rad} is not below "
                f"position_max_rad {self.position_max_rad}"
            )
        if not (self.position_min_rad < self.home_rad < self.position_max_rad):
            raise ValueError(
                f"joint {self.name}: home_rad {self.home_rad} is outside its own range "
                f"({self.position_min_rad}, {self.position_max_rad})"
            )
        if not (self.holding_torque_max_nm <= self.torque_max_nm):
            raise ValueError(
                f"joint {self.name}: holding_torque_max_nm {self.holding_torque_max_nm} exceeds "
                f"torque_max_nm {self.torque_max_nm}"
            )
        return self


class TrackingMargin(StrictModel):
    """How far inside the manufacturer's limits commands stay, because drives do not follow exactly.

    position_rad: cut from both ends of every range; share: of velocity, acceleration and jerk.
    """

    position_rad: SmallAngle
    velocity_share: Share
    acceleration_share: Share
    jerk_share: Share


class ToolSpec(StrictModel):
    """Where the tool is: a site in the robot's MJCF, whose parent chain holds all its joints.

    `elbow_site`: a second place whose speed is watched. `payload_max_kg`: the largest mass at the
    tool that the robot's own model does not know of.
    """

    mjcf: str
    site: str
    elbow_site: str
    payload_max_kg: Annotated[NotNegative, kilograms(500.0)]


class RobotSpec(StrictModel):
    """A robot as the runtime knows it. Joint order here is the order everywhere."""

    name: Name
    joints: tuple[JointSpec, ...]
    tracking_margin: TrackingMargin
    tool: ToolSpec
    rest_speed_max_rad_s: SmallAngle

    @model_validator(mode="after")
    def _consistent(self) -> "RobotSpec":
        if not self.joints:
            # not a field constraint: pydantic repeats that one for every bad joint
            raise ValueError("joints: a robot has at least one; list them in order")
        names = [joint.name for joint in self.joints]
        if len(set(names)) != len(names):
            raise ValueError(f"joint names repeat: {names}")
        for joint, limit in zip(self.joints, self.command_limits(), strict=True):
            _check_command_range(joint, limit, self.tracking_margin.position_rad)
            _check_stop(limit)
        return self

    @property
    def joint_names(self) -> tuple[str, ...]:
        """Joint names in order."""
        return tuple(joint.name for joint in self.joints)

    def command_limits(self) -> tuple["JointLimits", ...]:
        """Return what the commanded reference may do, one per joint."""
        margin = self.tracking_margin
        return tuple(
            JointLimits(
                name=joint.name,
                position_min_rad=joint.position_min_rad + margin.position_rad,
                position_max_rad=joint.position_max_rad - margin.position_rad,
                velocity_max_rad_s=joint.velocity_max_rad_s * margin.velocity_share,
                acceleration_max_rad_s2=joint.acceleration_max_rad_s2 * margin.acceleration_share,
                jerk_max_rad_s3=joint.jerk_max_rad_s3 * margin.jerk_share,
            )
            for joint in self.joints
        )


class JointLimits(StrictModel):
    """The invariants of one joint's commanded reference."""

    name: str
    position_min_rad: float
    position_max_rad: float
    velocity_max_rad_s: float
    acceleration_max_rad_s2: float
    jerk_max_rad_s3: float


def stop_length(velocity_rad_s: float, limits: JointLimits) -> tuple[float, float]:
    """Return how far (rad) and how long (s) the hardest stop from a steady velocity takes.

    Jerk down, hold, jerk back: the speed is symmetric in time, so the way is half the velocity
    times the duration: v/A + A/J where A is reached (v >= A^2/J), else 2 sqrt(v/J).
    """
    a_max, jerk = limits.acceleration_max_rad_s2, limits.jerk_max_rad_s3
    if velocity_rad_s >= a_max * a_max / jerk:
        duration_s = velocity_rad_s / a_max + a_max / jerk
    else:
        duration_s = 2.0 * math.sqrt(velocity_rad_s / jerk)
    return 0.5 * velocity_rad_s * duration_s, duration_s


def _check_command_range(joint: JointSpec, limit: JointLimits, margin_rad: float) -> None:
    """Refuse a joint whose command range is empty, or does not hold its home."""
    if not (limit.position_min_rad < limit.position_max_rad):
        raise ValueError(
            f"joint {joint.name}: tracking_margin.position_rad {margin_rad} cut from both ends "
            f"leaves nothing of its range ({joint.position_min_rad}, {joint.position_max_rad}): "
            "there is no place where it may rest; write a smaller margin or a wider range"
        )
    if not (limit.position_min_rad < joint.home_rad < limit.position_max_rad):
        raise ValueError(
            f"joint {joint.name}: home_rad {joint.home_rad} is outside the command range "
            f"({limit.position_min_rad}, {limit.position_max_rad}) that "
            f"tracking_margin.position_rad leaves"
        )


def _check_stop(limit: JointLimits) -> None:
    """Refuse limits that contradict each other: a velocity that no motion between the ends of the
    range can reach, or an acceleration or stop that takes longer than anybody means."""
    ramp_s = limit.acceleration_max_rad_s2 / limit.jerk_max_rad_s3
    if not (ramp_s <= _RAMP_MAX_S):
        raise ValueError(
            f"joint {limit.name}: with jerk_max_rad_s3 it takes {ramp_s:.3g} s to build up "
            f"acceleration_max_rad_s2; allowed: up to {_RAMP_MAX_S:g} s; raise the jerk or lower "
            "the acceleration"
        )
    velocity = limit.velocity_max_rad_s
    length, duration_s = stop_length(velocity, limit)
    if not (duration_s <= _STOP_MAX_S):
        raise ValueError(
            f"joint {limit.name}: a stop from velocity_max_rad_s takes {duration_s:.3g} s; "
            f"allowed: up to {_STOP_MAX_S:g} s; raise acceleration or jerk, or lower the velocity"
        )
    room = limit.position_max_rad - limit.position_min_rad
    if not (2.0 * length <= room):
        raise ValueError(
            f"joint {limit.name}: velocity_max_rad_s can never be reached and stopped inside its "
            f"range: from rest to {velocity:.4g} rad/s and back takes {2.0 * length:.4g} rad, the "
            f"command range has {room:.4g}; allowed: up to {_fastest(limit, room):.4g} rad/s in "
            "commands, or more acceleration and jerk, or a wider range"
        )


def _fastest(limit: JointLimits, room_rad: float) -> float:
    """Return the largest velocity (rad/s) that can be reached from rest and stopped in the room."""
    low, high = 0.0, limit.velocity_max_rad_s
    for _ in range(_HALVINGS):
        middle = 0.5 * (low + high)
        if 2.0 * stop_length(middle, limit)[0] <= room_rad:
            low = middle
        else:
            high = middle
    return low
