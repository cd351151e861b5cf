"""The fault table: what can go wrong, what the daemon then does, and when it is over.

One row per fault. `trimtab faults` prints this table and SAFETY.md is generated from it. A config
may tighten a row (see `tighten`), never loosen it.
"""

import enum
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TypeVar

from runtime.errors import ConfigError

_Member = TypeVar("_Member", bound=enum.IntEnum)


class Response(enum.IntEnum):
    """What the daemon does about a fault; the worst active one wins."""

    NONE = 0
    WARN = 1
    DROP_RESIDUAL = 2
    HOLD = 3
    STOP = 4


class Clear(enum.IntEnum):
    """When an active fault stops being active, from the most to the least forgiving."""

    WHEN_CLEAR = 0
    AFTER_DWELL = 1
    ON_REARM = 2
    NEVER = 3


class Fault(enum.IntEnum):
    """Every fault by name. The value is its bit in the record's fault masks."""

    JOINTS_STALE = 0
    GROUP_STALE = 1
    SEQUENCE_GAP = 2
    OBSERVATION_NOT_FINITE = 3
    BASE_NOT_FINITE = 4
    BASE_STALE = 5
    BASE_FAILED = 6
    RESIDUAL_NOT_FINITE = 7
    START_REFUSED = 8
    ENVELOPE_LIMITED = 9
    TORQUE_GUARD = 10
    TRACKING_GUARD = 11
    TOOL_SPEED_GUARD = 12
    WORKSPACE_GUARD = 13
    DEADLINE_MISSED = 14
    DEADLINES_MISSED = 15
    LINK_LOST = 16
    RECORD_DROPPED = 17
    RECORDER_LOST = 18
    SUPERVISOR_LOST = 19
    OPERATOR_STOP = 20
    TICK_RAISED = 21
    OBSERVATION_IMPLAUSIBLE = 22
    OBSERVATION_UNFAMILIAR = 23
    INFERENCE_SLOW = 24
    WALL_CLOCK_STEPPED = 25
    JOINT_SPEED_GUARD = 26
    ELBOW_SPEED_GUARD = 27
    CONTACT_FORCE_GUARD = 28
    RESIDUAL_FAILED = 29
    RESIDUAL_OUT_OF_BOUND = 30
    SNAPSHOT_REFUSED = 31
    GATE_LOST = 32
    LEARNER_LOST = 33
    SUCCESS_FELL = 34
    SUCCESS_BELOW_BASE = 35
    RESIDUAL_LIMITED = 36
    RESIDUAL_SATURATED = 37
    RESIDUAL_PRESSES = 38
    CRITIC_MISJUDGES = 39
    UPDATE_GUARD_PASSED = 40
    WEIGHTS_STALE = 41
    RESIDUAL_HELD = 42
    DEVICE_STOPPED = 43
    DEVICE_LET_GO = 44
    DEVICE_NOT_READY = 45
    DEVICE_NOT_ARMED = 46


# what takes over from a policy that moves the arm into a limit, as bits
GUARDS = sum(1 << fault for fault in Fault if fault.name.endswith("_GUARD"))


@dataclass(frozen=True)
class Row:
    """One line of the fault table.

    `debounce_ticks`: consecutive ticks in which the condition must hold before the fault acts
    (1 acts at once). `dwell_s`: how long it must be gone before AFTER_DWELL clears it.
    """

    fault: Fault
    response: Response
    debounce_ticks: int
    clear: Clear
    dwell_s: float
    sentence: str


