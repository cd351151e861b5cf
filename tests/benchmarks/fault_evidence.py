"""When a fault could be seen, and when the arm was safe from it: judged from the record alone.

Shares nothing with monitors, tracker and envelope. Budgets are those of the committed config and
the Panda's spec, written again by hand: ns, m, rad.
"""

import math
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from runtime.faults import Fault, Response
from runtime.layout import Floats, Ints
from runtime.messages import GUARDS, Mode, Phase, Request, SignalKind, TickRecord
from runtime.robot_spec import JointLimits
from tests.benchmarks import fault_evidence_residual as said
from tests.benchmarks.fault_evidence_residual import ResidualPast

MS = 1_000_000
GROUP_BUDGETS_NS = (10 * MS, 20 * MS, 200 * MS)
LINK_BUDGET_NS = 100 * MS
BASE_AGE_NS = 120 * MS
INFERENCE_NS = 20 * MS
UNFAMILIAR = 3.0
RESIDUAL_BOUND = 0.6
MISSED_PER_S = 25
SERVO_HZ = 500
WALL_STEP_NS = 50 * MS
# far more than the fastest joint goes in a few ticks
JUMP_RAD = 0.2
# above what the committed base's contract allows any joint when it takes over
START_SPEED_RAD_S = 0.105
ACTING = (Mode.BASE, Mode.SHADOW, Mode.ADAPTIVE)


@dataclass
class Before:
    """What the evidence compares with: the tick before."""

    sequence: list[int] = field(default_factory=list)
    dropped: int = 0
    refused: int = 0
    wall_ns: int = 0
    q: Floats | None = None
    residual: ResidualPast = field(default_factory=ResidualPast)
    # when the policy took over; None while it does not act
    acting_since_ns: int | None = None
    missed: deque[int] = field(default_factory=lambda: deque(maxlen=SERVO_HZ))

    def look(self, record: TickRecord) -> None:
        """Take this tick for the next one's before; a measurement that jumped is no place."""
        self.residual.look(record)
        self.missed.append(int(record.missed_ticks[0]))
        self.sequence = record.group_sequence.tolist()
        self.dropped = int(record.records_dropped[0])
        self.refused = int(record.snapshots_refused[0])
        self.wall_ns = int(record.wall_offset_ns[0])
        if record.mode[0] not in ACTING or record.phase[0] != Phase.RUNNING:
            self.acting_since_ns = None
        elif self.acting_since_ns is None:
            self.acting_since_ns = int(record.now_ns[0])
        if not _jumped(record, self):
            self.q = record.q.copy()


Evidence = Callable[[TickRecord, Before], bool]


def _jumped(record: TickRecord, before: Before) -> bool:
    return before.q is not None and not bool(np.abs(record.q - before.q).max() <= JUMP_RAD)


def _ages_ns(record: TickRecord) -> Sequence[int]:
    ages: list[int] = (record.now_ns[0] - record.group_received_ns).tolist()
    return ages


def _gap(record: TickRecord, before: Before) -> bool:
    pairs = zip(before.sequence, record.group_sequence.tolist(), strict=False)
    return any(new - old not in (0, 1) for old, new in pairs)


def _not_finite(record: TickRecord, before: Before) -> bool:
    groups = [name for name in record.view if name.startswith("observation_")]
    values = [record.q, record.dq, record.tau, *(record.view[name] for name in groups)]
    return not all(np.isfinite(part).all() for part in values)


def _begins_moving(record: TickRecord, before: Before) -> bool:
    begins = SignalKind.EPISODE_BEGIN in record.signal_kind.tolist()
    return begins and bool(np.abs(record.dq).max() > START_SPEED_RAD_S)


def _base_stale(record: TickRecord, before: Before) -> bool:
    since_ns = before.acting_since_ns
    if since_ns is None:
        return False
    return int(record.now_ns[0]) - max(since_ns, int(record.base_observed_ns[0])) > BASE_AGE_NS


