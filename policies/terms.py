"""Observation terms: what a policy may see, each a class that copies numbers out of a record.

A term knows its name, the observation group whose age decides whether it may be trusted, its
size, its unit and the fixed factor that brings it near one before the normaliser. A new term is
one decorated class here. Numbers that the tick itself makes (set-point, previous action, time
left) belong to the group `joints`, which every robot has.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from runtime.errors import ContractError
from runtime.layout import Floats
from runtime.messages import GroupSize, Sizes, TickRecord

ActionKind = Literal["tool_delta", "joint_target"]
Views = Mapping[str, NDArray[Any]]

FINE_OFFSET_MAX_M = 0.010
_JOINTS = "joints"
_GROUP_PREFIX = "observation_"
_POSITION, _YAW = slice(0, 3), slice(3, 4)
# stands for the measured tool pose [x, y, z, (yaw)] in base
_TOOL = "(tool)"


class Term(ABC):
    """One observation term, bound to the views of one record.

    `sources`: the record's fields that it reads, each cut to `part`. `width`: how many numbers
    it has at most; a shorter group gives fewer, but never less than `least` in the group.
    `scale` multiplies the raw value (in `unit`) before the normaliser; the offset is zero.
    `kinds`: the action kinds whose set-point gives the term a meaning.
    """

    name: ClassVar[str]
    unit: ClassVar[str]
    sources: ClassVar[tuple[str, ...]]
    group: ClassVar[str] = _JOINTS
    part: ClassVar[slice] = slice(None)
    width: ClassVar[int | Literal["joints", "action"]] = 1
    least: ClassVar[int] = 1
    scale: ClassVar[float] = 1.0
    kinds: ClassVar[tuple[ActionKind, ...]] = ("tool_delta", "joint_target")

    def __init__(self, views: Views, kind: ActionKind) -> None:
        tool = "setpoint_measured" if kind == "tool_delta" else "tool_position_in_base_m"
        cut = [views[tool if name == _TOOL else name][self.part] for name in self.sources]
        count = min(len(source) for source in cut)
        self._sources = tuple(source[:count] for source in cut)

    @classmethod
    def size(cls, sizes: Sizes) -> int:
        """Return how many numbers the term has.

        Raises:
            ContractError: the term's group is missing or too short.
        """
        wanted = sizes.named()[cls.width] if isinstance(cls.width, str) else cls.width
        if cls.group == _JOINTS:
            return wanted
        found = {group.name: group.size for group in sizes.groups}
        if cls.group not in found:
            raise ContractError(
                f"term {cls.name} reads group {cls.group!r}, which is not configured; configured: "
                f"{', '.join(sizes.group_names)}. Add it under observations.groups"
            )
        if not (found[cls.group] >= cls.least):
            raise ContractError(
                f"term {cls.name} needs at least {cls.least} numbers in group {cls.group}, which "
                f"has {found[cls.group]}"
            )
        return min(wanted, found[cls.group])

    @abstractmethod
    def write(self, out: Floats) -> None:
        """Write the raw value (shape [size], unit `unit`) into `out`."""


TERMS: dict[str, type[Term]] = {}


def _register(term: type[Term]) -> type[Term]:
    TERMS[term.name] = term
    return term


def term_named(name: str, kind: ActionKind) -> type[Term]:
    """Return the term of that name.

    Raises:
        ContractError: there is none (the message lists those that exist), or it has no meaning
            for the action kind.
    """
    if name not in TERMS:
        raise ContractError(f"term {name!r} is unknown; known terms: {', '.join(TERMS)}")
    term = TERMS[name]
    if kind not in term.kinds:
        raise ContractError(
            f"term {name} has no meaning for action kind {kind}; it needs {', '.join(term.kinds)}"
        )
    return term


def sizes_of(record: TickRecord) -> Sizes:
    """Return the sizes that a record was laid out with."""
    groups = tuple(
        GroupSize(name.removeprefix(_GROUP_PREFIX), len(view))
        for name, view in record.view.items()
        if name.startswith(_GROUP_PREFIX)
    )
    return Sizes(len(record.q), len(record.action), len(record.setpoint), groups)


class _Copied(Term):
    """A term that is its one source."""

    def write(self, out: Floats) -> None:
        """Copy it."""
        out[:] = self._sources[0]


class _Difference(Term):
    """A term that is its first source minus its second."""

    def write(self, out: Floats) -> None:
        """Subtract. Copied first: numpy computes slowly on a record's unaligned views."""
        left, right = self._sources
        out[:] = left
        out -= right


