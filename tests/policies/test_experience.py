"""From ticks to policy steps: what belongs to which step, and which episodes drop out."""

import json

import numpy as np
import pytest

from policies.experience import Dropped, Episode, Experience, Rows, StepSeen
from runtime.faults import Fault
from runtime.messages import Mode, Outcome, Phase, SignalKind, SignalSource, TaskSignal
from runtime.outcomes import Ruling
from runtime.policy_contract import ActionSpec
from tests.policies.conftest import ACTION
from tests.policies.record_script import BOUND, SIZES, TICKS_PER_STEP, Script

TERMS = ("goal_offset", "previous_action", "time_left")


@pytest.fixture
def script() -> Script:
    return Script()


@pytest.fixture
def experience() -> Experience:
    return Experience(SIZES, _spec(), TERMS)


def _episodes(experience: Experience, rows: Rows) -> list[Episode]:
    return [news for news in experience.feed(rows) if isinstance(news, Episode)]


def _dropped(experience: Experience, rows: Rows) -> list[Dropped]:
    return [news for news in experience.feed(rows) if isinstance(news, Dropped)]


def test_a_step_is_what_was_seen_with_what_was_done_about_it(
    script: Script, experience: Experience
) -> None:
    script.row()
    script.run(3, residual=0.2, force_n=12.0, feature=5)
    (episode,) = _episodes(experience, script.rows())
    assert episode.outcome is Outcome.SUCCESS
    assert len(episode.steps) == 3
    for number, step in enumerate(episode.steps):
        assert step.features[0] == pytest.approx(0.001 * (5 + number))
        # the answer to what was seen at step k stands in the records after it
        assert step.base == pytest.approx([0.01 * (number + 1)] * 4)
        assert step.granted == pytest.approx([0.2 / BOUND] * 4)
        assert step.force_n == 12.0
        assert step.version == 1
    assert episode.last_features[0] == pytest.approx(0.001 * 8)


def test_force_belongs_to_the_step_in_which_it_was_felt(
    script: Script, experience: Experience
) -> None:
    script.episode = 1
    base = {"phase": Phase.RUNNING, "mode": Mode.ADAPTIVE}
    forces = [0, 9, 2, 3, 0, 0]
    due = [True, False, True, False, True, False]
    for tick, force_n in enumerate(forces):
        step = sum(due[: tick + 1]) - due[tick]
        script.row(**base, contact_force_n=force_n, policy_due=due[tick], episode_step=step)
        script.step += due[tick]
    ended = {"outcome": Outcome.TIMEOUT, "outcome_source": SignalSource.MANAGER}
    script.row(**ended, contact_force_n=1, episode_step=3)
    (episode,) = _episodes(experience, script.rows())
    assert [step.force_n for step in episode.steps] == [9, 3, 1]


def test_an_answer_that_comes_with_the_end_is_no_step(
    script: Script, experience: Experience
) -> None:
    script.episode = 1
    running = {"phase": Phase.RUNNING, "mode": Mode.BASE}
    for step in range(3):
        acted = {"base_action": 0.1 * step, "action": 0.1 * step, "episode_step": step}
        script.row(**running, **acted, policy_due=True)
        script.step += 1
        if step < 2:
            answered = 0.1 * (step + 1)
            script.row(**running, base_action=answered, action=answered, episode_step=step + 1)
    # the third answer is there, and the action is still the second: this is no residual's doing
    ended = {"outcome": Outcome.SUCCESS, "outcome_source": SignalSource.DRIVER}
    script.row(**ended, base_action=0.3, action=0.2, episode_step=2)
    (episode,) = _episodes(experience, script.rows())
    assert [step.base[0] for step in episode.steps] == pytest.approx([0.1, 0.2])
    assert not any(step.granted.any() for step in episode.steps)


def test_an_answer_to_another_record_teaches_nothing(
    script: Script, experience: Experience
) -> None:
    script.run(3)
    late = script.rows().copy()
    # in real time an answer may come after the next question was due, which then is not asked
    closing = np.flatnonzero(late["policy_due"][:, 0])[1]
    late["base_observed_ns"][closing] = -1
    (dropped,) = _dropped(experience, late)
    assert "answers another record" in dropped.reason


def test_the_batches_make_no_difference(script: Script, experience: Experience) -> None:
    for steps in (4, 2, 7):
        script.run(steps)
        script.row()
    rows = script.rows()
    whole = list(experience.feed(rows))
    for size in (1, 3, TICKS_PER_STEP, 50):
        other = Experience(SIZES, _spec(), TERMS)
        pieces = [
            news for at in range(0, len(rows), size) for news in other.feed(rows[at : at + size])
        ]
        assert len(pieces) == len(whole)
        for ours, theirs in zip(pieces, whole, strict=True):
            assert type(ours) is type(theirs)
            if isinstance(ours, Episode) and isinstance(theirs, Episode):
                for one, two in zip(ours.steps, theirs.steps, strict=True):
                    assert np.array_equal(one.features, two.features)
                    assert one.force_n == two.force_n
        assert other.position == experience.position == script.tick


