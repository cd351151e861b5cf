"""What travels between the parts: enumerations, task signals, requests, tick inputs and records.

`TickInputs` is everything that can change a tick's outcome; `TickRecord` is the inputs plus the
outcome. Both are views of one fixed buffer (see layout.py). SI units; time in int nanoseconds.
"""

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

import msgspec

from runtime.faults import Response
from runtime.layout import Block, Codes, Field, Flags, Floats, Ints, Kind, Layout, Spec

SIGNAL_SLOTS = 4
STAGES = ("lateness", "read", "step", "write", "record", "policy")
GUARDS = (
    "torque",
    "tracking",
    "joint_speed",
    "tool_speed",
    "elbow_speed",
    "workspace",
    "contact_force",
)


class Mode(enum.IntEnum):
    """Operating mode. HOMING is scripted motion (homing, reset) or waiting at its end."""

    DISARMED = 0
    READY = 1
    HOMING = 2
    BASE = 3
    SHADOW = 4
    ADAPTIVE = 5
    HOLD = 6
    STOPPED = 7


class Stage(enum.IntEnum):
    """How far the residual has come. OBSERVE and WARM run in mode BASE, SHADOW in SHADOW, EXPLORE
    and ADAPTIVE in ADAPTIVE; only EXPLORE adds noise."""

    OBSERVE = 0
    WARM = 1
    EXPLORE = 2
    SHADOW = 3
    ADAPTIVE = 4


class Request(enum.IntEnum):
    """What an operator may ask for; at most one per tick. STOP always wins."""

    NONE = 0
    ARM = 1
    DISARM = 2
    STOP = 3
    REARM = 4


class SignalKind(enum.IntEnum):
    """Task signals: where an episode and its reset begin and end."""

    NONE = 0
    EPISODE_BEGIN = 1
    OUTCOME = 2
    RESET_BEGIN = 3
    RESET_END = 4


class Outcome(enum.IntEnum):
    """How an episode ended. UNKNOWN is not failure. TIMEOUT is the manager's own."""

    NONE = 0
    SUCCESS = 1
    FAILURE = 2
    ABORT = 3
    UNKNOWN = 4
    TIMEOUT = 5


class SignalSource(enum.IntEnum):
    """Who said it."""

    NONE = 0
    DRIVER = 1
    PREDICATE = 2
    OPERATOR = 3
    MARK = 4
    MANAGER = 5


class Phase(enum.IntEnum):
    """Where the episode manager stands."""

    WAITING = 0
    RESETTING = 1
    READY = 2
    RUNNING = 3


class Limit(enum.IntFlag):
    """Which invariants changed a joint's command in this tick (bit mask per joint)."""

    NONE = 0
    FINITE = 1
    POSITION = 2
    VELOCITY = 4
    ACCELERATION = 8
    JERK = 16
    GEOMETRY = 32


class Device(enum.IntEnum):
    """What the robot's own controller does with our commands; FOLLOWS also where it has no say.

    ARMING: it was armed and has not answered. BRAKING, HOLDING: it let go, and acts by itself."""

    FOLLOWS = 0
    ARMING = 1
    BRAKING = 2
    HOLDING = 3
    STOPPED = 4
    NOT_READY = 5


class TaskSignal(msgspec.Struct, frozen=True):
    """One task signal. `target` (RESET_BEGIN only): the set-point at which the next episode
    starts, in the units of the contract's action target; empty means the robot's home."""

    kind: SignalKind
    source: SignalSource
    outcome: Outcome = Outcome.NONE
    target: tuple[float, ...] = ()


@dataclass(frozen=True)
class GroupSize:
    """An observation group besides the joints: its name and how many numbers it holds."""

    name: str
    size: int


@dataclass(frozen=True)
class Sizes:
    """Every size that a robot, a contract and a config give the tick's messages."""

    joints: int
    action: int
    setpoint: int
    groups: tuple[GroupSize, ...] = ()

    @property
    def group_names(self) -> tuple[str, ...]:
        """All group names; `joints` is always the first."""
        return ("joints", *(group.name for group in self.groups))

    def named(self) -> Mapping[str, int]:
        """Return the sizes by the names that field declarations use."""
        return {
            "joints": self.joints,
            "action": self.action,
            "setpoint": self.setpoint,
            "groups": 1 + len(self.groups),
            "signals": SIGNAL_SLOTS,
            "signal_targets": SIGNAL_SLOTS * self.setpoint,
            "stages": len(STAGES),
            "guards": len(GUARDS),
        }


