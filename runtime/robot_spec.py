"""The robot spec: what a robot is and what it may never exceed. Plain, checked data; no files.

Every limit is required: a missing one refuses to start. The manufacturer's limits are given;
command limits lie inside them by the declared tracking margin.
"""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, model_validator

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Share = Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)]

_RADIAN_MAX = 100.0


class StrictModel(BaseModel):
    """Base of everything that people write: unknown keys, inf and nan are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class JointSpec(StrictModel):
    """One joint: the manufacturer's limits and the drive's gains, SI units."""

    name: str
    position_min_rad: Finite
    position_max_rad: Finite
    velocity_max_rad_s: Positive
    acceleration_max_rad_s2: Positive
    jerk_max_rad_s3: Positive
    torque_max_nm: Positive
    holding_torque_max_nm: Positive
    stiffness_nm_rad: Positive
    damping_nm_s_rad: Finite
    home_rad: Finite

    @model_validator(mode="after")
    def _consistent(self) -> "JointSpec":
        if not (self.position_min_rad < self.position_max_rad):
            raise ValueError(
                f"joint {self.name}: position_min_rad {self.position_min_rad} is not below "
                f"position_max_rad {self.position_max_rad}"
            )
        for key in ("position_min_rad", "position_max_rad", "velocity_max_rad_s"):
            value = getattr(self, key)
            if not (abs(value) <= _RADIAN_MAX):
                raise ValueError(
                    f"joint {self.name}: {key} is {value}; more than {_RADIAN_MAX} rad looks "
                    "like degrees: write radians"
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

    position_rad: Positive
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
    payload_max_kg: NotNegative


class RobotSpec(StrictModel):
    """A robot as the runtime knows it. Joint order here is the order everywhere."""

    name: str
    joints: tuple[JointSpec, ...] = Field(min_length=1)
    tracking_margin: TrackingMargin
    tool: ToolSpec
    rest_speed_max_rad_s: Positive

    @model_validator(mode="after")
    def _unique_names(self) -> "RobotSpec":
        names = [joint.name for joint in self.joints]
        if len(set(names)) != len(names):
            raise ValueError(f"joint names repeat: {names}")
        for joint, limit in zip(self.joints, self.command_limits(), strict=True):
            if not (limit.position_min_rad < joint.home_rad < limit.position_max_rad):
                raise ValueError(
                    f"joint {joint.name}: home_rad {joint.home_rad} is outside the command range "
                    f"({limit.position_min_rad}, {limit.position_max_rad}) that "
                    f"tracking_margin.position_rad leaves"
                )
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
