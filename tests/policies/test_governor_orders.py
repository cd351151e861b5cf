"""What people order, and a gate that begins beside a control which had one before."""

import msgspec
import pytest

from policies.governor import Governor
from policies.governor_record import Earned, Evidence, Return
from runtime.faults import Fault
from runtime.gate_wire import Beat
from runtime.messages import Outcome, Stage
from runtime.wire import Order, OrderKind
from tests.policies.governor_kit import (
    CONFIG,
    Robot,
    adaptive,
    exploring,
    granted,
    make_governor,
    mixed,
)

FELL = 1 << Fault.SUCCESS_FELL
NOTHING = [0.0, 0.0]
EARNED = Earned("p", "i", "d", 7, (20, 20), (4, 12), 0.1, 0.25)
DWELL = "+-+-+"


def order(robot: Robot, kind: OrderKind, version: int = 0) -> None:
    robot.governor.hear_order(Order(kind, "anna", version))


def undo(robot: Robot) -> None:
    """Let the tick take authority away, and give it back as far as it goes by itself."""
    robot.governor.hear_faults(FELL)
    robot.governor.hear_faults(0)


def written(governor: Governor) -> Evidence:
    """Return what is kept for the case that the gate dies, as the next one reads it."""
    data = msgspec.json.encode(governor.evidence())
    return msgspec.json.decode(data, type=Evidence)


def restarted(robot: Robot, control: Beat, live: int, earned: Earned | None = None) -> Robot:
    """Return the robot with a governor that takes up what the one before it wrote down."""
    again = Robot(make_governor(earned=earned))
    again.governor.hear_live(live)
    again.governor.meet(control, written(robot.governor))
    again.governor.hear_progress(1000)
    again.count = robot.count
    return again


# -- the words that are granted -----------------------------------------------------------------


def test_who_acts_gives_the_reason_that_moved_the_stage() -> None:
    robot = exploring()
    assert granted(robot).why == robot.governor.why == "the base succeeds in 5 of 10"


def test_who_has_lost_too_much_and_is_shown_only_is_so_because_a_person_says_so() -> None:
    robot = exploring()
    robot.run("-" * 24, own=True)
    assert granted(robot).share == 0.0
    order(robot, OrderKind.SHADOW)
    assert granted(robot).why == "anna says shadow"


@pytest.mark.parametrize("learner", [True, False])
def test_new_snapshots_are_expected_of_a_learner_only(learner: bool) -> None:
    robot = exploring(learner=learner)
    robot.governor.hear_live(3)
    assert granted(robot).stage is Stage.EXPLORE
    assert granted(robot).learning is learner


# -- shadow, drop and resume --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "stage"), [(OrderKind.SHADOW, Stage.SHADOW), (OrderKind.DROP, Stage.OBSERVE)]
)
def test_dropped_it_is_not_even_computed(kind: OrderKind, stage: Stage) -> None:
    robot = adaptive()
    order(robot, kind)
    assert granted(robot).stage is stage
    robot.run("+-" * 20)
    assert granted(robot).stage is stage


@pytest.mark.parametrize("kind", [OrderKind.SHADOW, OrderKind.DROP])
def test_whom_a_person_took_away_has_earned_nothing_for_the_next_run(kind: OrderKind) -> None:
    robot = adaptive()
    assert robot.governor.earned("p", "i", "d") is not None
    order(robot, kind)
    assert robot.governor.earned("p", "i", "d") is None
    references = granted(robot).references
    assert (references.own, references.base) == ((0, 0), (0, 0))


def test_resumed_before_there_is_anything_to_show_it_goes_on_observing() -> None:
    robot = Robot(make_governor())
    robot.run("+-")
    order(robot, OrderKind.RESUME)
    assert (granted(robot).stage, granted(robot).why) == (Stage.OBSERVE, "anna says resume")


def test_resumed_with_a_snapshot_it_is_shown_first() -> None:
    robot = Robot(make_governor())
    robot.governor.hear_live(3)
    order(robot, OrderKind.RESUME)
    assert granted(robot).stage is Stage.SHADOW


def test_resumed_before_the_base_was_measured_it_observes_again() -> None:
    robot = Robot(make_governor())
    robot.run("+")
    order(robot, OrderKind.SHADOW)
    order(robot, OrderKind.RESUME)
    robot.run("+" * CONFIG.dwell_episodes)
    assert granted(robot).stage is Stage.OBSERVE
    assert granted(robot).why == "the base was not yet seen to succeed and to fail"
    robot.run("-+++")
    robot.governor.hear_progress(1000)
    assert granted(robot).stage is Stage.EXPLORE


def test_shadow_and_resume_are_no_way_round_the_wait_for_the_learner() -> None:
    robot = Robot(make_governor())
    robot.run(mixed(5, 5))
    order(robot, OrderKind.SHADOW)
    order(robot, OrderKind.RESUME)
    robot.run(DWELL * 2)
    assert (granted(robot).stage, granted(robot).authority) == (Stage.WARM, NOTHING)
    robot.governor.hear_progress(100)
    assert (granted(robot).stage, granted(robot).why) == (Stage.EXPLORE, "tried again")


@pytest.mark.parametrize("earned", [None, EARNED])
@pytest.mark.parametrize("before", [(), (OrderKind.SHADOW,), (OrderKind.DROP,)])
def test_a_run_that_shows_only_moves_nothing_whatever_people_say(
    earned: Earned | None, before: tuple[OrderKind, ...]
) -> None:
    robot = Robot(make_governor(learner=False, shadow_only=True, earned=earned))
    assert granted(robot).authority == NOTHING
    robot.governor.hear_live(7)
    assert granted(robot).stage is Stage.SHADOW
    for kind in (*before, OrderKind.RESUME):
        order(robot, kind)
        robot.run("+-" * 20)
        assert granted(robot).authority == NOTHING
    assert granted(robot).stage is Stage.SHADOW


