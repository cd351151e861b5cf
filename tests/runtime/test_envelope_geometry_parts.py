"""Geometry, number by number, at a gantry: covers, and what a tick looks at."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from runtime.envelope import geometry as geometry_file
from runtime.envelope.anchors import Anchors, Extents, Rows
from runtime.envelope.cover import Cover
from runtime.envelope.geometry import Geometry, _worn
from tests.runtime.envelope_kit import answer, written
from tests.runtime.gantry_kit import (
    EAST,
    GANTRY,
    MARGIN_M,
    NORTH,
    around,
    boxes,
    east,
    load,
    point,
)

Array = NDArray[np.float64]


@pytest.fixture
def path(tmp_path: Path) -> str:
    return written(tmp_path, GANTRY)


@pytest.fixture
def gantry(path: str) -> Geometry:
    geometry = load(path)
    geometry.settle([0.0, 0.0])
    return geometry


# -- the cover ------------------------------------------------------------------------------------


def test_far_from_all_the_cover_is_the_wide_box(gantry: Geometry) -> None:
    """5 mm and a fifth of the width on either side, and 80 ms ahead."""
    three = boxes(point(0.0, 0.0), ((0.0, 0.0), (0.1, 0.0)), ((0.0, 0.0), (0.1, 0.0)))
    answer(gantry.cover_anew, three, np.array([0.5, -0.1]))
    assert gantry.cover.low == pytest.approx([-0.025, -0.005 - 0.008])
    assert gantry.cover.high == pytest.approx([0.125 + 0.04, 0.005])
    assert gantry.cover.near.tolist() == []
    assert gantry.cover.nearest == NORTH
    bend = 0.5 * (0.165 + 0.013) ** 2
    assert gantry.cover.room_m == pytest.approx(0.4 - MARGIN_M - 0.005 - bend, abs=1e-6)


def test_it_is_the_last_box_that_a_cover_is_made_around(gantry: Geometry) -> None:
    both = (0.1, 0.1), (0.1, 0.2)
    answer(gantry.cover_anew, boxes(point(9, 9), point(8, 8), both), np.zeros(2))
    assert gantry.cover.low == pytest.approx([0.095, 0.075])
    assert gantry.cover.high == pytest.approx([0.105, 0.225])


def test_who_has_no_room_for_a_cover_is_near(path: str) -> None:
    """2 mm of room: 5 mm do not fit."""
    geometry = load(path)
    geometry.settle([0.888, 0.0])
    answer(geometry.cover_anew, around(0.888, 0.0), np.zeros(2))
    assert geometry.cover.near.tolist() == [EAST]
    assert geometry.cover.nearest == NORTH
    assert geometry.cover.high == pytest.approx([0.893, 0.005])
    room = geometry.near.over(boxes(point(0.888, 0.0)))
    assert room.tolist() == [[pytest.approx(0.002)]]


def test_anchors_that_are_too_old_are_renewed_before_a_cover_is_made(gantry: Geometry) -> None:
    """0.8 m away bending costs 320 mm: in the east more than there is, in the north less."""
    stop = boxes(point(0.8, 0.0), point(0.0, 0.0), point(0.8, 0.0))
    answer(gantry.cover_anew, stop, np.zeros(2))
    poses = gantry._anchors.pose
    assert poses[EAST].tolist() == [0.8, 0.0]
    assert poses[NORTH].tolist() == [0.0, 0.0]
    assert gantry.cover.near.tolist() == []
    assert gantry.cover.room_m == pytest.approx(0.39 - 0.005 - 0.5 * 0.81**2, abs=1e-6)
    assert gantry.cover.nearest == NORTH


def test_the_worst_over_the_wide_box_is_renewed_first(
    gantry: Geometry, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[list[int], list[float]]] = []

    def renew(due: Array, room: Array, stop: Extents) -> Array:
        asked.append((due.tolist(), room.tolist()))
        assert stop.middle.tolist() == [[0.8, 0.0]]
        return due

    monkeypatch.setattr(gantry, "_renew", renew)
    stop = boxes(point(0.8, 0.0), point(0.0, 0.0), point(0.8, 0.0))
    answer(gantry.cover_anew, stop, np.zeros(2))
    wide_m = 0.9 - 0.805 - 0.5 * 0.81**2 - MARGIN_M
    ((due, room),) = asked
    assert due == [EAST]
    assert room == pytest.approx([wide_m], abs=1e-9)


def test_what_a_new_anchor_would_lose_too_is_not_age(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the middle of a box of 0.2 m no anchor loses less than this one."""
    geometry = load(path)
    geometry.settle([0.7, 0.0])
    monkeypatch.setattr(geometry, "_renew", lambda *_: pytest.fail("renewed"))
    box = (0.6, -0.1), (0.8, 0.1)
    answer(geometry.cover_anew, boxes(point(0.7, 0.0), box, box), np.zeros(2))
    assert geometry.cover.near.size == 0


