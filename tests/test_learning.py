"""Learning as a whole daemon, real processes: what a seed means, and who may die."""

import os
import signal
from pathlib import Path

import numpy as np
import pytest

from policies.lineage import Lineage
from runtime.errors import ConfigError
from runtime.faults import Response
from runtime.messages import EventKind, Stage
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
from tests.learning_kit import GENTLE, QUICK_LEARNER

GATE, LEARNER = "runtime.gate_process", "policies.learner_process"
CONTROL = "runtime.control_process"
QUICK: dict[str, object] = {
    **QUICK_LEARNER,
    "base.file": str(ROOT / "policies" / "bases" / "peg.onnx"),
    "gate.simulation_field": None,
    "gate.replay_s": 0.5,
    "gate.lineage": "lineage",
    "sim.field": "nominal",
}


def versions(record: Record) -> list[int]:
    return [int(version) for version in np.unique(record.scalar("residual_version"))]


def assert_undisturbed(robot: Daemon) -> Record:
    said = robot.end()
    assert said.code == 0, said
    record = robot.record()
    assert not record.gaps
    assert int(record.scalar("response").max()) <= Response.WARN
    return record


def learn(folder: Path, episodes: int) -> tuple[Record, dict[int, str]]:
    """Learn undisturbed; return the record and the digests of what was promoted."""
    folder.mkdir()
    with daemon(write_config(folder, QUICK), "--arm", "--learn", "--episodes", episodes) as robot:
        robot.process.wait(90.0)
        record = assert_undisturbed(robot)
    entries = Lineage(folder / "lineage").entries()
    return record, {e.version: e.digest for e in entries if e.what == "verdict"}


def test_in_lockstep_a_seed_means_the_same(tmp_path: Path) -> None:
    first, judged = learn(tmp_path / "a", 5)
    second, judged_again = learn(tmp_path / "b", 5)
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
    assert set(np.unique(first.scalar("residual_stage"))) <= {Stage.OBSERVE, Stage.EXPLORE}


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
        robot.process.wait(110.0)
        record = assert_undisturbed(robot)
    text = robot.said().err
    assert "the learner was killed by SIGKILL; starting another" in text
    assert "the gate was killed by SIGKILL; starting another" in text
    assert lineage.newest_version() > before
    assert versions(record)[-1] > before
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
    config = write_config(tmp_path, {**QUICK, "gate": None, "learner": None})
    said = trimtab("run", "--config", config, word)
    assert said.code == ConfigError.exit_code
    assert "no `gate` block" in said.err
