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
from runtime.geometry_spec import SHAPES, GeometryConfig, Metres, Vector3
from runtime.governor_spec import GovernorConfig
from runtime.residual_spec import GateConfig, ResidualConfig
from runtime.robot_spec import Finite, Name, Positive, RobotSpec, Share, SmallAngle, StrictModel
from runtime.units import metres, newtons
from runtime.zmq_spec import ZmqConfig

Model = TypeVar("Model", bound=BaseModel)

_AXES = "xyz"
_FORCE_SIZE = 3
SpeedMetres = Annotated[Positive, metres(20.0)]


class ControlConfig(StrictModel):
    """Rates and the trajectory generator between policy steps.

    `blend_s`: a set-point is reached no sooner than this (smooth flow from step to step).
    `motion_share`: of the command limits, what the generator may use. `pacing`: ticks come by our
    clock, or whenever the robot has measured something (a link that can wait for it).
    """

    pacing: Literal["clock", "robot"]
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

    name: Name
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
    retract_to_m: Metres | None = None
    speed_m_s: SpeedMetres
    settle_s: Positive
    predicates: tuple[PredicateConfig, ...] = ()


class BoxConfig(StrictModel):
    """An axis-aligned box in the robot's base frame."""

    low_m: Vector3
    high_m: Vector3

    @model_validator(mode="after")
    def _not_empty(self) -> "BoxConfig":
        if not all(low < high for low, high in zip(self.low_m, self.high_m, strict=True)):
            raise ValueError(
                f"box low_m {self.low_m} is not below high_m {self.high_m}: it holds nothing; "
                "write the smaller coordinate of each axis in low_m"
            )
        return self


class ContactForceConfig(StrictModel):
    """The largest contact force, judged behind a low-pass of `cutoff_hz`; `group` holds its x, y, z
    (N) as the first three numbers."""

    group: str
    max_n: Annotated[Positive, newtons(2000.0)]
    cutoff_hz: Positive


class GuardsConfig(StrictModel):
    """Guards on what is measured. All are required; `contact_force: null` says in words that this
    robot feels no force. Shares are of the manufacturer's limits."""

    torque_share: Share
    tracking_error_rad: SmallAngle
    joint_speed_share: Share
    tool_speed_m_s: SpeedMetres
    elbow_speed_m_s: SpeedMetres
    workspace: BoxConfig
    contact_force: ContactForceConfig | None


class DeadlineConfig(StrictModel):
    """How many skipped servo deadlines per second are too many."""

    max_missed_per_s: Annotated[int, Field(ge=1)]


class RealtimeConfig(StrictModel):
    """Scheduling of the control process. `require`: refuse to start without it; `core_wake_us`:
    how long a sleeping core may at most take to wake, 0: cores do not sleep while we run (costs
    power), null: as the system has it."""

    priority: Annotated[int, Field(ge=1, le=99)]
    cpu: Annotated[int, Field(ge=0)] | None = None
    lock_memory: bool
    require: bool
    spin_us: Annotated[float, Field(ge=0, le=1000)]
    core_wake_us: Annotated[int, Field(ge=0, le=1000)] | None = None


class RecorderConfig(StrictModel):
    """Where records go, how segments rotate and how much is kept."""

    folder: str
    segment_mb: Positive
    segment_s: Positive
    retention_mb: Positive
    flush_ms: Annotated[float, Field(ge=10, le=200)]
    lost_after_s: Positive


class Config(StrictModel):
    """The whole of config.yaml. `link` names the function that opens the robot (LinkFactory).

    Without `residual` the base runs alone; without `gate` no snapshot reaches it, and with it
    `governor` says how authority is earned; `learner` is checked by policies/learner. `zmq`: for
    the link to a robot over ZeroMQ.
    """

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
    residual: ResidualConfig | None = None
    gate: GateConfig | None = None
    governor: GovernorConfig | None = None
    learner: dict[str, Any] | None = None
    zmq: ZmqConfig | None = None
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
            _check_predicate(f"episode.predicates[{number}]", predicate, sizes)
        _check_force(self.guards.contact_force, sizes, self.control.servo_hz)
        _check_workspace(self.guards.workspace, self.geometry.margin_m)
        _check_validity(self.control)
        _check_learning(self)
        return self


def _check_predicate(where: str, predicate: PredicateConfig, sizes: dict[str, int]) -> None:
    if predicate.group not in sizes:
        raise ValueError(
            f"{where}.group: {predicate.group!r} is no configured group; "
            f"allowed: {', '.join(sizes)}"
        )
    if not (predicate.index < sizes[predicate.group]):
        raise ValueError(
            f"{where}.index: {predicate.index}; group {predicate.group} has "
            f"{sizes[predicate.group]} numbers"
        )


