"""The trainer after a rollback: what it learns from, from where it goes on, and that a kill at any
moment changes nothing."""

from dataclasses import dataclass, replace
from itertools import pairwise

import msgspec
import pytest

from policies.experience import Rows
from policies.learner.agent import SavedNetworks
from policies.learner.replay import Pool
from policies.learner.settings import UpdateGuardSettings
from policies.learner.setup import Setup
from policies.learner.trainer import Trainer
from runtime.events import Event, EventKind
from runtime.gate_wire import Candidate, Progress
from runtime.messages import Outcome
from runtime.snapshot import Snapshot, decode_snapshot
from runtime.wire import Rollback
from tests.policies.learner.trainer_kit import SETTINGS, run
from tests.policies.record_script import TICKS_PER_STEP, Script

STEPS = 6
BEGUN = 24
WARM_UP, UPDATES_PER_STEP = 30, 3


@dataclass
class Story:
    """Rows and events as control would record them. The base fills the replay in 4 episodes."""

    script: Script
    events: list[Event]

    @classmethod
    def begin(cls, version: int = 0) -> "Story":
        """Return one that a version begins; learning begins with the second success."""
        story = cls(Script(), [])
        for outcome in (Outcome.TIMEOUT, Outcome.SUCCESS) * 2:
            story.script.run(STEPS, outcome, version=version)
        return story

    def episodes(self, *versions: int, residual: float = 0.1) -> "Story":
        """Add episodes in which these versions act."""
        for version in versions:
            self.script.run(STEPS, version=version, residual=residual)
        return self

    def back(self, version: int, undone: int, trial: int, tick: int = 0) -> "Story":
        """Add a rollback at a tick: the last one unless named."""
        said = msgspec.json.encode(Rollback(version, undone, trial, "success fell")).decode()
        self.events.append(Event(tick or self.script.tick, 7, EventKind.ROLLBACK, said))
        return self

    @property
    def rows(self) -> Rows:
        return self.script.rows()

    def told(self, trainer: Trainer, size: int = 0) -> list[Progress | Candidate]:
        return run(trainer, self.rows, size, self.events)


def snapshots(said: list[Progress | Candidate]) -> list[Snapshot]:
    return [decode_snapshot(one.snapshot) for one in said if isinstance(one, Candidate)]


def texts(said: list[Progress | Candidate]) -> str:
    return " | ".join(one.text for one in said if isinstance(one, Progress) and one.text)


def sampled(trainer: Trainer) -> int:
    return len(trainer.agent.replay.ready(Pool.ONLINE))


def bad_then_back() -> Story:
    """Candidates 1 to 3 are made at steps 25, 35 and 45; 2 is undone after 48."""
    return Story.begin().episodes(1, 2, 2, 2).back(1, 2, 2)


def test_episodes_of_what_was_undone_are_no_longer_learnt_from(setup: Setup) -> None:
    trainer = Trainer(setup)
    story = bad_then_back().episodes(1)
    said = story.told(trainer)
    # four of the base, one of version 1 before and one after
    assert sampled(trainer) == 6 * STEPS
    assert "snapshot 1 for 2 (success fell): 3 episodes set aside" in texts(said)
    # they are in the ring all the same, for a later stroke may lift it
    story.back(2, 1, 3)
    list(trainer.feed(story.rows[:0], story.events[1:]))
    assert sampled(trainer) == 9 * STEPS


def test_who_only_looked_on_did_not_act(setup: Setup) -> None:
    trainer = Trainer(setup)
    story = Story.begin().episodes(1, 2)
    # 3 is live in the base's own episodes, and in one that it only watches
    story.episodes(3, 3, residual=0.0).back(1, 3, 2)
    story.told(trainer)
    assert sampled(trainer) == 7 * STEPS


def test_an_episode_under_way_when_it_is_undone_counts_as_undone(setup: Setup) -> None:
    trainer = Trainer(setup)
    story = Story.begin().episodes(1, 2)
    middle = story.script.tick + 2 * TICKS_PER_STEP
    story.episodes(2).back(1, 2, 2, tick=middle).episodes(1)
    said = story.told(trainer)
    assert sampled(trainer) == 6 * STEPS
    # nor does what is made after it descend from it
    assert [(one.version, one.parent) for one in snapshots(said)][-1] == (3, 1)


def test_a_second_rollback_adds_to_the_first(setup: Setup) -> None:
    trainer = Trainer(setup)
    bad_then_back().episodes(1, 5, 6, 6).back(5, 6, 3).episodes(5).told(trainer)
    assert sampled(trainer) == (4 + 1 + 1 + 1 + 1) * STEPS
    trainer = Trainer(setup)
    bad_then_back().episodes(1, 5, 6, 6).back(0, 6, 3).episodes(0).told(trainer)
    assert sampled(trainer) == (4 + 1) * STEPS


