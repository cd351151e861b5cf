"""Outcomes that come late, twice, corrected or not at all, over the real chain of processes."""

import re
import signal
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import msgspec
import numpy as np
import pytest
import torch

from policies.learner.replay import Pool
from policies.learner.setup import Setup
from policies.learner.trainer import Trainer
from policies.lineage import Lineage
from runtime.control_process import ENDED_BY_STOP
from runtime.events import Event, EventKind
from runtime.faults import Response
from runtime.gate_wire import Candidate
from runtime.messages import Mode, Outcome
from runtime.record_format import RecorderStatus
from runtime.records import Record
from runtime.residual_tally import progress_of
from runtime.snapshot import decode_snapshot
from runtime.summary import summary
from runtime.wire import Correction
from tests.daemon_kit import ROOT, Daemon, daemon, trimtab, write_config
from tests.learning_kit import GENTLE, QUICK_LEARNER

QUICK: dict[str, object] = {
    **QUICK_LEARNER,
    **GENTLE,
    "base.file": str(ROOT / "policies" / "bases" / "peg.onnx"),
    "gate.simulation_field": None,
    "gate.replay_s": 0.5,
    "gate.lineage": "lineage",
    "sim.field": "nominal",
    "link": "tests.odd_links:open_unsure",
    "episode.steps": 40,
    "learner.agent": {
        "hidden": [16],
        "critics": 2,
        "batch": 32,
        "updates_per_step": 2,
        "warm_up_updates": 20,
    },
}
IN_VAIN_STEPS, IN_VAIN_EPISODES = 60, 3
NOBODY_KNOWS = 999
# what people say, in this order, and how much the learner has learnt before the next word
WORDS = (
    ("anna", 1, Outcome.SUCCESS, 60),
    ("anna", 1, Outcome.SUCCESS, 0),
    ("anna", 2, Outcome.FAILURE, 0),
    ("anna", NOBODY_KNOWS, Outcome.SUCCESS, 150),
    ("ben", 1, Outcome.FAILURE, 300),
)
LAST_WORDS = "left for the day"
pytestmark = pytest.mark.timeout(120)


@dataclass(frozen=True)
class Worked:
    """What is left of the run."""

    code: int
    record: Record
    lineage: Lineage

    @property
    def corrections(self) -> list[Event]:
        return [event for event in self.record.events if event.kind is EventKind.OUTCOME]

    def without(self, correction: Event) -> list[Event]:
        return [event for event in self.record.events if event is not correction]

    def texts(self, kind: EventKind) -> list[str]:
        return [event.text for event in self.record.events if event.kind is kind]

    def trainer(self) -> Trainer:
        return Trainer(Setup.of(self.record.header))


def in_vain(status: RecorderStatus) -> bool:
    """The learner has seen enough to begin, had anybody said how an episode ended."""
    seen = status.residual is not None and status.residual.steps >= IN_VAIN_STEPS
    return seen and status.episode > IN_VAIN_EPISODES


def updates(least: int) -> Callable[[RecorderStatus], bool]:
    return lambda status: status.residual is not None and status.residual.updates >= least


class Quiet:
    """True once nothing happens any more: two statuses with the same tick."""

    def __init__(self) -> None:
        self._tick = -1

    def __call__(self, status: RecorderStatus) -> bool:
        before, self._tick = self._tick, status.tick
        return before == self._tick


def speak(robot: Daemon, patch: pytest.MonkeyPatch) -> None:
    """Say all that is said in the run, with the command that people use."""

    def mark(who: str, *words: object) -> None:
        patch.setenv("LOGNAME", who)
        said = trimtab("mark", *words, "--config", robot.config)
        assert said.code == 0, said

    robot.wait_for(in_vain)
    for who, episode, outcome, least in WORDS:
        mark(who, outcome.name.lower(), "--episode", episode)
        robot.wait_for(updates(least))
    assert trimtab("ask", "stop", "--config", robot.config).code == 0
    robot.wait_for_mode(Mode.STOPPED)
    robot.wait_for(Quiet())
    mark("ben", "note", LAST_WORDS)
    robot.signal(signal.SIGINT)


@pytest.fixture(scope="module")
def worked(tmp_path_factory: pytest.TempPathFactory) -> Worked:
    folder = tmp_path_factory.mktemp("late")
    config = write_config(folder, QUICK)
    with daemon(config, "--arm", "--learn") as robot, pytest.MonkeyPatch.context() as patch:
        speak(robot, patch)
        return Worked(robot.end().code, robot.record(), Lineage(folder / "lineage"))


