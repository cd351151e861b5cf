"""The watch at places where only one number, or one order of things, is right."""

import pytest

from runtime.change_detector import ChangeDetector, Reference
from runtime.faults import Fault
from runtime.messages import Mode, Outcome
from runtime.residual_watch import ResidualWatch
from tests.runtime.watch_kit import BOUND, LIMITS, Watched

NEVER_FAILED = (10**6, 10**6)


def test_without_a_residual_no_tick_is_disturbed() -> None:
    try:
        watched = Watched(ResidualWatch(BOUND, None))
        watched.steps(3, BOUND)
        found = watched.episode(Outcome.FAILURE)
    except Exception as error:
        pytest.fail(f"a tick that raises stops the robot: {error!r}")
    assert found == set()


@pytest.mark.parametrize("false_alarm_episodes", [1.0, 2.0, 7.0])
def test_each_detector_has_twice_the_distance_of_both_together(false_alarm_episodes: float) -> None:
    limits = LIMITS.model_copy(update={"false_alarm_episodes": false_alarm_episodes})
    watched, alone = Watched(ResidualWatch(BOUND, limits)), ChangeDetector(
        2.0 * false_alarm_episodes
    )
    reference = Reference(9, 10)
    watched.record.own_reference[:] = watched.record.base_reference[:] = (9, 10)
    for success in (True, False, False):
        watched.episode(Outcome.SUCCESS if success else Outcome.FAILURE)
        alone.update(success, reference)
        assert watched.evidence()[0] == [pytest.approx(alone.evidence)] * 2


def test_two_saturated_steps_weigh_as_the_average_says() -> None:
    watched = Watched()
    watched.steps(2, BOUND)
    assert watched.evidence()[1] == [pytest.approx(1.0 - (1.0 - 1 / 8) ** 2)] * 2


def test_what_the_base_presses_is_allowed_with_its_own_ratio() -> None:
    watched = Watched(force_n=1e3)
    # beyond 1.5 times a half and an eighth once it is above 0.875
    watched.record.base_pressed_share[0] = 0.5
    watched.record.base_limited_share[0] = 0.5
    assert watched.steps(16) == set()
    assert watched.steps(1) == {"RESIDUAL_PRESSES"}


def test_an_answer_is_news_of_its_own() -> None:
    watched = Watched(level=(0.0, 0.0))
    watched.tick()
    watched.record.base_sequence[0], watched.record.residual_takes_part[0] = 1, True
    watched.record.residual_action[:] = BOUND
    watched.tick()
    assert watched.evidence()[1] == [1 / 8, 1 / 8]


def held(watched: Watched, fault: Fault) -> None:
    """Hold the arm for a tick because of a fault, and go on."""
    watched.mode, watched.record.faults[0] = Mode.HOLD, 1 << fault
    watched.tick()
    watched.mode, watched.record.faults[0] = Mode.ADAPTIVE, 0


@pytest.mark.parametrize("fault", [fault for fault in Fault if fault.name.endswith("_GUARD")])
def test_a_success_that_a_guard_saved_is_a_failure(fault: Fault) -> None:
    watched = Watched()
    watched.record.own_reference[:] = NEVER_FAILED
    watched.steps(1)
    held(watched, fault)
    assert watched.episode(Outcome.SUCCESS) == {"SUCCESS_FELL"}


@pytest.mark.parametrize("fault", [Fault.LINK_LOST, Fault.UPDATE_GUARD_PASSED, Fault.OPERATOR_STOP])
def test_other_reasons_to_hold_are_not_held_against_the_residual(fault: Fault) -> None:
    watched = Watched()
    watched.record.own_reference[:] = NEVER_FAILED
    watched.steps(1)
    held(watched, fault)
    assert watched.episode(Outcome.SUCCESS) == set()


def test_a_guard_is_held_against_its_own_episode_only() -> None:
    watched = Watched()
    watched.record.own_reference[:] = NEVER_FAILED
    # one that took over from somebody else
    held(watched, Fault.CONTACT_FORCE_GUARD)
    assert watched.episode(Outcome.SUCCESS) == set()
    watched.steps(1)
    held(watched, Fault.CONTACT_FORCE_GUARD)
    watched.mode = Mode.HOMING
    watched.tick(Outcome.ABORT)
    watched.mode = Mode.ADAPTIVE
    assert watched.episode(Outcome.SUCCESS) == set()
