"""Change detectors: their promise holds for short references too, and a fall is noticed in time."""

import math

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import beta, binom

from runtime.change_detector import (
    BEHIND_EPISODES,
    DOUBT,
    SHARES,
    ChangeDetector,
    DetectorState,
    OwnRecord,
    OwnRecordState,
    Reference,
)
from tests.benchmarks.detectors import (
    METHODS,
    Flags,
    Method,
    Numbers,
    Ours,
    Setting,
    Watch,
    floors,
    healthy_distance,
    watch,
)

PROMISE = 50.0
OURS, GROWING, CUSUM, _, SPRT = METHODS

references = st.integers(1, 200).flatmap(
    lambda count: st.builds(Reference, st.integers(0, count), st.just(count))
)
outcomes = st.lists(st.booleans(), min_size=1, max_size=80)


def judged(successes: list[bool], reference: Reference, promise: float = PROMISE) -> ChangeDetector:
    detector = ChangeDetector(promise)
    for success in successes:
        detector.update(success, reference)
    return detector


@given(outcomes, references, st.data())
def test_a_failure_in_the_place_of_a_success_never_lowers_the_evidence(
    successes: list[bool], reference: Reference, data: st.DataObject
) -> None:
    where = data.draw(st.integers(0, len(successes) - 1))
    better, worse = list(successes), list(successes)
    better[where], worse[where] = True, False
    assert judged(worse, reference).evidence >= judged(better, reference).evidence


@given(outcomes, st.integers(1, 200), st.data())
def test_a_better_reference_never_lowers_the_evidence_of_failures(
    successes: list[bool], count: int, data: st.DataObject
) -> None:
    few = data.draw(st.integers(0, count - 1))
    failures = [False] * len(successes)
    low = judged(failures, Reference(few, count)).evidence
    assert judged(failures, Reference(few + 1, count)).evidence >= low


@given(outcomes, references)
def test_the_alarm_is_where_the_evidence_is_one_and_stays_until_the_reset(
    successes: list[bool], reference: Reference
) -> None:
    detector, raised = ChangeDetector(PROMISE), False
    for success in successes:
        alarm = detector.update(success, reference)
        assert alarm is detector.state.alarm
        assert alarm or not raised
        assert 0.0 <= detector.evidence <= 1.0
        assert alarm == (detector.evidence >= 1.0)
        raised = alarm
    detector.reset()
    assert detector.evidence == 0.0
    fresh = ChangeDetector(PROMISE)
    for success in successes:
        assert detector.update(success, reference) == fresh.update(success, reference)
    assert detector.state == fresh.state


@given(outcomes, outcomes, references, references)
def test_a_saved_state_goes_on_as_if_nothing_had_been(
    before: list[bool], after: list[bool], first: Reference, second: Reference
) -> None:
    whole, later = judged(before, first), ChangeDetector(PROMISE)
    saved = msgspec.msgpack.encode(whole.state)
    later.state = msgspec.msgpack.decode(saved, type=DetectorState)
    for success in after:
        assert whole.update(success, second) == later.update(success, second)
    assert whole.state == later.state


@given(outcomes, st.integers(0, 500))
def test_a_reference_without_any_success_never_alarms(successes: list[bool], count: int) -> None:
    detector = judged(successes * 20, Reference(0, count), promise=1.0)
    assert detector.evidence == 0.0
    assert not detector.state.alarm


def test_without_a_reference_an_episode_is_passed_over() -> None:
    detector = judged([False] * 5, Reference(9, 10))
    bets = list(detector.state.bets)
    detector.update(False, Reference(0, 0))
    assert detector.state.bets == bets


