"""What counts as training data: outcomes of an earlier log as its record ends, and the range of
observations without what was undone."""

import json

import numpy as np
import pytest

from policies.learner.replay import Pool
from policies.learner.seen_range import SeenRange
from policies.learner.setup import Setup
from policies.learner.trainer import Trainer
from runtime.events import Event, EventKind
from runtime.messages import Outcome, SignalKind, SignalSource, TaskSignal
from runtime.snapshot import Snapshot
from tests.policies.learner.test_trainer_rollback import STEPS, Story, snapshots
from tests.policies.learner.trainer_kit import episodes, run
from tests.policies.record_script import Script

FAR = 500.0
# the first feature is the goal offset in x, in metres
FAR_M = 0.001 * FAR


def offline_returns(trainer: Trainer) -> list[float]:
    """Return the return to go at the start of each offline episode, oldest first."""
    return [float(row[-1]) for row in trainer.agent.replay.starts(9, offline=True)]


def correction(tick: int, episode: int, outcome: Outcome) -> Event:
    text = json.dumps({"episode": episode, "outcome": outcome.name})
    return Event(tick, 0, EventKind.OUTCOME, text)


def test_a_base_log_counts_as_it_was_corrected_within_it(setup: Setup) -> None:
    log = Script()
    for outcome in (Outcome.SUCCESS, Outcome.TIMEOUT, Outcome.UNKNOWN, Outcome.FAILURE):
        log.run(STEPS, outcome, residual=0.0, version=0)
    # by the next signal, of the last one that ended; and by its number
    log.row(TaskSignal(SignalKind.OUTCOME, SignalSource.OPERATOR, Outcome.SUCCESS))
    words = [correction(35, 1, Outcome.FAILURE), correction(log.tick, 3, Outcome.SUCCESS)]
    words += [Event(log.tick, 0, EventKind.OUTCOME, "?"), correction(log.tick, 9, Outcome.SUCCESS)]
    trainer = Trainer(setup)
    trainer.add_base_log(log.rows(), words)
    run(trainer, episodes(8))
    assert len(trainer.agent.replay.ready(Pool.OFFLINE)) == 4 * STEPS
    won = setup.contract.reward.discount ** (STEPS - 1)
    assert offline_returns(trainer) == pytest.approx([0.0, 0.0, won, won])


def newest(setup: Setup, story: Story) -> Snapshot:
    return snapshots(story.told(Trainer(setup)))[-1]


def test_what_was_undone_is_not_in_the_range_that_was_seen(setup: Setup) -> None:
    def told(*, back: bool) -> Snapshot:
        story = Story.begin().episodes(1)
        story.script.run(STEPS, version=2, feature=FAR)
        if back:
            story.back(1, 2, 2)
        return newest(setup, story.episodes(1, 1, 1))

    assert told(back=False).high[0] >= FAR_M
    assert told(back=True).high[0] < FAR_M
    assert np.isfinite(told(back=True).low).all()


def test_what_comes_back_is_in_it_again(setup: Setup) -> None:
    story = Story.begin().episodes(1)
    story.script.run(STEPS, version=2, feature=FAR)
    story.back(1, 2, 2).episodes(1).back(2, 1, 3).episodes(2, 2)
    assert newest(setup, story).high[0] >= FAR_M


def test_a_base_log_is_in_the_range(setup: Setup) -> None:
    log = Script()
    log.run(STEPS, residual=0.0, version=0, feature=FAR)
    trainer = Trainer(setup)
    trainer.add_base_log(log.rows())
    said = run(trainer, episodes(8))
    assert snapshots(said)[-1].high[0] >= FAR_M


def test_the_range_of_nothing_is_none(setup: Setup) -> None:
    seen = SeenRange(2)
    low, high = seen.without(())
    assert (low > high).all()
    seen.add((3,), np.array([[1.0, 5.0], [2.0, 4.0]]))
    seen.add((), np.array([[7.0, 7.0]]))
    for undone, wanted in (((), [1, 4, 7, 7]), ((3,), [7, 7, 7, 7]), ((9,), [1, 4, 7, 7])):
        low, high = seen.without(undone)
        assert [*low, *high] == wanted
