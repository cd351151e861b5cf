"""What each tick watches: finite, age, sequence, deadline, health. Monitors yield conditions.

A condition is a bit of faults.Fault; fault_tracker.py turns conditions into faults that act.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from runtime.faults import Fault
from runtime.messages import Request, Sizes, TickInputs


@dataclass(frozen=True)
class MonitorLimits:
    """Age budgets in nanoseconds (`groups_ns` begins with the joints) and deadline budget."""

    groups_ns: tuple[int, ...]
    link_lost_ns: int
    base_max_age_ns: int
    missed_per_s: int
    servo_hz: float


class MonitorState(msgspec.Struct):
    """Last finite values of every observation, last sequences, counters."""

    q: list[float]
    dq: list[float]
    tau: list[float]
    groups: dict[str, list[float]]
    sequence: list[int]
    dropped: int = 0
    missed_level: float = 0.0


def all_finite(values: Sequence[float]) -> bool:
    """True when no value is NaN or infinite."""
    return all(map(math.isfinite, values))


class Monitors:
    """Looks at one tick's inputs; keeps the last finite observation for those that need one."""

    def __init__(self, sizes: Sizes, limits: MonitorLimits) -> None:
        self._limits = limits
        self._group_names = [group.name for group in sizes.groups]
        self.stale_groups = 0
        self.state = MonitorState(
            q=[0.0] * sizes.joints,
            dq=[0.0] * sizes.joints,
            tau=[0.0] * sizes.joints,
            groups={group.name: [0.0] * group.size for group in sizes.groups},
            sequence=[0] * (1 + len(sizes.groups)),
        )

    def look(self, inputs: TickInputs) -> int:
        """Return the conditions that hold in every mode, as a bit mask."""
        return (
            self._finite(inputs)
            | self._ages(inputs)
            | self._sequences(inputs)
            | self._deadlines(int(inputs.missed_ticks[0]))
            | self._health(inputs)
        )

    def _finite(self, inputs: TickInputs) -> int:
        state = self.state
        q, dq, tau = inputs.q.tolist(), inputs.dq.tolist(), inputs.tau.tolist()
        finite = all_finite(q) and all_finite(dq) and all_finite(tau)
        if finite:
            state.q, state.dq, state.tau = q, dq, tau
        for name in self._group_names:
            values = inputs.view[f"observation_{name}"].tolist()
            if all_finite(values):
                state.groups[name] = values
            else:
                finite = False
        return 0 if finite else 1 << Fault.OBSERVATION_NOT_FINITE

    def _ages(self, inputs: TickInputs) -> int:
        now_ns = int(inputs.now_ns[0])
        received = inputs.group_received_ns.tolist()
        sequence = inputs.group_sequence.tolist()
        self.stale_groups = 0
        for index, budget_ns in enumerate(self._limits.groups_ns):
            if sequence[index] == 0 or not (now_ns - received[index] <= budget_ns):
                self.stale_groups |= 1 << index
        conditions = 0
        if self.stale_groups & 1:
            conditions |= 1 << Fault.JOINTS_STALE
        if self.stale_groups & ~1:
            conditions |= 1 << Fault.GROUP_STALE
        if not (now_ns - int(inputs.link_received_ns[0]) <= self._limits.link_lost_ns):
            conditions |= 1 << Fault.LINK_LOST
        return conditions

    def _sequences(self, inputs: TickInputs) -> int:
        last, now = self.state.sequence, inputs.group_sequence.tolist()
        gap = any(old and new > old + 1 for old, new in zip(last, now, strict=True))
        self.state.sequence = now
        return 1 << Fault.SEQUENCE_GAP if gap else 0

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
        dropped = int(inputs.records_dropped[0])
        if dropped > self.state.dropped:
            conditions |= 1 << Fault.RECORD_DROPPED
        self.state.dropped = dropped
        if inputs.recorder_lost[0]:
            conditions |= 1 << Fault.RECORDER_LOST
        if inputs.supervisor_lost[0]:
            conditions |= 1 << Fault.SUPERVISOR_LOST
        if inputs.tick_raised[0]:
            conditions |= 1 << Fault.TICK_RAISED
        if inputs.request[0] == Request.STOP:
            conditions |= 1 << Fault.OPERATOR_STOP
        return conditions

    def base(self, inputs: TickInputs, since_ns: int) -> int:
        """Return the conditions of the base action, for ticks in which the policy is in charge.

        `since_ns`: when it took over; before its first action, age counts from there, and what
        it said earlier is not judged.
        """
        conditions = 0
        if inputs.base_failed[0]:
            conditions |= 1 << Fault.BASE_FAILED
        observed_ns = int(inputs.base_observed_ns[0])
        age_ns = int(inputs.now_ns[0]) - max(observed_ns, since_ns)
        if not (age_ns <= self._limits.base_max_age_ns):
            conditions |= 1 << Fault.BASE_STALE
        if observed_ns < since_ns:
            return conditions
        if not all_finite(inputs.base_action.tolist()):
            conditions |= 1 << Fault.BASE_NOT_FINITE
        if not all_finite(inputs.residual_action.tolist()):
            conditions |= 1 << Fault.RESIDUAL_NOT_FINITE
        return conditions