def test_ticks_that_come_again_are_left_out(script: Script, experience: Experience) -> None:
    script.run(3)
    rows = script.rows()
    assert len(_episodes(experience, rows)) == 1
    assert list(experience.feed(rows)) == []


def test_every_policy_step_is_seen_with_its_number_in_the_run(
    script: Script, experience: Experience
) -> None:
    script.run(3)
    script.run(2)
    seen = [news.number for news in experience.feed(script.rows()) if isinstance(news, StepSeen)]
    assert seen == [1, 2, 3, 4, 5]


def test_an_episode_with_missing_records_drops_out_whole(
    script: Script, experience: Experience
) -> None:
    script.run(4)
    middle = script.tick - 7
    script.run(4)
    news = list(experience.feed(script.rows(without=(middle,))))
    assert [n.number for n in news if isinstance(n, Dropped)] == [1]
    assert [n.number for n in news if isinstance(n, Episode)] == [2]
    assert experience.ledger.outcome(1) is Outcome.SUCCESS


def test_an_episode_whose_beginning_is_missing_drops_out(
    script: Script, experience: Experience
) -> None:
    script.run(4)
    gone = tuple(range(1, TICKS_PER_STEP + 3))
    (dropped,) = _dropped(experience, script.rows(without=gone))
    assert "beginning" in dropped.reason


def test_an_interrupted_episode_drops_out(script: Script, experience: Experience) -> None:
    script.run(2)
    rows = script.rows().copy()
    rows["mode"][TICKS_PER_STEP + 1] = Mode.HOLD
    (dropped,) = _dropped(experience, rows)
    assert "interrupted" in dropped.reason


def test_where_a_guard_takes_over_the_episode_ends_as_a_failure(
    script: Script, experience: Experience
) -> None:
    script.run(4, Outcome.SUCCESS, force_n=150.0)
    rows = script.rows().copy()
    held = slice(TICKS_PER_STEP + 3, 3 * TICKS_PER_STEP)
    rows["mode"][held] = Mode.HOLD
    rows["policy_due"][held] = 0
    rows["faults"][held] = 1 << Fault.CONTACT_FORCE_GUARD
    news = list(experience.feed(rows))
    (episode,) = (one for one in news if isinstance(one, Episode))
    assert episode.guarded
    assert episode.outcome is Outcome.FAILURE
    # the second step was under way, and what it felt is its own
    assert [step.force_n for step in episode.steps] == [150.0, 150.0]
    # what people hear of the episode is another matter
    assert experience.ledger.outcome(1) is Outcome.SUCCESS


@pytest.mark.parametrize("name", ["base_failed", "residual_failed"])
def test_a_failed_inference_drops_the_episode(
    script: Script, experience: Experience, name: str
) -> None:
    script.run(3)
    rows = script.rows().copy()
    rows[name][TICKS_PER_STEP : 2 * TICKS_PER_STEP + 1] = 1
    assert len(_dropped(experience, rows)) == 1


def test_a_number_that_is_not_finite_drops_the_episode(
    script: Script, experience: Experience
) -> None:
    script.run(3)
    rows = script.rows().copy()
    rows["observation_task"][TICKS_PER_STEP, 0] = np.nan
    (dropped,) = _dropped(experience, rows)
    assert "finite" in dropped.reason


def test_an_aborted_episode_drops_out(script: Script, experience: Experience) -> None:
    script.run(3, Outcome.ABORT, source=SignalSource.MANAGER)
    (dropped,) = _dropped(experience, script.rows())
    assert "aborted" in dropped.reason


def test_what_was_executed_is_cut_to_the_bound(script: Script, experience: Experience) -> None:
    script.run(2, residual=0.3)
    rows = script.rows().copy()
    rows["action_executed"] = rows["base_action"] + 3.0
    (episode,) = _episodes(experience, rows)
    assert episode.steps[0].executed == pytest.approx([1.0] * 4)
    assert episode.steps[0].granted == pytest.approx([0.75] * 4)


def test_late_words_belong_to_the_last_episode_that_ended(
    script: Script, experience: Experience
) -> None:
    script.run(2, Outcome.UNKNOWN)
    script.row()
    script.row(TaskSignal(SignalKind.OUTCOME, SignalSource.OPERATOR, Outcome.FAILURE))
    rulings = [news for news in experience.feed(script.rows()) if isinstance(news, Ruling)]
    assert [(r.episode, r.outcome, r.changed) for r in rulings] == [
        (1, Outcome.UNKNOWN, True),
        (1, Outcome.FAILURE, True),
    ]


def test_the_word_that_ends_an_episode_is_not_counted_twice(
    script: Script, experience: Experience
) -> None:
    script.run(2, Outcome.SUCCESS)
    list(experience.feed(script.rows()))
    assert experience.ledger.counts["late"] == 0


def _spec() -> ActionSpec:
    return ActionSpec.model_validate_json(json.dumps(ACTION), strict=True)
