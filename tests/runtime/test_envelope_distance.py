"""Directions that part segments from boxes, against numbers by hand and a search by thirds."""

import numpy as np
import pytest
from numpy.typing import NDArray

from runtime.envelope.distance import parting
from tests.runtime.envelope_kit import answer

SEED = 3
Array = NDArray[np.float64]
Vector = tuple[float, float, float]
CUBE: Vector = (1.0, 1.0, 1.0)
EDGE: Vector = (0.5**0.5, 0.5**0.5, 0.0)


def part(
    rows: list[tuple[Vector, Vector, Vector, float]], rounds: int
) -> tuple[list[list[float]], list[float]]:
    """Normals and shares for rows of (one end, other end, half sizes, share to begin at)."""
    ends = np.array([[first, second] for first, second, _, _ in rows])
    half = np.array([half for _, _, half, _ in rows])
    share = np.array([share for _, _, _, share in rows])
    normal, found = answer(parting, ends, half, share, rounds)
    assert normal.shape == (len(rows), 3)
    assert found.shape == (len(rows),)
    return normal.tolist(), found.tolist()


def part_one(
    first: Vector, second: Vector, half: Vector = CUBE, share: float = 0.5, rounds: int = 8
) -> tuple[list[float], float]:
    normal, found = part([(first, second, half, share)], rounds)
    return normal[0], found[0]


# -- outside --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("place", "normal"),
    [
        ((3.0, 0.5, 0.5), (1.0, 0.0, 0.0)),
        ((-3.0, 0.5, 0.5), (-1.0, 0.0, 0.0)),
        ((0.5, 0.5, -1.25), (0.0, 0.0, -1.0)),
        ((1.3, 1.4, 0.9), (0.6, 0.8, 0.0)),
        ((-1.3, 0.2, 1.4), (-0.6, 0.0, 0.8)),
        ((2.0, 3.0, -3.0), (1 / 3, 2 / 3, -2 / 3)),
    ],
)
def test_of_a_point_the_normal_leads_to_it_from_the_box(place: Vector, normal: Vector) -> None:
    found, share = part_one(place, place, share=0.25)
    assert found == pytest.approx(normal, abs=1e-15)
    assert share == 0.25


@pytest.mark.parametrize("rounds", [1, 2, 8])
def test_an_end_that_is_nearest_is_found_exactly(rounds: int) -> None:
    """Each way round, and beginning anywhere: one step is enough, and no later one leaves it."""
    near, far = (0.0, 0.0, 3.0), (0.0, 4.0, 9.0)
    for start in (0.0, 0.3, 1.0):
        assert part_one(near, far, share=start, rounds=rounds) == ([0.0, 0.0, 1.0], 0.0)
        assert part_one(far, near, share=start, rounds=rounds) == ([0.0, 0.0, 1.0], 1.0)


def test_between_the_ends_one_step_finds_the_minimum_of_its_piece() -> None:
    """Along (4, 4, 0) past the edge x = y = 1: at share t the gap is (4t - 1, 5 - 4t, 0) - (1, 1,
    0) where both are positive, its square least at t = 3/4; on both sides one of them counts."""
    first, second = (-1.0, 5.0, 0.0), (3.0, 1.0, 0.0)
    for start in (0.6, 0.75, 0.9):
        normal, share = part_one(first, second, share=start, rounds=1)
        assert share == pytest.approx(0.75, abs=1e-12)
        assert normal == pytest.approx(EDGE, abs=1e-9)
    # left of t = 1/2 x is within the box and does not count: the step ends a hair before y is 1
    normal, share = part_one(first, second, share=0.25, rounds=1)
    assert 0.0 < 1.0 - share < 1e-12
    # no round at all leaves the share, and the normal is that of its point (1, 3, 0)
    assert part_one(first, second, share=0.5, rounds=0) == ([0.0, 1.0, 0.0], 0.5)


def test_from_both_sides_of_an_edge_the_search_comes_to_it() -> None:
    """Each side's own minimum is the other side's border, where one coordinate alone would count
    again: the point that is between them is (3/2, 3/2, 0)."""
    first, second = (-2.0, 6.0, 0.0), (6.0, -2.0, 0.0)
    for length in (1.0, 0.25):
        ends = [tuple(length * np.array(end)) for end in (first, second)]
        half = (1.25 * length, 1.25 * length, 1.0)
        for start in (0.0, 0.125, 0.375, 0.625, 1.0):
            normal, share = part_one(ends[0], ends[1], half, share=start, rounds=6)
            assert share == pytest.approx(0.5, abs=1e-9)
            assert normal == pytest.approx(EDGE, abs=1e-9)


