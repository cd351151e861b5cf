"""A trial that nobody attends, on a robot that is stopped: it goes on, and not for ever."""

import re
from pathlib import Path

import numpy as np
import pytest

from runtime.control_process import ENDED_BY_STOP
from runtime.faults import Fault
from runtime.messages import Mode, Outcome
from runtime.records import Record, read_record
from tests.daemon_kit import ROOT, Said, assert_kept_invariants, trimtab, write_config
from tests.learning_kit import GENTLE, QUICK_LEARNER

QUICK: dict[str, object] = {
    **QUICK_LEARNER,
    **GENTLE,
    "base.file": str(ROOT / "policies" / "bases" / "peg.onnx"),
    "gate.simulation_field": None,
    "gate.replay_s": 0.5,
    "gate.lineage": "lineage",
}
REARMS_MAX = 2
pytestmark = pytest.mark.timeout(120)


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The supervisor is this process; everybody else is a real one."""
    monkeypatch.setattr("runtime.arming._PATIENCE_S", 0.3)
    monkeypatch.setattr("runtime.arming._REARMS_MAX", REARMS_MAX)


def trial(folder: Path, link: str) -> tuple[Said, list[Record]]:
    config = write_config(folder, {**QUICK, "link": f"tests.odd_links:{link}"})
    words = ["--field", "nominal", "--episodes", 1, "--steps", 40, "--out", folder / "r.html"]
    said = trimtab("trial", "--config", config, *words)
    runs = sorted(path for path in (folder / "out" / "records").iterdir() if path.is_dir())
    return said, [read_record(run) for run in runs]


def stops(record: Record) -> int:
    """Return how many times the robot went into a stop."""
    stopped = record.scalar("mode") == Mode.STOPPED
    return int(np.count_nonzero(stopped[1:] & ~stopped[:-1]))


def assert_guarded(record: Record) -> None:
    assert_kept_invariants(record)
    guarded = record.scalar("faults") >> int(Fault.TRACKING_GUARD) & 1
    assert guarded.any()


def test_after_a_stop_it_goes_on_and_says_so(tmp_path: Path) -> None:
    said, records = trial(tmp_path, "open_leaned_on_once")
    assert said.code == 0, said
    # what else was passed by then depends on when the supervisor looks
    stopped = re.findall(r"STOPPED because of [A-Z_, ]*TRACKING_GUARD.*: re-arming", said.err)
    assert len(stopped) == 3
    assert "ended" not in said.err
    assert (tmp_path / "r.html").exists()
    base, learning, learnt = records
    for record in records:
        assert stops(record) == 1
        assert_guarded(record)
        outcomes = record.scalar("outcome")
        ended = outcomes[outcomes != Outcome.NONE]
        # the stop took one, and what was asked for came after it
        assert ended[0] == Outcome.ABORT and (ended[1:] != Outcome.ABORT).all()
    assert [int(np.count_nonzero(r.scalar("outcome"))) for r in (base, learnt)] == [2, 2]
    assert learning.scalar("base_sequence")[-1] >= 40


def test_where_every_start_is_stopped_it_gives_up_and_says_why(tmp_path: Path) -> None:
    said, records = trial(tmp_path, "open_always_leaned_on")
    assert said.code == ENDED_BY_STOP, said
    assert said.err.count(": re-arming") == REARMS_MAX
    assert f"after {REARMS_MAX} re-arms in this run: the run is ended" in said.err
    (record,) = records
    assert stops(record) == REARMS_MAX + 1
    assert_guarded(record)
    assert "did not end as planned" in said.out and str(record.paths[0].parent) in said.out
