"""The governor: what moves trust up, what follows when it was taken away, and what people say."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.governor import UNDOING
from policies.governor_record import Earned, Return
from runtime.faults import Fault, Response, tighten
from runtime.gate_wire import References
from runtime.messages import Outcome, Stage
from runtime.wire import Order, OrderKind
from tests.policies.governor_kit import (
    Robot,
    adaptive,
    exploring,
    granted,
    make_governor,
    mixed,
)

FELL = 1 << Fault.SUCCESS_FELL
PLACE = ("robot/field", "interface", "digest")


def stage(robot: Robot) -> Stage:
    return robot.governor.stage


def stage_granted(robot: Robot) -> Stage:
    return granted(robot).stage


# -- up ---------------------------------------------------------------------------------------


def test_the_base_alone_comes_first_and_the_residual_moves_nothing() -> None:
    robot = Robot(make_governor())
    for _ in range(9):
        robot.run("+")
        grant = granted(robot)
        assert grant.stage is Stage.OBSERVE
        assert grant.authority == [0.0, 0.0]


def test_a_measured_base_waits_for_the_learner_and_then_explores() -> None:
    robot = Robot(make_governor())
    robot.run(mixed(5, 5))
    assert stage_granted(robot) is Stage.WARM
    robot.governor.hear_progress(99)
    assert granted(robot).authority == [0.0, 0.0]
    robot.governor.hear_progress(100)
    assert stage(robot) is Stage.EXPLORE
    assert granted(robot).authority == [1.0, 1.0]
    assert granted(robot).share == pytest.approx(0.9)
    assert granted(robot).noise_share == 1.0


def test_without_a_learner_nothing_is_explored_before_there_is_a_snapshot() -> None:
    robot = exploring(learner=False)
    assert stage(robot) is Stage.WARM
    robot.governor.hear_live(3)
    assert stage(robot) is Stage.EXPLORE
    assert granted(robot).noise_share == 0.0


@pytest.mark.parametrize(("letter", "said"), [("+", "left alone"), ("-", "nothing to decorate")])
def test_a_base_that_always_or_never_succeeds_is_not_decorated(letter: str, said: str) -> None:
    robot = exploring(letter * 29)
    assert said not in robot.governor.why
    robot.run(letter)
    assert said in robot.governor.why
    robot.run(letter * 50)
    assert granted(robot).authority == [0.0, 0.0]
    robot.run("-+" * 25)
    robot.governor.hear_progress(2000)
    assert stage(robot) is Stage.EXPLORE, "the base changed its ways"


def test_one_failure_after_the_first_ten_is_enough_to_go_on() -> None:
    robot = exploring("+" * 10)
    assert stage(robot) is Stage.OBSERVE
    robot.run("-")
    assert stage(robot) is Stage.EXPLORE


def test_what_is_surely_better_is_shown_first_and_then_has_authority() -> None:
    robot = exploring()
    robot.governor.hear_live(7)
    robot.run("+" * 19, own=True, version=7)
    assert stage(robot) is Stage.EXPLORE
    robot.run("+", own=True, version=7)
    assert stage(robot) is Stage.SHADOW
    assert granted(robot).authority == [0.0, 0.0]
    robot.run("+")
    assert stage(robot) is Stage.SHADOW
    robot.run("-")
    assert stage(robot) is Stage.ADAPTIVE
    assert granted(robot).references.own == (20, 20)
    assert granted(robot).references.base == (6, 12)
    assert granted(robot).noise_share == 0.5


def test_what_it_did_before_all_that_is_known_of_the_base_does_not_count() -> None:
    robot = exploring()
    robot.governor.hear_live(7)
    robot.run("+" * 19, own=True, version=7)
    # while the base works alone the place may change, for the base as well
    robot.run(mixed(25, 25))
    robot.run("+", own=True, version=7)
    assert stage(robot) is Stage.EXPLORE
    robot.run("+" * 18, own=True, version=7)
    assert stage(robot) is Stage.EXPLORE
    robot.run("+", own=True, version=7)
    assert stage(robot) is Stage.SHADOW


def test_what_is_no_better_earns_nothing_however_long_it_tries() -> None:
    robot = exploring()
    robot.run(mixed(60, 60), own=True, version=7)
    assert stage(robot) is Stage.EXPLORE


def test_what_presses_more_than_the_base_earns_nothing() -> None:
    robot = exploring()
    robot.run("+" * 40, own=True, version=7, force_n=81.0)
    assert stage(robot) is Stage.EXPLORE
    assert stage(adaptive()) is Stage.ADAPTIVE


# -- the loss budget --------------------------------------------------------------------------


def test_losses_against_the_base_make_its_share_of_the_episodes_small() -> None:
    robot, shares = exploring(), []
    for _ in range(24):
        robot.run("-", own=True)
        shares.append(granted(robot).share)
    # each failure loses .348 of an episode: the lower bound of a base with 5 of 10
    assert shares[:11] == [pytest.approx(0.9)] * 11
    assert shares[11:15] == [0.25] * 4
    assert shares[15:18] == [pytest.approx(0.05)] * 3
    assert shares[18:] == [0.0] * 6
    assert granted(robot).why.endswith("works alone until a person says resume")
    robot.governor.hear_order(Order(OrderKind.RESUME, "anna"))
    robot.run("-+-+-")
    assert (granted(robot).stage, granted(robot).share) == (Stage.EXPLORE, 0.25)


def test_successes_buy_the_share_back_but_not_at_once() -> None:
    robot = exploring()
    robot.run("-" * 12, own=True)
    robot.run("+" * 3, own=True)
    assert granted(robot).share == 0.25
    robot.run("+", own=True)
    assert granted(robot).share == pytest.approx(0.9)


@given(st.text("+-", max_size=80), st.lists(st.booleans(), min_size=80, max_size=80))
def test_the_share_is_a_share_and_the_loss_never_negative(outcomes: str, own: list[bool]) -> None:
    robot = exploring()
    for letter, mine in zip(outcomes, own, strict=False):
        robot.run(letter, own=mine)
        assert 0.0 <= granted(robot).share <= 1.0
        assert robot.governor.course.loss >= 0.0


def test_the_base_is_measured_less_often_once_it_is_known() -> None:
    robot = exploring(mixed(25, 25))
    assert granted(robot).share == pytest.approx(0.98)


# -- down and back ----------------------------------------------------------------------------


@pytest.mark.parametrize("fault", UNDOING)
def test_what_the_tick_drops_is_undone_and_must_earn_again(fault: Fault) -> None:
    robot = adaptive()
    robot.run("+" * 30, own=True, version=9)
    robot.governor.hear_live(12)
    before = robot.governor.trial
    robot.governor.hear_faults(1 << fault)
    assert robot.governor.returning == Return(9, fault.name)
    assert robot.governor.trial == before + 1
    grant = granted(robot)
    assert (grant.stage, grant.authority) == (Stage.SHADOW, [0.0, 0.0])
    assert grant.references == References()
    robot.governor.hear_live(9)
    robot.run("+-+-")
    assert stage_granted(robot) is Stage.SHADOW
    robot.run("+")
    grant = granted(robot)
    assert (grant.stage, grant.share) == (Stage.EXPLORE, 0.25)
    robot.run("+" * 20, own=True, version=9)
    assert stage(robot) is Stage.SHADOW
    robot.run("+-")
    assert stage(robot) is Stage.ADAPTIVE


def test_every_row_that_undoes_drops_the_residual_in_the_tick() -> None:
    rows = {row.fault: row for row in tighten({})}
    assert all(rows[fault].response is Response.DROP_RESIDUAL for fault in UNDOING)


def test_nothing_acts_until_the_earlier_version_is_live() -> None:
    robot = adaptive()
    robot.governor.hear_live(12)
    robot.governor.hear_faults(FELL)
    robot.run("+-" * 10)
    assert granted(robot).authority == [0.0, 0.0]


def test_a_fault_that_stays_is_undone_once() -> None:
    robot = adaptive()
    for _ in range(5):
        robot.governor.hear_faults(FELL)
    assert robot.governor.trial == 2


def test_faults_that_give_authority_back_by_themselves_undo_nothing() -> None:
    robot = adaptive()
    others = [fault for fault in Fault if fault not in UNDOING]
    robot.governor.hear_faults(sum(1 << fault for fault in others))
    assert stage(robot) is Stage.ADAPTIVE


def test_who_is_undone_too_often_waits_for_a_person() -> None:
    robot = adaptive()
    for _ in range(4):
        robot.governor.hear_faults(0)
        robot.governor.hear_faults(FELL)
        robot.run("+" * 5)
    robot.run("+" * 50)
    assert "a person decides" in robot.governor.why
    assert granted(robot).authority == [0.0, 0.0]
    robot.governor.hear_order(Order(OrderKind.RESUME, "anna"))
    robot.run("+-" * 3)
    assert stage(robot) is Stage.EXPLORE


# -- outcomes ---------------------------------------------------------------------------------


def test_outcomes_that_never_come_move_nothing_and_fill_nothing() -> None:
    robot = Robot(make_governor())
    robot.run("?" * 500)
    assert stage(robot) is Stage.OBSERVE
    assert not robot.governor.course.base


def test_an_outcome_that_comes_late_counts_when_it_comes() -> None:
    robot = Robot(make_governor())
    robot.run("+-+-+-+-+?")
    assert stage(robot) is Stage.OBSERVE
    robot.correct(10, Outcome.FAILURE)
    assert stage(robot) is Stage.WARM


def test_an_outcome_that_flips_takes_back_what_it_had_said() -> None:
    robot = exploring()
    robot.run("-" * 4, own=True)
    lost = robot.governor.course.loss
    assert lost == pytest.approx(1.39, abs=0.01)
    robot.correct(11, Outcome.SUCCESS)
    assert robot.governor.course.loss == pytest.approx(lost - 1.0)
    robot.correct(11, Outcome.SUCCESS)
    assert robot.governor.course.loss == pytest.approx(lost - 1.0)
    floor = robot.governor.course.base_floor
    robot.correct(1, Outcome.SUCCESS)
    assert robot.governor.course.base_floor > floor


# -- people -----------------------------------------------------------------------------------


def test_a_person_may_ask_for_the_shadow_and_resume() -> None:
    robot = adaptive()
    robot.governor.hear_order(Order(OrderKind.SHADOW, "anna"))
    robot.run("+-" * 20)
    assert stage_granted(robot) is Stage.SHADOW
    assert "anna" in robot.governor.why
    robot.governor.hear_order(Order(OrderKind.RESUME, "anna"))
    robot.run("+-" * 3)
    assert stage_granted(robot) is Stage.EXPLORE


def test_what_is_only_to_be_shown_never_moves_the_robot() -> None:
    robot = Robot(make_governor(learner=False, shadow_only=True))
    robot.governor.hear_live(3)
    assert stage_granted(robot) is Stage.SHADOW
    robot.run("+-" * 40)
    assert stage_granted(robot) is Stage.SHADOW


def test_dropped_by_a_person_it_stays_away_until_it_is_asked_back() -> None:
    robot = adaptive()
    robot.governor.hear_order(Order(OrderKind.DROP, "bo"))
    robot.run("+-" * 40)
    assert granted(robot).authority == [0.0, 0.0]
    robot.governor.hear_order(Order(OrderKind.RESUME, "bo"))
    robot.run("+-" * 3)
    assert stage(robot) is Stage.EXPLORE


def test_a_pinned_version_comes_back_and_earns_its_authority() -> None:
    robot = adaptive()
    robot.governor.hear_order(Order(OrderKind.PIN, "bo", 5))
    assert robot.governor.pinned == 5
    assert robot.governor.returning == Return(5, "bo says pin 5")
    assert granted(robot).authority == [0.0, 0.0]
    robot.governor.hear_live(5)
    robot.run("+-" * 3)
    assert stage(robot) is Stage.EXPLORE
    robot.governor.hear_order(Order(OrderKind.RESUME, "bo"))
    assert not robot.governor.pinned


# -- after a restart --------------------------------------------------------------------------


def test_what_was_earned_in_this_place_is_taken_up() -> None:
    robot = adaptive()
    robot.run("+" * 60, own=True, version=7)
    earned = robot.governor.earned(*PLACE)
    assert earned is not None
    assert earned.version == 7
    again = Robot(make_governor(learner=False, earned=earned))
    grant = granted(again)
    assert (grant.stage, grant.authority, grant.noise_share) == (Stage.ADAPTIVE, [1.0, 1.0], 0.0)
    assert grant.references.own == earned.own
    assert grant.references.base == earned.base


def test_who_has_not_earned_has_nothing_to_keep() -> None:
    assert exploring().governor.earned(*PLACE) is None


def test_what_was_earned_survives_its_own_file_format() -> None:
    earned = Earned(*PLACE, 7, (20, 20), (6, 12), 0.01, 0.02)
    assert msgspec.json.decode(msgspec.json.encode(earned), type=Earned) == earned
