"""Authority: never more than granted, never faster up than the ramp, gone at once."""

import copy
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.authority import MODE_OF_STAGE, Authority, Region, authority_limits
from runtime.faults import Response
from runtime.messages import Mode, Stage
from tests.runtime.envelope_kit import answer

# a ramp of 0.1 s at 500 Hz: 50 ticks
RISE = 0.02
LIMITS = authority_limits((0.0, 0.0, 0.0), (1.0, 1.0, 1.0), 0.1, 0.1, 500.0)
MIDDLE = (0.5, 0.5, 0.5)

shares = st.one_of(
    st.floats(0.0, 1.0), st.sampled_from([0.0, 1.0, math.nan, math.inf, -0.1, 1.1])
)
places = st.one_of(st.floats(-0.2, 1.2), st.just(math.nan))
ticks = st.tuples(
    st.sampled_from(list(Mode)),
    st.sampled_from(list(Response)),
    st.sampled_from(list(Stage)),
    st.tuples(shares, shares),
    st.tuples(places, places, places),
)
# long stretches in which authority may rise
calm = st.tuples(
    st.sampled_from([Mode.ADAPTIVE, Mode.ADAPTIVE, Mode.HOMING]),
    st.sampled_from([Response.NONE, Response.WARN]),
    st.sampled_from([Stage.EXPLORE, Stage.ADAPTIVE]),
    st.tuples(shares, shares),
    st.tuples(places, places, places),
)
runs = st.lists(st.one_of(ticks, calm), min_size=1, max_size=60)


def step(authority: Authority, tick: tuple) -> None:  # type: ignore[type-arg]
    mode, response, stage, granted, place = tick
    answer(authority.update, mode, response, stage, list(granted), place)


def risen(ticks: int, share: float = 1.0) -> Authority:
    """Return an authority after so many calm ticks."""
    authority = Authority(2, LIMITS)
    for _ in range(ticks):
        answer(
            authority.update, Mode.ADAPTIVE, Response.NONE, Stage.ADAPTIVE, [share] * 2, MIDDLE
        )
    return authority


def test_the_ramp_takes_its_time_and_ends_at_the_grant() -> None:
    assert risen(49).value[0] < 1.0
    assert risen(51).value == [1.0, 1.0]
    assert risen(25).value[0] == math.floor(25 * RISE * 32) / 32
    assert risen(51, 0.3).value == [0.3, 0.3]


@pytest.mark.parametrize(
    ("place", "share"),
    [
        (MIDDLE, 1.0),
        ((0.1, 0.5, 0.5), 1.0),
        ((0.5, 0.95, 0.5), 0.5),
        ((0.025, 0.95, 0.5), 0.25),
        ((0.5, 0.5, 1.0), 0.0),
        ((0.5, 0.5, 1.001), 0.0),
        ((0.5, math.nan, 0.5), 0.0),
        ((-math.inf, 0.5, 0.5), 0.0),
    ],
)
def test_the_region_ends_in_a_linear_edge(place: tuple[float, ...], share: float) -> None:
    assert LIMITS.region.share(place) == pytest.approx(share)


def test_a_region_without_an_edge_ends_at_once() -> None:
    region = Region((0.0,), (1.0,), 0.0)
    assert [region.share((at,)) for at in (0.0, 1.0, 1.0 + 1e-12)] == [1.0, 1.0, 0.0]


def test_halfway_through_the_edge_halves_what_is_granted() -> None:
    authority = risen(60, 0.5)
    place = (0.05, 0.5, 0.5)
    authority.update(Mode.ADAPTIVE, Response.WARN, Stage.EXPLORE, [0.5, 0.5], place)
    assert authority.value == [0.25, 0.25]


@pytest.mark.parametrize(
    ("x", "share"),
    [(2.0, 0.0), (2.1, 0.2), (2.375, 0.75), (2.5, 1.0), (3.5, 1.0), (3.875, 0.25), (4.0, 0.0)],
)
def test_a_region_anywhere(x: float, share: float) -> None:
    region = Region((-3.0, 2.0), (-1.0, 4.0), 0.5)
    assert region.share((-2.0, x)) == pytest.approx(share)
    assert Region((2.0, -3.0), (4.0, -1.0), 0.5).share((x, -2.0)) == pytest.approx(share)


@pytest.mark.parametrize("mode", list(Mode))
@pytest.mark.parametrize("response", list(Response))
@pytest.mark.parametrize("stage", list(Stage))
def test_one_tick_takes_all_of_it_away_but_for_a_few(
    mode: Mode, response: Response, stage: Stage
) -> None:
    authority = risen(60, 0.7)
    authority.update(mode, response, stage, [0.7, 0.7], MIDDLE)
    earned = stage.name in ("EXPLORE", "ADAPTIVE") and response.name in ("NONE", "WARN")
    acts = earned and mode.name == "ADAPTIVE"
    assert authority.value == [0.7 * acts] * 2
    # what was taken away comes back by the ramp; a reset between two episodes takes nothing
    authority.update(Mode.ADAPTIVE, Response.NONE, Stage.ADAPTIVE, [0.7, 0.7], MIDDLE)
    kept = acts or (earned and mode.name == "HOMING")
    assert authority.value == ([0.7] * 2 if kept else [0.0] * 2)


def test_a_smaller_grant_acts_at_once_and_a_larger_one_by_the_ramp() -> None:
    authority = risen(60)
    seen = []
    for granted in ([0.0, 0.3], [0.0, 0.0], [1.0, 1.0], [1.0, 1.0]):
        authority.update(Mode.ADAPTIVE, Response.NONE, Stage.ADAPTIVE, granted, MIDDLE)
        seen.append(list(authority.value))
    assert seen == [[0.0, 0.3], [0.0, 0.0], [0.0, 0.0], [1 / 32, 1 / 32]]