ROWS: tuple[Row, ...] = (
    Row(Fault.JOINTS_STALE, Response.HOLD, 1, Clear.AFTER_DWELL, 0.2,
        "The joint measurement is older than its age budget: we no longer know where the arm is."),
    Row(Fault.GROUP_STALE, Response.HOLD, 1, Clear.AFTER_DWELL, 0.2,
        "A named observation group that the policy reads is older than its age budget."),
    Row(Fault.SEQUENCE_GAP, Response.WARN, 1, Clear.WHEN_CLEAR, 0.0,
        "Observations were lost between robot and daemon: a sequence number was skipped."),
    Row(Fault.OBSERVATION_NOT_FINITE, Response.HOLD, 1, Clear.AFTER_DWELL, 0.2,
        "A sensor delivered NaN or infinity."),
    Row(Fault.BASE_NOT_FINITE, Response.HOLD, 1, Clear.AFTER_DWELL, 0.2,
        "The base policy asked for NaN or infinity."),
    Row(Fault.BASE_STALE, Response.HOLD, 1, Clear.AFTER_DWELL, 0.2,
        "The base policy's last action is older than its age budget."),
    Row(Fault.BASE_FAILED, Response.HOLD, 1, Clear.ON_REARM, 0.0,
        "The base policy's inference raised an error."),
    Row(Fault.RESIDUAL_NOT_FINITE, Response.DROP_RESIDUAL, 1, Clear.ON_REARM, 0.0,
        "The residual policy asked for NaN or infinity."),
    Row(Fault.START_REFUSED, Response.HOLD, 1, Clear.ON_REARM, 0.0,
        "The arm is outside the poses or speeds from which the policy may take over."),
    Row(Fault.ENVELOPE_LIMITED, Response.WARN, 1, Clear.WHEN_CLEAR, 0.0,
        "The envelope changed what was asked for: a joint limit or a barrier acted."),
    Row(Fault.TORQUE_GUARD, Response.HOLD, 5, Clear.AFTER_DWELL, 0.2,
        "The estimated joint torque is above its guard: the arm pushes too hard."),
    Row(Fault.TRACKING_GUARD, Response.STOP, 5, Clear.ON_REARM, 0.0,
        "The arm is not where it was told to be: it is blocked, pushed, or does not follow."),
    Row(Fault.TOOL_SPEED_GUARD, Response.HOLD, 5, Clear.AFTER_DWELL, 0.2,
        "The measured tool speed is above its guard."),
    Row(Fault.WORKSPACE_GUARD, Response.HOLD, 1, Clear.AFTER_DWELL, 0.2,
        "The measured tool position left the workspace box."),
    Row(Fault.DEADLINE_MISSED, Response.WARN, 1, Clear.WHEN_CLEAR, 0.0,
        "A servo tick started so late that at least one deadline was skipped."),
    Row(Fault.DEADLINES_MISSED, Response.HOLD, 1, Clear.AFTER_DWELL, 1.0,
        "More servo deadlines were skipped within one second than the config allows."),
    Row(Fault.LINK_LOST, Response.STOP, 1, Clear.ON_REARM, 0.0,
        "The robot does not answer: nothing was received for longer than the link's budget."),
    Row(Fault.RECORD_DROPPED, Response.WARN, 1, Clear.WHEN_CLEAR, 0.0,
        "A tick could not be handed to the recorder and is missing from the record."),
    Row(Fault.RECORDER_LOST, Response.HOLD, 1, Clear.AFTER_DWELL, 1.0,
        "The recorder stopped acknowledging: motion would go unrecorded."),
    Row(Fault.SUPERVISOR_LOST, Response.STOP, 1, Clear.ON_REARM, 0.0,
        "The supervisor's heartbeat is gone: nobody can stop the robot from outside."),
    Row(Fault.OPERATOR_STOP, Response.STOP, 1, Clear.ON_REARM, 0.0,
        "A person asked for a stop."),
    Row(Fault.TICK_RAISED, Response.STOP, 1, Clear.ON_REARM, 0.0,
        "The control code itself raised an error; the traceback is in the record."),
    Row(Fault.OBSERVATION_IMPLAUSIBLE, Response.HOLD, 1, Clear.AFTER_DWELL, 0.2,
        "A joint measurement jumped further than the robot can move, or is no place of its joint."),
    Row(Fault.OBSERVATION_UNFAMILIAR, Response.DROP_RESIDUAL, 1, Clear.AFTER_DWELL, 0.5,
        "The base policy saw an observation far from anything in its training."),
    Row(Fault.INFERENCE_SLOW, Response.WARN, 1, Clear.WHEN_CLEAR, 0.0,
        "The base policy's inference took longer than its time budget."),
    Row(Fault.WALL_CLOCK_STEPPED, Response.WARN, 1, Clear.WHEN_CLEAR, 0.0,
        "Someone set the computer's time of day; control runs on another clock and went on."),
    Row(Fault.JOINT_SPEED_GUARD, Response.HOLD, 1, Clear.AFTER_DWELL, 0.2,
        "A measured joint speed is above its guard: the arm is pushed, or overshoots."),
    Row(Fault.ELBOW_SPEED_GUARD, Response.HOLD, 5, Clear.AFTER_DWELL, 0.2,
        "The measured elbow speed is above its guard."),
    Row(Fault.CONTACT_FORCE_GUARD, Response.HOLD, 1, Clear.AFTER_DWELL, 0.2,
        "The filtered contact force is above its guard: the tool presses too hard."),
    Row(Fault.RESIDUAL_FAILED, Response.DROP_RESIDUAL, 1, Clear.ON_REARM, 0.0,
        "The residual policy raised an error; the base goes on alone."),
    Row(Fault.RESIDUAL_OUT_OF_BOUND, Response.DROP_RESIDUAL, 1, Clear.ON_REARM, 0.0,
        "The residual policy asked for more than the contract's bound lets it."),
    Row(Fault.SNAPSHOT_REFUSED, Response.WARN, 1, Clear.WHEN_CLEAR, 0.0,
        "An offered snapshot of the residual failed a check; the one before stays live."),
    Row(Fault.GATE_LOST, Response.DROP_RESIDUAL, 1, Clear.AFTER_DWELL, 1.0,
        "The gate's heartbeat is gone: nobody watches over what the residual has earned."),
    Row(Fault.LEARNER_LOST, Response.DROP_RESIDUAL, 1, Clear.AFTER_DWELL, 1.0,
        "The learner's heartbeat is gone while the residual explores for it."),
    Row(Fault.SUCCESS_FELL, Response.DROP_RESIDUAL, 1, Clear.AFTER_DWELL, 1.0,
        "The residual succeeds less often than it has done before."),
    Row(Fault.SUCCESS_BELOW_BASE, Response.DROP_RESIDUAL, 1, Clear.AFTER_DWELL, 1.0,
        "The residual succeeds less often than the base alone."),
    Row(Fault.RESIDUAL_LIMITED, Response.DROP_RESIDUAL, 1, Clear.AFTER_DWELL, 1.0,
        "With the residual the envelope has to act far more often than with the base alone."),
    Row(Fault.RESIDUAL_SATURATED, Response.WARN, 1, Clear.AFTER_DWELL, 1.0,
        "The residual pushes an action against its bound most of the time: that one is withheld."),
    Row(Fault.RESIDUAL_PRESSES, Response.DROP_RESIDUAL, 1, Clear.AFTER_DWELL, 1.0,
        "With the residual the tool presses hard more often than with the base alone."),
    Row(Fault.CRITIC_MISJUDGES, Response.DROP_RESIDUAL, 1, Clear.AFTER_DWELL, 1.0,
        "The critic that the residual is trained by surely promises more than is achieved."),
    Row(Fault.UPDATE_GUARD_PASSED, Response.DROP_RESIDUAL, 1, Clear.AFTER_DWELL, 1.0,
        "The learner changes its actor faster than the update guard allows."),
    Row(Fault.WEIGHTS_STALE, Response.DROP_RESIDUAL, 1, Clear.AFTER_DWELL, 1.0,
        "The residual was to learn, and no new snapshot of it has gone live for too long."),
    Row(Fault.RESIDUAL_HELD, Response.DROP_RESIDUAL, 1, Clear.AFTER_DWELL, 1.0,
        "A person took the residual away: the base works alone."),
    Row(Fault.DEVICE_STOPPED, Response.STOP, 1, Clear.ON_REARM, 0.0,
        "Somebody stopped the robot at its own controller."),
    Row(Fault.DEVICE_LET_GO, Response.HOLD, 1, Clear.AFTER_DWELL, 0.2,
        "The robot's controller let go: commands were late or lost, so it brakes by itself."),
    Row(Fault.DEVICE_NOT_READY, Response.STOP, 1, Clear.ON_REARM, 0.0,
        "The robot's drives report a fault, or are switched off."),
    Row(Fault.DEVICE_NOT_ARMED, Response.STOP, 100, Clear.ON_REARM, 0.0,
        "The robot's controller was armed and does not take it up."),
)  # fmt: skip