def _late(record: TickRecord, before: Before) -> bool:
    return sum(before.missed) + int(record.missed_ticks[0]) > MISSED_PER_S


def _pair(counts: Ints) -> tuple[int, int]:
    return int(counts[0]), int(counts[1])


def _guard(name: str) -> Evidence:
    index = GUARDS.index(name)
    return lambda record, _: not bool(record.guard_margin[index] >= 0.0)


EVIDENCE: dict[Fault, Evidence] = {
    Fault.JOINTS_STALE: lambda r, _: _ages_ns(r)[0] > GROUP_BUDGETS_NS[0],
    Fault.GROUP_STALE: lambda r, _: any(
        age > budget for age, budget in zip(_ages_ns(r)[1:], GROUP_BUDGETS_NS[1:], strict=True)
    ),
    Fault.SEQUENCE_GAP: _gap,
    Fault.OBSERVATION_NOT_FINITE: _not_finite,
    Fault.OBSERVATION_IMPLAUSIBLE: _jumped,
    Fault.OBSERVATION_UNFAMILIAR: lambda r, _: bool(r.base_unfamiliarity[0] > UNFAMILIAR),
    Fault.BASE_NOT_FINITE: lambda r, _: not np.isfinite(r.base_action).all(),
    Fault.BASE_STALE: _base_stale,
    Fault.BASE_FAILED: lambda r, _: bool(r.base_failed[0]),
    Fault.RESIDUAL_NOT_FINITE: lambda r, _: not np.isfinite(r.residual_action).all(),
    Fault.RESIDUAL_FAILED: lambda r, _: bool(r.residual_failed[0]),
    Fault.RESIDUAL_OUT_OF_BOUND: lambda r, _: (
        not bool(np.abs(r.residual_action).max() <= RESIDUAL_BOUND)
    ),
    Fault.SNAPSHOT_REFUSED: lambda r, b: int(r.snapshots_refused[0]) > b.refused,
    Fault.GATE_LOST: lambda r, _: bool(r.gate_lost[0]),
    Fault.LEARNER_LOST: lambda r, _: bool(r.learner_lost[0]),
    Fault.SUCCESS_FELL: lambda r, b: said.failed(r, b.residual, _pair(r.own_reference)),
    Fault.SUCCESS_BELOW_BASE: lambda r, b: said.failed(r, b.residual, _pair(r.base_reference)),
    Fault.RESIDUAL_LIMITED: lambda r, b: said.limited(r, b.residual),
    Fault.RESIDUAL_SATURATED: lambda r, b: said.saturated(r, b.residual),
    Fault.RESIDUAL_PRESSES: lambda r, b: said.presses(r, b.residual),
    Fault.CRITIC_MISJUDGES: lambda r, _: not bool(r.critic_gap[0] <= said.CRITIC_GAP_MAX),
    Fault.UPDATE_GUARD_PASSED: lambda r, _: not bool(r.update_ratio[0] <= said.UPDATE_RATIO_MAX),
    Fault.WEIGHTS_STALE: lambda r, _: int(r.weights_age_ns[0]) > said.WEIGHTS_AGE_MAX_NS,
    Fault.RESIDUAL_HELD: lambda r, _: bool(r.residual_held[0]),
    Fault.INFERENCE_SLOW: lambda r, _: int(r.base_inference_ns[0]) > INFERENCE_NS,
    Fault.START_REFUSED: _begins_moving,
    # the tick in which the envelope acted; the tracker hears of it in the next
    Fault.ENVELOPE_LIMITED: lambda r, _: bool(r.limited_by.any()),
    Fault.DEADLINE_MISSED: lambda r, _: int(r.missed_ticks[0]) > 0,
    Fault.DEADLINES_MISSED: _late,
    Fault.LINK_LOST: lambda r, _: int(r.now_ns[0] - r.link_received_ns[0]) > LINK_BUDGET_NS,
    Fault.RECORD_DROPPED: lambda r, b: int(r.records_dropped[0]) > b.dropped,
    Fault.RECORDER_LOST: lambda r, _: bool(r.recorder_lost[0]),
    Fault.DEVICE_STOPPED: lambda r, _: r.device[0] == 4,
    Fault.DEVICE_LET_GO: lambda r, _: r.device[0] in (2, 3),
    Fault.DEVICE_NOT_READY: lambda r, _: r.device[0] == 5,
    Fault.DEVICE_NOT_ARMED: lambda r, _: r.device[0] == 1,
    Fault.SUPERVISOR_LOST: lambda r, _: bool(r.supervisor_lost[0]),
    Fault.OPERATOR_STOP: lambda r, _: int(r.request[0]) == Request.STOP,
    # the tick that raised, not the next one, which is told
    Fault.TICK_RAISED: lambda r, _: bool(r.step_raised[0]),
    Fault.WALL_CLOCK_STEPPED: lambda r, b: abs(int(r.wall_offset_ns[0]) - b.wall_ns) > WALL_STEP_NS,
    Fault.TORQUE_GUARD: _guard("torque"),
    Fault.TRACKING_GUARD: _guard("tracking"),
    Fault.JOINT_SPEED_GUARD: _guard("joint_speed"),
    Fault.TOOL_SPEED_GUARD: _guard("tool_speed"),
    Fault.ELBOW_SPEED_GUARD: _guard("elbow_speed"),
    Fault.WORKSPACE_GUARD: _guard("workspace"),
    Fault.CONTACT_FORCE_GUARD: _guard("contact_force"),
}


