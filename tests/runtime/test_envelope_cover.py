"""The cover: what holds in it, how wide it is tried, and how wide it is made."""

import math

import numpy as np
import pytest

from runtime.envelope.cover import SPARE_M, Cover, everywhere, made, nowhere, wide
from runtime.envelope.joint import Reference
from tests.runtime.envelope_kit import answer

NOBODY = np.zeros(0, dtype=np.intp)


def reference(low: float, high: float) -> Reference:
    return Reference(
        q=low, v=0.0, a=0.0, stop_a=0.0, q_low=low, q_high=high, limited_by=0, margin=1.0
    )


INSIDE = (reference(-1.0, 1.0), reference(-2.0, 2.0))


@pytest.mark.parametrize(
    ("last", "to", "held"),
    [
        (INSIDE, INSIDE, True),
        ((reference(-1.1, 0.0), INSIDE[1]), INSIDE, False),
        ((reference(0.0, 1.1), INSIDE[1]), INSIDE, False),
        (INSIDE, (INSIDE[0], reference(-2.1, 0.0)), False),
        (INSIDE, (INSIDE[0], reference(0.0, 2.1)), False),
        ((INSIDE[0], reference(0.0, math.nan)), INSIDE, False),
        (INSIDE, (reference(math.nan, 0.0), INSIDE[1]), False),
    ],
)
def test_a_cover_holds_stops_that_end_inside_or_at_its_border(
    last: tuple[Reference, ...], to: tuple[Reference, ...], held: bool
) -> None:
    cover = Cover([-1.0, -2.0], [1.0, 2.0], NOBODY, 0.1, 0)
    assert answer(cover.holds, last, to) is held


def test_nowhere_holds_nothing_and_everywhere_all() -> None:
    some = (reference(-1e9, -1e9), reference(0.0, 1e9))
    none = answer(nowhere, 2)
    assert not none.holds(some, some)
    assert (none.low, none.high) == ([math.inf] * 2, [-math.inf] * 2)
    assert (none.near.tolist(), none.room_m, none.nearest) == ([], 0.0, -1)
    every = answer(everywhere, 2, 3)
    assert every.holds(some, some)
    assert (every.low, every.high) == ([-math.inf] * 2, [math.inf] * 2)
    assert (every.near.tolist(), every.room_m, every.nearest) == ([0, 1, 2], math.inf, -1)


def test_the_wide_box_reaches_further_where_the_robot_goes() -> None:
    """5 mrad and a fifth of the width on either side, and 80 ms ahead."""
    low, high = np.array([0.0, 1.0, -1.0]), np.array([0.1, 1.0, -0.5])
    low_wide, high_wide = answer(wide, low, high, np.array([0.0, 0.5, -2.0]))
    assert low_wide == pytest.approx([-0.025, 0.995, -1.105 - 0.16])
    assert high_wide == pytest.approx([0.125, 1.005 + 0.04, -0.395])


NARROW = np.array([0.0, 2.0]), np.array([1.0, 3.0])
WIDEST = np.array([-1.0, -1.0]), np.array([2.0, 7.0])


def test_where_all_keep_half_of_their_room_the_cover_is_the_wide_box() -> None:
    cover = answer(made, NARROW, WIDEST, np.array([[0.02, 0.011], [0.03, 0.016]]))
    assert (cover.low, cover.high) == ([-1.0, -1.0], [2.0, 7.0])
    assert cover.near.tolist() == []
    assert cover.room_m == pytest.approx(0.011)
    assert cover.nearest == 0


def test_a_barrier_that_would_lose_more_keeps_the_cover_narrow() -> None:
    """The second loses 40 mm of 60 on the way to the wide box: 30, half of them, at 3/4 of it."""
    cover = answer(made, NARROW, WIDEST, np.array([[0.09, 0.065], [0.06, 0.02], [0.5, 0.5]]))
    assert cover.low == pytest.approx([-0.75, -0.25])
    assert cover.high == pytest.approx([1.75, 6.0])
    assert cover.near.tolist() == []
    assert cover.room_m == pytest.approx(0.03)
    assert cover.nearest == 1


def test_a_barrier_that_would_keep_it_narrower_than_a_quarter_is_near() -> None:
    at_a_quarter, below = [0.04, -0.0399], [0.04, -0.0401]
    cover = answer(made, NARROW, WIDEST, np.array([at_a_quarter, below, [1.0, 0.9]]))
    assert cover.near.tolist() == [1]
    assert cover.low == pytest.approx([-0.25, 1.25], abs=1e-3)
    assert cover.nearest == 0
    assert cover.room_m == pytest.approx(0.02)


def test_spare_room_is_never_given_away() -> None:
    """0.2 mm stay even of 0.3, and who has no more, or none that anybody knows, is near."""
    assert SPARE_M == 2e-4
    cover = answer(
        made,
        NARROW,
        WIDEST,
        np.array([[3e-4, 2.5e-4], [2e-4, 1e-4], [-0.1, -0.1], [math.nan, 0.0], [3e-4, 1e-4]]),
    )
    assert cover.near.tolist() == [1, 2, 3]
    assert cover.low == pytest.approx([-0.5, 0.5])
    assert cover.room_m == pytest.approx(2e-4)
    assert cover.nearest == 4


def test_nobody_far_is_said_as_infinite_room() -> None:
    cover = answer(made, NARROW, WIDEST, np.array([[1e-4, 0.0], [-1.0, -1.0]]))
    assert cover.near.tolist() == [0, 1]
    assert cover.room_m == math.inf
    assert (cover.low, cover.high) == ([-1.0, -1.0], [2.0, 7.0])


def test_what_loses_nothing_is_not_divided_by_nothing() -> None:
    cover = answer(made, NARROW, WIDEST, np.array([[0.1, 0.1], [0.0, 0.0]]))
    assert cover.near.tolist() == [1]
    assert (cover.low, cover.room_m) == ([-1.0, -1.0], 0.1)