class TickInputs(Block):
    """Everything that can change a tick's outcome. Filled by loop.py, read by tick.py."""

    tick: Annotated[Ints, Spec(Kind.INT, "1", "Counts servo ticks since the daemon started.")]
    now_ns: Annotated[Ints, Spec(Kind.INT, "ns", "The daemon's monotonic clock at this tick.")]
    # observations: index 0 of the group arrays is `joints`, then the configured groups in order
    q: Annotated[Floats, Spec(Kind.FLOAT, "rad", "Measured joint positions.", "joints")]
    dq: Annotated[Floats, Spec(Kind.FLOAT, "rad/s", "Measured joint velocities.", "joints")]
    tau: Annotated[Floats, Spec(Kind.FLOAT, "N m", "Measured joint torques.", "joints")]
    group_sequence: Annotated[
        Ints, Spec(Kind.INT, "1", "Sequence number of each group's last sample; 0: none.", "groups")
    ]
    group_received_ns: Annotated[
        Ints, Spec(Kind.INT, "ns", "When each group's last sample arrived, our clock.", "groups")
    ]
    group_device_stamp_ns: Annotated[
        Ints, Spec(Kind.INT, "ns", "Each sample's own stamp, the device's clock.", "groups")
    ]
    device: Annotated[Codes, Spec(Kind.CODE, "", "What the device does.", 1, Device)]
    # what people and drivers say
    request: Annotated[Codes, Spec(Kind.CODE, "", "Operator request.", 1, Request)]
    signal_kind: Annotated[Codes, Spec(Kind.CODE, "", "Task signals.", "signals", SignalKind)]
    signal_source: Annotated[
        Codes, Spec(Kind.CODE, "", "Who sent each signal.", "signals", SignalSource)
    ]
    signal_outcome: Annotated[
        Codes, Spec(Kind.CODE, "", "The outcome each signal carries.", "signals", Outcome)
    ]
    signal_has_target: Annotated[
        Flags, Spec(Kind.FLAG, "", "Whether a reset signal carries a target.", "signals")
    ]
    signal_target: Annotated[
        Floats, Spec(Kind.FLOAT, "", "Reset targets, one row a signal.", "signal_targets")
    ]
    # health of what surrounds the tick
    preflight_ok: Annotated[Flags, Spec(Kind.FLAG, "", "Preflight passed.")]
    link_received_ns: Annotated[Ints, Spec(Kind.INT, "ns", "When anything last arrived.")]
    records_dropped: Annotated[Ints, Spec(Kind.INT, "1", "Records dropped so far.")]
    recorder_lost: Annotated[Flags, Spec(Kind.FLAG, "", "The recorder does not acknowledge.")]
    supervisor_lost: Annotated[Flags, Spec(Kind.FLAG, "", "The supervisor's heartbeat is gone.")]
    missed_ticks: Annotated[Ints, Spec(Kind.INT, "1", "Deadlines skipped before this tick.")]
    tick_raised: Annotated[Flags, Spec(Kind.FLAG, "", "The previous step raised an error.")]
    wall_offset_ns: Annotated[
        Ints, Spec(Kind.INT, "ns", "Wall clock minus our clock; constant where time is simulated.")
    ]
    stage_ns: Annotated[
        Ints, Spec(Kind.INT, "ns", "Stage times of the previous tick, in STAGES order.", "stages")
    ]
    # policies: computed between ticks from the record of an earlier tick
    base_action: Annotated[Floats, Spec(Kind.FLOAT, "1", "Base policy's action.", "action")]
    base_sequence: Annotated[Ints, Spec(Kind.INT, "1", "Counts base actions; 0: none yet.")]
    base_observed_ns: Annotated[Ints, Spec(Kind.INT, "ns", "When its observation was taken.")]
    base_failed: Annotated[Flags, Spec(Kind.FLAG, "", "Inference raised an error.")]
    base_inference_ns: Annotated[
        Ints, Spec(Kind.INT, "ns", "How long inference took for it, the link's clock.")
    ]
    base_unfamiliarity: Annotated[
        Floats, Spec(Kind.FLOAT, "1", "Its observation's distance from training; 1: the edge.")
    ]
    residual_action: Annotated[Floats, Spec(Kind.FLOAT, "1", "Residual's action.", "action")]
    residual_version: Annotated[Ints, Spec(Kind.INT, "1", "Snapshot that made it; 0 is zero.")]
    residual_noise: Annotated[
        Floats, Spec(Kind.FLOAT, "1", "The part of it that was drawn to explore.", "action")
    ]
    residual_takes_part: Annotated[
        Flags, Spec(Kind.FLAG, "", "This segment was not drawn for the base alone.")
    ]
    residual_failed: Annotated[Flags, Spec(Kind.FLAG, "", "The residual raised an error.")]
    # what the gate grants, and how it, the learner and the snapshots fare
    residual_stage: Annotated[Codes, Spec(Kind.CODE, "", "Stage that is granted.", 1, Stage)]
    authority_granted: Annotated[
        Floats, Spec(Kind.FLOAT, "1", "Authority per action that is granted.", "action")
    ]
    snapshots_refused: Annotated[Ints, Spec(Kind.INT, "1", "Offered snapshots refused so far.")]
    gate_lost: Annotated[Flags, Spec(Kind.FLAG, "", "The gate does not beat.")]
    learner_lost: Annotated[Flags, Spec(Kind.FLAG, "", "The learner does not beat.")]
    # what the residual is judged against (gate_wire.References), and what people say of it
    residual_trial: Annotated[Ints, Spec(Kind.INT, "1", "Evidence counts from where it rose.")]
    own_reference: Annotated[
        Ints, Spec(Kind.INT, "1", "Successes, episodes of the promoted snapshots.", 2)
    ]
    base_reference: Annotated[Ints, Spec(Kind.INT, "1", "Successes, episodes of the base.", 2)]
    base_limited_share: Annotated[
        Floats, Spec(Kind.FLOAT, "1", "Share of the base's steps in which the envelope acted.")
    ]
    base_pressed_share: Annotated[
        Floats, Spec(Kind.FLOAT, "1", "Share of the base's steps that pressed.")
    ]
    critic_gap: Annotated[
        Floats, Spec(Kind.FLOAT, "1", "Return surely promised above what was achieved.")
    ]
    update_ratio: Annotated[
        Floats, Spec(Kind.FLOAT, "1", "Update guard's constraint over what it allows.")
    ]
    weights_age_ns: Annotated[
        Ints, Spec(Kind.INT, "ns", "Learning: episodes' time since the newest snapshot; else 0.")
    ]
    residual_held: Annotated[Flags, Spec(Kind.FLAG, "", "A person took the residual away.")]


