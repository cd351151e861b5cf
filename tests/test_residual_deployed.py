"""What was learnt before and is deployed, over the real chain of processes: a person pins an
earlier version while a newer one works; or it is only shown."""

import signal
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
import pytest

from policies.lineage import Entry, Lineage, now_utc
from runtime.control_process import ENDED_BY_STOP
from runtime.errors import ConfigError
from runtime.events import EventKind
from runtime.faults import Response
from runtime.gate_wire import Grant
from runtime.messages import Mode, Phase, Stage
from runtime.records import Record
from runtime.snapshot import encode_snapshot
from runtime.wire import Order, OrderKind, Rollback
from runtime.wiring import load_base, load_deployment, sizes_for
from tests.daemon_kit import (
    ROOT,
    Daemon,
    Said,
    assert_kept_invariants,
    daemon,
    trimtab,
    write_config,
)
from tests.learning_kit import EAGER
from tests.snapshot_kit import SnapshotMaker

QUICK: dict[str, object] = {
    **EAGER,
    "base.file": str(ROOT / "policies" / "bases" / "peg.onnx"),
    "gate.simulation_field": None,
    "gate.replay_s": 0.5,
    "gate.lineage": "lineage",
    # enough to be seen, too little to lead an arm anywhere
    "residual.authority_ramp_s": 50.0,
}
OLDER, NEWER = 1, 2
pytestmark = pytest.mark.timeout(120)


@dataclass(frozen=True)
class Worked:
    """What is left of the run, and what was said in it."""

    code: int
    record: Record
    config: Path
    refused: Said


def fill_lineage(config: Path) -> None:
    """Let two snapshots have passed in an earlier run."""
    deployment = load_deployment(config)
    contract, residual = load_base(deployment).contract, deployment.config.residual
    assert residual is not None
    maker = SnapshotMaker(contract, residual, sizes_for(deployment, contract))
    lineage = Lineage(config.parent / "lineage")
    for version in (OLDER, NEWER):
        snapshot = maker.make(version, version - 1, seed=version, push=0.05)
        lineage.keep(snapshot, encode_snapshot(snapshot))
        lineage.add(
            Entry("verdict", now_utc(), "before", version, digest=snapshot.digest, passed=True)
        )


def speak(robot: Daemon, patch: pytest.MonkeyPatch) -> Said:
    """Pin what there is not, and what there is."""
    patch.setenv("LOGNAME", "anna")

    def version(number: int) -> None:
        robot.wait_for(
            lambda status: status.residual is not None
            and status.residual.version == number
            and status.residual.authority > 0.0
        )

    version(NEWER)
    refused = trimtab("residual", "pin", 9, "--config", robot.config)
    assert trimtab("residual", "pin", OLDER, "--config", robot.config).code == 0
    version(OLDER)
    robot.signal(signal.SIGINT)
    return refused


@pytest.fixture(scope="module")
def worked(tmp_path_factory: pytest.TempPathFactory) -> Worked:
    config = write_config(tmp_path_factory.mktemp("pin"), QUICK)
    fill_lineage(config)
    with daemon(config, "--arm", "--residual") as robot, pytest.MonkeyPatch.context() as patch:
        refused = speak(robot, patch)
        return Worked(robot.end().code, robot.record(), config, refused)


def test_what_there_is_not_is_refused_and_changes_nothing(worked: Worked) -> None:
    assert worked.refused.code == ConfigError.exit_code
    assert "version 9 never passed" in worked.refused.err and "1, 2" in worked.refused.err
    orders = [e.text for e in worked.record.events if e.kind is EventKind.ORDER]
    assert [msgspec.json.decode(text, type=Order) for text in orders] == [
        Order(OrderKind.PIN, "anna", OLDER)
    ]


def test_the_pinned_version_takes_over_and_the_record_says_why(worked: Worked) -> None:
    assert worked.code == ENDED_BY_STOP
    record = worked.record
    (event,) = [e for e in record.events if e.kind is EventKind.ROLLBACK]
    told = msgspec.json.decode(event.text, type=Rollback)
    assert (told.version, told.undone, told.why) == (OLDER, NEWER, "anna says pin 1")
    versions = record.scalar("residual_version")
    changes = versions[np.flatnonzero(np.diff(versions, prepend=-1))].tolist()
    assert changes in ([0, NEWER, OLDER], [NEWER, OLDER])
    history = trimtab("residual", "history", "--config", worked.config).out
    assert "2 undone" in history and "says anna" in history


def test_nobody_feels_it(worked: Worked) -> None:
    record = worked.record
    responses = record.scalar("response")
    # until the end that was asked for
    before_end = responses[: int(np.argmax(responses == Response.STOP))]
    assert int(before_end.max()) <= Response.DROP_RESIDUAL
    versions, authority = record.scalar("residual_version"), record.column("authority")
    swapped = int(np.flatnonzero(np.diff(versions.astype(int)) < 0)[0]) + 1
    assert authority[:swapped].any() and authority[swapped:].any()
    # it had none at the swap, and earned it again in a trial of its own
    assert not authority[swapped - 1 : swapped + 1].any()
    again = swapped + int(np.argmax(authority[swapped:].any(axis=1)))
    ordered = next(e.tick for e in record.events if e.kind is EventKind.ORDER)
    trials = record.scalar("residual_trial")
    assert trials[again] == trials[int(np.searchsorted(record.scalar("tick"), ordered))] + 1
    stages = [
        msgspec.json.decode(e.text, type=Grant).stage
        for e in record.events
        if e.kind is EventKind.GRANT and e.tick >= ordered
    ]
    assert stages[0] is Stage.SHADOW and Stage.EXPLORE in stages
    assert_kept_invariants(record)


def test_what_is_only_shown_is_computed_recorded_and_moves_nothing(tmp_path: Path) -> None:
    config = write_config(tmp_path, QUICK)
    fill_lineage(config)
    with daemon(config, "--arm", "--shadow", "--episodes", 2) as robot:
        assert robot.end().code == 0
    record = robot.record()
    shown = record.scalar("mode") == Mode.SHADOW
    assert shown.any() and record.column("residual_action")[shown].any()
    assert int(record.scalar("residual_version")[shown].max()) == NEWER
    assert not record.column("authority").any()
    # before its first step an episode has no answer yet
    stepping = (record.scalar("phase") == Phase.RUNNING) & (record.scalar("episode_step") > 0)
    assert np.array_equal(record.column("action")[stepping], record.column("base_action")[stepping])


def test_to_show_and_to_learn_exclude_each_other(tmp_path: Path) -> None:
    config = write_config(tmp_path, QUICK)
    said = trimtab("run", "--config", config, "--shadow", "--learn")
    assert said.code == ConfigError.exit_code and "take one of them" in said.err
