"""A disk that is full while a robot learns, and has room again: real processes."""

import resource
from pathlib import Path

import pytest

from policies.learner.store import CHECKPOINT
from policies.learner_process import CHECKPOINT_UPDATES
from policies.lineage import Lineage
from runtime.events import EventKind
from runtime.faults import Response
from runtime.gate_wire import Verdict
from runtime.record_format import RecorderStatus
from runtime.records import Record
from runtime.residual_tally import verdict_of
from tests.daemon_kit import ROOT, Daemon, children, daemon, write_config
from tests.learning_kit import GENTLE, QUICK_LEARNER

QUICK: dict[str, object] = {
    **QUICK_LEARNER,
    **GENTLE,
    "base.file": str(ROOT / "policies" / "bases" / "peg.onnx"),
    "gate.simulation_field": None,
    "gate.replay_s": 0.5,
    "gate.lineage": "lineage",
    "sim.field": "nominal",
}
# less than a snapshot or a checkpoint needs, which stands for a full disk
ROOM_BYTES = 2000
REFUSED = 3
pytestmark = pytest.mark.timeout(120)


def leave_room(robot: Daemon, room_bytes: int | None) -> None:
    """Limit what gate and learner may write into one file; the recorder has a disk of its own.
    None: they may again write what they could before."""
    beside = children(robot.process.pid)
    for module in ("runtime.gate_process", "policies.learner_process"):
        _, most = resource.prlimit(beside[module], resource.RLIMIT_FSIZE)
        room = most if room_bytes is None else room_bytes
        resource.prlimit(beside[module], resource.RLIMIT_FSIZE, (room, most))


def refused(status: RecorderStatus) -> bool:
    """The gate could not keep what passed, and the learner wanted to save what it knows."""
    residual = status.residual
    if residual is None:
        return False
    return residual.refused >= REFUSED and residual.updates > CHECKPOINT_UPDATES


def verdicts(record: Record) -> list[tuple[int, Verdict]]:
    """Return the gate's verdicts, each with its tick."""
    found = [(event.tick, verdict_of(event)) for event in record.events]
    return [(tick, verdict) for tick, verdict in found if verdict is not None]


def test_what_cannot_be_kept_is_not_promoted_until_there_is_room(tmp_path: Path) -> None:
    lineage = Lineage(tmp_path / "lineage")
    with daemon(write_config(tmp_path, QUICK), "--arm", "--learn") as robot:
        robot.wait_for(lambda _: "policies.learner_process" in children(robot.process.pid))
        leave_room(robot, ROOM_BYTES)
        robot.wait_for(refused)
        assert lineage.last_good() is None
        assert not (lineage.folder / CHECKPOINT).exists()
        leave_room(robot, None)
        robot.wait_for(lambda _: lineage.last_good() is not None)
        robot.wait_for(lambda _: (lineage.folder / CHECKPOINT).exists())
        robot.process.terminate()
        robot.end()
        record = robot.record()
    judged = verdicts(record)
    passed = [verdict.passed for _, verdict in judged]
    first = passed.index(True)
    assert first >= REFUSED and all(passed[first:])
    for _, verdict in judged[:first]:
        (reason,) = verdict.reasons
        assert reason.startswith("lineage: ") and "free space" in reason
    texts = [event.text for event in record.events if event.kind is EventKind.VERDICT]
    assert any("no checkpoint of the learner can be written" in text for text in texts)
    # nobody died of it, and the robot worked on with what it had
    assert "starting another" not in robot.said().err
    before = record.ticks[: judged[first][0]]
    assert not before["residual_version"].any()
    assert before["response"].max() <= Response.WARN
    assert record.scalar("residual_version")[-1] > 0