def by_thirds(ends: Array, half: Array) -> tuple[Array, Array]:
    """The least distances of segments and boxes, and where: a convex function, searched."""

    def away(share: Array) -> Array:
        point = ends[:, 0] + share[:, None] * (ends[:, 1] - ends[:, 0])
        return np.asarray(np.linalg.norm(np.maximum(np.abs(point) - half, 0.0), axis=1))

    low, high = np.zeros(len(ends)), np.ones(len(ends))
    for _ in range(90):
        left, right = (2.0 * low + high) / 3.0, (low + 2.0 * high) / 3.0
        nearer = away(left) <= away(right)
        low, high = np.where(nearer, low, left), np.where(nearer, right, high)
    return away(low), low


@pytest.mark.parametrize("size_m", [0.02, 1.0, 10.0])
@pytest.mark.parametrize("begin", ["middle", "anywhere"])
def test_of_any_segment_and_box_it_is_the_direction_of_the_nearest_points(
    begin: str, size_m: float
) -> None:
    """Capsules, points, boxes, sticks, plates and points for boxes, in all sizes."""
    rng = np.random.default_rng(SEED)
    count = 2000
    ends = size_m * rng.uniform(-1.0, 1.0, (count, 2, 3))
    ends[::10, 1] = ends[::10, 0]
    half = rng.uniform(0.0, 0.6, (count, 3))
    half[::7, :2] = 0.0
    half[::11] = 0.0
    share = np.full(count, 0.5) if begin == "middle" else rng.uniform(0.0, 1.0, count)
    normal, share = answer(parting, ends, half, share, 8)
    best, _ = by_thirds(ends, half)
    assert share.min() >= 0.0
    assert share.max() <= 1.0
    np.testing.assert_allclose(np.linalg.norm(normal, axis=1), 1.0, atol=1e-12)
    nearest = ends[:, 0] + share[:, None] * (ends[:, 1] - ends[:, 0])
    found = np.linalg.norm(np.maximum(np.abs(nearest) - half, 0.0), axis=1)
    np.testing.assert_allclose(found, best, atol=1e-9)
    # the plane with that normal that touches the box is as far from both ends as the box is
    support = (np.abs(normal) * half).sum(axis=1)
    parted = (normal[:, None] * ends).sum(axis=2).min(axis=1) - support
    apart = best > 1e-3
    assert apart.sum() > 0.1 * count
    np.testing.assert_allclose(parted[apart], best[apart], atol=1e-6)
    assert (parted <= best + 1e-12).all()


# -- inside ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("side", [1.0, -1.0])
@pytest.mark.parametrize("depth", [0.0, 0.25])
def test_of_a_point_inside_it_is_the_face_nearest_to_it(
    axis: int, side: float, depth: float
) -> None:
    """In a box whose faces differ: what counts is how deep it is, not how far from the middle."""
    half = (1.0, 2.0, 3.0)
    place, normal = [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]
    place[axis] = side * (half[axis] - depth)
    normal[axis] = side
    there = (place[0], place[1], place[2])
    assert part_one(there, there, half) == (normal, 0.5)


def test_in_the_middle_it_is_the_positive_side() -> None:
    middle = (0.0, 0.0, 0.0)
    assert part_one(middle, middle, (3.0, 2.0, 1.0))[0] == [0.0, 0.0, 1.0]
    # so it is where the axis of the least depth has coordinate 0
    assert part_one((0.0, 0.0, 0.0), (0.0, 0.0, 0.0), (0.0, 0.0, 0.0))[0] == [1.0, 0.0, 0.0]


def test_rows_inside_and_outside_do_not_disturb_each_other() -> None:
    inside: tuple[Vector, Vector, Vector, float] = ((0.9, 0.0, 0.0), (0.9, 0.0, 0.0), CUBE, 0.5)
    below: tuple[Vector, Vector, Vector, float] = ((0.0, 0.0, -5.0), (0.0, 3.0, -4.0), CUBE, 0.1)
    beside: tuple[Vector, Vector, Vector, float] = ((0.0, 2.0, 0.0), (0.0, 3.0, 0.0), CUBE, 0.7)
    assert part([inside, below, beside], 8) == (
        [[1.0, 0.0, 0.0], pytest.approx([0.0, 0.1**0.5, -(0.9**0.5)]), [0.0, 1.0, 0.0]],
        [0.5, pytest.approx(0.7), 0.0],
    )
    assert part([beside, inside, inside], 8)[0] == [[0.0, 1.0, 0.0]] + 2 * [[1.0, 0.0, 0.0]]
    assert part([beside, below, beside], 8)[0][0] == [0.0, 1.0, 0.0]


@pytest.mark.parametrize(
    ("length_m", "touches"), [(0.75e-12, True), (1e-12, False), (1.5e-12, False)]
)
def test_nearer_than_a_picometre_is_touching(length_m: float, touches: bool) -> None:
    """Nearer than that rounding says where to; then it is the face, here of no box but a point."""
    there = (0.6 * length_m, 0.8 * length_m, 0.0)
    normal, _ = part_one(there, there, (0.0, 0.0, 0.0))
    assert normal == ([0.0, 1.0, 0.0] if touches else pytest.approx([0.6, 0.8, 0.0], rel=1e-9))