@pytest.mark.parametrize("bad", [math.nan, math.inf, -0.1, 1.0 + 1e-12, 1.5])
def test_what_is_no_share_grants_nothing(bad: float) -> None:
    authority = risen(60)
    authority.update(Mode.ADAPTIVE, Response.NONE, Stage.ADAPTIVE, [bad, 1.0], MIDDLE)
    assert authority.value == [0.0, 1.0]


def test_part_of_the_way_it_moves_in_steps_of_a_thirty_second() -> None:
    authority = Authority(2, LIMITS)
    seen = set()
    for _ in range(60):
        authority.update(Mode.ADAPTIVE, Response.NONE, Stage.ADAPTIVE, [0.9, 0.9], MIDDLE)
        seen.add(authority.value[0])
    # 0 to 28/32, and then the grant itself
    assert seen == {number / 32 for number in range(29)} | {0.9}
    # in the edge the grant itself is not reached any more
    authority.update(Mode.ADAPTIVE, Response.NONE, Stage.ADAPTIVE, [0.9, 0.9], (0.09, 0.5, 0.5))
    assert authority.value == [25 / 32] * 2


def test_who_is_there_first_has_its_grant_while_the_other_still_rises() -> None:
    authority = Authority(2, LIMITS)
    for _ in range(20):
        authority.update(Mode.ADAPTIVE, Response.NONE, Stage.ADAPTIVE, [0.3, 1.0], MIDDLE)
    assert authority.value == [0.3, 12 / 32]


def test_sizes_that_differ_are_an_error() -> None:
    authority = risen(60)
    with pytest.raises(ValueError, match="zip"):
        LIMITS.region.share((0.5, 0.5))
    with pytest.raises(ValueError, match="zip"):
        LIMITS.region.share((0.05, 0.5))
    with pytest.raises(ValueError, match="zip"):
        authority.sum([0.1], [0.2, 0.3])
    with pytest.raises(ValueError, match="zip"):
        authority.update(Mode.ADAPTIVE, Response.NONE, Stage.ADAPTIVE, [1.0] * 3, MIDDLE)


def test_between_episodes_the_ramp_keeps_its_level() -> None:
    authority = risen(60)
    authority.update(Mode.HOMING, Response.NONE, Stage.ADAPTIVE, [1.0, 0.5], MIDDLE)
    assert authority.value == [0.0, 0.0]
    authority.update(Mode.ADAPTIVE, Response.NONE, Stage.ADAPTIVE, [1.0, 1.0], MIDDLE)
    assert authority.value == [1.0, math.floor(0.52 * 32) / 32]


def test_without_limits_there_is_none() -> None:
    authority = Authority(2, None)
    answer(
        authority.update, Mode.ADAPTIVE, Response.NONE, Stage.ADAPTIVE, [1.0, 1.0], MIDDLE
    )
    assert authority.value == [0.0, 0.0]
    assert authority.region_share == 0.0


def test_the_sum_takes_nothing_from_what_has_no_authority() -> None:
    authority = risen(60)
    assert authority.changed()
    assert authority.sum([0.1, 0.2], [0.3, 0.4]) == pytest.approx([0.4, 0.6])
    assert not authority.changed()
    authority.update(Mode.ADAPTIVE, Response.NONE, Stage.ADAPTIVE, [0.0, 1.0], MIDDLE)
    assert authority.changed()
    assert authority.sum([0.1, 0.2], [math.nan, 0.4]) == pytest.approx([0.1, 0.6])


def test_every_stage_has_its_mode() -> None:
    assert [MODE_OF_STAGE[stage] for stage in Stage] == [
        Mode.BASE,
        Mode.BASE,
        Mode.ADAPTIVE,
        Mode.SHADOW,
        Mode.ADAPTIVE,
    ]


@given(runs)
def test_never_above_the_grant_nor_faster_than_the_ramp(run: list[tuple]) -> None:  # type: ignore[type-arg]
    authority = Authority(2, LIMITS)
    most = [0.0, 0.0]
    for mode, response, stage, granted, place in run:
        authority.update(mode, response, stage, list(granted), place)
        for action, (share, grant) in enumerate(zip(authority.value, granted, strict=True)):
            assert 0.0 <= share <= 1.0
            assert share <= (grant if 0.0 <= grant <= 1.0 else 0.0)
            # what it could have reached by rising in every tick since it last had to be nothing
            most[action] += RISE
            assert share <= most[action] + 1e-12
            if response >= Response.DROP_RESIDUAL or stage not in (Stage.EXPLORE, Stage.ADAPTIVE):
                most[action] = 0.0


@given(runs, ticks)
def test_nothing_in_the_tick_of_a_drop_outside_or_elsewhere(run: list[tuple], last: tuple) -> None:  # type: ignore[type-arg]
    authority = risen(60)
    for tick in [*run, last]:
        step(authority, tick)
        mode, response, stage, _, place = tick
        inside = all(0.0 <= at <= 1.0 for at in place)
        may = mode is Mode.ADAPTIVE and response < Response.DROP_RESIDUAL and inside
        if not may or stage in (Stage.OBSERVE, Stage.WARM, Stage.SHADOW):
            assert authority.value == [0.0, 0.0]


@given(runs, runs)
def test_its_state_is_all_that_it_remembers(before: list[tuple], after: list[tuple]) -> None:  # type: ignore[type-arg]
    one, other = Authority(2, LIMITS), Authority(2, LIMITS)
    for tick in before:
        step(one, tick)
    # as a keyframe does: each has its own
    other.state = copy.deepcopy(one.state)
    for tick in after:
        step(one, tick)
        step(other, tick)
        assert one.value == other.value