@pytest.mark.parametrize(
    ("narrow_m", "wide_m", "aged_m", "due"),
    [
        (0.1, 0.049, 0.0130, True),
        # keeps half of its room
        (0.1, 0.050, 0.0130, False),
        (0.1, 0.051, 0.0130, False),
        # no more than a quarter of what is lost, and a little, is the age's doing
        (0.1, 0.040, 0.0151, True),
        (0.1, 0.040, 0.0150, False),
        (0.1, 0.0, 3e-5 + 0.25 * 0.1, False),
        (-0.1, -0.2, 0.0251, True),
        (0.1, -0.1, 0.0500, False),
    ],
)
def test_who_hinders_a_cover_by_age_is_worn(
    narrow_m: float, wide_m: float, aged_m: float, due: bool
) -> None:
    room = np.array([[1.0, 1.0], [narrow_m, wide_m]])
    aged = np.array([[0.0, 0.0], [1.0, aged_m]])
    assert answer(_worn, room, aged).tolist() == ([1] if due else [])


# -- a tick's boxes -------------------------------------------------------------------------------


def near(geometry: Geometry, *rows: int) -> None:
    """Let these barriers be near."""
    geometry._lie_in(Cover([-9.0] * 2, [9.0] * 2, np.array(rows, dtype=np.intp), 0.1, 7))


def test_what_is_seen_are_the_near_ones_above_their_levels(gantry: Geometry) -> None:
    near(gantry, NORTH, EAST)
    three = boxes(point(0.0, 0.0), point(0.01, 0.0), ((0.0, 0.0), (0.01, 0.02)))
    seen, room = answer(gantry.look, three)
    bend = 0.5 * 0.03**2
    assert room == pytest.approx([0.39 - 0.02 - bend, 0.89 - 0.01 - bend], abs=1e-9)
    assert seen.least()[:, 2].tolist() == room.tolist()
    assert seen.least()[1] == pytest.approx([0.89, east(0.01) - 0.01, 0.88 - bend], abs=1e-9)


def test_old_anchors_of_near_ones_are_renewed_where_the_kept_stop_is(gantry: Geometry) -> None:
    near(gantry, EAST, NORTH)
    three = boxes(point(0.85, 0.0), point(0.8, 0.0), ((0.8, 0.0), (0.85, 0.0)))
    _, room = answer(gantry.look, three)
    assert gantry._anchors.pose[EAST].tolist() == [0.85, 0.0]
    assert room[0] == pytest.approx(0.9 - 0.85 - 0.5 * 0.05**2 - MARGIN_M, abs=1e-9)
    assert gantry.cover.room_m == 0.1


def test_it_is_the_box_around_both_that_anchors_are_due_over(
    gantry: Geometry, monkeypatch: pytest.MonkeyPatch
) -> None:
    near(gantry, EAST)
    three = boxes(point(0.1, 0.0), point(0.2, 0.0), ((0.1, 0.0), (0.3, 0.0)))
    asked: list[tuple[list[float], list[float], list[list[float]]]] = []

    def due(room: Array, lost: Array, box: Extents) -> Array:
        asked.append((room.tolist(), lost.tolist(), box.half.tolist()))
        return np.zeros(0, dtype=np.intp)

    monkeypatch.setattr(gantry, "_due", due)
    answer(gantry.look, three)
    lost = 0.5 * 0.3**2
    ((room, lost_m, half),) = asked
    assert room == pytest.approx([0.89 - 0.3 - lost])
    assert lost_m == pytest.approx([lost])
    assert half == [pytest.approx([0.1, 0.0])]


def test_nobody_near_is_nothing_seen(gantry: Geometry) -> None:
    _, room = answer(gantry.look, around(0.8, 0.0))
    assert room.size == 0
    assert gantry._anchors.pose[EAST].tolist() == [0.0, 0.0]


FRESH_M = 0.02  # half of 0.2 squared: what bending costs over a box of half widths 0.05 and 0.15


