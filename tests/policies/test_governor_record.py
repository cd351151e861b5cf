"""What the governor counts: how long it is kept, what is forgotten, and what it weighs."""

from collections.abc import Callable, Iterable

import pytest

from policies.governor_record import (
    Course,
    Earned,
    Tried,
    limited_share,
    pressed_share,
    successes,
)
from tests.policies.governor_kit import CONFIG, Robot, granted, make_governor

REMEMBERED = 1000


def one(number: int, *, own: bool = False, success: bool = False) -> Tried:
    return Tried(number, own, 7 if own else 0, success, 10, 0, 0)


def counted(*entries: Tried) -> Course:
    course = Course(CONFIG)
    for entry in entries:
        course.add(entry.number, entry)
    return course


@pytest.mark.parametrize(("later", "corrected"), [(REMEMBERED - 1, 1), (REMEMBERED, 0)])
def test_an_ended_episode_can_be_corrected_for_a_thousand_more(later: int, corrected: int) -> None:
    course = counted(one(1), *(one(number, own=True) for number in range(2, later + 2)))
    course.correct(1, success=True)
    assert successes(course.base) == corrected


@pytest.mark.parametrize("share", [limited_share, pressed_share])
def test_a_share_is_of_all_steps_and_of_none_nothing(
    share: Callable[[Iterable[Tried]], float],
) -> None:
    assert share([]) == 0.0
    assert share([Tried(1, False, 0, True, 1, 1, 1)]) == 1.0
    assert share([Tried(1, False, 0, True, 3, 1, 1), Tried(2, False, 0, True, 5, 1, 1)]) == 0.25


def test_without_a_base_nothing_is_better() -> None:
    own = [one(number, own=True, success=True) for number in range(1, 21)]
    assert not counted(*own).surely_better()
    assert counted(one(0), *own).surely_better()


def test_what_began_after_the_base_was_first_seen_is_compared_with_it() -> None:
    own = [one(number, own=True, success=True) for number in range(2, 22)]
    assert counted(one(1), *own, one(22), one(23)).surely_better()
    assert not counted(*own, one(22), one(23)).surely_better()


def test_begun_anew_it_keeps_the_last_of_the_base_and_nothing_of_the_residual() -> None:
    entries = [one(number, own=number > 25, success=True) for number in range(1, 46)]
    course = counted(*entries)
    course.earn()
    course.begin_anew()
    assert [entry.number for entry in course.base] == [*range(16, 26)]
    assert not course.own and course.record is None
    # and it goes on forgetting what is too old
    for number in range(46, 106):
        course.add(number, one(number))
    assert course.base[0].number == 56
    assert (course.loss, course.careful) == (CONFIG.loss_budget, True)


def test_begun_anew_early_it_keeps_all_of_the_base() -> None:
    course = counted(one(1), one(2))
    course.begin_anew()
    assert [entry.number for entry in course.base] == [1, 2]


def test_an_episode_of_an_earlier_run_weighs_a_thousand_steps() -> None:
    earned = Earned("p", "i", "d", 7, (20, 20), (4, 12), 0.1, 0.25)
    robot = Robot(make_governor(earned=earned))
    references = granted(robot).references
    assert (references.base, references.own) == ((4, 12), (20, 20))
    assert (references.base_limited, references.base_pressed) == (0.1, 0.25)
    robot.run("+", force_n=200.0)
    references = granted(robot).references
    assert references.base_limited == pytest.approx(1200 / 12010)
    assert references.base_pressed == pytest.approx(3010 / 12010)
