"""What each tick watches: finite, plausible, age, sequence, deadline, health, the base.

Monitors yield conditions: bits of faults.Fault. fault_tracker.py makes faults of them that act.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec

from runtime.envelope.guards import GUARD_FAULTS, WORKSPACE
from runtime.faults import Fault
from runtime.messages import Request, Sizes, TickInputs
from runtime.plausibility import JointRange, PlaceState, Plausibility
from runtime.policy_contract import StartEnvelope

# share of half the box's width: what an arm sways when it begins to move back
_FURTHER_OUT = 0.05

# an oscillator is never wrong by this much from one tick to the next: somebody set the clock
WALL_STEP_NS = 50_000_000

# comparing with the enum's member costs more than the rest of a health check
_STOP = int(Request.STOP)


@dataclass(frozen=True)
class MonitorLimits:
    """What the robot can do, age and time budgets in nanoseconds (`groups_ns` begins with the
    joints), how unfamiliar an observation may be (1: the edge of training), the most that a
    residual may ask for (action units), deadline budget."""

    joints: Sequence[JointRange]
    groups_ns: tuple[int, ...]
    link_lost_ns: int
    base_max_age_ns: int
    base_max_inference_ns: int
    base_max_unfamiliarity: float
    residual_bound: Sequence[float]
    missed_per_s: int
    servo_hz: float


class MonitorState(msgspec.Struct):
    """Last usable values of every observation, last sequences, counters.

    `workspace_floor`: the margin down to which a person let the tool back in; 0: not at all.
    `fast_refused`: the last joint velocity was not plausible. `wall_offset_ns`: None before the
    first tick.
    """

    q: list[float]
    dq: list[float]
    tau: list[float]
    groups: dict[str, list[float]]
    sequence: list[int]
    place: PlaceState
    stale_groups: int = 0
    dropped: int = 0
    snapshots_refused: int = 0
    missed_level: float = 0.0
    workspace_floor: float = 0.0
    fast_refused: bool = False
    wall_offset_ns: int | None = None


def all_finite(values: Sequence[float]) -> bool:
    """True when no value is NaN or infinite."""
    # no finite sum has a summand that is not; a sum that is not may have overflowed
    return math.isfinite(sum(values)) or all(map(math.isfinite, values))


class Monitors:
    """Looks at one tick's inputs; keeps the last usable observation for those that need one."""

    def __init__(self, sizes: Sizes, limits: MonitorLimits) -> None:
        self._limits = limits
        self._plausibility = Plausibility(limits.joints)
        self._group_names = [group.name for group in sizes.groups]
        self._group_fields = [(name, f"observation_{name}") for name in self._group_names]
        self._names = sizes.group_names
        self.news: list[str] = []
        self.state = MonitorState(
            q=[0.0] * sizes.joints,
            dq=[0.0] * sizes.joints,
            tau=[0.0] * sizes.joints,
            groups={group.name: [0.0] * group.size for group in sizes.groups},
            sequence=[0] * (1 + len(sizes.groups)),
            place=PlaceState(),
        )

    @property
    def stale_groups(self) -> int:
        """Bit mask of the groups past their age budget; bit 0 is the joints."""
        return self.state.stale_groups

    def look(self, inputs: TickInputs) -> int:
        """Return the conditions that hold in every mode, as a bit mask.

        After it `news` says in sentences which groups have just become stale, and which
        measurements have just become implausible.
        """
        self.news.clear()
        sequence = inputs.group_sequence.tolist()
        return (
            self._joints(inputs, sequence[0])
            | self._groups(inputs)
            | self._ages(inputs, sequence)
            | self._sequences(sequence)
            | self._deadlines(inputs.missed_ticks.item())
            | self._health(inputs)
            | self._wall_clock(inputs.wall_offset_ns.item())
        )

    def _joints(self, inputs: TickInputs, sequence: int) -> int:
        """Take over what is finite and plausible of the joint measurement."""
        q, dq, tau = inputs.q.tolist(), inputs.dq.tolist(), inputs.tau.tolist()
        if not all_finite([*q, *dq, *tau]):
            return 1 << Fault.OBSERVATION_NOT_FINITE
        state = self.state
        state.tau = tau
        if not sequence:
            # nothing was measured yet
            state.q, state.dq = q, dq
            return 0
        place, was_refused = state.place, state.place.refused
        refusal = self._plausibility.place_refusal(
            q,
            state.q,
            inputs.group_device_stamp_ns.item(0),
            inputs.group_received_ns.item(0),
            place,
        )
        if refusal and not was_refused:
            self.news.append(f"measurement refused: {refusal}")
        if not refusal:
            state.q = q
        too_fast = self._plausibility.speed_refusal(dq)
        if too_fast and not state.fast_refused:
            self.news.append(f"measurement refused: {too_fast}")
        if not too_fast:
            state.dq = dq
        state.fast_refused = bool(too_fast)
        return 1 << Fault.OBSERVATION_IMPLAUSIBLE if refusal or too_fast else 0

    @property
    def place_refused(self) -> bool:
        """True while the measured place is not believed."""
        return self.state.place.refused

    def accept_place(self) -> None:
        """A person re-arms: the next measured place is taken as it is, if it is in range."""
        self.state.place = PlaceState()

    def _groups(self, inputs: TickInputs) -> int:
        finite = True
        for name, field in self._group_fields:
            values = inputs.view[field].tolist()
            if all_finite(values):
                self.state.groups[name] = values
            else:
                finite = False
        return 0 if finite else 1 << Fault.OBSERVATION_NOT_FINITE

    def _ages(self, inputs: TickInputs, sequence: list[int]) -> int:
        now_ns = inputs.now_ns.item()
        received = inputs.group_received_ns.tolist()
        stale = 0
        for index, budget_ns in enumerate(self._limits.groups_ns):
            if sequence[index] == 0 or not (now_ns - received[index] <= budget_ns):
                stale |= 1 << index
                if not self.state.stale_groups >> index & 1:
                    age_s = (now_ns - received[index]) * 1e-9
                    self.news.append(
                        f"group {self._names[index]} is stale: sample {sequence[index]} is "
                        f"{age_s:.4f} s old, its budget is {budget_ns * 1e-9:g} s"
                    )
        self.state.stale_groups = stale
        conditions = 0
        if stale & 1:
            conditions |= 1 << Fault.JOINTS_STALE
        if stale & ~1:
            conditions |= 1 << Fault.GROUP_STALE
        heard_ns = inputs.link_received_ns.item()
        # what was never heard is not lost: until the first sample the joints count as stale
        if heard_ns and not (now_ns - heard_ns <= self._limits.link_lost_ns):
            conditions |= 1 << Fault.LINK_LOST
        return conditions

    def _sequences(self, now: list[int]) -> int:
        last, self.state.sequence = self.state.sequence, now
        for old, new in zip(last, now, strict=True):
            # a number that went backwards is a device that started again: samples between are lost
            if old and not (old <= new <= old + 1):
                return 1 << Fault.SEQUENCE_GAP
        return 0

    def _deadlines(self, missed: int) -> int:
        """A leaky bucket: it drains by the allowed number per second."""
        allowed = self._limits.missed_per_s
        level = max(self.state.missed_level - allowed / self._limits.servo_hz, 0.0) + missed
        self.state.missed_level = level
        conditions = 1 << Fault.DEADLINE_MISSED if missed else 0
        if not (level <= allowed):
            conditions |= 1 << Fault.DEADLINES_MISSED
        return conditions

    def _health(self, inputs: TickInputs) -> int:
        conditions = 0
        dropped = inputs.records_dropped.item()
        if dropped > self.state.dropped:
            conditions |= 1 << Fault.RECORD_DROPPED
        self.state.dropped = dropped
        if inputs.recorder_lost.item():
            conditions |= 1 << Fault.RECORDER_LOST
        if inputs.supervisor_lost.item():
            conditions |= 1 << Fault.SUPERVISOR_LOST
        if inputs.tick_raised.item():
            conditions |= 1 << Fault.TICK_RAISED
        if inputs.request.item() == _STOP:
            conditions |= 1 << Fault.OPERATOR_STOP
        return conditions | self._learning(inputs)

    def _learning(self, inputs: TickInputs) -> int:
        conditions = 0
        refused = inputs.snapshots_refused.item()
        if refused > self.state.snapshots_refused:
            conditions |= 1 << Fault.SNAPSHOT_REFUSED
        self.state.snapshots_refused = refused
        if inputs.gate_lost.item():
            conditions |= 1 << Fault.GATE_LOST
        if inputs.learner_lost.item():
            conditions |= 1 << Fault.LEARNER_LOST
        return conditions

    def _wall_clock(self, offset_ns: int) -> int:
        """Nothing here is timed by the wall clock: a step of it is only said."""
        last_ns, self.state.wall_offset_ns = self.state.wall_offset_ns, offset_ns
        stepped = last_ns is not None and not (abs(offset_ns - last_ns) <= WALL_STEP_NS)
        return 1 << Fault.WALL_CLOCK_STEPPED if stepped else 0

    def start_refusal(self, names: Sequence[str], start: StartEnvelope) -> str:
        """Return why the policy may not take over from here, or nothing. `names`: the joints."""
        q, dq = self.state.q, self.state.dq
        for index, name in enumerate(names):
            low, high = start.position_min_rad[index], start.position_max_rad[index]
            if not (low <= q[index] <= high):
                return (
                    f"hand-over refused: {name} is at {q[index]:.4f} rad, the policy's start "
                    f"envelope is [{low:.4f}, {high:.4f}] rad"
                )
            speed = start.speed_max_rad_s[index]
            if not (abs(dq[index]) <= speed):
                return (
                    f"hand-over refused: {name} moves at {dq[index]:.4f} rad/s, the policy's "
                    f"start envelope allows {speed:.4f} rad/s"
                )
        return ""

    @property
    def fresh_groups(self) -> Mapping[str, Sequence[float]]:
        """The last finite values of every group that is not stale."""
        groups = self.state.groups
        if not self.stale_groups:
            return groups
        stale = {
            name
            for index, name in enumerate(self._group_names, start=1)
            if self.stale_groups >> index & 1
        }
        return {name: values for name, values in groups.items() if name not in stale}

    def guards(self, margins: Sequence[float]) -> int:
        """Return the guards that are passed; `margins` in the order of messages.GUARDS.

        A tool that a person let back in is not past the workspace guard until it is inside
        again, or goes further out than it was.
        """
        state = self.state
        if margins[WORKSPACE] >= 0.0:
            state.workspace_floor = 0.0
        if min(margins) >= 0.0:
            return 0
        conditions = 0
        for index, (fault, margin) in enumerate(zip(GUARD_FAULTS, margins, strict=True)):
            if not (margin >= (state.workspace_floor if index == WORKSPACE else 0.0)):
                conditions |= 1 << fault
        return conditions

    def let_back_in(self, workspace_margin: float) -> None:
        """A person re-arms: a tool outside the workspace may move, but hardly further out."""
        if -math.inf < workspace_margin < 0.0:
            self.state.workspace_floor = workspace_margin - _FURTHER_OUT

    def base(self, inputs: TickInputs, since_ns: int) -> int:
        """Return the conditions of the base action, for ticks in which the policy is in charge.

        `since_ns`: when it took over; before its first action, age counts from there, and what
        it said earlier is not judged.
        """
        conditions = 0
        observed_ns = inputs.base_observed_ns.item()
        age_ns = inputs.now_ns.item() - max(observed_ns, since_ns)
        if not (age_ns <= self._limits.base_max_age_ns):
            conditions |= 1 << Fault.BASE_STALE
        if observed_ns < since_ns:
            return conditions
        if inputs.base_failed.item():
            conditions |= 1 << Fault.BASE_FAILED
        if not all_finite(inputs.base_action.tolist()):
            conditions |= 1 << Fault.BASE_NOT_FINITE
        conditions |= self._residual(inputs)
        # NaN is past every limit
        if not (inputs.base_unfamiliarity.item() <= self._limits.base_max_unfamiliarity):
            conditions |= 1 << Fault.OBSERVATION_UNFAMILIAR
        if not (inputs.base_inference_ns.item() <= self._limits.base_max_inference_ns):
            conditions |= 1 << Fault.INFERENCE_SLOW
        return conditions

    def _residual(self, inputs: TickInputs) -> int:
        if inputs.residual_failed.item():
            return 1 << Fault.RESIDUAL_FAILED
        residual = inputs.residual_action.tolist()
        if not all_finite(residual):
            return 1 << Fault.RESIDUAL_NOT_FINITE
        for asked, bound in zip(residual, self._limits.residual_bound, strict=True):
            if not (abs(asked) <= bound):
                return 1 << Fault.RESIDUAL_OUT_OF_BOUND
        return 0
