"""A base that is hopeless or perfect, and outcomes that never come, lie or flip: what the governor
makes of them, and that nobody gains authority by them."""

import numpy as np
import pytest

from policies.experience import Dropped, Episode, StepSeen
from policies.governor import Governor
from runtime.faults import Fault
from runtime.messages import Outcome, Stage
from runtime.outcomes import Ruling
from runtime.wire import Order, OrderKind
from tests.policies.governor_kit import (
    CONFIG,
    STEPS,
    Robot,
    adaptive,
    exploring,
    make_governor,
    step,
)

NOTHING = [0.0, 0.0]


def authority(governor: Governor) -> list[float]:
    return governor.grant(0.0, 0.0, learner_lost=False).authority


def share(governor: Governor) -> float:
    return governor.grant(0.0, 0.0, learner_lost=False).share


# -- hopeless and perfect -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("letter", "words"),
    [
        ("-", ("succeeds in none of its last 30", "nothing to decorate", "train a better one")),
        ("+", ("succeeds in all of its last 30", "left alone")),
    ],
)
def test_the_reason_stands_in_what_is_granted(letter: str, words: tuple[str, ...]) -> None:
    robot = Robot(make_governor())
    robot.governor.hear_progress(10_000)
    robot.run(letter * CONFIG.observe_most_episodes)
    grant = robot.governor.grant(0.0, 0.0, learner_lost=False)
    assert all(word in grant.why for word in words), grant.why
    assert (grant.stage, grant.authority, grant.learning) == (Stage.OBSERVE, NOTHING, False)


@pytest.mark.parametrize("letter", "+-")
def test_neither_a_snapshot_nor_a_person_who_resumes_makes_it_worth_decorating(letter: str) -> None:
    robot = Robot(make_governor())
    robot.governor.hear_progress(10_000)
    robot.run(letter * CONFIG.observe_most_episodes)
    robot.governor.hear_live(3)
    robot.governor.hear_order(Order(OrderKind.RESUME, "anna"))
    for _ in range(100):
        robot.run(letter)
        assert authority(robot.governor) == NOTHING


def test_a_hopeless_base_that_was_only_told_wrong_is_taken_up_again() -> None:
    robot = Robot(make_governor())
    robot.governor.hear_progress(10_000)
    robot.run("-" * CONFIG.observe_most_episodes)
    robot.correct(7, Outcome.SUCCESS)
    robot.run("-")
    assert robot.governor.stage is Stage.EXPLORE


# -- outcomes that never come ---------------------------------------------------------------------


def test_unknown_is_no_failure_of_the_residual() -> None:
    robot = exploring()
    robot.run("?" * 100, own=True, version=3)
    assert robot.governor.course.loss == 0.0
    assert share(robot.governor) == pytest.approx(1.0 - CONFIG.base_share)
    assert robot.governor.stage is Stage.EXPLORE


def test_an_outcome_may_come_as_long_as_it_was_waited_for_and_no_longer() -> None:
    robot = Robot(make_governor())
    robot.run("?" * (CONFIG.observe_most_episodes + 1))
    robot.correct(1, Outcome.SUCCESS)
    assert not robot.governor.course.base
    robot.correct(2, Outcome.SUCCESS)
    assert [one.success for one in robot.governor.course.base] == [True]


@pytest.mark.parametrize("outcome", [Outcome.UNKNOWN, Outcome.ABORT, Outcome.NONE])
def test_what_is_no_verdict_counts_for_nothing(outcome: Outcome) -> None:
    robot = Robot(make_governor())
    robot.run("?")
    robot.correct(1, outcome)
    assert not robot.governor.course.base
    robot.correct(1, Outcome.TIMEOUT)
    assert [one.success for one in robot.governor.course.base] == [False]


def test_a_word_that_changed_nothing_and_an_episode_with_holes_are_no_evidence() -> None:
    robot = Robot(make_governor())
    robot.run("?")
    robot.governor.hear(Ruling(1, Outcome.SUCCESS, changed=False))
    robot.governor.hear(Dropped(2, "records are missing"))
    robot.governor.hear(Ruling(2, Outcome.SUCCESS, changed=True))
    robot.governor.hear(Ruling(99, Outcome.SUCCESS, changed=True))
    assert not robot.governor.course.base
    assert robot.governor.why == make_governor().why


# -- outcomes that lie ----------------------------------------------------------------------------


