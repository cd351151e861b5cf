"""Whether a joint measurement is a place that the arm can be at, and can have reached since.

What is implausible is not used: whoever needs a number gets the last plausible one. A place that
was refused once is compared with the last plausible one for ever, as if no time had passed, so that
an encoder that lost its zero never talks its way back in; a person who re-arms accepts the place.
"""

from collections.abc import Sequence
from typing import Protocol

import msgspec

from runtime.clock import NS_PER_S

# Of the manufacturer's velocity. A push that an arm may well meet is no error of measurement but
# the joint speed guard's to judge: 320 N on a simulated seven-joint arm's tool for 0.4 s make 2.1
# times its limit. A blow that makes more counts as both.
SPEED_FACTOR = 3.0
# What a sample may be off without being wrong: several encoder steps, or one period's jitter.
JUMP_TOLERANCE_RAD = 0.01
# Beyond the manufacturer's range: no end stop gives way that far.
RANGE_TOLERANCE_RAD = 0.2


class JointRange(Protocol):
    """One joint's name and the manufacturer's limits; robot_spec.JointSpec is one."""

    @property
    def name(self) -> str:
        """What people call it."""
        ...

    @property
    def position_min_rad(self) -> float:
        """The lower end of its range."""
        ...

    @property
    def position_max_rad(self) -> float:
        """The upper end of its range."""
        ...

    @property
    def velocity_max_rad_s(self) -> float:
        """The fastest that it can go by itself."""
        ...


class PlaceState(msgspec.Struct):
    """When the last sample was judged, on the device's clock and on ours.

    `known`: there is a place to compare with. `refused`: the last sample was not plausible.
    """

    known: bool = False
    refused: bool = False
    stamp_ns: int = 0
    received_ns: int = 0


class Plausibility:
    """Judges joint measurements one after the other."""

    def __init__(self, joints: Sequence[JointRange]) -> None:
        self._names = [joint.name for joint in joints]
        self._low = [joint.position_min_rad - RANGE_TOLERANCE_RAD for joint in joints]
        self._high = [joint.position_max_rad + RANGE_TOLERANCE_RAD for joint in joints]
        self._fastest = [joint.velocity_max_rad_s * SPEED_FACTOR for joint in joints]

    def place_refusal(
        self,
        q: Sequence[float],
        last_q: Sequence[float],
        stamp_ns: int,
        received_ns: int,
        state: PlaceState,
    ) -> str:
        """Return why finite `q` (rad) is no place to be, or nothing; `state` then knows of it.

        `last_q`: the last plausible place (rad). The time that it had is the longer of what the two
        clocks say: a device that starts again counts from zero.
        """
        elapsed_ns = max(stamp_ns - state.stamp_ns, received_ns - state.received_ns, 0)
        refusal = self._out_of_range(q)
        if not refusal and state.known:
            refusal = self._jumped(q, last_q, elapsed_ns / NS_PER_S)
        state.stamp_ns, state.received_ns = stamp_ns, received_ns
        state.refused = bool(refusal)
        state.known = state.known or not refusal
        return refusal

    def speed_refusal(self, dq: Sequence[float]) -> str:
        """Return why the arm cannot be so fast, or nothing."""
        for name, speed, fastest in zip(self._names, dq, self._fastest, strict=True):
            if not (abs(speed) <= fastest):
                return (
                    f"{name} is said to move at {speed:.4f} rad/s; more than {fastest:.4f} rad/s "
                    "is no motion of it"
                )
        return ""

    def _out_of_range(self, q: Sequence[float]) -> str:
        for name, at, low, high in zip(self._names, q, self._low, self._high, strict=True):
            if not (low <= at <= high):
                return (
                    f"{name} is said to be at {at:.4f} rad; outside [{low:.4f}, {high:.4f}] rad "
                    "is no place of it"
                )
        return ""

    def _jumped(self, q: Sequence[float], last_q: Sequence[float], elapsed_s: float) -> str:
        for name, at, before, fastest in zip(self._names, q, last_q, self._fastest, strict=True):
            reach = fastest * elapsed_s + JUMP_TOLERANCE_RAD
            if not (abs(at - before) <= reach):
                return (
                    f"{name} is said to have gone from {before:.4f} to {at:.4f} rad in "
                    f"{elapsed_s:.4f} s; it can go {reach:.4f} rad. If that is where it is, REARM"
                )
        return ""