def test_without_an_outcome_nothing_is_learnt_and_the_base_works_on(worked: Worked) -> None:
    record = worked.record
    first = worked.corrections[0].tick
    silent = record.ticks[record.scalar("tick") < first]
    ended = silent["outcome"][silent["outcome"] != Outcome.NONE]
    assert len(ended) >= IN_VAIN_EPISODES and set(ended) == {Outcome.UNKNOWN}
    assert not silent["residual_version"].any()
    assert silent["response"].max() <= Response.WARN
    told = [progress_of(e) for e in record.events if e.tick < first]
    progress = [one for one in told if one is not None]
    assert progress[-1].steps >= IN_VAIN_STEPS - 20
    assert {one.updates for one in progress} == {0}
    said = [text for text in worked.texts(EventKind.VERDICT) if "nothing is learnt" in text]
    assert len(said) == 1 and "trimtab mark success --episode N" in said[0]


def test_the_record_says_who_said_what_and_what_became_of_it(worked: Worked) -> None:
    assert worked.code == ENDED_BY_STOP
    said = [msgspec.json.decode(e.text, type=Correction) for e in worked.corrections]
    assert said == [Correction(episode, outcome.name, who) for who, episode, outcome, _ in WORDS]
    marks = worked.texts(EventKind.MARK)
    assert [mark for mark in marks if "OUTCOME" in mark] == [
        f"{who}: OUTCOME {outcome.name} of episode {episode}" for who, episode, outcome, _ in WORDS
    ]
    # said while time stood still, and in the record all the same
    assert f"ben: {LAST_WORDS}" in marks
    # what is said twice is no news; what one step tells may stand in one sentence
    notes = "; ".join(worked.texts(EventKind.VERDICT))
    assert re.findall(r"episode \d+: \w+ becomes \w+|\w+ was said of episode \d+", notes) == [
        "episode 1: UNKNOWN becomes SUCCESS",
        "episode 2: UNKNOWN becomes FAILURE",
        f"SUCCESS was said of episode {NOBODY_KNOWS}",
        "episode 1: SUCCESS becomes FAILURE",
    ]


def test_rewards_follow_what_is_known_and_unknown_is_not_failure(worked: Worked) -> None:
    record, trainer = worked.record, worked.trainer()
    trainer.rebuild(record.ticks, record.events)
    ledger, replay = trainer.experience.ledger, trainer.agent.replay
    last = int(record.scalar("episode").max())
    outcomes = [ledger.outcome(episode) for episode in range(1, last)]
    assert outcomes == [Outcome.FAILURE] * 2 + [Outcome.UNKNOWN] * (last - 3)
    assert last > 5
    # what people see is what is learnt from
    told = [row.outcome for row in summary(record).episodes if row.episode < last]
    assert told == [outcome.name for outcome in outcomes]
    assert replay.outcomes(last) == [0.0, 0.0]
    # what the robot says of an episode that the stop aborted, if they meet, no person said
    counts = ledger.counts - Counter(late=ledger.counts["overruled"])
    assert {name: counts[name] for name in ("late", "doubled", "corrected", "stray")} == {
        "late": 4,
        "doubled": 1,
        "corrected": 3,
        "stray": 1,
    }
    due = record.scalar("policy_due") != 0
    steps = int(np.count_nonzero(due & (record.scalar("episode") <= 2)))
    assert len(replay.ready(Pool.ONLINE)) == len(replay.ready(Pool.NONE)) == steps


def digests(trainer: Trainer, record: Record, events: Sequence[Event]) -> list[str]:
    """Return the digest of each candidate, in order, that these ticks and events lead to."""
    # as the learner's own process does: sums of several threads are in another order
    torch.set_num_threads(1)
    said = trainer.feed(record.ticks, events)
    made = [one.snapshot for one in said if isinstance(one, Candidate)]
    return [decode_snapshot(data).digest for data in made]


def test_the_live_learner_took_every_word_to_heart(worked: Worked) -> None:
    """Of the same seed, other rewards make other weights: what it offered tells what it heard."""
    verdicts = [entry for entry in worked.lineage.entries() if entry.what == "verdict"]
    live = [entry.digest for entry in verdicts]
    as_recorded = digests(worked.trainer(), worked.record, worked.record.events)
    assert as_recorded[: len(live)] == live
    late, corrected = worked.corrections[2], worked.corrections[4]
    for correction in (late, corrected):
        unheard = digests(worked.trainer(), worked.record, worked.without(correction))
        steps = worked.record.ticks["base_sequence"][correction.tick - 1, 0]
        before = sum(entry.steps <= steps for entry in verdicts)
        assert 0 < before < len(live) - 2
        assert unheard[:before] == live[:before]
        assert not set(unheard[before + 1 :]) & set(live[before + 1 :])
    (doubled,) = worked.corrections[1:2]
    assert digests(worked.trainer(), worked.record, worked.without(doubled)) == as_recorded