@pytest.mark.parametrize(
    ("room_m", "lost_m", "due"),
    [
        # the first has room enough for what it loses
        ([0.1, 0.2], [0.1, 9.0], []),
        # age, 40 mm and 30 um, is not more than twice what a new anchor costs
        ([0.01, 0.2], [0.06003, 0.0], []),
        ([0.01, 0.2], [0.06004, 0.0], [0]),
        # nor, where that is more, than twice the room
        ([0.03, 0.2], [0.08003, 0.0], []),
        ([0.03, 0.2], [0.08004, 0.0], [0]),
        # beside one that is due, whoever loses a tenth by age
        ([0.01, 0.2], [0.1, 0.04003], [0]),
        ([0.01, 0.2], [0.1, 0.04004], [0, 1]),
        # one that has more room than the nearest is no reason
        ([0.01, 0.02], [0.06, 9.0], []),
        # ... unless it has none either
        ([-0.02, -0.01], [0.05, 9.0], [0, 1]),
        ([-0.02, 0.01], [0.05, 9.0], []),
        ([-0.02, 0.0], [0.05, 9.0], [0, 1]),
    ],
)
def test_an_anchor_is_due_where_its_age_costs_the_nearest_too_much(
    room_m: list[float], lost_m: list[float], due: list[int], gantry: Geometry
) -> None:
    near(gantry, EAST, NORTH)
    box = boxes(((-0.05, -0.15), (0.05, 0.15)))
    assert gantry.near.fresh(box)[0] == pytest.approx([FRESH_M] * 2)
    assert answer(gantry._due, np.array(room_m), np.array(lost_m), box).tolist() == due


def test_the_worst_are_renewed_first(gantry: Geometry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(geometry_file, "_RENEWED", 2)
    due, room = np.array([1, 4, 6, 7]), np.array([0.4, 0.1, 0.3, 0.2])
    tried = answer(gantry._renew, due, room, boxes(point(0.1, 0.1)))
    assert sorted(tried.tolist()) == [4, 7]
    moved = [row for row in range(8) if gantry._anchors.pose[row, 0] != 0.0]
    assert moved == [4, 7]
    tried = answer(gantry._renew, due[:2], room[:2], boxes(point(0.2, 0.1)))
    assert tried.tolist() == [1, 4]


def test_an_anchor_that_says_less_about_the_kept_stop_is_not_taken(
    gantry: Geometry, monkeypatch: pytest.MonkeyPatch
) -> None:
    def worse(pose: Array, rows: Rows, share: Array, rounds: int) -> Anchors:
        assert (share.tolist(), rounds) == ([0.5, 0.5], 1)
        new = at(pose, rows, share, rounds)
        offset = new.offset - np.array([[0.006, 0.0]] * 2)
        return new._replace(offset=offset, share=np.array([0.25, 0.75]))

    at = gantry._anchoring.at
    monkeypatch.setattr(gantry._anchoring, "at", worse)
    # 0.1 m away a new anchor is worth 5 mm more
    answer(gantry._renew, np.array([EAST, NORTH]), np.zeros(2), boxes(point(0.1, 0.0)))
    assert gantry._anchors.pose[:2].tolist() == [[0.0, 0.0], [0.1, 0.0]]
    assert gantry._anchors.share[:2].tolist() == [0.25, 0.75]
    over = gantry._bounds(np.array([EAST, NORTH])).over(boxes(point(0.1, 0.0)))[:, 0]
    assert over == pytest.approx([east(0.1) - MARGIN_M, 0.39], abs=1e-9)


def test_an_anchor_that_says_the_same_is_taken(
    gantry: Geometry, monkeypatch: pytest.MonkeyPatch
) -> None:
    def same(pose: Array, rows: Rows, share: Array, rounds: int) -> Anchors:
        new = at(pose, rows, share, rounds)
        # what half widths cost is the same over a point
        return new._replace(sides=new.sides * np.array([1.0, 1.0, 2.0, 2.0]))

    at = gantry._anchoring.at
    monkeypatch.setattr(gantry._anchoring, "at", same)
    answer(gantry._renew, np.array([EAST]), np.zeros(1), boxes(point(0.0, 0.0)))
    assert gantry._anchors.sides[:, EAST].tolist() == [[-1.0, 0.0, -2.0, 0.0]] * 2


def test_the_way_between_two_commands_bends_by_half_its_square(gantry: Geometry) -> None:
    """... times the longest lever, which for a slide is 1."""
    assert answer(gantry.between, 0.3) == pytest.approx(0.045)
    gantry._longest_m = 2.0
    assert answer(gantry.between, 0.3) == pytest.approx(0.09)