class TickRecord(TickInputs):
    """The inputs of one tick and everything it decided."""

    mode: Annotated[Codes, Spec(Kind.CODE, "", "Mode after this tick.", 1, Mode)]
    response: Annotated[Codes, Spec(Kind.CODE, "", "Worst active response.", 1, Response)]
    faults: Annotated[Ints, Spec(Kind.INT, "", "Active faults, one bit each (faults.Fault).")]
    faults_seen: Annotated[Ints, Spec(Kind.INT, "", "Conditions true in this very tick.")]
    stale_groups: Annotated[Ints, Spec(Kind.INT, "", "Groups past their age budget, one bit each.")]
    request_refused: Annotated[Flags, Spec(Kind.FLAG, "", "The request was not allowed here.")]
    # episodes
    phase: Annotated[Codes, Spec(Kind.CODE, "", "Episode manager's phase.", 1, Phase)]
    episode: Annotated[Ints, Spec(Kind.INT, "1", "Counts episodes; 0 before the first.")]
    episode_step: Annotated[Ints, Spec(Kind.INT, "1", "Policy steps taken in this episode.")]
    time_left: Annotated[Floats, Spec(Kind.FLOAT, "1", "Share of the episode's steps left.")]
    outcome: Annotated[Codes, Spec(Kind.CODE, "", "Outcome decided in this tick.", 1, Outcome)]
    outcome_source: Annotated[Codes, Spec(Kind.CODE, "", "Who decided it.", 1, SignalSource)]
    policy_due: Annotated[Flags, Spec(Kind.FLAG, "", "The policy acts on this very record next.")]
    # action
    action: Annotated[Floats, Spec(Kind.FLOAT, "1", "base + authority * residual.", "action")]
    authority: Annotated[Floats, Spec(Kind.FLOAT, "1", "Authority per action.", "action")]
    region_share: Annotated[
        Floats, Spec(Kind.FLOAT, "1", "Authority that the measured tool position allows.")
    ]
    action_executed: Annotated[
        Floats, Spec(Kind.FLOAT, "1", "The set-point step that was made, as an action.", "action")
    ]
    setpoint: Annotated[
        Floats, Spec(Kind.FLOAT, "", "Set-point the actions move (contract's units).", "setpoint")
    ]
    setpoint_measured: Annotated[
        Floats, Spec(Kind.FLOAT, "", "The same quantity, as measured.", "setpoint")
    ]
    tool_position_in_base_m: Annotated[
        Floats, Spec(Kind.FLOAT, "m", "Measured tool position (zeros without a tool).", 3)
    ]
    tool_speed_m_s: Annotated[Floats, Spec(Kind.FLOAT, "m/s", "Measured tool speed.")]
    elbow_speed_m_s: Annotated[Floats, Spec(Kind.FLOAT, "m/s", "Measured elbow speed.")]
    contact_force_n: Annotated[
        Floats, Spec(Kind.FLOAT, "N", "Filtered contact force (0 without a force sensor).")
    ]
    # command
    q_desired: Annotated[Floats, Spec(Kind.FLOAT, "rad", "Asked of the envelope.", "joints")]
    q_applied: Annotated[Floats, Spec(Kind.FLOAT, "rad", "Certified command.", "joints")]
    dq_applied: Annotated[Floats, Spec(Kind.FLOAT, "rad/s", "Its velocity.", "joints")]
    ddq_applied: Annotated[Floats, Spec(Kind.FLOAT, "rad/s^2", "Its acceleration.", "joints")]
    limited_by: Annotated[Ints, Spec(Kind.INT, "", "Limits that acted, per joint.", "joints")]
    margin: Annotated[
        Floats, Spec(Kind.FLOAT, "1", "Smallest share of an invariant left, per joint.", "joints")
    ]
    clearance_m: Annotated[
        Floats, Spec(Kind.FLOAT, "m", "What the nearest barrier leaves to the kept stop.")
    ]
    nearest_barrier: Annotated[Ints, Spec(Kind.INT, "1", "Which barrier that is; -1: none.")]
    tau_estimate: Annotated[
        Floats, Spec(Kind.FLOAT, "N m", "Motor torque estimate, gravity included.", "joints")
    ]
    guard_margin: Annotated[
        Floats, Spec(Kind.FLOAT, "1", "Share left of each guard, in GUARDS order.", "guards")
    ]
    step_raised: Annotated[
        Flags, Spec(Kind.FLAG, "", "The step raised; the command is the kept stop's next step.")
    ]
    command_sent: Annotated[Flags, Spec(Kind.FLAG, "", "The command goes to the robot.")]
    epoch: Annotated[Ints, Spec(Kind.INT, "1", "Raised by every stop, re-arm and restart.")]
    command_sequence: Annotated[Ints, Spec(Kind.INT, "1", "Counts commands.")]
    valid_for_ns: Annotated[Ints, Spec(Kind.INT, "ns", "After this the device must hold.")]
    # evidence against the residual (residual_watch.py), of its trial so far
    success_evidence: Annotated[
        Floats, Spec(Kind.FLOAT, "1", "Against own record, base: 0 none, 1 alarm.", 2)
    ]
    saturated_share: Annotated[
        Floats, Spec(Kind.FLOAT, "1", "Of its steps, those at the action's bound.", "action")
    ]
    limited_share: Annotated[Floats, Spec(Kind.FLOAT, "1", "Those in which the envelope acted.")]
    pressed_share: Annotated[Floats, Spec(Kind.FLOAT, "1", "Those that pressed.")]


