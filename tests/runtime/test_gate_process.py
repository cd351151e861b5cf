"""The gate as a real process, between a robot at work and a learner that the test itself plays."""

import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import zmq
from numpy.typing import NDArray

from policies.lineage import Entry, Lineage, now_utc
from runtime.companions import gate_command
from runtime.events import EventKind
from runtime.faults import Fault
from runtime.gate_client import GateConnection
from runtime.gate_wire import (
    MAX_FRAME_BYTES,
    Beat,
    Candidate,
    Progress,
    Verdict,
    encode,
    to_learner,
)
from runtime.messages import Mode, Stage
from runtime.operator_port import ScriptedPort
from runtime.record_format import RecorderPlace
from runtime.recorder import RecorderClient
from runtime.records import Record, read_record
from runtime.snapshot import Snapshot, decode_snapshot, encode_snapshot
from runtime.summary import active_faults
from runtime.tick import ControlTick
from runtime.wiring import Surroundings, build_loop, load_residual, open_link, record_header
from tests.learning_kit import EAGER, START_S, gate_process, process
from tests.policies.gate_kit import Job, Recipe, make_job, make_snapshot
from tests.runtime.recording_kit import make_config, start_recorder

QUICK: dict[str, object] = {
    **EAGER,
    # enough to be seen, too little to lead an arm anywhere
    "residual.authority_ramp_s": 50.0,
    "gate.simulation_field": None,
    "gate.replay_s": 0.5,
    "residual.max_action_change": 5.0,
    "residual.max_snapshot_bytes": 100_000,
}
SMALL = (0.02, 0.0, 0.0, 0.0)


class FakeLearner:
    """A learner's socket in the test's hands; it beats only while it waits."""

    def __init__(self, place: RecorderPlace) -> None:
        self._context = zmq.Context()
        self.socket: zmq.Socket[bytes] = self._context.socket(zmq.DEALER)
        self.socket.setsockopt(zmq.LINGER, 0)
        self.socket.connect(place.learner_endpoint)

    def send(self, message: Candidate | Progress | Beat | bytes) -> None:
        self.socket.send(message if isinstance(message, bytes) else encode(message))

    def verdict(self) -> Verdict:
        """Wait for the next verdict."""
        deadline_s = time.monotonic() + START_S
        while time.monotonic() < deadline_s:
            self.send(Beat())
            if self.socket.poll(50):
                message = to_learner.decode(self.socket.recv())
                if isinstance(message, Verdict):
                    return message
        raise AssertionError("no verdict came")

    def judged(self, data: bytes | Snapshot, steps: int = 0) -> Verdict:
        """Send a candidate and return what became of it."""
        raw = data if isinstance(data, bytes) else encode_snapshot(data)
        self.send(Candidate(raw, steps))
        return self.verdict()

    def close(self) -> None:
        self.socket.close()
        self._context.term()


class Robot:
    """A simulated robot at work in a thread of its own, recorded and gated by real processes."""

    def __init__(self, job: Job, folder: Path) -> None:
        (folder / "s").mkdir(parents=True)
        self.place = RecorderPlace("kit", folder / "records" / "kit", folder / "s")
        self.lineage = folder / "lineage"
        self._recorder = start_recorder(self.place, make_config())
        self._done = False
        self.thread = threading.Thread(target=self._work, args=(job,), daemon=True)
        self.stage = Stage.OBSERVE
        self.version = self.steps = 0
        self.moved = False

    def _work(self, job: Job) -> None:
        deployment, contract = job.deployment, job.base.contract
        link = open_link(deployment, contract, lockstep=True, field="nominal", seed=3)
        header = record_header(deployment, contract, "kit", "realtime", link.describe())
        sink = RecorderClient(self.place, header, lockstep=True, lost_after_s=5.0)
        sink.wait_ready(START_S)
        gate = GateConnection(self.place, job.actions, lost_after_s=1.0)
        residual = load_residual(deployment, contract, 0)
        port = ScriptedPort()
        surroundings = Surroundings(link, job.base, residual, sink, port, None, gate=gate)
        build_loop(deployment, surroundings, self._is_done).run()
        gate.close()

    def _is_done(self, tick: ControlTick) -> bool:
        self.stage = Stage(tick.record.residual_stage.item())
        self.moved = bool(tick.record.authority.any())
        self.version = tick.record.residual_version.item()
        self.steps = tick.record.base_sequence.item()
        # slower than simulated, so that other processes of a busy machine keep up
        time.sleep(0.0005)
        return self._done and not tick.record.policy_due.item()

    def wait_for(self, version: int) -> None:
        """Wait until this snapshot acts."""
        self.wait_until(lambda: self.version == version)

    def work_on(self) -> None:
        """Wait until some more policy steps are taken."""
        enough = self.steps + 20
        self.wait_until(lambda: self.steps >= enough)

    @staticmethod
    def wait_until(condition: Callable[[], bool], learner: FakeLearner | None = None) -> None:
        """Wait, while a learner beats."""
        deadline_s = time.monotonic() + START_S
        while not condition():
            assert time.monotonic() < deadline_s
            if learner is not None:
                learner.send(Beat())
            time.sleep(0.02)

    def end(self) -> Record:
        self._done = True
        self.thread.join(START_S)
        assert not self.thread.is_alive()
        self._recorder.communicate(timeout=20.0)
        return read_record(self.place.folder)


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Job:
    return make_job(tmp_path_factory.mktemp("job"), QUICK)


