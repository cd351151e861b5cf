"""The watch: what speaks against the residual, from when on, and until when."""

import math

import pytest

from runtime.change_detector import ChangeDetector, Reference
from runtime.faults import Fault
from runtime.messages import Mode, Outcome
from runtime.residual_watch import ResidualWatch
from tests.runtime.watch_kit import BOUND, LIMITS, Watched

NEVER_FAILED = (10**6, 10**6)
UP, DOWN = math.inf, -math.inf


def test_without_a_residual_there_is_nothing_to_watch() -> None:
    watched = Watched(ResidualWatch(BOUND, None))
    record = watched.record
    record.critic_gap[0] = record.update_ratio[0] = math.nan
    record.weights_age_ns[0], record.residual_held[0] = 10**18, True
    record.own_reference[:] = NEVER_FAILED
    watched.limited, watched.force_n = True, 1e3
    watched.steps(20, (9.0, 9.0))
    assert watched.episode(Outcome.FAILURE) == set()
    assert watched.watch.allowed([1.0, 1.0]) == [1.0, 1.0]
    assert watched.evidence() == [[0.0, 0.0], [0.0, 0.0], [0.0], [0.0]]


@pytest.mark.parametrize(
    ("name", "limit", "past", "fault"),
    [
        ("critic_gap", 0.25, math.nextafter(0.25, UP), "CRITIC_MISJUDGES"),
        ("update_ratio", 3.0, math.nextafter(3.0, UP), "UPDATE_GUARD_PASSED"),
        ("critic_gap", -1e9, math.nan, "CRITIC_MISJUDGES"),
        ("update_ratio", 0.0, math.nan, "UPDATE_GUARD_PASSED"),
        ("critic_gap", 0.0, math.inf, "CRITIC_MISJUDGES"),
        ("weights_age_ns", 600 * 10**9, 600 * 10**9 + 1, "WEIGHTS_STALE"),
        ("residual_held", False, True, "RESIDUAL_HELD"),
    ],
)
@pytest.mark.parametrize("mode", [Mode.BASE, Mode.ADAPTIVE, Mode.DISARMED])
def test_what_is_said_holds_as_long_as_it_is_said(
    name: str, limit: float, past: float, fault: str, mode: Mode
) -> None:
    watched = Watched(mode=mode)
    said = watched.record.view[name]
    said[0] = limit
    assert watched.tick() == set()
    said[0] = past
    assert watched.tick() == {fault}
    said[0] = limit
    assert watched.tick() == set()


# -- success --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "fault"),
    [("own_reference", "SUCCESS_FELL"), ("base_reference", "SUCCESS_BELOW_BASE")],
)
def test_a_success_that_fell_is_said_until_the_trial_is_over(name: str, fault: str) -> None:
    watched = Watched()
    watched.record.view[name][:] = NEVER_FAILED
    index = ("own_reference", "base_reference").index(name)
    assert watched.episode(Outcome.SUCCESS) == set()
    assert watched.episode(Outcome.FAILURE) == {fault}
    assert watched.evidence()[0][index] == 1.0
    assert watched.evidence()[0][1 - index] == 0.0
    for _ in range(20):
        assert watched.episode(Outcome.SUCCESS) == {fault}
    watched.record.residual_trial[0] = 1
    assert watched.tick() == set()
    assert watched.evidence()[0] == [0.0, 0.0]
    assert watched.episode(Outcome.FAILURE) == {fault}


def test_a_record_of_ten_takes_more_than_one_failure_to_fall_below() -> None:
    watched = Watched()
    watched.record.own_reference[:] = (9, 10)
    heights = []
    while not watched.conditions():
        watched.episode(Outcome.FAILURE)
        heights.append(watched.evidence()[0][0])
    assert 2 <= len(heights) <= 5
    assert heights == sorted(heights)
    assert heights[-1] == 1.0


def test_both_detectors_together_keep_the_wanted_distance() -> None:
    watched = Watched()
    # half as often each: twice the distance of LIMITS
    own, base = ChangeDetector(20.0), ChangeDetector(20.0)
    watched.record.own_reference[:], watched.record.base_reference[:] = (8, 10), (90, 100)
    for success in (False, True, True, False, True):
        own.update(success, Reference(8, 10))
        base.update(success, Reference(90, 100))
        watched.episode(Outcome.SUCCESS if success else Outcome.FAILURE)
        assert watched.evidence()[0] == [own.evidence, base.evidence]
        assert 0.0 < own.evidence < base.evidence < 1.0


