"""Demonstrations on disk: what an expert saw and did, and what the numbers mean. numpy only.

A file `NAME.npz` holds, for every policy step, the raw features (before scale and normaliser),
the expert's action, the episode, and the measured joints; and, as JSON text, the
`DemonstrationSpec` under which they were collected. The same JSON stands beside it in a file of
its own, so that a trainer can be told what it is to train and refuse data that is not that.
"""

import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, ValidationError

from policies.terms import TERMS
from runtime.errors import ContractError
from runtime.layout import Floats, Ints
from runtime.policy_contract import ActionSpec, RewardConvention
from runtime.robot_spec import Positive, StrictModel

_SPEC_KEY = "spec_json"
_ARRAYS = ("features", "actions", "episode", "q", "dq")
_ACTION_TOLERANCE = 1e-9


class TermShape(StrictModel):
    """One observation term as collected: its registered name and how many numbers it had."""

    name: str
    size: Annotated[int, Field(ge=1)]


class StartMargins(StrictModel):
    """How far beyond the demonstrated poses and starting speeds the policy may take over."""

    position_rad: Positive
    speed_rad_s: Positive


class DemonstrationSpec(StrictModel):
    """What a set of demonstrations says of itself; the contract of the trained policy follows."""

    format_version: Literal[1]
    name: str
    robot: str
    joint_names: tuple[str, ...] = Field(min_length=1)
    rate_hz: Positive
    terms: tuple[TermShape, ...] = Field(min_length=1)
    action: ActionSpec
    reward: RewardConvention
    start: StartMargins

    @property
    def feature_count(self) -> int:
        """How many numbers one observation has."""
        return sum(term.size for term in self.terms)

    def widths(self) -> dict[str, int]:
        """Return the columns of every two-dimensional array."""
        joints = len(self.joint_names)
        return {
            "features": self.feature_count,
            "actions": len(self.action.names),
            "q": joints,
            "dq": joints,
        }


@dataclass(frozen=True)
class Demonstrations:
    """Checked demonstrations, one row a policy step.

    features [rows, features] raw; actions [rows, action] in action units; episode [rows], rows
    of an episode stand together; q [rows, joints] rad; dq [rows, joints] rad/s.
    """

    spec: DemonstrationSpec
    features: Floats
    actions: Floats
    episode: Ints
    q: Floats
    dq: Floats

    @property
    def episodes(self) -> Ints:
        """The episodes' numbers, each once."""
        return np.unique(self.episode)

    @property
    def starts(self) -> Ints:
        """The rows at which an episode begins."""
        return np.flatnonzero(np.diff(self.episode, prepend=self.episode[0] - 1)).astype(np.int64)


class DemonstrationWriter:
    """Collects rows in memory and saves them with their spec."""

    def __init__(self, spec: DemonstrationSpec) -> None:
        self._spec = spec
        self._rows: dict[str, list[Any]] = {name: [] for name in _ARRAYS}

    def __len__(self) -> int:
        return len(self._rows["episode"])

    def add(self, features: Floats, action: Floats, episode: int, q: Floats, dq: Floats) -> None:
        """Copy one policy step; shapes [features], [action], [joints], [joints].

        Raises:
            ContractError: a size differs from the spec's.
        """
        row = {"features": features, "actions": action, "q": q, "dq": dq}
        for name, width in self._spec.widths().items():
            if row[name].shape != (width,):
                raise ContractError(
                    f"demonstrations: {name} of shape {row[name].shape}; the spec says ({width},)"
                )
            self._rows[name].append(np.array(row[name], dtype=np.float64))
        self._rows["episode"].append(episode)

    def drop_episode(self, episode: int) -> int:
        """Forget the rows of an episode (a failed demonstration) and return how many they were."""
        keep = [number != episode for number in self._rows["episode"]]
        for name, rows in self._rows.items():
            self._rows[name] = [row for row, kept in zip(rows, keep, strict=True) if kept]
        return keep.count(False)

    def save(self, file: Path) -> Path:
        """Check the rows, write `file` (.npz) and the spec beside it, and return the spec's path.

        Raises:
            ContractError: the rows are empty, not finite or outside the action's limits.
        """
        arrays: dict[str, NDArray[Any]] = {
            name: np.array(rows, dtype=np.int64 if name == "episode" else np.float64)
            for name, rows in self._rows.items()
        }
        _check_arrays(self._spec, arrays, str(file))
        text = self._spec.model_dump_json(indent=2)
        content: dict[str, Any] = {**arrays, _SPEC_KEY: np.array(text)}
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("wb") as stream:
            np.savez_compressed(stream, allow_pickle=False, **content)
        beside = file.with_suffix(".json")
        beside.write_text(text + "\n", encoding="utf-8")
        return beside