# -- pins ---------------------------------------------------------------------------------------


def test_a_pin_of_what_is_live_brings_nothing_back() -> None:
    robot = adaptive()
    order(robot, OrderKind.PIN, 7)
    assert robot.governor.returning is None
    robot.run(DWELL)
    assert granted(robot).authority == [1.0, 1.0]


def test_a_pin_of_what_is_live_keeps_it_where_an_earlier_one_was_about_to_return() -> None:
    robot = adaptive()
    robot.governor.hear_live(12)
    robot.governor.hear_faults(FELL)
    assert robot.governor.returning == Return(7, "SUCCESS_FELL")
    order(robot, OrderKind.PIN, 12)
    assert robot.governor.returning == Return(12, "anna says pin 12")


def test_measured_while_a_pinned_version_is_awaited_it_still_moves_nothing() -> None:
    robot = Robot(make_governor())
    order(robot, OrderKind.PIN, 5)
    robot.run(mixed(5, 5))
    robot.governor.hear_progress(1000)
    assert (granted(robot).stage, granted(robot).authority) == (Stage.SHADOW, NOTHING)
    robot.governor.hear_live(5)
    assert (granted(robot).stage, granted(robot).authority) == (Stage.EXPLORE, [1.0, 1.0])


def test_a_version_that_is_missing_stays_away_only_if_somebody_waits_for_it() -> None:
    robot = adaptive()
    robot.governor.hear_missing()
    assert robot.governor.returning is None
    assert granted(robot).authority == [1.0, 1.0]


def test_what_observed_in_an_earlier_run_does_not_wait_for_the_learner() -> None:
    robot = Robot(make_governor(earned=EARNED))
    order(robot, OrderKind.PIN, 5)
    robot.governor.hear_missing()
    robot.governor.hear_live(0)
    robot.run(DWELL)
    assert granted(robot).stage is Stage.EXPLORE


# -- beside a control that worked before --------------------------------------------------------


def test_a_first_run_with_what_was_earned_is_the_first_trial() -> None:
    governor = make_governor(earned=EARNED)
    assert governor.live == 7
    governor.meet(Beat())
    assert (governor.trial, governor.stage) == (1, Stage.ADAPTIVE)


def test_a_pin_of_what_is_live_takes_no_authority_away_at_a_restart() -> None:
    governor = make_governor(earned=EARNED)
    governor.meet(Beat(90, 7, trial=4, pinned=7))
    assert (governor.pinned, governor.trial, governor.stage) == (7, 4, Stage.ADAPTIVE)
    assert governor.returning is None


def test_a_version_undone_before_the_restart_takes_what_was_earned_along() -> None:
    governor = make_governor(earned=EARNED)
    governor.meet(Beat(90, 8, trial=4))
    assert governor.returning == Return(7, "8 was undone before the restart")
    assert (governor.trial, governor.stage) == (5, Stage.SHADOW)


def test_where_nothing_is_left_in_the_lineage_the_base_works_alone() -> None:
    governor = make_governor()
    governor.meet(Beat(90, 8, trial=4))
    assert governor.returning == Return(0, "8 was undone before the restart")


@pytest.mark.parametrize("pinned", [5, 0])
def test_a_pin_that_was_written_down_is_not_ordered_again(pinned: int) -> None:
    # 0: control forgot the order, or the version is not in the lineage any more
    robot = adaptive()
    order(robot, OrderKind.PIN, 5)
    trial = robot.governor.trial
    governor = restarted(robot, Beat(90, 7, trial, pinned=pinned), live=7).governor
    assert (governor.pinned, governor.trial) == (5, trial)
    assert governor.returning == Return(5, "anna says pin 5")


def test_what_was_counted_goes_on_in_place_of_what_was_earned_before_the_run() -> None:
    robot = Robot(make_governor(earned=EARNED))
    robot.run("-")
    robot.run("++", own=True, version=7)
    before = granted(robot).references
    assert before.base == (4, 13)
    again = restarted(robot, Beat(90, 7, robot.governor.trial), live=7, earned=EARNED)
    assert granted(again).references == before
    undo(robot)
    again = restarted(robot, Beat(90, 7, robot.governor.trial), live=7, earned=EARNED)
    assert again.governor.evidence() == robot.governor.evidence()


def test_its_own_record_goes_on_as_if_no_gate_had_died() -> None:
    robot = adaptive()
    robot.run("+" * 30, own=True, version=7)
    again = restarted(robot, Beat(90, 7, robot.governor.trial), live=7)
    for one in (robot, again):
        one.run("+" * 30, own=True, version=7)
    assert granted(again) == granted(robot)
    assert granted(again).references.own == (30, 30)


def test_people_may_correct_what_a_gate_that_died_had_counted() -> None:
    robot = adaptive()
    again = restarted(robot, Beat(90, 7, robot.governor.trial), live=7)
    again.correct(1, Outcome.SUCCESS)
    again.correct(11, Outcome.FAILURE)
    assert granted(again).references.base == (7, 12)
    assert again.governor.course.loss == 1.0


def test_nobody_corrects_an_earlier_run_by_the_numbers_of_this_one() -> None:
    robot = Robot(make_governor(earned=EARNED))
    again = restarted(robot, Beat(90, 7, robot.governor.trial), live=7)
    again.correct(1, Outcome.SUCCESS)
    assert granted(again).references.base == EARNED.base
