"""A keyframe: everything that a tick remembers, as plain data."""

import msgspec

from runtime.envelope.envelope import EnvelopeState
from runtime.episodes import EpisodeState
from runtime.fallback import FallbackState
from runtime.fault_tracker import TrackerState
from runtime.force_filter import ForceState
from runtime.messages import Mode
from runtime.monitors import MonitorState
from runtime.motion import MotionState
from runtime.scripted import ScriptState
from runtime.setpoints import SetpointState
from runtime.trajectory import PlanState


class TickState(msgspec.Struct):
    """The tick's own memory, beside that of its parts.

    `following`: the device takes our commands. It does not before the robot is armed, nor where
    the samples that commands answer are so old that its watchdog holds the robot instead.
    """

    mode: Mode = Mode.DISARMED
    following: bool = False
    epoch: int = 0
    limited: bool = False
    in_charge_since_ns: int = 0


class Saved(msgspec.Struct):
    """A keyframe: the whole state of a ControlTick."""

    tick: TickState
    tracker: TrackerState
    monitors: MonitorState
    episodes: EpisodeState
    motion: MotionState
    script: ScriptState
    fallback: FallbackState
    setpoints: SetpointState
    plan: PlanState
    envelope: EnvelopeState
    force: ForceState | None