@pytest.fixture
def robot(job: Job, tmp_path: Path) -> Iterator[Robot]:
    robot = Robot(job, tmp_path)
    robot.thread.start()
    yield robot
    robot._done = True
    robot.thread.join(START_S)


@pytest.fixture
def learner(robot: Robot) -> Iterator[FakeLearner]:
    learner = FakeLearner(robot.place)
    yield learner
    learner.close()


_AT_WORK = {Mode.DISARMED, Mode.READY, Mode.HOMING, Mode.BASE, Mode.SHADOW, Mode.ADAPTIVE}
_HARMLESS = {
    Fault.GATE_LOST,
    Fault.LEARNER_LOST,
    Fault.SNAPSHOT_REFUSED,
    Fault.OBSERVATION_UNFAMILIAR,
}


def said(record: Record) -> str:
    return "\n".join(e.text for e in record.events if e.kind is EventKind.VERDICT)


def assert_undisturbed(record: Record) -> None:
    """Nothing held or stopped the arm. A made-up snapshot may lead it where the base never was:
    then the residual is dropped, as it should be."""
    assert not record.gaps
    assert set(active_faults(record)) <= _HARMLESS
    assert {Mode(mode) for mode in record.scalar("mode").tolist()} <= _AT_WORK


def test_bad_input_is_refused_with_a_reason_and_the_robot_works_on(
    job: Job, robot: Robot, learner: FakeLearner
) -> None:
    bad = {
        "finite": make_snapshot(job, Recipe(SMALL, spread=float("nan"))),
        "contract": make_snapshot(job, Recipe(SMALL, contract="0" * 64)),
        "norm": make_snapshot(job, Recipe(SMALL, spread=1e4)),
        "parity": make_snapshot(job, Recipe(SMALL, parity_shift=0.1)),
        "update guard": make_snapshot(job, Recipe(SMALL, constraint=9.0)),
    }
    with gate_process(robot.place, robot.lineage):
        # a verdict reaches the record only once the robot has found the gate
        _begin(robot, learner)
        for check, snapshot in bad.items():
            verdict = learner.judged(snapshot)
            assert not verdict.passed
            assert verdict.reasons[0].startswith(f"{check}: ")
        assert not learner.judged(b"not a snapshot").passed
        learner.send(b"\xff garbage")
        learner.send(b"\x00" * 250_000)
        learner.send(b"\x00" * (MAX_FRAME_BYTES + 1))
        for _ in range(2000):
            learner.send(Progress(1, 1))
        robot.work_on()
        honest = make_snapshot(job, Recipe(SMALL, version=3))
        assert learner.judged(honest).passed
        robot.wait_for(3)
        older = learner.judged(make_snapshot(job, Recipe(SMALL, version=2)))
        assert "not newer than 3" in older.reasons[0]
        # said again (a restarted learner): the same verdict, and nothing is offered twice
        assert learner.judged(honest).passed
        record = robot.end()
    assert_undisturbed(record)
    text = said(record)
    for check in bad:
        assert f'"{check}: ' in text
    assert "messages that cannot be understood (the last one: 250000 bytes" in text
    assert "lost connections" in text
    (live,) = [e for e in record.events if e.kind is EventKind.SNAPSHOT]
    assert decode_snapshot(live.data) == honest
    entries = Lineage(robot.lineage).entries()
    assert [e.version for e in entries if e.what == "verdict" and e.passed] == [3]
    (taken,) = [e for e in entries if e.what == "taken"]
    assert not taken.reasons