def test_the_agent_is_what_it_was_when_the_candidate_was_made(setup: Setup) -> None:
    trainer, story = Trainer(setup), bad_then_back()
    at: dict[int, SavedNetworks] = {}
    for said in trainer.feed(story.rows):
        if isinstance(said, Candidate):
            at[decode_snapshot(said.snapshot).version] = trainer.agent.networks()
    assert sorted(at) == [1, 2, 3]
    assert trainer.agent.networks() != at[1]
    list(trainer.feed(story.rows[:0], story.events))
    assert trainer.agent.networks() == at[1]
    # and 2 is gone: what is undone again goes back to 1, too
    list(trainer.feed(story.rows[:0], Story(story.script, []).back(2, 9, 3).events))
    assert trainer.agent.networks() == at[1]


def test_candidates_descend_from_what_is_live_and_tell_the_trial(setup: Setup) -> None:
    said = bad_then_back().episodes(1, 1, 4, 4, 4).told(Trainer(setup))
    candidates = [one for one in said if isinstance(one, Candidate)]
    found = [(one.version, one.parent) for one in snapshots(said)]
    assert found == [(1, 0), (2, 1), (3, 2), (4, 1), (5, 1), (6, 4)]
    assert [one.trial for one in candidates] == [0, 0, 0, 2, 2, 2]


def test_no_update_is_made_up_for(setup: Setup) -> None:
    trainer = Trainer(setup)
    made = [
        one.updates
        for one in bad_then_back().episodes(1, 1).told(trainer)
        if isinstance(one, Progress)
    ]
    assert made == sorted(made)
    steps = 60
    assert trainer.agent.updates == WARM_UP + UPDATES_PER_STEP * (steps - BEGUN)
    assert max(b - a for a, b in pairwise(made)) <= 20


def test_back_to_the_base_it_begins_anew_and_offers_nothing_untrained(setup: Setup) -> None:
    agent = SETTINGS.agent.model_copy(update={"warm_up_updates": 60})
    trainer = Trainer(replace(setup, settings=SETTINGS.model_copy(update={"agent": agent})))
    story = Story.begin().episodes(1, 2).back(0, 2, 2)
    before = story.told(trainer)
    assert [one.version for one in snapshots(before)] == [1, 2]
    assert not trainer.agent.warm
    assert sampled(trainer) == 4 * STEPS
    # 60 updates of warm-up at 15 a bout: the bouts at 40 to 55 are for that
    story.episodes(0, 0, 0, 0)
    after = run(trainer, story.rows[story.rows["tick"][:, 0] > trainer.position])
    assert [(one.version, one.parent, one.steps) for one in snapshots(after)] == [(3, 0, 55)]
    assert "learning begins anew" in texts(after)
    assert trainer.agent.networks().critic_steps == UPDATES_PER_STEP * (60 - 35)


@pytest.mark.parametrize("cut", [200, 239, 240, 241, 300, 390])
@pytest.mark.parametrize("back_to", [0, 2])
def test_killed_at_any_tick_it_goes_on_exactly(setup: Setup, cut: int, back_to: int) -> None:
    story = Story.begin().episodes(1, 2, 3, 3)
    assert story.script.tick == 248
    story.back(back_to, 3, 2, tick=240).episodes(back_to, back_to, 5, 5).back(back_to, 5, 3)
    story.episodes(back_to, back_to, back_to)
    rows, events = story.rows, story.events
    first = Trainer(setup)
    run(first, rows[:cut], 37, events)
    data = first.state()
    rest = run(first, rows[cut:], 11, events)
    assert len(snapshots(rest)) >= 1

    second = Trainer(setup)
    position = Trainer.saved_position(data)
    second.rebuild(rows[:cut], [one for one in events if one.tick <= position])
    second.restore(data)
    resumed = run(second, rows[cut:], 50, events)
    candidates = [one for one in rest if isinstance(one, Candidate)]
    assert [one for one in resumed if isinstance(one, Candidate)] == candidates
    assert second.state() == first.state()


def test_a_rollback_right_after_the_checkpoint_is_followed_on_resuming(setup: Setup) -> None:
    story = bad_then_back()
    cut = story.script.tick
    story.episodes(1, 1, 4)
    rows, events = story.rows, story.events
    first = Trainer(setup)
    run(first, rows[:cut])
    data = first.state()
    list(first.feed(rows[:0], events))
    rest = run(first, rows[cut:])

    # the record holds the event at the checkpoint's own tick
    second = Trainer(setup)
    second.rebuild(rows[:cut], events)
    second.restore(data)
    # and the stream may tell of it once more
    resumed = [*second.feed(rows[:0], events), *run(second, rows[cut:])]
    assert [one.digest for one in snapshots(resumed)] == [one.digest for one in snapshots(rest)]
    assert second.state() == first.state()


@pytest.mark.parametrize("size", [1, TICKS_PER_STEP, 13])
def test_the_batches_make_no_difference(setup: Setup, size: int) -> None:
    story = bad_then_back().episodes(1, 4, 4).back(0, 4, 3).episodes(0, 0)
    assert story.told(Trainer(setup), size) == story.told(Trainer(setup))