def load_spec(file: Path) -> DemonstrationSpec:
    """Read a spec file.

    Raises:
        ContractError: it is missing or cannot be used; names key and value.
    """
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ContractError(f"{file} cannot be read as a demonstration spec: {error}") from None
    return _parse_spec(text, str(file))


def load_demonstrations(file: Path, wanted: DemonstrationSpec) -> Demonstrations:
    """Read demonstrations and compare what they say of themselves with what is wanted.

    Raises:
        ContractError: the file is missing or damaged, a number is not finite, a size differs, or
            its own spec (reward convention, terms, action, robot, rate) is not `wanted`.
    """
    source = str(file)
    try:
        # opened here: np.load leaves the file open when it refuses it
        with file.open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
            missing = [name for name in (*_ARRAYS, _SPEC_KEY) if name not in archive]
            if missing:
                raise ContractError(f"{source} lacks the arrays {', '.join(missing)}")
            text = str(archive[_SPEC_KEY])
            arrays = {name: archive[name] for name in _ARRAYS}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zipfile.LargeZipFile) as error:
        raise ContractError(f"{source} cannot be read as demonstrations: {error}") from None
    _compare_specs(_parse_spec(text, source), wanted, source)
    _check_arrays(wanted, arrays, source)
    return Demonstrations(spec=wanted, **arrays)


def _parse_spec(text: str, source: str) -> DemonstrationSpec:
    try:
        spec = DemonstrationSpec.model_validate_json(text, strict=True)
    except ValidationError as error:
        details = "; ".join(
            f"{'.'.join(str(part) for part in detail['loc']) or 'spec'}: {detail['msg']}"
            for detail in error.errors()
        )
        raise ContractError(f"{source}: the demonstration spec cannot be used: {details}") from None
    unknown = [term.name for term in spec.terms if term.name not in TERMS]
    if unknown:
        raise ContractError(
            f"{source}: unknown terms {', '.join(unknown)}; known terms: {', '.join(TERMS)}"
        )
    return spec


def _compare_specs(found: DemonstrationSpec, wanted: DemonstrationSpec, source: str) -> None:
    for key in ("reward", "terms", "action", "robot", "joint_names", "rate_hz"):
        if getattr(found, key) != getattr(wanted, key):
            raise ContractError(
                f"{source}: {key}: the demonstrations say {getattr(found, key)!r}, wanted is "
                f"{getattr(wanted, key)!r}. Collect demonstrations that fit"
            )


def _check_arrays(spec: DemonstrationSpec, arrays: dict[str, Any], source: str) -> None:
    rows = len(arrays["episode"]) if arrays["episode"].ndim == 1 else 0
    if rows == 0:
        raise ContractError(f"{source} holds no demonstration rows")
    if arrays["episode"].dtype != np.int64:
        raise ContractError(f"{source}: episode is {arrays['episode'].dtype}, must be int64")
    for name, width in spec.widths().items():
        array = arrays[name]
        if array.dtype != np.float64 or array.shape != (rows, width):
            raise ContractError(
                f"{source}: {name} is {array.dtype} of shape {array.shape}; wanted is float64 "
                f"({rows}, {width})"
            )
        if not np.isfinite(array).all():
            row, column = np.argwhere(~np.isfinite(array))[0]
            raise ContractError(f"{source}: {name}[{row}, {column}] is {array[row, column]}")
    if np.any(np.diff(arrays["episode"]) < 0):
        raise ContractError(f"{source}: episode numbers go backwards; rows must stand in order")
    _check_action_limits(spec.action, arrays["actions"], source)


def _check_action_limits(action: ActionSpec, actions: Floats, source: str) -> None:
    for name, low, high, column in zip(
        action.names, action.low, action.high, actions.T, strict=True
    ):
        for value in (float(column.min()), float(column.max())):
            if not (low - _ACTION_TOLERANCE <= value <= high + _ACTION_TOLERANCE):
                raise ContractError(
                    f"{source}: action {name} is {value} in a demonstration; allowed is "
                    f"{low} to {high}"
                )
