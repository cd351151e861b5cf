"""The config file: strict models and the only code that loads files for the runtime.

Unknown keys, duplicate keys, inf/nan, loosened limits and missing limits are errors that name
key, value and what is allowed. The `sim` block is opaque here: sims/ checks it.
"""

from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, Field, ValidationError, model_validator
from ruamel.yaml import YAML
from ruamel.yaml.constructor import DuplicateKeyError
from ruamel.yaml.error import YAMLError

from runtime.errors import ConfigError
from runtime.faults import tighten
from runtime.geometry_spec import GeometryConfig, Vector3
from runtime.robot_spec import Finite, Positive, RobotSpec, Share, StrictModel

Model = TypeVar("Model", bound=BaseModel)


class ControlConfig(StrictModel):
    """Rates and the trajectory generator between policy steps.

    `blend_s`: a set-point is reached no sooner than this (smooth flow from step to step).
    `motion_share`: of the command limits, what the generator may use.
    """

    servo_hz: Annotated[float, Field(ge=100, le=1000)]
    command_valid_s: Positive
    blend_s: Positive
    motion_share: Share
    homing_speed_share: Share


class BaseConfig(StrictModel):
    """The base policy file, how old its last action may be, and how long inference may take.

    `max_unfamiliarity`: how far an observation may be from those of its training; 1 is the edge.
    """

    file: str
    max_age_s: Positive
    max_inference_s: Positive
    max_unfamiliarity: Positive


class GroupConfig(StrictModel):
    """One observation group besides `joints`."""

    name: str
    size: Annotated[int, Field(ge=1)]
    max_age_s: Positive


class ObservationsConfig(StrictModel):
    """Age budgets; `groups` in the order of the record."""

    joints_max_age_s: Positive
    link_lost_after_s: Positive
    groups: tuple[GroupConfig, ...] = ()


class PredicateConfig(StrictModel):
    """Says an outcome when element `index` of `group` is above (below) `value` for `hold_s`."""

    outcome: Literal["SUCCESS", "FAILURE", "ABORT"]
    group: str
    index: Annotated[int, Field(ge=0)]
    above: Finite | None = None
    below: Finite | None = None
    hold_s: Annotated[float, Field(ge=0)]

    @model_validator(mode="after")
    def _one_side(self) -> "PredicateConfig":
        if (self.above is None) == (self.below is None):
            raise ValueError("a predicate has exactly one of `above` and `below`")
        return self


class EpisodeConfig(StrictModel):
    """Episode length and how the next start is reached.

    reset `scripted`: through the envelope, `retract_to_m` first (tool height in base, for tool
    set-points); `person`: the arm waits at rest for the signal reset_end.
    """

    steps: Annotated[int, Field(ge=1)]
    reset: Literal["scripted", "person"]
    retract_to_m: Finite | None = None
    speed_m_s: Positive
    settle_s: Positive
    predicates: tuple[PredicateConfig, ...] = ()


class BoxConfig(StrictModel):
    """An axis-aligned box in the robot's base frame."""

    low_m: Vector3
    high_m: Vector3

    @model_validator(mode="after")
    def _not_empty(self) -> "BoxConfig":
        if not all(low < high for low, high in zip(self.low_m, self.high_m, strict=True)):
            raise ValueError(f"box low_m {self.low_m} is not below high_m {self.high_m}")
        return self


class ContactForceConfig(StrictModel):
    """The largest contact force, judged behind a low-pass of `cutoff_hz`; `group` holds its x, y, z
    (N) as the first three numbers."""

    group: str
    max_n: Positive
    cutoff_hz: Positive


class GuardsConfig(StrictModel):
    """Guards on what is measured. All are required; `contact_force: null` says in words that this
    robot feels no force. Shares are of the manufacturer's limits."""

    torque_share: Share
    tracking_error_rad: Positive
    joint_speed_share: Share
    tool_speed_m_s: Positive
    elbow_speed_m_s: Positive
    workspace: BoxConfig
    contact_force: ContactForceConfig | None


class DeadlineConfig(StrictModel):
    """How many skipped servo deadlines per second are too many."""

    max_missed_per_s: Annotated[int, Field(ge=1)]


class RealtimeConfig(StrictModel):
    """Scheduling of the control process. `require`: refuse to start without it."""

    priority: Annotated[int, Field(ge=1, le=99)]
    cpu: Annotated[int, Field(ge=0)] | None = None
    lock_memory: bool
    require: bool
    spin_us: Annotated[float, Field(ge=0, le=1000)]