class _YawDifference(Term):
    """A term that is the angle from its second source to its first, in [-pi, pi]."""

    unit = "rad"
    part = _YAW
    kinds = ("tool_delta",)

    def write(self, out: Floats) -> None:
        """Subtract and wrap; what is not finite becomes NaN."""
        left, right = self._sources
        angle_rad = left.item() - right.item()
        out[0] = math.remainder(angle_rad, math.tau) if math.isfinite(angle_rad) else math.nan


@_register
class GoalOffset(_Difference):
    """Goal minus tool, position in base: as many coordinates as the goal has, at most three."""

    name = "goal_offset"
    group = "task"
    unit = "m"
    sources = ("observation_task", _TOOL)
    part = _POSITION
    width = 3
    scale = 10.0


@_register
class GoalOffsetFine(GoalOffset):
    """Goal minus tool, each coordinate limited to +-FINE_OFFSET_MAX_M: resolution at the end."""

    name = "goal_offset_fine"
    scale = 1.0 / FINE_OFFSET_MAX_M

    def write(self, out: Floats) -> None:
        """Subtract and limit; minimum and maximum let NaN through."""
        super().write(out)
        np.minimum(out, FINE_OFFSET_MAX_M, out=out)
        np.maximum(out, -FINE_OFFSET_MAX_M, out=out)


@_register
class GoalYawError(_YawDifference):
    """Goal yaw minus measured tool yaw."""

    name = "goal_yaw_error"
    group = "task"
    sources = ("observation_task", "setpoint_measured")
    least = 4
    scale = 4.0


@_register
class GoalPosition(_Copied):
    """The goal's position in base: as many coordinates as the goal has, at most three."""

    name = "goal_position"
    group = "task"
    unit = "m"
    sources = ("observation_task",)
    part = _POSITION
    width = 3


@_register
class GoalYaw(_Copied):
    """The goal's yaw in base."""

    name = "goal_yaw"
    group = "task"
    unit = "rad"
    sources = ("observation_task",)
    part = _YAW
    least = 4


@_register
class ToolLag(_Difference):
    """Tool set-point minus measured tool position, in base."""

    name = "tool_lag"
    unit = "m"
    sources = ("setpoint", "setpoint_measured")
    part = _POSITION
    width = 3
    scale = 100.0
    kinds = ("tool_delta",)


@_register
class ToolYawLag(_YawDifference):
    """Tool set-point yaw minus measured tool yaw."""

    name = "tool_yaw_lag"
    sources = ("setpoint", "setpoint_measured")
    scale = 10.0


@_register
class ToolYaw(_Copied):
    """Measured tool yaw in base."""

    name = "tool_yaw"
    unit = "rad"
    sources = ("setpoint_measured",)
    part = _YAW
    kinds = ("tool_delta",)


@_register
class ToolPosition(_Copied):
    """Measured tool position in base."""

    name = "tool_position"
    unit = "m"
    sources = ("tool_position_in_base_m",)
    width = 3


@_register
class JointLag(_Difference):
    """Joint set-point minus measured joint positions."""

    name = "joint_lag"
    unit = "rad"
    sources = ("setpoint", "setpoint_measured")
    width = "joints"
    scale = 10.0
    kinds = ("joint_target",)


@_register
class JointPositions(_Copied):
    """Measured joint positions."""

    name = "joint_positions"
    unit = "rad"
    sources = ("q",)
    width = "joints"


@_register
class JointVelocities(_Copied):
    """Measured joint velocities."""

    name = "joint_velocities"
    unit = "rad/s"
    sources = ("dq",)
    width = "joints"


@_register
class Force(_Copied):
    """Force at the tool; whoever delivers the group tares it, so that the term keeps no state."""

    name = "force"
    group = "force"
    unit = "N"
    sources = ("observation_force",)
    part = _POSITION
    width = 3
    least = 3
    scale = 0.05


@_register
class PreviousAction(_Copied):
    """The action that moves the set-point now: base plus what the residual was granted."""

    name = "previous_action"
    unit = "1"
    sources = ("action",)
    width = "action"


@_register
class TimeLeft(_Copied):
    """Share of the episode's steps left."""

    name = "time_left"
    unit = "1"
    sources = ("time_left",)
