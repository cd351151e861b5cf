"""Where no part of the robot may be: plain, checked data in the robot's base frame; no files."""

import math
from typing import Annotated, Literal

from pydantic import Field, model_validator

from runtime.robot_spec import Finite, Name, Positive, StrictModel
from runtime.units import metres, radians

# no arm on a fixed base has to do with what is further away, and nothing solid is thinner
_FAR_M = 20.0
_THIN_M = 1e-3
_MARGIN_MAX_M = 0.5

Metres = Annotated[float, Field(allow_inf_nan=False), metres(_FAR_M)]
Size = Annotated[float, Field(ge=_THIN_M, allow_inf_nan=False), metres(_FAR_M)]
Vector3 = tuple[Metres, Metres, Metres]
Direction = tuple[Finite, Finite, Finite]
Yaw = Annotated[float, Field(allow_inf_nan=False), radians(math.tau)]
_UNIT_TOLERANCE = 1e-3


class PlaneSpec(StrictModel):
    """A half-space: the robot stays on the side of `point_m` that `normal` points to."""

    shape: Literal["plane"]
    name: Name
    point_m: Vector3
    normal: Direction

    @model_validator(mode="after")
    def _is_unit(self) -> "PlaneSpec":
        length = math.hypot(*self.normal)
        if not (abs(length - 1.0) <= _UNIT_TOLERANCE):
            raise ValueError(f"keep_out {self.name}: normal has length {length:.4g}; write 1")
        return self


class BoxSpec(StrictModel):
    """A solid box, turned by `yaw_rad` about base z."""

    shape: Literal["box"]
    name: Name
    center_m: Vector3
    half_size_m: tuple[Size, Size, Size]
    yaw_rad: Yaw


class SphereSpec(StrictModel):
    """A solid sphere."""

    shape: Literal["sphere"]
    name: Name
    center_m: Vector3
    radius_m: Size


class CapsuleSpec(StrictModel):
    """All points within `radius_m` of the segment."""

    shape: Literal["capsule"]
    name: Name
    from_m: Vector3
    to_m: Vector3
    radius_m: Size

    @model_validator(mode="after")
    def _has_length(self) -> "CapsuleSpec":
        if not (math.dist(self.from_m, self.to_m) > 0.0):
            raise ValueError(
                f"keep_out {self.name}: from_m and to_m are one point {self.from_m}; write "
                "`shape: sphere` with center_m, or move one of them"
            )
        return self


SHAPES = ("plane", "box", "sphere", "capsule")
KeepOut = Annotated[
    PlaneSpec | BoxSpec | SphereSpec | CapsuleSpec, Field(discriminator="shape")
]


class GeometryConfig(StrictModel):
    """Distances that the commanded reference keeps.

    Every geom that a joint moves stays `margin_m` away from each volume of `keep_out`, and, with
    `self_collision`, from every other geom of the robot but those of its own body, of the bodies
    next to it, and of pairs that the MJCF excludes. The commanded tool stays `margin_m` inside
    the workspace of the guards.
    """

    margin_m: Annotated[Positive, metres(_MARGIN_MAX_M)]
    self_collision: bool
    keep_out: tuple[KeepOut, ...]

    @model_validator(mode="after")
    def _unique_names(self) -> "GeometryConfig":
        names = [volume.name for volume in self.keep_out]
        if len(set(names)) != len(names):
            raise ValueError(f"keep_out names repeat: {names}")
        return self
