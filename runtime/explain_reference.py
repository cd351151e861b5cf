"""The commanded reference around one tick, as finite differences of what was recorded."""

from dataclasses import dataclass

import numpy as np

from runtime.layout import Floats
from runtime.records import Record

_ORDER = 3  # jerk is the third difference

DIFFERENCES = "finite differences of this command and the three before it"
BEGAN = "the reference began at rest, {} before this one; before that it stood there"
FIRST = "the reference began at rest with this very command"
GAP = "the ticks before are missing, so velocity and acceleration are as this tick recorded them"
NO_COMMAND = "nothing was commanded: the reference is the measured pose and does not move"


@dataclass(frozen=True)
class History:
    """A tick's velocity (rad/s), acceleration (rad/s^2) and jerk (rad/s^3), each [joints], NaN
    where unknown, and in words how they are known."""

    velocity_rad_s: Floats
    acceleration_rad_s2: Floats
    jerk_rad_s3: Floats
    words: str


def reference_before(record: Record, index: int) -> History:
    """Return the differences v = (q_k - q_k-1)/dt and so on of the commands up to `index`.

    A reference begins at rest, where the robot was measured, with the first command after a tick
    without one; so before that the same place stands for the commands that never were.
    """
    joints = len(record.header.joints)
    if not record.scalar("command_sent")[index]:
        still = np.zeros(joints)
        return History(still, still, still, NO_COMMAND)
    places = [record.ticks["q_applied"][index]]
    words = DIFFERENCES
    at = index
    while len(places) <= _ORDER:
        if at == 0 or record.scalar("tick")[at - 1] != record.scalar("tick")[at] - 1:
            return _as_recorded(record, index)
        if not record.scalar("command_sent")[at - 1]:
            words = _began(index - at)
            places += [record.ticks["q"][at]] * (_ORDER + 1 - len(places))
            break
        at -= 1
        places.append(record.ticks["q_applied"][at])
    return _differences(np.array(places[::-1]), 1.0 / record.header.servo_hz, words)


def _began(ticks: int) -> str:
    if ticks == 0:
        return FIRST
    return BEGAN.format("one tick" if ticks == 1 else f"{ticks} ticks")


def _differences(places: Floats, dt_s: float, words: str) -> History:
    velocity = np.diff(places, axis=0) / dt_s
    acceleration = np.diff(velocity, axis=0) / dt_s
    jerk = np.diff(acceleration, axis=0) / dt_s
    return History(velocity[-1], acceleration[-1], jerk[-1], words)


def _as_recorded(record: Record, index: int) -> History:
    row = record.ticks[index]
    unknown = np.full(len(record.header.joints), np.nan)
    return History(row["dq_applied"].copy(), row["ddq_applied"].copy(), unknown, GAP)
