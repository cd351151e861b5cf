"""The I/O contract that travels inside a policy file: plain, checked data.

It says what each number that enters and leaves the network means, so that a mismatch of order,
scale, unit or rate is refused by name instead of moving a robot.
"""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from runtime.robot_spec import Finite, Positive, StrictModel

FORMAT_VERSION = 1
Vector = tuple[Finite, ...]


class TermSpec(StrictModel):
    """One observation term: `size` numbers named `name`, read from `group`.

    The network sees ((raw * scale + offset) - mean) / std, element by element, where raw carries
    `unit` and mean/std are the normaliser.
    """

    name: str
    group: str
    size: Annotated[int, Field(ge=1)]
    unit: str
    scale: Vector
    offset: Vector
    mean: Vector
    std: tuple[Positive, ...]

    @model_validator(mode="after")
    def _sizes(self) -> "TermSpec":
        for key in ("scale", "offset", "mean", "std"):
            if len(getattr(self, key)) != self.size:
                raise ValueError(
                    f"term {self.name}: {key} has {len(getattr(self, key))} numbers, "
                    f"size is {self.size}"
                )
        return self


class ActionSpec(StrictModel):
    """What the network's outputs move. Outputs are limited to [low, high] before use.

    kind `tool_delta`: adds action * scale + offset to a tool set-point (x, y, z in base, m; yaw
    about base z, rad) that stays within `reach` of the measured pose. kind `joint_target`: the
    action * scale + offset are joint positions (rad) in robot order; `reach` bounds the distance
    to the measured position. `residual_bound`: per-dimension bound of a residual, action units.
    """

    kind: Literal["tool_delta", "joint_target"]
    names: tuple[str, ...] = Field(min_length=1)
    units: tuple[str, ...]
    relative: bool
    scale: Vector
    offset: Vector
    low: Vector
    high: Vector
    reach: tuple[Positive, ...]
    residual_bound: tuple[Annotated[float, Field(ge=0, allow_inf_nan=False)], ...]

    @model_validator(mode="after")
    def _sizes(self) -> "ActionSpec":
        for key in ("units", "scale", "offset", "low", "high", "reach", "residual_bound"):
            if len(getattr(self, key)) != len(self.names):
                raise ValueError(
                    f"action: {key} has {len(getattr(self, key))} numbers for "
                    f"{len(self.names)} names"
                )
        if self.relative != (self.kind == "tool_delta"):
            raise ValueError(f"action: kind {self.kind} contradicts relative={self.relative}")
        for name, low, high in zip(self.names, self.low, self.high, strict=True):
            if not (low < high):
                raise ValueError(f"action {name}: low {low} is not below high {high}")
        return self


class RewardConvention(StrictModel):
    """How returns are counted; a trainer refuses data of another convention."""

    success: float
    failure: float
    discount: Annotated[float, Field(gt=0, le=1)]
    timeout_is_terminal: bool


class StartEnvelope(StrictModel):
    """Poses and speeds from which the policy may take over; outside, the hand-over is refused."""

    position_min_rad: Vector
    position_max_rad: Vector
    speed_max_rad_s: Vector


class TrainingStatistics(StrictModel):
    """Distribution of the raw features seen in training, in network input order."""

    samples: int
    minimum: Vector
    maximum: Vector
    mean: Vector
    std: Vector


class Provenance(StrictModel):
    """Where the weights come from."""

    command: str
    created_utc: str
    seed: int
    demonstrations: int
    versions: dict[str, str]


class ParityVectors(StrictModel):
    """Inputs with the outputs that the training framework gave for them."""

    inputs: tuple[Vector, ...] = Field(min_length=1)
    outputs: tuple[Vector, ...] = Field(min_length=1)


class PolicyInterface(StrictModel):
    """What the loop must know of whoever acts as the base: a network, or a scripted expert."""

    name: str
    robot: str
    joint_names: tuple[str, ...]
    rate_hz: Positive
    action: ActionSpec
    start: StartEnvelope

    @model_validator(mode="after")
    def _fits_joints(self) -> "PolicyInterface":
        joints = len(self.joint_names)
        for key in ("position_min_rad", "position_max_rad", "speed_max_rad_s"):
            if len(getattr(self.start, key)) != joints:
                raise ValueError(f"start.{key} has not one number for each of {joints} joints")
        if self.action.kind == "joint_target" and len(self.action.names) != joints:
            raise ValueError(
                f"action: joint_target has {len(self.action.names)} names for {joints} joints"
            )
        return self


class PolicyContract(PolicyInterface):
    """Everything that a policy file must say about itself."""

    format_version: Literal[1]
    terms: tuple[TermSpec, ...] = Field(min_length=1)
    reward: RewardConvention
    statistics: TrainingStatistics
    provenance: Provenance
    parity: ParityVectors

    @property
    def feature_count(self) -> int:
        """How many numbers enter the network."""
        return sum(term.size for term in self.terms)

    @model_validator(mode="after")
    def _fits_features(self) -> "PolicyContract":
        for key in ("minimum", "maximum", "mean", "std"):
            if len(getattr(self.statistics, key)) != self.feature_count:
                raise ValueError(f"statistics.{key}: not {self.feature_count} numbers")
        if len(self.parity.inputs) != len(self.parity.outputs):
            raise ValueError("parity: inputs and outputs differ in number")
        return self
