"""A keyframe: everything that a tick remembers, as plain data."""

from dataclasses import dataclass

import msgspec

from runtime.authority import Authority, AuthorityState
from runtime.envelope.envelope import EnvelopeState
from runtime.episodes import EpisodeManager, EpisodeState
from runtime.fallback import FallbackState
from runtime.fault_tracker import FaultTracker, TrackerState
from runtime.force_filter import ForceState
from runtime.measured_arm import MeasuredArm
from runtime.messages import Mode
from runtime.monitors import Monitors, MonitorState
from runtime.motion import Motion, MotionState
from runtime.residual_watch import ResidualWatch, WatchState
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
    authority: AuthorityState
    watch: WatchState


@dataclass(frozen=True)
class Memory:
    """The parts of a tick that remember something from one step to the next."""

    tracker: FaultTracker
    monitors: Monitors
    episodes: EpisodeManager
    motion: Motion
    authority: Authority
    watch: ResidualWatch
    arm: MeasuredArm

    def save(self, tick: TickState) -> bytes:
        """Return the state of all of them and of the tick itself (msgpack), bit exact."""
        parts = self.motion.parts
        return msgspec.msgpack.encode(
            Saved(
                tick=tick,
                tracker=self.tracker.state,
                monitors=self.monitors.state,
                episodes=self.episodes.state,
                motion=self.motion.state,
                script=parts.scripted.state,
                fallback=parts.fallback.state,
                setpoints=parts.setpoints.state,
                plan=parts.trajectory.state,
                envelope=parts.envelope.save(),
                force=self.arm.save(),
                authority=self.authority.state,
                watch=self.watch.save(),
            )
        )

    def restore(self, data: bytes) -> TickState:
        """Take up a state that `save` returned; return the tick's own."""
        saved = msgspec.msgpack.decode(data, type=Saved)
        parts = self.motion.parts
        self.tracker.state = saved.tracker
        self.monitors.state = saved.monitors
        self.episodes.restore(saved.episodes)
        self.motion.state = saved.motion
        parts.scripted.state = saved.script
        parts.fallback.state = saved.fallback
        parts.setpoints.state = saved.setpoints
        parts.trajectory.restore(saved.plan)
        parts.envelope.restore(saved.envelope)
        self.arm.restore(saved.force)
        self.authority.state = saved.authority
        self.watch.restore(saved.watch)
        return saved.tick