def tighten(changes: Mapping[str, Mapping[str, object]]) -> tuple[Row, ...]:
    """Return the table with `changes` applied: fault name -> field -> new value.

    Raises:
        ConfigError: an unknown fault or field, or a value looser than the row's own.
    """
    by_name = {row.fault.name: row for row in ROWS}
    for name, fields in changes.items():
        if name not in by_name:
            raise ConfigError(f"faults.{name}: no such fault; known: {', '.join(by_name)}")
        row = by_name[name]
        for key, value in fields.items():
            row = _tightened(row, key, value)
        by_name[name] = row
    return tuple(by_name[row.fault.name] for row in ROWS)


def _tightened(row: Row, key: str, value: object) -> Row:
    where = f"faults.{row.fault.name}.{key}"
    if key == "response":
        response = _member(Response, value, where)
        if not (response >= row.response):
            raise ConfigError(
                f"{where}: {response.name} loosens {row.response.name}; "
                f"allowed: {', '.join(r.name for r in Response if r >= row.response)}"
            )
        return replace(row, response=response)
    if key == "clear":
        clear = _member(Clear, value, where)
        if not (clear >= row.clear):
            raise ConfigError(
                f"{where}: {clear.name} loosens {row.clear.name}; "
                f"allowed: {', '.join(c.name for c in Clear if c >= row.clear)}"
            )
        return replace(row, clear=clear)
    if key == "debounce_ticks":
        if isinstance(value, bool) or not (
            isinstance(value, int) and 1 <= value <= row.debounce_ticks
        ):
            raise ConfigError(f"{where}: {value!r}; allowed: 1 to {row.debounce_ticks} ticks")
        return replace(row, debounce_ticks=value)
    if key == "dwell_s":
        if isinstance(value, bool) or not (
            isinstance(value, int | float) and row.dwell_s <= value <= 3600
        ):
            raise ConfigError(f"{where}: {value!r}; allowed: {row.dwell_s} to 3600 s")
        return replace(row, dwell_s=float(value))
    raise ConfigError(f"{where}: unknown field; allowed: response, clear, debounce_ticks, dwell_s")


def _member(kind: type[_Member], value: object, where: str) -> _Member:
    if not isinstance(value, str) or value not in kind.__members__:
        raise ConfigError(f"{where}: {value!r}; allowed: {', '.join(kind.__members__)}")
    return kind[value]
