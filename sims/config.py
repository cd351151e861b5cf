"""The `sim` block of the config: physics, the peg task, and the named fields it is tried in.

A field says how a place differs from the ideal. Users write their own under `sim.fields`.
"""

from itertools import pairwise
from typing import Annotated

from pydantic import Field, model_validator

from runtime.clock import NS_PER_S, seconds_to_ns
from runtime.config import Config, parse
from runtime.errors import ConfigError
from runtime.geometry_spec import Vector3
from runtime.robot_spec import Finite, NotNegative, Positive, Share, StrictModel
from sims.bridge_config import BridgeConfig


class ContactConfig(StrictModel):
    """MuJoCo's soft contact between peg and block (its solref and solimp).

    `time_constant_s` and `damping_ratio` give the spring and damper that push the bodies apart;
    a shorter time is stiffer. `impedance_min` to `impedance_max` over `impedance_width_m` of
    penetration says how much of that the constraint enforces.
    """

    time_constant_s: Positive
    damping_ratio: Positive
    impedance_min: Share
    impedance_max: Share
    impedance_width_m: Positive


class TaskConfig(StrictModel):
    """Where the hole and the start may be, and what counts as success.

    The hole's lip centre is drawn within `hole_range_m` of `hole_center_m` (base frame), its yaw
    within `hole_yaw_range_rad`. The tip starts `start_height_m` (low, high) above the lip,
    within `start_lateral_m` of its centre and `start_yaw_rad` of its yaw. The block moves only
    while the tip is `clear_height_m` above both lips. `clearance_m` is the gap on each side.
    """

    hole_center_m: Vector3
    hole_range_m: tuple[NotNegative, NotNegative, NotNegative]
    hole_yaw_range_rad: NotNegative
    start_height_m: tuple[Positive, Positive]
    start_lateral_m: NotNegative
    start_yaw_rad: NotNegative
    clear_height_m: Positive
    clearance_m: Positive
    success_depth_m: Positive

    @model_validator(mode="after")
    def _ordered(self) -> "TaskConfig":
        low, high = self.start_height_m
        if not (low <= high):
            raise ValueError(f"start_height_m: low {low} is above high {high}")
        return self


class CalibrationPoint(StrictModel):
    """How far the camera's calibration has moved by the beginning of an episode, from 1 on."""

    episode: Annotated[int, Field(ge=0)]
    bias_m: Vector3
    bias_yaw_rad: Finite


class FieldConfig(StrictModel):
    """How one place differs from the ideal.

    `calibration_bias_*`: constant error of the perceived hole pose that nobody tells the policy.
    `perception_episode_noise_*`: standard deviation of an error drawn once an episode (per axis);
    `perception_sample_noise_*`: drawn anew for every sample. `perception_delay_s`: age of the
    image when its pose arrives. `payload_kg`: mass on the tool that gravity compensation does not
    know. `actuator_gain`: what the drives deliver of the torque they should. `action_latency_s`:
    from an accepted command to the drive. `force_noise_n`: of every force sample, per axis.
    `calibration_course`: what is added to the calibration bias over the episodes, straight between
    the points and constant beyond them: a camera that drifts, or that somebody bumps into.
    """

    calibration_bias_m: Vector3
    calibration_bias_yaw_rad: Finite
    perception_episode_noise_m: NotNegative
    perception_episode_noise_rad: NotNegative
    perception_sample_noise_m: NotNegative
    perception_sample_noise_rad: NotNegative
    perception_delay_s: NotNegative
    force_noise_n: NotNegative
    payload_kg: NotNegative
    friction: NotNegative
    actuator_gain: Positive
    action_latency_s: NotNegative
    calibration_course: tuple[CalibrationPoint, ...] = ()

    @model_validator(mode="after")
    def _onwards(self) -> "FieldConfig":
        episodes = [point.episode for point in self.calibration_course]
        if not all(before < after for before, after in pairwise(episodes)):
            raise ValueError(
                f"calibration_course: episodes {episodes}; allowed: each later than the one before"
            )
        return self


class SimConfig(StrictModel):
    """The whole `sim` block. `field` names the block of `fields` that is simulated.

    `start_offset_rad` is how far from home every joint stands when the simulation starts.
    `catch_up_s`: a real-time simulation whose caller was away longer drops the rest of the time.
    `bridge`: what only a simulation in a process of its own needs.
    """

    field: str
    seed: Annotated[int, Field(ge=0)]
    physics_step_s: Positive
    start_offset_rad: Finite
    perception_hz: Annotated[float, Field(ge=20, le=1000)]
    force_cutoff_hz: Positive
    catch_up_s: Positive
    contact: ContactConfig
    task: TaskConfig
    fields: dict[str, FieldConfig] = Field(min_length=1)
    bridge: BridgeConfig = BridgeConfig()

    @model_validator(mode="after")
    def _known_field(self) -> "SimConfig":
        self.field_block(self.field)
        return self

    def field_block(self, name: str) -> FieldConfig:
        """Return the block of `fields` called `name`; raises ValueError with those that exist."""
        if name not in self.fields:
            raise ValueError(f"sim.fields has no block {name!r}; it has: {', '.join(self.fields)}")
        return self.fields[name]


def load_sim(config: Config, field: str | None = None, seed: int | None = None) -> SimConfig:
    """Check the config's `sim` block; `field` and `seed` replace what it says.

    Raises:
        ConfigError: it is missing or wrong, or the physics step does not divide the servo period.
    """
    if not config.sim:
        raise ConfigError("sim: is missing; a simulated link needs this block in the config")
    data = dict(config.sim)
    if field is not None:
        data["field"] = field
    if seed is not None:
        data["seed"] = seed
    sim = parse(SimConfig, data, "sim")
    substeps(sim.physics_step_s, config.control.servo_hz)
    return sim


def servo_period_ns(servo_hz: float) -> int:
    """Return the servo period in nanoseconds."""
    return round(NS_PER_S / servo_hz)


def substeps(physics_step_s: float, servo_hz: float) -> int:
    """Return how many physics steps make one servo period.

    Raises:
        ConfigError: they do not make it exactly.
    """
    period_ns, step_ns = servo_period_ns(servo_hz), seconds_to_ns(physics_step_s)
    if not (step_ns > 0 and period_ns % step_ns == 0):
        raise ConfigError(
            f"sim.physics_step_s: {physics_step_s} s does not divide the servo period "
            f"{period_ns / NS_PER_S} s (control.servo_hz {servo_hz}); "
            f"allowed: the period or a whole fraction of it, such as {period_ns / 2 / NS_PER_S} s"
        )
    return period_ns // step_ns