def test_one_that_is_heard_twice_is_one(setup: Setup) -> None:
    story = bad_then_back().episodes(1, 1)
    once, twice = Trainer(setup), Trainer(setup)
    said = story.told(once)
    story.events *= 2
    assert story.told(twice) == said
    # much later as well: what was learnt since is not undone
    list(twice.feed(story.rows[:0], story.events))
    assert twice.state() == once.state()


def test_to_the_same_or_a_newer_snapshot_only_the_evidence_begins_anew(setup: Setup) -> None:
    trainer = Trainer(setup)
    story = Story.begin().episodes(1, 1)
    story.told(trainer)
    before = trainer.agent.networks()
    story.back(1, 1, 5).back(2, 1, 6)
    list(trainer.feed(story.rows[:0], story.events))
    assert trainer.agent.networks() == before
    assert sampled(trainer) == 6 * STEPS
    story.episodes(2, 2)
    said = run(trainer, story.rows[story.rows["tick"][:, 0] > trainer.position])
    assert {one.trial for one in said if isinstance(one, Candidate)} == {6}
    assert {one.parent for one in snapshots(said)} == {2}


@pytest.mark.parametrize("text", ["", "{}", '{"version": "1"}', "[" * 99])
def test_a_rollback_that_is_none_is_said_and_left_out(setup: Setup, text: str) -> None:
    story = Story.begin().episodes(1, 2)
    plain = story.told(Trainer(setup))
    story.events = [Event(story.script.tick - 60, 0, EventKind.ROLLBACK, text)]
    said = story.told(Trainer(setup))
    assert "a rollback that nobody understands" in texts(said)
    assert snapshots(said) == snapshots(plain)


def test_before_learning_began_it_is_only_known_what_was_undone(setup: Setup) -> None:
    # a run that begins with snapshot 7 of an earlier one, and goes back to 5
    story = Story(Script(), []).episodes(7, 7).back(5, 7, 2).episodes(5, 5, 5, 5)
    trainer = Trainer(setup)
    trainer.next_version = 9
    said = story.told(trainer)
    assert sampled(trainer) == 4 * STEPS
    assert [(one.version, one.parent) for one in snapshots(said)] == [(9, 5), (10, 5)]


def test_with_nothing_left_to_learn_from_it_waits_and_makes_up_for_nothing(setup: Setup) -> None:
    story = Story.begin(version=7).episodes(7).back(5, 7, 2)
    trainer = Trainer(setup)
    trainer.next_version = 9
    story.told(trainer)
    assert trainer.agent.updates == WARM_UP + UPDATES_PER_STEP * 6
    assert sampled(trainer) == 0
    # the next one is unknown; two bouts pass
    story.script.run(10, Outcome.UNKNOWN, version=5)
    run(trainer, story.rows[story.rows["tick"][:, 0] > trainer.position])
    before = trainer.agent.updates
    assert before == WARM_UP + UPDATES_PER_STEP * 6
    story.episodes(5, 5)
    run(trainer, story.rows[story.rows["tick"][:, 0] > trainer.position])
    assert sampled(trainer) == 2 * STEPS
    # the bout at step 50 is the only one with something to learn from
    assert trainer.agent.updates - before == UPDATES_PER_STEP * 5


def test_progress_tells_how_far_critic_and_actor_can_be_trusted(setup: Setup) -> None:
    agent = SETTINGS.agent.model_copy(update={"update_guard": UpdateGuardSettings(rows=8)})
    guarded = replace(setup, settings=SETTINGS.model_copy(update={"agent": agent}))
    trainer = Trainer(guarded)
    story = Story.begin().episodes(1, 1, 2, 2)
    told = [one for one in story.told(trainer) if isinstance(one, Progress)]
    # four episodes of a residual are too few to accuse anybody
    assert all(one.critic_gap == 0.0 for one in told)
    story.episodes(2, 2)
    rest = story.rows[story.rows["tick"][:, 0] > trainer.position]
    said, low = [], []
    for one in trainer.feed(rest):
        said.append(one)
        low.append(trainer.agent.calibration(20).low)
    last = said[-1]
    assert isinstance(last, Progress)
    assert last.critic_gap == low[-1] != 0.0
    newest = snapshots(said)[-1]
    assert newest.constraint > 0.0
    assert last.update_ratio == newest.constraint / newest.constraint_max
    story.back(1, 2, 2)
    list(trainer.feed(rest[:0], story.events))
    story.script.run(5, version=1)
    after = run(trainer, story.rows[story.rows["tick"][:, 0] > trainer.position])
    # what was undone is nobody's newest candidate, and nobody's critic
    assert isinstance(after[0], Progress)
    assert (after[0].critic_gap, after[0].update_ratio) == (0.0, 0.0)


def test_without_an_update_guard_there_is_no_ratio(setup: Setup) -> None:
    said = Story.begin().episodes(1, 2).told(Trainer(setup))
    assert {one.update_ratio for one in said if isinstance(one, Progress)} == {0.0}