def test_a_killed_gate_is_missed_and_the_next_one_goes_on(
    job: Job, robot: Robot, learner: FakeLearner
) -> None:
    """With it goes what the residual might do, until the next one has taken up its evidence."""
    with gate_process(robot.place, robot.lineage) as gate:
        _begin(robot, learner)
        assert learner.judged(make_snapshot(job, Recipe(SMALL))).passed
        robot.wait_for(1)
        robot.wait_until(lambda: robot.moved, learner)
        gate.send_signal(signal.SIGKILL)
        gate.wait()
    robot.wait_until(lambda: not robot.moved)
    robot.work_on()
    assert robot.version == 1 and not robot.moved
    with gate_process(robot.place, robot.lineage):
        # it knows from the lineage what is live, and from the stream what the robot did
        old = learner.judged(make_snapshot(job, Recipe(SMALL, version=1, spread=-1.5)))
        assert "not newer than 1" in old.reasons[0]
        robot.work_on()
        assert learner.judged(make_snapshot(job, Recipe(SMALL, version=2))).passed
        robot.wait_for(2)
        robot.wait_until(lambda: robot.moved, learner)
        record = robot.end()
    assert_undisturbed(record)
    lost = record.scalar("gate_lost").astype(bool)
    assert lost.any() and not lost[-1]
    assert len([e for e in record.events if e.kind is EventKind.SNAPSHOT]) == 2
    trials = record.scalar("residual_trial").astype(int)
    assert set(trials) <= {0, 1} and trials[-1] == 1
    assert_given_back(record, lost)


def assert_given_back(record: Record, lost: NDArray[np.bool_]) -> None:
    """Control drops the residual while nobody watches it, and the base goes on; afterwards it has
    what it had, in the trial in which it was: the tick's evidence against it counts on."""
    last = int(np.flatnonzero(lost)[-1])
    first = int(np.flatnonzero(~lost[:last])[-1]) + 1
    authority: NDArray[np.bool_] = np.logical_or.reduce(record.column("authority") > 0, axis=1)
    assert authority[:first].any()
    # what it has is ramped down, so that the arm does not jerk
    dropped = first + int(np.argmin(authority[first:]))
    again = dropped + int(np.argmax(authority[dropped:]))
    assert again > last and authority[again]
    steps = record.scalar("base_sequence")
    assert steps[last] > steps[dropped]


def _begin(robot: Robot, learner: FakeLearner) -> None:
    """Wait until the gate is there and has seen the robot work."""
    assert "format" in learner.judged(b"is anybody there").reasons[0]
    robot.work_on()


def test_without_room_for_the_lineage_nothing_is_promoted(
    job: Job, robot: Robot, learner: FakeLearner
) -> None:
    # a file where the folder should be: nothing can be written there
    robot.lineage.write_text("in the way")
    with gate_process(robot.place, robot.lineage):
        _begin(robot, learner)
        verdict = learner.judged(make_snapshot(job, Recipe(SMALL)))
        assert not verdict.passed
        assert "cannot be written" in verdict.reasons[0]
        record = robot.end()
    assert_undisturbed(record)
    assert int(record.scalar("residual_version").max()) == 0
    assert "lineage: " in said(record)


def test_a_silent_learner_is_missed_and_nobody_explores_for_it(
    job: Job, robot: Robot, learner: FakeLearner
) -> None:
    with gate_process(robot.place, robot.lineage) as gate:
        _begin(robot, learner)
        assert learner.judged(make_snapshot(job, Recipe(SMALL))).passed
        robot.wait_until(lambda: robot.moved, learner)
        # now it falls silent
        robot.wait_until(lambda: not robot.moved)
        robot.work_on()
        assert robot.stage is Stage.EXPLORE and not robot.moved
        record = robot.end()
        gate.send_signal(signal.SIGTERM)
        assert gate.wait(15.0) == 0
    assert_undisturbed(record)
    assert record.scalar("learner_lost")[-1]
    assert not record.column("authority")[-1].any()
    assert int(record.scalar("residual_version")[-1]) == 1


def test_what_is_only_to_be_shown_is_computed_and_moves_nothing(job: Job, robot: Robot) -> None:
    snapshot = make_snapshot(job, Recipe(SMALL))
    lineage = Lineage(robot.lineage)
    lineage.keep(snapshot, encode_snapshot(snapshot))
    lineage.add(
        Entry("verdict", now_utc(), "kit", snapshot.version, digest=snapshot.digest, passed=True)
    )
    with process(gate_command(robot.place, robot.lineage, learner=False, shadow=True)):
        robot.wait_for(snapshot.version)
        robot.wait_until(lambda: robot.stage is Stage.SHADOW)
        robot.work_on()
        record = robot.end()
    assert_undisturbed(record)
    shown = record.scalar("mode") == Mode.SHADOW
    assert shown.any()
    assert record.column("residual_action")[shown].any()
    assert not record.column("authority").any()