def test_evidence_is_written_in_the_tick_that_ends_the_episode() -> None:
    watched = Watched()
    watched.record.own_reference[:] = (9, 10)
    watched.steps(1)
    watched.mode = Mode.BASE
    watched.tick()
    watched.tick(Outcome.FAILURE)
    assert watched.evidence()[0][0] > 0.0


@pytest.mark.parametrize("outcome", [Outcome.FAILURE, Outcome.TIMEOUT])
def test_a_time_out_is_a_failure(outcome: Outcome) -> None:
    watched = Watched()
    watched.record.own_reference[:] = NEVER_FAILED
    assert watched.episode(outcome) == {"SUCCESS_FELL"}


@pytest.mark.parametrize("outcome", [Outcome.ABORT, Outcome.UNKNOWN])
def test_what_nobody_judged_counts_for_nothing(outcome: Outcome) -> None:
    watched = Watched()
    watched.record.own_reference[:] = watched.record.base_reference[:] = NEVER_FAILED
    assert watched.episode(outcome) == set()
    assert watched.evidence()[0] == [0.0, 0.0]
    # and what the residual did in it is not held against the next
    watched.authority = (0.0, 0.0)
    assert watched.episode(Outcome.FAILURE) == set()


@pytest.mark.parametrize(
    "reference", [(0, 0), (0, 10), (-1, 10), (11, 10), (0, -5), (10**9 + 1, 10**9 + 1)]
)
def test_nobody_falls_below_what_is_no_reference(reference: tuple[int, int]) -> None:
    watched = Watched()
    watched.record.own_reference[:] = watched.record.base_reference[:] = reference
    for _ in range(50):
        assert watched.episode(Outcome.FAILURE) == set()


@pytest.mark.parametrize("change", ["mode", "authority", "takes part", "step"])
def test_an_episode_without_the_residual_says_nothing_of_it(change: str) -> None:
    watched = Watched()
    record = watched.record
    record.own_reference[:] = record.base_reference[:] = NEVER_FAILED
    if change == "mode":
        watched.mode = Mode.BASE
    elif change == "authority":
        watched.authority = (0.0, 0.0)
    if change in ("mode", "authority"):
        watched.steps(3)
    elif change == "step":
        # the answer that was there before
        record.residual_takes_part[0] = True
        watched.tick()
    else:
        record.base_sequence[0] += 1
        watched.tick()
    watched.mode = Mode.HOMING
    watched.tick(Outcome.FAILURE)
    assert watched.conditions() == set()


def test_one_step_with_one_action_makes_an_episode_the_residuals() -> None:
    watched = Watched()
    watched.record.base_reference[:] = NEVER_FAILED
    watched.authority = (0.0, 0.0)
    watched.steps(3)
    watched.authority = (0.0, 1 / 32)
    watched.steps(1)
    # it leaves its region
    watched.authority = (0.0, 0.0)
    watched.steps(1)
    # a fault takes it away, and the base ends the episode
    watched.mode = Mode.BASE
    watched.steps(3)
    watched.mode = Mode.HOMING
    watched.tick(Outcome.FAILURE)
    assert watched.conditions() == {"SUCCESS_BELOW_BASE"}


# -- shares ---------------------------------------------------------------------------------------


def weighted(steps: int) -> float:
    """The share after so many steps in all of which it happened: memory 8, from nothing."""
    return 1.0 - (7 / 8) ** steps


def test_a_share_counts_steps_and_not_ticks() -> None:
    watched = Watched(limited=True, force_n=math.nextafter(30.0, UP))
    watched.steps(4)
    # the last one is not over
    assert watched.evidence()[2:] == [[pytest.approx(weighted(3))], [pytest.approx(weighted(3))]]
    watched.limited = False
    watched.mode = Mode.HOMING
    watched.tick()
    assert watched.evidence()[2:] == [[pytest.approx(weighted(4))], [pytest.approx(weighted(4))]]
    watched.mode = Mode.ADAPTIVE
    watched.force_n = 30.0
    watched.steps(2)
    assert watched.evidence()[2:] == [[pytest.approx(weighted(4) * 7 / 8)]] * 2


