"""What becomes of an answer that comes late: in lockstep, with a worker of the test's own."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from policies.gate_window import RecentPast
from runtime.events import EventKind
from runtime.interfaces import BaseAnswer, BasePolicy, RecordSink
from runtime.messages import Mode, Phase, Stage, TickRecord, new_record
from runtime.rerun import replay_record
from tests.runtime.control_kit import Base, Rig, changed, noise, panda, panda_sizes, trained_base
from tests.runtime.gate_kit import LearningRig
from tests.runtime.test_replay import Run, record_run
from tests.runtime.worker_kit import answers

LONG = changed(panda(), episode={"steps": 100_000})
TICKS_PER_STEP = 25


class Worker:
    """Answers at the (`delays`[n] + 1)-th look after question n; the last delay goes on."""

    pid = 0

    def __init__(self, base: BasePolicy, delays: Sequence[int]) -> None:
        self.base = base
        self.delays = list(delays)
        self.asked = new_record(panda_sizes())
        self.left = 0
        self.open = False
        self.questions: list[int] = []
        self.say: dict[str, object] = {}

    def ask(self, record: TickRecord) -> None:
        assert not self.open, "one question at a time"
        self.asked.raw[:] = record.raw
        self.questions.append(record.tick.item())
        self.left = self.delays.pop(0) if len(self.delays) > 1 else self.delays[0]
        self.open = True

    def look(self, woke_ns: int = 0) -> BaseAnswer | None:
        assert self.open
        self.left -= 1
        if self.left >= 0:
            return None
        self.open = False
        answer = BaseAnswer(np.zeros(len(self.asked.action)), inference_ns=1000)
        self.base.act(self.asked, answer.action)
        answer.unfamiliarity = self.base.unfamiliarity
        for name, value in self.say.items():
            setattr(answer, name, value)
        return answer

    def close(self) -> None:
        """Nothing to close."""


def employ(rig: Rig, delays: Sequence[int]) -> Worker:
    worker = Worker(rig.base, delays)
    rig.loop._parts = replace(rig.loop._parts, worker=worker)
    return worker


def test_answers_at_once_are_what_is_answered_in_line() -> None:
    plain, beside = Rig(noise(5), LONG), Rig(noise(5), LONG)
    employ(beside, [0])
    for rig in (plain, beside):
        rig.begin()
        rig.run(400)
    ours, theirs = plain.table(), beside.table()
    for name in ours.dtype.names:
        if name not in ("stage_ns", "base_inference_ns"):
            assert ours[name].tobytes() == theirs[name].tobytes(), name


@pytest.mark.parametrize("late", [1, 7, 24, 26, 49])
def test_a_late_answer_enters_the_tick_after_it_came_and_nothing_is_asked_before(late: int) -> None:
    rig = Rig(noise(5), LONG)
    worker = employ(rig, [0, 0, late, 0])
    rig.begin()
    rig.run(180)
    rows = rig.table()
    due = rows["tick"][rows["policy_due"][:, 0] != 0, 0].tolist()
    # with the answer of one tick the question of the same tick is put
    assert worker.questions == [*due[:3], *due[3 + (late - 1) // TICKS_PER_STEP :]]
    taken = rows[answers(rows)]
    asked = {int(row["tick"][0]): int(row["now_ns"][0]) for row in rows}
    third = taken[taken["base_observed_ns"][:, 0] == asked[due[2]]]
    assert len(third) == 1
    assert third["tick"][0, 0] == due[2] + late + 1


def test_a_failure_of_the_worker_is_told_and_the_action_stays() -> None:
    rig = Rig(noise(5), LONG)
    worker = employ(rig, [0])
    rig.begin()
    rig.run(60)
    worker.say = {"failure": "the base broke", "action": rig.loop._inputs.base_action.copy()}
    record = rig.until_mode(Mode.HOLD, 30)
    assert record.base_failed[0]
    assert [e.text for e in rig.sink.events if e.kind is EventKind.TRACEBACK] == ["the base broke"]


@pytest.fixture(scope="module")
def late(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A learnt residual on a base whose answers come now and then late, or after a policy step."""

    def drive(rig: Rig) -> None:
        assert isinstance(rig, LearningRig)
        employ(rig, [0, 3, 0, 24, 26, 0, 1, 0])
        rig.gate.allow(Stage.EXPLORE)
        rig.until(lambda record: bool(record.phase[0] == Phase.RUNNING), 6000)
        rig.run(150)
        assert rig.offer(1, 0, push=0.2) == ""
        rig.run(250)

    def make(sink: RecordSink) -> LearningRig:
        return LearningRig(
            deployment=panda(), base=trained_base(), field="field", sink=sink, seed=1
        )

    return record_run(tmp_path_factory.mktemp("late"), drive, make)


def test_a_replay_finds_the_record_that_was_answered(late: Run) -> None:
    record = late.record
    rows = record.ticks
    taken = answers(rows)
    behind = taken - np.searchsorted(rows["now_ns"][:, 0], rows["base_observed_ns"][taken, 0])
    assert {1, 2, 4, 25, 27} <= set(behind.tolist())
    assert rows["residual_noise"].any()
    assert replay_record(record, "envelope").exact
    policy = replay_record(record, "policy")
    assert policy.exact, policy.examples
    assert policy.actions == len(taken) > 10


def test_the_gate_notes_only_what_was_answered_in_time(late: Run) -> None:
    record, config = late.record, panda().config.residual
    assert config is not None
    kind = trained_base().contract.action.kind
    past = RecentPast(
        panda_sizes(), config.terms, kind, keep_ticks=10_000, keep_steps=1000
    )
    past.take(memoryview(record.ticks.tobytes()), record.ticks, [])
    rows = record.ticks
    taken = rows[answers(rows)]
    known = dict(zip(taken["base_sequence"][:, 0].tolist(), taken["base_action"], strict=True))
    noted = past.recent(10_000, 1000)
    assert 0 < len(noted) < len(taken)
    for one in noted:
        assert one.base.tobytes() == known[one.step].tobytes()
    behind = {
        int(row["base_sequence"][0])
        for row in taken
        if row["now_ns"][0] - row["base_observed_ns"][0] != 2_000_000
    }
    assert len(behind) == 4
    assert not behind & {one.step for one in noted}


def test_an_unused_base_is_not_asked() -> None:
    rig = Rig(base=(base := Base(noise(1))), deployment=LONG)
    worker = employ(rig, [0])
    worker.base = Base(noise(2))
    rig.begin()
    rig.run(60)
    assert base.asked == 0
    assert worker.questions