@dataclass
class Reference:
    """The mode after a tick, and the commanded reference: v rad/s and a rad/s^2 of every joint."""

    mode: int
    v: list[float]
    a: list[float]

    @classmethod
    def of(cls, record: TickRecord) -> "Reference":
        """Return a copy of the record's."""
        mode = int(record.mode[0])
        return cls(mode, record.dq_applied.tolist(), record.ddq_applied.tolist())


def safe(
    record: TickRecord,
    response: Response,
    last: Reference,
    limits: Sequence[JointLimits],
    dt_s: float,
) -> bool:
    """True when the record shows what `response` promises.

    WARN: the record says so. DROP_RESIDUAL: the residual's authority is zero. HOLD and STOP: the
    mode is, and the command is the next step of the hardest stop, or there is none. `last`: the
    tick before; where the mode was the same already, its stop began then, and the arm may have
    come to rest and give way by now.
    """
    if not (record.response[0] >= response):
        return False
    if response is Response.WARN:
        return True
    if response is Response.DROP_RESIDUAL:
        return not record.authority.any()
    modes = (Mode.STOPPED,) if response is Response.STOP else (Mode.HOLD, Mode.STOPPED)
    if record.mode[0] not in modes:
        return False
    if last.mode in modes or not record.command_sent[0]:
        return True
    joints = zip(limits, last.v, last.a, record.ddq_applied.tolist(), strict=True)
    return all(_brakes(limit, v, a, a_now, dt_s) for limit, v, a, a_now in joints)


def _brakes(limit: JointLimits, v: float, a: float, a_now: float, dt_s: float) -> bool:
    """True when `a_now` is the hardest braking from (v, a) that jerk allows; at rest anything."""
    h = limit.jerk_max_rad_s3 * dt_s
    if v == a == 0.0:
        return True
    strength = min(limit.acceleration_max_rad_s2 / h, _strength(abs(v) / (h * dt_s)))
    wanted = -math.copysign(strength, v)
    step = min(max(wanted, a / h - 1.0), a / h + 1.0)
    return abs(a_now / h - step) <= 1e-3


def _strength(w: float) -> float:
    """Solve x + (x - 1) + (x - 2) + ... = w for x by walking; all in units of one tick's jerk."""
    taken, steps = 0.0, 0
    while taken + steps + 1 < w:
        taken += steps + 1
        steps += 1
    return steps + (w - taken) / (steps + 1)
