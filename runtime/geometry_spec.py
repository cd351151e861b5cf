"""Where no part of the robot may be: plain, checked data in the robot's base frame; no files."""

import math
from typing import Annotated, Literal

from pydantic import Field, model_validator

from runtime.robot_spec import Finite, Positive, StrictModel

Vector3 = tuple[Finite, Finite, Finite]
_UNIT_TOLERANCE = 1e-3


class PlaneSpec(StrictModel):
    """A half-space: the robot stays on the side of `point_m` that `normal` points to."""

    shape: Literal["plane"]
    name: str
    point_m: Vector3
    normal: Vector3

    @model_validator(mode="after")
    def _is_unit(self) -> "PlaneSpec":
        length = math.hypot(*self.normal)
        if not (abs(length - 1.0) <= _UNIT_TOLERANCE):
            raise ValueError(f"keep_out {self.name}: normal has length {length:.4g}; write 1")
        return self


class BoxSpec(StrictModel):
    """A solid box, turned by `yaw_rad` about base z."""

    shape: Literal["box"]
    name: str
    center_m: Vector3
    half_size_m: tuple[Positive, Positive, Positive]
    yaw_rad: Annotated[float, Field(ge=-math.tau, le=math.tau, allow_inf_nan=False)]


class SphereSpec(StrictModel):
    """A solid sphere."""

    shape: Literal["sphere"]
    name: str
    center_m: Vector3
    radius_m: Positive


class CapsuleSpec(StrictModel):
    """All points within `radius_m` of the segment."""

    shape: Literal["capsule"]
    name: str
    from_m: Vector3
    to_m: Vector3
    radius_m: Positive


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

    margin_m: Positive
    self_collision: bool
    keep_out: tuple[KeepOut, ...]

    @model_validator(mode="after")
    def _unique_names(self) -> "GeometryConfig":
        names = [volume.name for volume in self.keep_out]
        if len(set(names)) != len(names):
            raise ValueError(f"keep_out names repeat: {names}")
        return self