def tick_layout(sizes: Sizes) -> Layout:
    """Return the record layout: inputs first, observation groups as fields of their own."""
    fields = TickRecord.fields(sizes.named())
    inputs = len(TickInputs.fields(sizes.named()))
    groups = [
        Field(f"observation_{g.name}", 1000 + i, Kind.FLOAT, g.size, "", f"Group {g.name}.")
        for i, g in enumerate(sizes.groups)
    ]
    return Layout("TickRecord", [*fields[:inputs], *groups, *fields[inputs:]])


def input_layout(sizes: Sizes) -> Layout:
    """Return the layout of the inputs alone: the leading bytes of a record."""
    named = sizes.named()
    count = len(TickInputs.fields(named)) + len(sizes.groups)
    return Layout("TickInputs", tick_layout(sizes).fields[:count])


def new_inputs(sizes: Sizes) -> TickInputs:
    """Return an empty, writable block of inputs."""
    layout = input_layout(sizes)
    return TickInputs(layout, bytearray(layout.size_bytes))


def new_record(sizes: Sizes) -> TickRecord:
    """Return an empty, writable record; its leading bytes have the layout of the inputs."""
    layout = tick_layout(sizes)
    return TickRecord(layout, bytearray(layout.size_bytes))


class Command(msgspec.Struct):
    """What goes to the robot. `q` and `dq`: joint positions (rad) and velocities (rad/s).

    `answers_*` echo the observation that this command answers, so the device judges age on its
    own clock. Only the envelope makes the certificate that link.write demands.
    """

    epoch: int
    sequence: int
    answers_sequence: int
    answers_device_stamp_ns: int
    valid_for_ns: int
    q: list[float]
    dq: list[float]
