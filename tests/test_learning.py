"""Learning as a whole daemon, real processes: what a seed means, and who may die."""

import os
import signal
from pathlib import Path

import numpy as np
import pytest

from policies.lineage import Lineage
from runtime.errors import ConfigError
from runtime.events import Event, EventKind
from runtime.faults import Response
from runtime.messages import Stage
from runtime.records import Record
from tests.daemon_kit import (
    LIBRARY_LINES,
    ROOT,
    Daemon,
    children,
    daemon,
    libraries,
    trimtab,
    write_config,
)
from tests.learning_kit import EAGER, GENTLE, QUICK_LEARNER

GATE, LEARNER = "runtime.gate_process", "policies.learner_process"
CONTROL = "runtime.control_process"
QUICK: dict[str, object] = {
    **QUICK_LEARNER,
    **EAGER,
    "base.file": str(ROOT / "policies" / "bases" / "peg.onnx"),
    "learner.candidate_every_steps": 20,
    "learner.agent": {
        "hidden": [16],
        "critics": 2,
        "batch": 32,
        "updates_per_step": 2,
        "warm_up_updates": 20,
    },
    "gate.simulation_field": None,
    "gate.replay_s": 0.5,
    "gate.lineage": "lineage",
}

RUN_LIMIT_S = 200.0
pytestmark = pytest.mark.timeout(420)


def versions(record: Record) -> list[int]:
    return [int(version) for version in np.unique(record.scalar("residual_version"))]


def assert_undisturbed(robot: Daemon) -> Record:
    """Whatever became of the residual, nothing held or stopped the arm."""
    said = robot.end()
    assert said.code == 0, said
    record = robot.record()
    assert not record.gaps
    assert int(record.scalar("response").max()) <= Response.DROP_RESIDUAL
    return record


def learn(folder: Path, episodes: int) -> tuple[Record, dict[int, str]]:
    """Learn; return the record and the digests of what was judged."""
    folder.mkdir()
    with daemon(write_config(folder, QUICK), "--arm", "--learn", "--episodes", episodes) as robot:
        robot.process.wait(RUN_LIMIT_S)
        record = assert_undisturbed(robot)
    entries = Lineage(folder / "lineage").entries()
    return record, {e.version: e.digest for e in entries if e.what == "verdict"}


def test_in_lockstep_a_seed_means_the_same(tmp_path: Path) -> None:
    first, judged = learn(tmp_path / "a", 6)
    second, judged_again = learn(tmp_path / "b", 6)
    assert len(judged) >= 3
    assert judged == judged_again
    assert len(versions(first)) >= 3
    # every command, and not only what was learnt
    length = min(len(first), len(second))
    assert abs(len(first) - len(second)) < 100
    assert np.array_equal(first.column("q_applied")[:length], second.column("q_applied")[:length])
    assert np.array_equal(
        first.scalar("residual_version")[:length], second.scalar("residual_version")[:length]
    )
    assert {Stage.OBSERVE, Stage.EXPLORE} <= set(np.unique(first.scalar("residual_stage")))
    assert first.column("authority").any()
    # who was granted what and what went live: the same words, the same bytes, the same ticks
    facts, again = granted(first), granted(second)
    assert len(facts) >= 6
    assert all(one == other for one, other in zip(facts, again, strict=False))


def granted(record: Record) -> list[Event]:
    """Return the grants and the snapshots that went live, without the time of day."""
    kinds = (EventKind.GRANT, EventKind.SNAPSHOT, EventKind.ROLLBACK)
    return [event for event in record.events if event.kind in kinds]


def test_gate_and_learner_may_die_and_come_back(tmp_path: Path) -> None:
    config = write_config(tmp_path, {**QUICK, **GENTLE})
    lineage = Lineage(tmp_path / "lineage")
    with daemon(config, "--arm", "--learn", "--episodes", 14) as robot:
        robot.wait_for(lambda _: lineage.last_good() is not None)
        beside = children(robot.process.pid)
        assert os.getpriority(os.PRIO_PROCESS, beside[LEARNER]) >= 10
        for module in (CONTROL, GATE):
            assert not any(line in libraries(beside[module]) for line in LIBRARY_LINES)
        before = lineage.newest_version()
        os.kill(beside[LEARNER], signal.SIGKILL)
        os.kill(beside[GATE], signal.SIGKILL)
        robot.process.wait(RUN_LIMIT_S)
        record = assert_undisturbed(robot)
    text = robot.said().err
    assert "the learner was killed by SIGKILL; starting another" in text
    assert "the gate was killed by SIGKILL; starting another" in text
    assert lineage.newest_version() > before
    assert versions(record)[-1] > before
    # a gate that died goes on where it was: its evidence outlives it
    trials = record.scalar("residual_trial").astype(int)
    assert (np.diff(trials) >= 0).all() and trials[-1] >= 1
    assert len([e for e in record.events if e.kind is EventKind.SNAPSHOT]) >= 2
    _deployed_it_acts_without_a_learner(config, versions(record)[-1])


def _deployed_it_acts_without_a_learner(config: Path, at_least: int) -> None:
    history = trimtab("residual", "history", "--config", config)
    assert history.code == 0 and "promoted" in history.out
    with daemon(config, "--arm", "--residual", "--episodes", "1") as robot:
        robot.process.wait(60.0)
        assert robot.said().code == 0, robot.said()
    runs = sorted(path for path in robot.records.iterdir() if path.is_dir())
    from runtime.records import read_record

    record = read_record(runs[-1])
    assert versions(record)[-1] >= at_least
    assert set(np.unique(record.scalar("residual_stage"))) <= {Stage.OBSERVE, Stage.ADAPTIVE}
    assert not record.column("residual_noise").any()


@pytest.mark.parametrize("word", ["--learn", "--residual"])
def test_without_a_gate_in_the_config_it_refuses(tmp_path: Path, word: str) -> None:
    config = write_config(tmp_path, {**QUICK, "gate": None, "governor": None, "learner": None})
    said = trimtab("run", "--config", config, word)
    assert said.code == ConfigError.exit_code
    assert "no `gate` block" in said.err
