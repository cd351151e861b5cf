"""Guards: limits on what was measured. A push breaks them whatever we send, so a guard changes no
command; its row in the fault table decides what follows.

Every guard is a margin: 1 far from it, 0 at it, negative past it, -inf for a measurement that is
not finite, which counts as past.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple, Protocol

from runtime.robot_spec import RobotSpec

Vector3 = tuple[float, float, float]


class Box(Protocol):
    """An axis-aligned box in the robot's base frame, m."""

    @property
    def low_m(self) -> Vector3:
        """The corner with the smallest coordinates."""
        ...

    @property
    def high_m(self) -> Vector3:
        """The corner with the largest coordinates."""
        ...


class GuardSettings(Protocol):
    """What a person sets; config.GuardsConfig is one (this floor must not reach files)."""

    @property
    def torque_share(self) -> float:
        """Share of each joint's torque_max_nm at which the guard stands."""
        ...

    @property
    def tracking_error_rad(self) -> float:
        """Largest distance between command and measurement of any joint."""
        ...

    @property
    def tool_speed_m_s(self) -> float:
        """Largest speed of the tool."""
        ...

    @property
    def workspace(self) -> Box:
        """Where the tool may be."""
        ...


class GuardMargins(NamedTuple):
    """The margins, in the order of messages.GUARDS."""

    torque: float
    tracking: float
    tool_speed: float
    workspace: float


class Guards:
    """The guards of one robot and config."""

    def __init__(self, spec: RobotSpec, settings: GuardSettings) -> None:
        self._torque_max_nm = [j.torque_max_nm * settings.torque_share for j in spec.joints]
        self._tracking_max_rad = [settings.tracking_error_rad] * len(spec.joints)
        self._speed_max_m_s = [settings.tool_speed_m_s]
        box = settings.workspace
        sides = list(zip(box.low_m, box.high_m, strict=True))
        self._middle_m = [0.5 * (low + high) for low, high in sides]
        self._half_m = [0.5 * (high - low) for low, high in sides]

    def margins(
        self,
        tau_estimate_nm: Sequence[float],
        q_commanded: Sequence[float],
        q: Sequence[float],
        tool_speed_m_s: float,
        tool_position_in_base_m: Sequence[float],
    ) -> GuardMargins:
        """Return how far each guard is.

        Torque: estimate over its guard, worst joint. Tracking: command - measurement (rad), worst
        joint. Workspace: distance to the nearest wall over half the box's width across it.

        Raises:
            ValueError: the number of joints or coordinates differs.
        """
        error = [to - at for to, at in zip(q_commanded, q, strict=True)]
        place = [
            at - middle
            for at, middle in zip(tool_position_in_base_m, self._middle_m, strict=True)
        ]
        return GuardMargins(
            torque=_left(tau_estimate_nm, self._torque_max_nm),
            tracking=_left(error, self._tracking_max_rad),
            tool_speed=_left((tool_speed_m_s,), self._speed_max_m_s),
            workspace=_left(place, self._half_m),
        )


def _left(values: Sequence[float], limits: Sequence[float]) -> float:
    """Return the smallest share of a limit that its value leaves; -inf if a value is NaN."""
    worst = 0.0
    for value, limit in zip(values, limits, strict=True):
        used = abs(value) / limit
        if not (used <= worst):
            worst = used if used > worst else math.inf
    return 1.0 - worst
