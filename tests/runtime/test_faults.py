"""The fault table is complete, and a config can only tighten it."""

from dataclasses import asdict

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from runtime.errors import ConfigError
from runtime.faults import ROWS, Clear, Fault, Response, Row, tighten

NAMES = st.sampled_from([fault.name for fault in Fault])
VALUES = {
    "response": st.sampled_from([response.name for response in Response]),
    "clear": st.sampled_from([clear.name for clear in Clear]),
    "debounce_ticks": st.integers(-5, 20),
    "dwell_s": st.floats(-10, 5000),
}
CHANGE = st.sampled_from(sorted(VALUES)).flatmap(lambda key: st.tuples(st.just(key), VALUES[key]))


# The table once more, by hand: response, debounce in ticks, when it clears, dwell in s.
TABLE = """
JOINTS_STALE            HOLD          1 AFTER_DWELL 0.2
GROUP_STALE             HOLD          1 AFTER_DWELL 0.2
SEQUENCE_GAP            WARN          1 WHEN_CLEAR  0.0
OBSERVATION_NOT_FINITE  HOLD          1 AFTER_DWELL 0.2
BASE_NOT_FINITE         HOLD          1 AFTER_DWELL 0.2
BASE_STALE              HOLD          1 AFTER_DWELL 0.2
BASE_FAILED             HOLD          1 ON_REARM    0.0
RESIDUAL_NOT_FINITE     DROP_RESIDUAL 1 ON_REARM    0.0
START_REFUSED           HOLD          1 ON_REARM    0.0
ENVELOPE_LIMITED        WARN          1 WHEN_CLEAR  0.0
TORQUE_GUARD            HOLD          5 AFTER_DWELL 0.2
TRACKING_GUARD          STOP          5 ON_REARM    0.0
TOOL_SPEED_GUARD        HOLD          5 AFTER_DWELL 0.2
WORKSPACE_GUARD         HOLD          1 AFTER_DWELL 0.2
DEADLINE_MISSED         WARN          1 WHEN_CLEAR  0.0
DEADLINES_MISSED        HOLD          1 AFTER_DWELL 1.0
LINK_LOST               STOP          1 ON_REARM    0.0
RECORD_DROPPED          WARN          1 WHEN_CLEAR  0.0
RECORDER_LOST           HOLD          1 AFTER_DWELL 1.0
SUPERVISOR_LOST         STOP          1 ON_REARM    0.0
OPERATOR_STOP           STOP          1 ON_REARM    0.0
TICK_RAISED             STOP          1 ON_REARM    0.0
OBSERVATION_IMPLAUSIBLE HOLD          1 AFTER_DWELL 0.2
OBSERVATION_UNFAMILIAR  DROP_RESIDUAL 1 AFTER_DWELL 0.5
INFERENCE_SLOW          WARN          1 WHEN_CLEAR  0.0
WALL_CLOCK_STEPPED      WARN          1 WHEN_CLEAR  0.0
JOINT_SPEED_GUARD       HOLD          1 AFTER_DWELL 0.2
ELBOW_SPEED_GUARD       HOLD          5 AFTER_DWELL 0.2
CONTACT_FORCE_GUARD     HOLD          1 AFTER_DWELL 0.2
RESIDUAL_FAILED DROP_RESIDUAL 1 ON_REARM 0.0
RESIDUAL_OUT_OF_BOUND DROP_RESIDUAL 1 ON_REARM 0.0
SNAPSHOT_REFUSED WARN 1 WHEN_CLEAR 0.0
GATE_LOST DROP_RESIDUAL 1 AFTER_DWELL 1.0
LEARNER_LOST DROP_RESIDUAL 1 AFTER_DWELL 1.0
SUCCESS_FELL DROP_RESIDUAL 1 AFTER_DWELL 1.0
SUCCESS_BELOW_BASE DROP_RESIDUAL 1 AFTER_DWELL 1.0
RESIDUAL_LIMITED DROP_RESIDUAL 1 AFTER_DWELL 1.0
RESIDUAL_SATURATED WARN 1 AFTER_DWELL 1.0
RESIDUAL_PRESSES DROP_RESIDUAL 1 AFTER_DWELL 1.0
CRITIC_MISJUDGES DROP_RESIDUAL 1 AFTER_DWELL 1.0
UPDATE_GUARD_PASSED DROP_RESIDUAL 1 AFTER_DWELL 1.0
WEIGHTS_STALE DROP_RESIDUAL 1 AFTER_DWELL 1.0
RESIDUAL_HELD DROP_RESIDUAL 1 AFTER_DWELL 1.0
DEVICE_STOPPED          STOP          1 ON_REARM    0.0
DEVICE_LET_GO           HOLD          1 AFTER_DWELL 0.2
DEVICE_NOT_READY        STOP          1 ON_REARM    0.0
DEVICE_NOT_ARMED        STOP        100 ON_REARM    0.0
"""


def test_the_table_is_what_was_decided() -> None:
    rows = [
        f"{r.fault.name} {r.response.name} {r.debounce_ticks} {r.clear.name} {r.dwell_s}"
        for r in ROWS
    ]
    assert rows == [" ".join(line.split()) for line in TABLE.strip().splitlines()]


def test_the_numbers_that_stand_in_records() -> None:
    assert [(r.name, int(r)) for r in Response] == [
        ("NONE", 0), ("WARN", 1), ("DROP_RESIDUAL", 2), ("HOLD", 3), ("STOP", 4),
    ]  # fmt: skip
    assert [(c.name, int(c)) for c in Clear] == [
        ("WHEN_CLEAR", 0), ("AFTER_DWELL", 1), ("ON_REARM", 2), ("NEVER", 3),
    ]  # fmt: skip