def test_each_new_bet_and_each_outcome_are_worth_what_the_formula_says() -> None:
    reference = Reference(9, 10)
    floor = reference.floor()
    detector = judged([False, True], reference)
    for bet, share in zip(detector.state.bets, SHARES, strict=True):
        lost = (1.0 - share * floor) / (1.0 - floor)
        assert bet == pytest.approx((lost + 1.0) * share)
        # a fair bet where success is exactly at the floor
        assert floor * share + (1.0 - floor) * lost == pytest.approx(1.0)
    worth = sum(detector.state.bets) / len(SHARES)
    assert detector.evidence == pytest.approx(
        math.log(worth) / math.log(PROMISE / (1.0 - DOUBT)), rel=1e-12
    )


def test_the_floor_is_above_the_true_rate_in_no_more_than_its_doubt() -> None:
    rates = np.linspace(0.01, 0.99, 99)
    for count in (*range(1, 61), 100, 300, 1000):
        floor = np.array([Reference(s, count).floor() for s in range(count + 1)])
        assert np.all(np.diff(floor) > 0.0)
        above = floor[None, :] > rates[:, None] + 1e-12
        missed = binom.pmf(np.arange(count + 1), count, rates[:, None]) * above
        assert missed.sum(axis=1).max() < DOUBT


@pytest.mark.parametrize("count", [10, 50, 500])
def test_the_floor_is_near_the_exact_one(count: int) -> None:
    for successes in range(1, count + 1):
        exact = beta.ppf(0.25, successes, count - successes + 1)
        assert Reference(successes, count).floor() == pytest.approx(exact, abs=0.13 / count)


def test_the_floor_stays_below_one_however_long_the_reference() -> None:
    assert Reference(10**9, 10**9).floor() < 1.0
    assert judged([False] * 80, Reference(10**9, 10**9)).state.alarm


@pytest.mark.parametrize(
    ("successes", "count"), [(-1, 5), (6, 5), (0, -1), (1, 10**9 + 1), (math.nan, 5), (1, math.nan)]
)
def test_a_reference_that_cannot_be_is_refused(successes: int, count: int) -> None:
    with pytest.raises(ValueError, match=r"a reference of .* allowed are 0 to as many"):
        Reference(successes, count)


@pytest.mark.parametrize("distance", [0.999, 0.0, -1.0, math.nan, math.inf, 2e9])
def test_a_distance_that_cannot_be_is_refused(distance: float) -> None:
    with pytest.raises(ValueError, match=r"healthy episodes between .* allowed are 1 to 1e\+09"):
        ChangeDetector(distance)


@given(outcomes, st.integers(0, 50), st.integers(0, 50))
def test_an_own_record_counts_what_is_far_enough_behind(
    successes: list[bool], won: int, lost: int
) -> None:
    record = OwnRecord(Reference(won, won + lost))
    for success in successes:
        record.add(success)
    counted = successes[: max(len(successes) - BEHIND_EPISODES, 0)]
    expected = Reference(won + sum(counted), won + lost + len(counted))
    assert record.reference == expected
    saved = msgspec.msgpack.decode(msgspec.msgpack.encode(record.state), type=OwnRecordState)
    assert saved == record.state
    record.forget_recent()
    for _ in range(BEHIND_EPISODES):
        record.add(True)
    assert record.reference == expected


@given(st.lists(st.booleans(), min_size=1, max_size=60), references)
def test_the_benchmark_simulates_this_detector(successes: list[bool], reference: Reference) -> None:
    many, one = Ours(1, PROMISE), ChangeDetector(PROMISE)
    won, count = np.array([float(reference.successes)]), np.array([float(reference.episodes)])
    assert floors(won, count)[0] == pytest.approx(reference.floor(), rel=1e-12)
    for success in successes:
        alarm = bool(many.step(np.array([success]), won, count)[0])
        if one.update(success, reference):
            assert alarm
            break
        assert not alarm
        assert many.bets[:, 0].tolist() == pytest.approx(one.state.bets, rel=1e-9)