def test_one_tick_of_a_step_is_enough_and_belongs_to_it() -> None:
    watched = Watched()
    watched.steps(1)
    watched.limited, watched.force_n = True, math.nan
    watched.tick()
    watched.limited, watched.force_n = False, 0.0
    watched.tick()
    assert watched.evidence()[2:] == [[0.0], [0.0]]
    # one action that may move something is enough
    watched.level = (0.0, 0.1)
    watched.steps(1)
    assert watched.evidence()[2:] == [[1 / 8], [1 / 8]]
    watched.steps(1)
    assert watched.evidence()[2:] == [[7 / 64], [7 / 64]]


def test_what_happens_between_episodes_or_to_the_base_is_not_the_residuals() -> None:
    watched = Watched()
    watched.episode(Outcome.SUCCESS)
    watched.limited, watched.force_n = True, 1e3
    for mode in (Mode.HOMING, Mode.BASE, Mode.SHADOW, Mode.HOLD):
        watched.mode = mode
        watched.steps(3)
    watched.mode, watched.level = Mode.ADAPTIVE, (0.0, 0.0)
    watched.steps(3)
    assert watched.evidence()[2:] == [[0.0], [0.0]]


@pytest.mark.parametrize(
    ("which", "fault"), [("limited", "RESIDUAL_LIMITED"), ("pressed", "RESIDUAL_PRESSES")]
)
def test_a_share_is_judged_after_a_quarter_of_its_memory_and_stays_judged(
    which: str, fault: str
) -> None:
    watched = Watched()
    if which == "limited":
        watched.limited = True
    else:
        watched.force_n = 1e3
    # weighted(2) = 0.234 is above pressed's 0.125, weighted(3) = 0.330 above limited's 0.25
    needed = 2 if which == "pressed" else 3
    assert watched.steps(needed) == set()
    assert watched.steps(1) == {fault}
    watched.limited, watched.force_n = False, 0.0
    assert watched.steps(100) == {fault}
    watched.record.residual_trial[0] = -1
    assert watched.conditions() == set()


@pytest.mark.parametrize(
    ("allowance", "steps"),
    # the first count of steps with a share above it: never before two, a quarter of the memory
    [(0.0, 2), (0.125, 2), (15 / 64, 3), (math.nextafter(15 / 64, DOWN), 2)],
)
@pytest.mark.parametrize("which", ["limited", "pressed"])
def test_a_share_is_judged_exactly(which: str, allowance: float, steps: int) -> None:
    limits = LIMITS.model_copy(update={f"{which}_allowance": allowance})
    watched = Watched(ResidualWatch(BOUND, limits))
    watched.limited, watched.force_n = which == "limited", 1e3 if which == "pressed" else 0.0
    assert watched.steps(steps) == set()
    assert watched.steps(1) == {"RESIDUAL_LIMITED" if which == "limited" else "RESIDUAL_PRESSES"}


@pytest.mark.parametrize(
    ("base", "steps"),
    [(0.0, 3), (0.25, 11), (0.374, 47), (math.nan, 3), (-1.0, 3), (1.01, 3), (math.inf, 3)],
)
def test_the_bases_share_is_allowed_with_a_ratio_and_an_allowance(base: float, steps: int) -> None:
    watched = Watched(limited=True)
    watched.record.base_limited_share[0] = base
    # the first count of steps whose share is above 2 * base + 0.25
    assert watched.steps(steps) == set()
    assert watched.steps(1) == {"RESIDUAL_LIMITED"}


def test_at_the_limit_is_not_past_it() -> None:
    # all of its steps, and the share of the base allows exactly all: never
    watched = Watched(limited=True)
    for share in (0.375, 0.6, 1.0):
        watched.record.base_limited_share[0] = share
        assert watched.steps(1000) == set()
    assert watched.evidence()[2][0] == pytest.approx(1.0)
    watched.record.base_limited_share[0] = 0.374
    assert watched.steps(1) == {"RESIDUAL_LIMITED"}


# -- saturation -----------------------------------------------------------------------------------


def test_an_action_at_its_bound_is_withheld_alone_and_given_back() -> None:
    watched = Watched()
    assert watched.watch.allowed([0.7, 0.9]) == [0.7, 0.9]
    # weighted(5) = 0.487, weighted(6) = 0.551
    assert watched.steps(5, (-0.5, 0.0)) == set()
    assert watched.steps(1, (-0.5, 0.0)) == {"RESIDUAL_SATURATED"}
    assert watched.watch.allowed([0.7, 0.9]) == [0.0, 0.9]
    assert watched.evidence()[1] == [pytest.approx(weighted(6)), 0.0]
    # it is judged on without authority: down to 0.25 in another six steps, 0.282 in five
    watched.authority = watched.level = (0.0, 0.0)
    assert watched.steps(5) == {"RESIDUAL_SATURATED"}
    assert watched.watch.allowed([0.7, 0.9]) == [0.0, 0.9]
    assert watched.steps(1) == set()
    assert watched.watch.allowed([0.7, 0.9]) == [0.7, 0.9]


