"""The governor at places where only one number, or one order of things, is right."""

import numpy as np
import pytest

from policies.experience import Episode, PolicyStep
from policies.governor import Governor, Terms
from policies.governor_record import Earned, tried
from runtime.faults import Fault
from runtime.messages import Outcome, Stage
from runtime.wire import Order, OrderKind
from tests.policies.governor_kit import (
    CONFIG,
    PRESSED_N,
    STEPS,
    Robot,
    adaptive,
    make_governor,
    mixed,
    step,
)

FELL = 1 << Fault.SUCCESS_FELL


def stage(robot: Robot) -> Stage:
    return robot.governor.stage


def episode(steps: tuple[PolicyStep, ...]) -> Episode:
    return Episode(1, steps, np.zeros(3), Outcome.SUCCESS)


def test_without_episodes_to_be_shown_in_authority_comes_at_once() -> None:
    config = CONFIG.model_copy(update={"shadow_episodes": 0})
    robot = Robot(Governor(config, Terms(2, PRESSED_N, learner=True)))
    robot.run(mixed(5, 5))
    robot.governor.hear_progress(1000)
    robot.run("+" * 20, own=True, version=7)
    assert stage(robot) is Stage.ADAPTIVE


def test_its_own_record_grows_while_it_has_authority() -> None:
    robot = adaptive()
    robot.run("+" * 100, own=True, version=7)
    successes, episodes = robot.governor.grant(0.0, 0.0, learner_lost=False).references.own
    assert successes == episodes > CONFIG.earn_episodes


def test_what_was_taken_up_and_undone_explores_again_without_observing() -> None:
    earned = Earned("p", "i", "d", 7, (20, 20), (6, 12), 0.0, 0.0)
    robot = Robot(make_governor(earned=earned))
    robot.governor.hear_faults(FELL)
    robot.run("-" * CONFIG.dwell_episodes)
    assert stage(robot) is Stage.EXPLORE


def test_it_stays_in_the_shadow_until_what_it_returns_to_is_live() -> None:
    robot = adaptive()
    robot.governor.hear_live(12)
    robot.governor.hear_faults(FELL)
    robot.run("+-" * 10)
    assert stage(robot) is Stage.SHADOW
    robot.governor.hear_live(11)
    assert robot.governor.returning is not None, "another version is not the one it waits for"
    robot.governor.hear_live(7)
    robot.run("-")
    assert stage(robot) is Stage.EXPLORE


def test_an_order_while_it_explores_brings_the_shadow() -> None:
    robot = Robot(make_governor())
    robot.run(mixed(5, 5))
    robot.governor.hear_progress(1000)
    assert stage(robot) is Stage.EXPLORE
    robot.governor.hear_order(Order(OrderKind.RESUME, "anna"))
    assert stage(robot) is Stage.SHADOW


def test_one_action_in_one_step_makes_an_episode_the_residual_s() -> None:
    base, part = step(0, 0.0), step(7, 0.0)
    part.granted[1] = 0.1
    one = tried(episode((base, part, base)), success=True, pressed_n=PRESSED_N)
    assert (one.own, one.version, one.steps) == (True, 7, 3)
    assert not tried(episode((base, base)), success=True, pressed_n=PRESSED_N).own


@pytest.mark.parametrize(
    ("force_n", "pressed"), [(PRESSED_N, 0), (np.nextafter(PRESSED_N, 1e9), 1)]
)
def test_at_the_limit_it_does_not_press(force_n: float, pressed: int) -> None:
    one = tried(episode((step(7, 0.1, float(force_n)),)), success=True, pressed_n=PRESSED_N)
    assert one.pressed == pressed


def test_shares_are_of_steps() -> None:
    robot = Robot(make_governor())
    governor = robot.governor
    robot.run("+-")
    robot.run("+", force_n=200.0)
    references = governor.grant(0.0, 0.0, learner_lost=False).references
    assert references.base_pressed == pytest.approx(STEPS / (3 * STEPS))
    assert references.base_limited == 0.0
