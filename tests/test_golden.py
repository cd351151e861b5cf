"""The committed record, replayed: control law and record format have not changed by accident."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from runtime import rerun
from runtime.events import EventKind
from runtime.faults import Fault
from runtime.messages import Limit, Mode, Outcome
from runtime.records import Record, read_record
from runtime.rerun import replay_record
from tests.daemon_kit import assert_ended_at_rest, assert_kept_invariants
from tests.golden.make import GOLDEN, make

KILOBYTES_MAX = 600
HOW = "if that was meant, make it anew: python -m tests.golden.make"


@pytest.fixture(scope="module")
def golden() -> Record:
    return read_record(GOLDEN)


def test_every_decision_comes_out_as_recorded(golden: Record) -> None:
    result = replay_record(golden, "envelope")
    assert result.exact, f"{result.examples[:3]}; {HOW}"
    assert (result.ticks, result.skipped) == (len(golden), 0)


def test_on_another_machine_too(golden: Record, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rerun, "fingerprint", lambda: {"machine": "another"})
    result = replay_record(golden, "envelope")
    assert not result.same_machine
    assert result.exact, f"{result.examples[:3]}; {HOW}"


def test_one_changed_command_is_found(golden: Record) -> None:
    sent = int(np.flatnonzero(golden.scalar("command_sent"))[50])
    size = golden.layout.size_bytes
    raw = bytearray(golden.raw)
    raw[raw.index(golden.ticks["q_applied"][sent].tobytes(), sent * size)] ^= 1
    view = memoryview(raw)
    harmed = replace(golden, raw=view, ticks=golden.layout.read(view), _columns={})
    result = replay_record(harmed, "envelope")
    assert result.different == 1
    assert [example.tick for example in result.examples] == [golden.scalar("tick")[sent]]


def test_there_is_much_in_it(golden: Record) -> None:
    modes = set(golden.scalar("mode").tolist())
    assert {Mode.READY, Mode.HOMING, Mode.BASE, Mode.HOLD, Mode.STOPPED} <= modes
    seen = int(np.bitwise_or.reduce(golden.scalar("faults")))
    for fault in (Fault.BASE_NOT_FINITE, Fault.OPERATOR_STOP, Fault.ENVELOPE_LIMITED):
        assert seen >> fault & 1, fault.name
    assert golden.column("limited_by").max() > Limit.NONE
    outcomes = golden.scalar("outcome")
    assert outcomes[np.flatnonzero(outcomes)].tolist() == [Outcome.SUCCESS, Outcome.ABORT]
    assert sum(event.kind is EventKind.KEYFRAME for event in golden.events) >= 5
    assert GOLDEN.stat().st_size < KILOBYTES_MAX * 1000


def test_the_commands_in_it_kept_their_invariants(golden: Record) -> None:
    assert_kept_invariants(golden)
    assert_ended_at_rest(golden)


def test_it_can_be_made_again(golden: Record, tmp_path: Path) -> None:
    make(tmp_path / "again.mcap")
    again = read_record(tmp_path / "again.mcap")
    assert again.header.layout == golden.header.layout, HOW
    # stage times are measured, so only the physics and the decisions are the same each time
    if again.header.fingerprint == golden.header.fingerprint:
        for name in ("q", "q_applied", "mode", "faults", "limited_by", "base_action"):
            np.testing.assert_array_equal(again.column(name), golden.column(name), HOW)