class RecorderConfig(StrictModel):
    """Where records go, how segments rotate and how much is kept."""

    folder: str
    segment_mb: Positive
    segment_s: Positive
    retention_mb: Positive
    flush_ms: Annotated[float, Field(ge=10, le=200)]
    lost_after_s: Positive


class Config(StrictModel):
    """The whole of config.yaml. `link` names the function that opens the robot (LinkFactory)."""

    version: Literal[1]
    robot_id: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,40}$")]
    robot: str
    control: ControlConfig
    base: BaseConfig
    observations: ObservationsConfig
    episode: EpisodeConfig
    geometry: GeometryConfig
    guards: GuardsConfig
    deadlines: DeadlineConfig
    faults: dict[str, dict[str, Any]] = {}
    realtime: RealtimeConfig
    recorder: RecorderConfig
    link: Annotated[str, Field(pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$")]
    sim: dict[str, Any] = {}

    @model_validator(mode="after")
    def _consistent(self) -> "Config":
        try:
            tighten(self.faults)
        except ConfigError as error:
            raise ValueError(str(error)) from None
        names = ["joints", *(group.name for group in self.observations.groups)]
        if len(set(names)) != len(names):
            raise ValueError(f"observations.groups: names repeat: {names}")
        sizes = {group.name: group.size for group in self.observations.groups}
        for number, predicate in enumerate(self.episode.predicates):
            if predicate.group not in sizes:
                raise ValueError(
                    f"episode.predicates[{number}].group: {predicate.group!r} is no configured "
                    f"group; allowed: {', '.join(sizes)}"
                )
            if not (predicate.index < sizes[predicate.group]):
                raise ValueError(
                    f"episode.predicates[{number}].index: {predicate.index}; group "
                    f"{predicate.group} has {sizes[predicate.group]} numbers"
                )
        return self


def parse(model: type[Model], data: Any, source: str) -> Model:
    """Check plain data against `model`.

    Raises:
        ConfigError: naming source, key, value and what is allowed.
    """
    try:
        # JSON mode: YAML lists may stand for tuples, but 1 is no bool and "1" is no number
        return model.model_validate_json(_to_json(data), strict=True)
    except ValidationError as error:
        lines = [_sentence(detail) for detail in error.errors()]
        raise ConfigError(f"{source} cannot be used:\n  " + "\n  ".join(lines)) from None


def _to_json(data: Any) -> bytes:
    import json

    # allow_nan keeps NaN and inf visible to the models, which refuse them by name
    return json.dumps(data, allow_nan=True).encode()


def _sentence(detail: Any) -> str:
    key = ".".join(str(part) for part in detail["loc"]) or "(whole file)"
    if detail["type"] == "missing":
        return f"{key}: is missing and has no default; add it"
    if detail["type"] == "extra_forbidden":
        return f"{key}: unknown key; check the spelling"
    value = detail["input"]
    shown = "" if isinstance(value, dict) else f" (it is {value!r})"
    return f"{key}: {detail['msg'].removeprefix('Value error, ')}{shown}"


def read_yaml(path: Path) -> Any:
    """Read one YAML file as plain data.

    Raises:
        ConfigError: the file is missing, not YAML, or a key stands twice.
    """
    try:
        data = YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file") from None
    except DuplicateKeyError as error:
        raise ConfigError(f"{path}: a key stands twice: {error.problem}") from None
    except (YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not readable as YAML: {error}") from None
    if not isinstance(data, dict):
        raise ConfigError(f"{path}: must be a mapping of keys, is {type(data).__name__}")
    return data


def resolve(name: str, config_file: Path) -> Path:
    """Return the file that a config names: absolute, beside the config, or in our packages.

    Raises:
        ConfigError: it is in neither place.
    """
    packages = Path(__file__).resolve().parent.parent
    candidates = [config_file.resolve().parent / name, packages / name]
    for candidate in candidates:
        if candidate.exists():
            return candidate
    tried = " and ".join(str(candidate) for candidate in dict.fromkeys(candidates))
    raise ConfigError(f"{config_file} names {name!r}, which does not exist; tried {tried}")


def load_config(path: Path) -> Config:
    """Read and check config.yaml. Raises ConfigError."""
    return parse(Config, read_yaml(path), str(path))


def load_robot(config: Config, config_file: Path) -> RobotSpec:
    """Read and check the robot spec that the config names. Raises ConfigError."""
    path = resolve(config.robot, config_file)
    return parse(RobotSpec, read_yaml(path), str(path))