def _check_force(
    guard: ContactForceConfig | None, sizes: dict[str, int], servo_hz: float
) -> None:
    """Refuse a contact force guard that no group feeds, or whose filter the servo cannot run."""
    if guard is None:
        return
    where = "guards.contact_force"
    fits = [name for name, size in sizes.items() if size >= _FORCE_SIZE]
    way_out = f"allowed: {', '.join(fits) or 'none is there'}; or contact_force: null"
    if guard.group not in sizes:
        raise ValueError(f"{where}.group: {guard.group!r} is no configured group; {way_out}")
    if guard.group not in fits:
        raise ValueError(
            f"{where}.group: {guard.group!r} has {sizes[guard.group]} numbers, a force has "
            f"{_FORCE_SIZE}; {way_out}"
        )
    if not (2.0 * guard.cutoff_hz < servo_hz):
        raise ValueError(
            f"{where}.cutoff_hz: {guard.cutoff_hz:g} is not below half of control.servo_hz "
            f"{servo_hz:g}: no low-pass can be run there; allowed: below {0.5 * servo_hz:g}"
        )


def _check_workspace(box: BoxConfig, margin_m: float) -> None:
    """Refuse a workspace in which the margin leaves no place for the tool."""
    for axis, low, high in zip(_AXES, box.low_m, box.high_m, strict=True):
        if not (high - low > 2.0 * margin_m):
            raise ValueError(
                f"guards.workspace: {axis} is {high - low:.4g} m wide, and geometry.margin_m "
                f"{margin_m:g} on both sides leaves nothing of it; allowed: more than "
                f"{2.0 * margin_m:g} m, or a smaller margin"
            )


def _check_validity(control: ControlConfig) -> None:
    """Refuse commands that would expire before the next can arrive."""
    period_s = 1.0 / control.servo_hz
    if not (control.command_valid_s > period_s):
        raise ValueError(
            f"control.command_valid_s: {control.command_valid_s:g} s is not above the servo "
            f"period {period_s:g} s: every command would expire before the next; allowed: more "
            "than that, ten periods are usual"
        )


def _check_learning(config: "Config") -> None:
    """Refuse a gate without a residual to guard or a governor to hold it, and what needs a gate."""
    for block, needs in (
        ("gate", "residual"),
        ("gate", "governor"),
        ("governor", "gate"),
        ("learner", "gate"),
    ):
        if getattr(config, block) is not None and getattr(config, needs) is None:
            raise ValueError(f"{block}: needs the block `{needs}`; add it, or remove `{block}`")


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
    # of a union, pydantic puts the chosen member into the path; nobody wrote it there
    parts = [str(part) for part in detail["loc"] if part not in SHAPES]
    kind = detail["type"]
    if kind in ("union_tag_not_found", "union_tag_invalid"):
        parts.append("shape")
    key = ".".join(parts)
    if kind in ("missing", "union_tag_not_found"):
        return f"{key}: is missing and has no default; add it"
    if kind == "extra_forbidden":
        return f"{key}: unknown key; check the spelling"
    if kind == "union_tag_invalid":
        return f"{key}: {detail['ctx']['tag']!r} is no shape; allowed: {', '.join(SHAPES)}"
    value, message = detail["input"], str(detail["msg"]).removeprefix("Value error, ")
    said = isinstance(value, dict) or message.startswith(repr(value))
    where = f"{key}: " if key else ""
    return where + message + ("" if said else f" (it is {value!r})")


def read_yaml(path: Path) -> Any:
    """Read one YAML file as plain data.

    Raises:
        ConfigError: the file is missing, not YAML, or a key stands twice.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not readable as YAML: {error}") from None
    return parse_yaml(text, str(path))


def parse_yaml(text: str, source: str) -> Any:
    """Return one YAML text as plain data.

    Raises:
        ConfigError: it is not YAML, or a key stands twice.
    """
    try:
        data = YAML(typ="safe", pure=True).load(text)
    except DuplicateKeyError as error:
        raise ConfigError(f"{source}: a key stands twice: {error.problem}") from None
    except YAMLError as error:
        raise ConfigError(f"{source}: not readable as YAML: {error}") from None
    if not isinstance(data, dict):
        raise ConfigError(f"{source}: must be a mapping of keys, is {type(data).__name__}")
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
