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
    assert str(value) in {
        str(getattr(item, "name", item)) for item in (asdict(after) | {"raw": value}).values()
    }


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
    assert tighten({name: same}) == ROWS


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
        ({"TORQUE_GUARD": {"dwell_s": float("nan")}}, "nan; allowed"),
        ({"TORQUE_GUARD": {"dwell_s": float("inf")}}, "inf; allowed"),
    ],
)
def test_what_is_wrong_is_named(changes: dict[str, dict[str, object]], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        tighten(changes)