@pytest.mark.parametrize(
    ("action", "at_bound"),
    [
        (0.95 * 2.0, False),
        (math.nextafter(0.95 * 2.0, UP), True),
        (-0.95 * 2.0, False),
        (math.nextafter(-0.95 * 2.0, DOWN), True),
        (math.nan, True),
        (math.inf, True),
    ],
)
def test_the_bound_is_reached_at_95_percent(action: float, at_bound: bool) -> None:
    watched = Watched()
    watched.steps(1, (0.0, action))
    assert watched.evidence()[1] == [0.0, at_bound / 8]


def test_at_its_limits_a_share_of_saturation_changes_nothing() -> None:
    limits = LIMITS.model_copy(update={"memory_steps": 2, "saturated_share_max": 0.375})
    watched = Watched(ResidualWatch(BOUND, limits))
    full, away = [1.0, 1.0], [0.0, 1.0]
    # shares of 3/4, 3/8, 3/16 (half the limit), 3/32
    for action, allowed in ((0.5, away), (0.5, away), (0.0, away), (0.0, away), (0.0, full)):
        watched.steps(1, (action, 0.0))
        assert watched.watch.allowed(full) == allowed
    limits = limits.model_copy(update={"saturated_share_max": 0.5})
    watched = Watched(ResidualWatch(BOUND, limits))
    assert watched.steps(1, (0.5, 0.0)) == set()
    assert watched.steps(1, (0.5, 0.0)) == {"RESIDUAL_SATURATED"}


def test_saturation_is_written_in_the_tick_of_the_answer() -> None:
    watched = Watched(level=(0.0, 0.0))
    watched.record.base_sequence[0], watched.record.residual_takes_part[0] = 1, True
    watched.record.residual_action[:] = BOUND
    watched.tick()
    assert watched.evidence()[1] == [1 / 8, 1 / 8]


def test_noise_that_leads_away_from_the_bound_hides_nothing() -> None:
    watched = Watched()
    watched.record.residual_noise[:] = (-0.2, 0.5)
    watched.steps(1, (0.3, 2.0))
    assert watched.evidence()[1] == [1 / 8, 0.0]


def test_a_first_saturated_step_withholds_nothing_before_a_quarter_of_the_memory() -> None:
    limits = LIMITS.model_copy(update={"saturated_share_max": 0.1})
    watched = Watched(ResidualWatch(BOUND, limits))
    assert watched.steps(1, (0.5, 0.0)) == set()
    assert watched.steps(1, (0.0, 0.0)) == {"RESIDUAL_SATURATED"}


def test_a_step_that_was_drawn_for_the_base_says_nothing() -> None:
    watched = Watched()
    watched.steps(2, (0.5, 0.0))
    before = watched.evidence()[1]
    watched.record.residual_takes_part[0] = False
    watched.record.residual_action[:] = 0.0
    for _ in range(10):
        watched.record.base_sequence[0] += 1
        watched.tick()
    assert watched.evidence()[1] == before


def test_a_saved_watch_goes_on_where_it_was() -> None:
    watched = Watched(limited=True, force_n=1e3)
    watched.record.own_reference[:], watched.record.base_reference[:] = (9, 10), (1, 2)
    watched.episode(Outcome.FAILURE)
    watched.steps(9, (0.5, 0.0))
    twin = watched.twin()
    assert twin.watch.save() == watched.watch.save()
    assert twin.watch.allowed([1.0, 1.0]) == [0.0, 1.0]
    assert twin.conditions() == watched.conditions()
    assert twin.conditions() == {"RESIDUAL_SATURATED", "RESIDUAL_LIMITED", "RESIDUAL_PRESSES"}
    twin.record.base_sequence[0] = watched.record.base_sequence[0]
    twin.tick()
    assert twin.evidence() == watched.evidence()
    assert 0.0 < twin.evidence()[0][1] < twin.evidence()[0][0] < 1.0


def test_bits_are_the_tables() -> None:
    watched = Watched()
    watched.record.residual_held[0] = True
    assert watched.watch.conditions(watched.record) == 1 << Fault.RESIDUAL_HELD
