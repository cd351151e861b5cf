"""What is undone and how often, which version counts as good, and where the budget ends."""

from collections.abc import Callable

import pytest

from policies.governor_record import Return
from runtime.faults import Fault
from runtime.messages import Outcome, Stage
from runtime.wire import Order, OrderKind
from tests.policies.governor_kit import CONFIG, Robot, adaptive, exploring, granted, mixed

FELL = 1 << Fault.SUCCESS_FELL
DWELL = "+-+-+"


def undo(robot: Robot) -> None:
    """Let the tick take authority away, and let the base work alone as long as it must."""
    robot.governor.hear_faults(FELL)
    robot.governor.hear_faults(0)
    robot.run(DWELL)


# -- what is undone -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "undone"), [(Fault.UPDATE_GUARD_PASSED, True), (Fault.WEIGHTS_STALE, False)]
)
def test_updates_out_of_bounds_undo_a_snapshot_and_late_ones_do_not(
    fault: Fault, undone: bool
) -> None:
    robot = adaptive()
    robot.governor.hear_live(9)
    robot.governor.hear_faults(1 << fault)
    assert robot.governor.returning == (Return(7, fault.name) if undone else None)


def test_without_a_version_that_did_well_there_is_none_to_return_to() -> None:
    robot = exploring()
    robot.governor.hear_live(7)
    undo(robot)
    assert robot.governor.returning is None
    assert granted(robot).why == "authority is earned anew"


def fresh() -> Robot:
    return exploring()


def resumed() -> Robot:
    robot = exploring()
    undo(robot)
    undo(robot)
    robot.governor.hear_order(Order(OrderKind.RESUME, "anna"))
    robot.run(DWELL)
    return robot


def earned_again() -> Robot:
    robot = exploring()
    robot.governor.hear_live(7)
    undo(robot)
    undo(robot)
    robot.run("+" * CONFIG.earn_episodes, own=True, version=7)
    robot.run("+-")
    assert robot.governor.stage is Stage.ADAPTIVE
    return robot


@pytest.mark.parametrize("begin", [fresh, resumed, earned_again])
def test_a_person_decides_after_so_many_and_not_before(begin: Callable[[], Robot]) -> None:
    robot, times = begin(), 0
    while "a person decides" not in robot.governor.why:
        assert granted(robot).stage in (Stage.EXPLORE, Stage.ADAPTIVE)
        undo(robot)
        times += 1
    assert times == CONFIG.rollbacks_max + 1
    assert f"undone {times} times" in robot.governor.why
    # also for the gate that goes on where this one dies
    assert robot.governor.evidence().standing.held is Stage.SHADOW


# -- what counts as good ------------------------------------------------------------------------


@pytest.mark.parametrize(("episodes", "returning"), [(9, Return(7, "SUCCESS_FELL")), (10, None)])
def test_good_is_what_acted_half_a_window_ago(episodes: int, returning: Return | None) -> None:
    robot = adaptive()
    robot.governor.hear_live(9)
    robot.run("+" * episodes, own=True, version=9)
    robot.governor.hear_faults(FELL)
    assert robot.governor.returning == returning


@pytest.mark.parametrize(("last", "returning"), [("", Return(7, "SUCCESS_FELL")), ("+", None)])
def test_a_base_that_gets_worse_vouches_for_no_version(
    last: str, returning: Return | None
) -> None:
    robot = adaptive()
    robot.governor.hear_live(9)
    robot.run("+" * 38)
    robot.run("+" * 11, own=True, version=9)
    assert not robot.governor.course.surely_better()
    robot.run("-" * 5)
    assert robot.governor.course.surely_better()
    robot.run(last, own=True, version=9)
    robot.governor.hear_faults(FELL)
    assert robot.governor.returning == returning


def test_what_ends_after_a_person_took_it_away_vouches_for_no_version() -> None:
    robot = adaptive()
    robot.governor.hear_live(9)
    robot.run("+" * 9, own=True, version=9)
    robot.governor.hear_order(Order(OrderKind.SHADOW, "anna"))
    robot.run("+", own=True, version=9)
    robot.governor.hear_order(Order(OrderKind.RESUME, "anna"))
    robot.run(DWELL)
    assert robot.governor.stage is Stage.EXPLORE
    robot.governor.hear_faults(FELL)
    assert robot.governor.returning == Return(7, "SUCCESS_FELL")


def test_a_base_that_gets_worse_earns_the_residual_nothing() -> None:
    robot = exploring(mixed(9, 1))
    robot.run("+" * 20, own=True, version=7)
    robot.run("-" * 10)
    assert robot.governor.course.surely_better()
    assert granted(robot).stage is Stage.EXPLORE
    robot.run("+", own=True, version=7)
    assert granted(robot).stage is Stage.SHADOW


def test_what_turns_out_worse_while_it_is_shown_is_tried_again() -> None:
    robot = exploring()
    robot.run("+" * 20, own=True, version=7)
    assert robot.governor.stage is Stage.SHADOW
    for number in range(11, 17):
        robot.correct(number, Outcome.FAILURE)
    robot.run("+-")
    assert (granted(robot).stage, granted(robot).why) == (Stage.EXPLORE, "tried again")


# -- the budget, at its very ends ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("budget", "lost", "share", "beyond"),
    [(5.0, 3, 0.05, 0.0), (20.0, 7, 0.25, 0.05)],
    ids=["nothing above 1.6 budgets", "hardly anything above 1.35"],
)
def test_the_share_falls_above_so_many_budgets(
    budget: float, lost: int, share: float, beyond: float
) -> None:
    robot = exploring(config=CONFIG.model_copy(update={"loss_budget": budget}))
    robot.run("+" * 8, own=True)
    # the budget is spent; those who take a success back take a whole episode off it
    undo(robot)
    for number in range(11, 11 + lost):
        robot.correct(number, Outcome.FAILURE)
    assert granted(robot).share == pytest.approx(share)
    robot.correct(18, Outcome.FAILURE)
    assert granted(robot).share == pytest.approx(beyond)


def test_careful_above_the_budget_and_until_less_than_half_of_it_is_lost() -> None:
    robot = exploring()
    robot.run("+" * 5, own=True)
    numbers, shares = range(11, 16), []
    for number in numbers:
        robot.correct(number, Outcome.FAILURE)
        shares.append(granted(robot).share)
    for number in numbers:
        robot.correct(number, Outcome.SUCCESS)
        shares.append(granted(robot).share)
    usual = pytest.approx(0.9)
    assert shares == [usual, usual, usual, usual, 0.25, 0.25, 0.25, 0.25, usual, usual]