def guarded(governor: Governor, number: int, said: Outcome) -> None:
    """A guard took over in an episode of the residual's; somebody said that it succeeded."""
    steps = (step(7, 0.5),) * STEPS
    governor.hear(StepSeen(10_000 + number))
    governor.hear(Episode(number, steps, np.zeros(3), Outcome.FAILURE, guarded=True))
    governor.hear(Ruling(number, said, changed=True))


def test_an_episode_that_a_guard_ended_never_counts_as_a_success() -> None:
    governor = exploring().governor
    for number in range(100, 100 + CONFIG.earn_episodes):
        guarded(governor, number, Outcome.SUCCESS)
    assert not any(one.success for one in governor.course.own)
    assert governor.stage is Stage.EXPLORE


def test_nor_does_it_when_somebody_says_so_later() -> None:
    governor = exploring().governor
    guarded(governor, 100, Outcome.FAILURE)
    lost = governor.course.loss
    governor.hear(Ruling(100, Outcome.SUCCESS, changed=True))
    assert [one.success for one in governor.course.own] == [False]
    assert governor.course.loss == lost > 0.0


def test_who_is_said_to_succeed_and_presses_loses_its_authority_all_the_same() -> None:
    robot = adaptive()
    robot.run("+" * 30, own=True, version=7, force_n=200.0)
    robot.governor.hear_faults(1 << Fault.RESIDUAL_PRESSES)
    assert authority(robot.governor) == NOTHING
    robot.run("+" * 5)
    robot.run("+" * 60, own=True, version=7, force_n=200.0)
    assert robot.governor.stage is Stage.EXPLORE, "success alone earns nothing back"


def test_a_force_that_is_no_number_presses() -> None:
    robot = exploring()
    robot.run("+" * 60, own=True, version=7, force_n=float("nan"))
    assert robot.governor.stage is Stage.EXPLORE


def test_a_person_who_takes_the_lies_back_takes_the_episodes_away() -> None:
    robot = adaptive()
    robot.run("+" * 20, own=True, version=7)
    assert share(robot.governor) > 0.8
    first = robot.count - 19
    for number in range(first, first + 20):
        robot.correct(number, Outcome.FAILURE)
    assert share(robot.governor) == 0.0
    assert not robot.governor.course.surely_better()


def test_what_lied_is_no_good_version_to_return_to() -> None:
    robot = adaptive()
    robot.run("-" * 20, own=True, version=9)
    robot.governor.hear_live(9)
    for number in range(robot.count - 19, robot.count + 1):
        robot.correct(number, Outcome.SUCCESS)
        robot.correct(number, Outcome.FAILURE)
    robot.governor.hear_faults(1 << Fault.SUCCESS_FELL)
    returning = robot.governor.returning
    assert returning is not None and returning.version == 7


# -- outcomes that flip ---------------------------------------------------------------------------


def test_of_the_base_to_and_fro_ends_where_it_began() -> None:
    robot = exploring()
    robot.run("+--+")
    course = robot.governor.course
    before = (course.loss, course.base_floor, [one.success for one in course.base])
    flip(robot, 50)
    assert (course.loss, course.base_floor, [one.success for one in course.base]) == before


def test_of_the_residual_it_costs_no_less_than_before_and_one_episode_at_most() -> None:
    robot = exploring()
    robot.run("+--+", own=True, version=3)
    course = robot.governor.course
    before, outcomes = course.loss, [one.success for one in course.own]
    flip(robot, 1)
    once = course.loss
    # never below zero: what was paid back while it passed for a success is owed again
    assert before <= once <= before + 1.0
    flip(robot, 50)
    assert course.loss == once
    assert [one.success for one in course.own] == outcomes


def flip(robot: Robot, times: int) -> None:
    """Say of the last episode but one, a failure, that it succeeded and that it did not."""
    for _ in range(times):
        robot.correct(robot.count - 1, Outcome.SUCCESS)
        robot.correct(robot.count - 1, Outcome.FAILURE)


def test_a_coin_for_an_outcome_earns_nothing() -> None:
    rng = np.random.default_rng(5)
    robot = exploring()
    for _ in range(400):
        own = bool(rng.random() < 0.9)
        robot.run("+" if rng.random() < 0.5 else "-", own=own, version=3)
        assert robot.governor.stage is Stage.EXPLORE