def first_alarms(promise: float, rate: float, count: int | None, robots: int) -> list[int]:
    """Return when each healthy robot raised its first alarm, cut off at 40 promises.

    `count`: episodes in a reference drawn at the same rate; None: the rate is known.
    """
    rng = np.random.default_rng(8)
    first, longest = [], int(40 * promise)
    for _ in range(robots):
        successes = rng.binomial(count, rate) if count else round(rate * 10**9)
        reference = Reference(int(successes), count or 10**9)
        detector = ChangeDetector(promise)
        drawn = (rng.random(longest) < rate).tolist()
        alarms = (i for i, success in enumerate(drawn, 1) if detector.update(success, reference))
        first.append(next(alarms, longest))
    return first


@pytest.mark.parametrize("rate", [0.3, 0.5, 0.9])
@pytest.mark.parametrize("count", [10, 100, None])
def test_the_mean_distance_to_a_false_alarm_is_what_was_promised(
    rate: float, count: int | None
) -> None:
    first = np.array(first_alarms(PROMISE, rate, count, 150))
    assert first.mean() - 3.0 * first.std() / math.sqrt(len(first)) >= PROMISE


@pytest.mark.parametrize("rate", [0.3, 0.5, 0.9])
def test_unlucky_references_do_not_break_the_promise_for_the_fleet(rate: float) -> None:
    for method in (OURS, GROWING):
        kept = healthy_distance(method, fleet(rate, 10), 400, 1000, np.random.default_rng(2))
        assert kept.low >= PROMISE


class Misled(Ours):
    """Ours with the point estimate in the place of the reference's lower bound."""

    def step(self, success: Flags, successes: Numbers, count: Numbers) -> Flags:
        return super().step(success, np.round(successes / count * 1e9), np.full_like(count, 1e9))


@pytest.mark.parametrize("rate", [0.3, 0.5, 0.7, 0.9])
def test_the_point_estimate_of_ten_episodes_breaks_the_promise(rate: float) -> None:
    """Where the lower bound keeps it: the doubt about the reference is part of the test."""
    misled, setting = Method("misled", Misled), Setting(rate, 10, 500.0)
    kept = healthy_distance(misled, setting, 400, 1000, np.random.default_rng(2))
    assert kept.high < 0.5 * setting.distance
    kept = healthy_distance(OURS, setting, 1500, 1000, np.random.default_rng(2))
    assert kept.low >= setting.distance


def fleet(rate: float, count: int) -> Setting:
    return Setting(rate, count, PROMISE)


def dropped(method: Method, setting: Setting, good: int, drop: float) -> Watch:
    """Judge 200 robots that lose `drop` after so many good episodes."""
    rng = np.random.default_rng(4)
    return watch(method, setting, np.full(200, good), np.full(200, drop), 1000, rng)


@pytest.mark.parametrize(
    ("drop", "good", "at_most"), [(0.4, 0, 16), (0.4, 500, 14), (0.2, 0, 40), (0.2, 500, 36)]
)
def test_a_fall_is_noticed_soon_after_any_number_of_good_episodes(
    drop: float, good: int, at_most: int
) -> None:
    seen = dropped(OURS, Setting(0.9, 500, 500.0), good, drop)
    assert np.nanmedian(seen.delay) <= at_most
    assert not np.isnan(seen.delay).any()


def test_a_running_sprt_is_late_after_two_hundred_good_episodes() -> None:
    setting = Setting(0.9, 500, 500.0)
    ours, sprt = (np.nanmedian(dropped(m, setting, 200, 0.2).delay) for m in (OURS, SPRT))
    assert sprt > 4.0 * ours
    assert sprt > 100.0


def test_a_record_that_grows_notices_what_a_short_one_cannot() -> None:
    setting = Setting(0.9, 10, 500.0)
    fixed, growing = (np.nanmedian(dropped(m, setting, 500, 0.2).delay) for m in (OURS, GROWING))
    assert growing < 0.5 * fixed


def test_a_short_reference_misleads_a_cusum_on_its_point_estimate() -> None:
    setting = Setting(0.5, 10, 500.0)
    kept = healthy_distance(CUSUM, setting, 400, 1000, np.random.default_rng(2))
    assert kept.high < 500.0