def accepted(changes: dict[str, dict[str, object]]) -> tuple[Row, ...]:
    """The table with changes that must not be refused."""
    try:
        return tighten(changes)
    except ConfigError as error:
        pytest.fail(f"refused: {error}")


def strictness(row: Row) -> tuple[float, ...]:
    return (row.response, row.clear, -row.debounce_ticks, row.dwell_s)


def test_every_fault_has_one_row_in_order() -> None:
    assert [row.fault for row in ROWS] == list(Fault)


def test_every_fault_fits_the_mask_of_a_record() -> None:
    assert [fault.value for fault in Fault] == list(range(len(Fault)))
    assert len(Fault) < 63


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.fault.name)
def test_every_row_can_be_read_aloud_and_makes_sense(row: Row) -> None:
    assert row.sentence.endswith(".")
    assert row.sentence[0].isupper()
    assert row.debounce_ticks >= 1
    assert (row.dwell_s > 0) == (row.clear is Clear.AFTER_DWELL)
    if row.response is Response.STOP:
        assert row.clear >= Clear.ON_REARM, "a stop is latched"


def test_every_field_can_be_tightened_up_to_its_last_value() -> None:
    row = accepted(
        {
            "TORQUE_GUARD": {
                "response": "STOP", "clear": "NEVER", "debounce_ticks": 1, "dwell_s": 3600,
            }
        }
    )[Fault.TORQUE_GUARD]  # fmt: skip
    assert (row.response, row.clear) == (Response.STOP, Clear.NEVER)
    assert (row.debounce_ticks, row.dwell_s) == (1, 3600.0)
    assert type(row.dwell_s) is float


@given(name=NAMES, change=CHANGE)
def test_a_change_is_stricter_or_refused(name: str, change: tuple[str, object]) -> None:
    key, value = change
    before = {row.fault.name: row for row in ROWS}[name]
    try:
        after = {row.fault.name: row for row in tighten({name: {key: value}})}[name]
    except ConfigError as error:
        assert f"faults.{name}.{key}" in str(error)
        assert str(value) in str(error)
        return
    assert all(new >= old for new, old in zip(strictness(after), strictness(before), strict=True))
    taken = asdict(after)[key]
    assert getattr(taken, "name", taken) == value


@given(name=NAMES, change=CHANGE)
def test_only_the_named_row_changes(name: str, change: tuple[str, object]) -> None:
    try:
        rows = tighten({name: dict([change])})
    except ConfigError:
        assume(False)
    assert [row.fault for row in rows] == list(Fault)
    assert all(new == old for new, old in zip(rows, ROWS, strict=True) if new.fault.name != name)


@given(name=NAMES)
def test_a_row_as_it_stands_is_no_loosening(name: str) -> None:
    row = {row.fault.name: row for row in ROWS}[name]
    same = {
        "response": row.response.name,
        "clear": row.clear.name,
        "debounce_ticks": row.debounce_ticks,
        "dwell_s": row.dwell_s,
    }
    assert accepted({name: same}) == ROWS


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"TORQE_GUARD": {}}, r"faults.TORQE_GUARD: no such fault; known: .*TORQUE_GUARD"),
        ({"TORQUE_GUARD": {"respons": "STOP"}}, "unknown field; allowed: response, clear"),
        ({"TORQUE_GUARD": {"response": "PANIC"}}, r"'PANIC'; allowed: NONE, WARN"),
        ({"TORQUE_GUARD": {"response": "WARN"}}, r"WARN loosens HOLD; allowed: HOLD, STOP"),
        ({"TORQUE_GUARD": {"response": 4}}, "4; allowed: NONE"),
        ({"TRACKING_GUARD": {"clear": "WHEN_CLEAR"}}, "loosens ON_REARM; allowed: ON_REARM, NEVER"),
        ({"TORQUE_GUARD": {"debounce_ticks": 6}}, "6; allowed: 1 to 5 ticks"),
        ({"TORQUE_GUARD": {"debounce_ticks": 0}}, "0; allowed: 1 to 5 ticks"),
        ({"TORQUE_GUARD": {"debounce_ticks": 1.5}}, "1.5; allowed: 1 to 5 ticks"),
        ({"TORQUE_GUARD": {"debounce_ticks": True}}, "True; allowed: 1 to 5 ticks"),
        ({"TORQUE_GUARD": {"dwell_s": 0.1}}, r"0\.1; allowed: 0\.2 to 3600 s"),
        ({"TORQUE_GUARD": {"dwell_s": 3600.0000001}}, "3600.0000001; allowed"),
        ({"TORQUE_GUARD": {"dwell_s": True}}, "True; allowed"),
        ({"LINK_LOST": {"dwell_s": False}}, "False; allowed"),
        ({"TORQUE_GUARD": {"dwell_s": "1"}}, "'1'; allowed"),
        ({"TORQUE_GUARD": {"response": ["STOP"]}}, r"\['STOP'\]; allowed"),
        ({"TORQUE_GUARD": {"dwell_s": float("nan")}}, "nan; allowed"),
        ({"TORQUE_GUARD": {"dwell_s": float("inf")}}, "inf; allowed"),
    ],
)
def test_what_is_wrong_is_named(changes: dict[str, dict[str, object]], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        tighten(changes)
