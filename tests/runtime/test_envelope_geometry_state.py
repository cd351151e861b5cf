"""Geometry, number by number, at a gantry: poses at rest, levels, saved states."""

import math
from pathlib import Path

import numpy as np
import pytest

from runtime.envelope.geometry import Geometry
from runtime.errors import ConfigError
from runtime.geometry_spec import GeometryConfig
from tests.runtime.envelope_kit import CHAIN, WIDE, answer, named_limits, written
from tests.runtime.gantry_kit import (
    EAST,
    GANTRY,
    MARGIN_M,
    NORTH,
    around,
    boxes,
    load,
    point,
)


@pytest.fixture
def path(tmp_path: Path) -> str:
    return written(tmp_path, GANTRY)


@pytest.fixture
def gantry(path: str) -> Geometry:
    geometry = load(path)
    geometry.settle([0.0, 0.0])
    return geometry


def recovering(geometry: Geometry) -> bool:
    return geometry._recovering


# -- poses at rest --------------------------------------------------------------------------------


def test_distances_are_what_anyone_can_measure(gantry: Geometry) -> None:
    distance = answer(gantry.distances_m, [0.3, -0.2])
    assert gantry.names[:3] == (
        "ball | keep-out east",
        "ball | keep-out north",
        "tool | workspace x low",
    )
    expected = [0.6, 0.6, 9.3, 8.7, 8.8, 9.2, 9.0, 9.0]
    assert distance == pytest.approx(expected, abs=1e-9)


def test_what_is_nearer_is_named_with_its_distance(gantry: Geometry) -> None:
    q = [0.8875, 0.375]
    assert answer(gantry.nearer_than, 0.02, q) == "ball | keep-out east are 0.0125 m apart"
    both = "ball | keep-out east are 0.0125 m apart; ball | keep-out north are 0.0250 m apart"
    assert answer(gantry.nearer_than, 0.03, q) == both
    each = np.array([0.0, 0.03, *[1.0] * 6])
    assert answer(gantry.nearer_than, each, q) == "ball | keep-out north are 0.0250 m apart"
    assert answer(gantry.nearer_than, 0.0124, q) == ""
    assert "nan" in answer(gantry.nearer_than, 0.01, [math.nan, 0.0])


def test_as_near_as_is_allowed_is_not_nearer(gantry: Geometry) -> None:
    q = [0.5, 0.0]
    assert answer(gantry.nearer_than, answer(gantry.distances_m, q), q) == ""


def test_home_must_keep_the_margin(path: str) -> None:
    text = (
        "at home ball | keep-out east are 0.0050 m apart; geometry.margin_m is 0.01 m: move the "
        "keep-out volume, the workspace or home, make the margin smaller, or, for two parts of "
        f"the robot that are made to be this near, add a <contact><exclude> in {path}"
    )
    with pytest.raises(ConfigError) as raised:
        load(path, (0.895, 0.0))
    assert str(raised.value) == text
    assert answer(load, path, (0.889, 0.0)).margin_m == MARGIN_M


def test_up_to_30_mm_inside_the_margin_is_no_refusal(gantry: Geometry) -> None:
    assert answer(gantry.refusal, [0.919, 0.0]) == ""
    assert answer(gantry.refusal, [0.921, 0.0]) == (
        "ball | keep-out east are -0.0210 m apart; from up to 0.03 m inside the margin of 0.01 m "
        "the robot can move back by itself: move it out by hand"
    )


def test_before_the_first_rest_nothing_is_judged(path: str) -> None:
    geometry = answer(load, path)
    assert not recovering(geometry)
    assert answer(getattr, geometry, "cover").near.size == 0
    assert geometry.cover.low == [math.inf] * 2
    assert geometry.near.over(boxes(point(0.0, 0.0))).shape == (0, 1)


def test_the_longest_lever_is_the_longest(tmp_path: Path) -> None:
    """Of the chain's own pairs some joints move neither, and its tool has an arm of 0.8 m."""
    limits = named_limits("a", "b", "c")
    config = GeometryConfig(margin_m=MARGIN_M, self_collision=True, keep_out=())
    chain = answer(
        Geometry.load, written(tmp_path, CHAIN), "tip", limits, [0.0] * 3, config, WIDE
    )
    assert chain._levers.min() == 0.0
    assert answer(chain.between, 1.0) == pytest.approx(0.5 * 0.8)


# -- levels ---------------------------------------------------------------------------------------


def test_at_rest_outside_all_margins_nothing_is_to_be_recovered(gantry: Geometry) -> None:
    assert gantry._level.tolist() == [MARGIN_M] * 8
    assert not recovering(gantry)
    assert gantry.cover.near.size == 0
    assert gantry.cover.low == [math.inf] * 2
    assert gantry._anchors.pose.tolist() == [[0.0, 0.0]] * 8


def test_inside_a_margin_the_level_is_what_there_is_less_a_wobble(path: str) -> None:
    geometry = load(path)
    answer(geometry.settle, [0.895, 0.0])
    assert geometry._level[EAST] == pytest.approx(0.005 - 1e-4)
    assert geometry._level[1:].tolist() == [MARGIN_M] * 7
    assert recovering(geometry)
    assert geometry.cover.near.tolist() == list(range(8))
    assert geometry.cover.low == [-math.inf] * 2
    answer(geometry.settle, [0.88, 0.0])
    assert not recovering(geometry)
    assert geometry.cover.near.size == 0


def test_what_was_gained_is_not_given_back(path: str) -> None:
    geometry = load(path)
    geometry.settle([0.895, 0.0])
    level = float(geometry._level[EAST])
    assert answer(geometry.ratchet, np.full(8, -1e-3))
    assert geometry._level[EAST] == level
    answer(geometry.ratchet, np.array([5e-4, *[1.0] * 7]))
    assert geometry._level[EAST] == pytest.approx(level + 4e-4)
    assert geometry._level[1:].tolist() == [MARGIN_M] * 7
    assert recovering(geometry)
    # the near barriers' bounds are less the new level
    room = geometry.near.over(boxes(point(0.89, 0.0)))[:, 0]
    assert room[EAST] == pytest.approx(0.01 - 0.5 * 0.005**2 - level - 4e-4)
    answer(geometry.ratchet, np.array([1.0, *[1.0] * 7]))
    assert geometry._level.tolist() == [MARGIN_M] * 8
    assert not recovering(geometry)
    assert geometry.cover.near.size == 0
    assert geometry.cover.low == [math.inf] * 2


def test_nobody_recovers_where_nobody_was_inside(gantry: Geometry) -> None:
    cover = gantry.cover
    assert not answer(gantry.ratchet, np.ones(0))
    assert gantry.cover is cover


# -- state ----------------------------------------------------------------------------------------


def test_what_was_saved_is_restored_bit_for_bit(path: str) -> None:
    first, second = load(path), load(path)
    first.settle([0.888, 0.0])
    first.cover_anew(around(0.8881, 0.0), np.array([0.1, -0.3]))
    state = answer(first.save)
    answer(second.restore, state, boxes(point(0.0, 0.0)))
    assert second.save() == state
    assert second.cover.low == first.cover.low
    assert second.cover.high == first.cover.high
    assert second.cover.near.tolist() == first.cover.near.tolist() == [EAST]
    assert (second.cover.room_m, second.cover.nearest) == (first.cover.room_m, NORTH)
    assert type(second.cover.nearest) is int
    three = around(0.8882, 0.0)
    assert second.look(three)[1].tolist() == first.look(three)[1].tolist()
    assert not recovering(second)


def test_levels_that_still_rise_are_restored_too(path: str) -> None:
    first, second = load(path), load(path)
    first.settle([0.895, 0.0])
    answer(second.restore, first.save(), boxes(point(0.0, 0.0)))
    assert second._level.tolist() == first._level.tolist()
    assert recovering(second)
    assert second.cover.near.tolist() == list(range(8))
    assert second.save() == first.save()


@pytest.mark.parametrize("at", [0.1, 0.905])
def test_a_state_of_other_barriers_begins_at_the_kept_stop(path: str, at: float) -> None:
    other, geometry = load(path, margin_m=0.011), load(path)
    other.settle([0.0, 0.0])
    answer(geometry.restore, other.save(), boxes(((at - 0.001, 0.0), (at + 0.003, 0.0))))
    assert geometry._anchors.pose[EAST] == pytest.approx([at + 0.001, 0.0])
    left = 0.9 - (at + 0.003) - 0.5 * 0.002**2
    assert geometry._level[EAST] == pytest.approx(min(MARGIN_M, left - 1e-4))
    assert recovering(geometry) == (at == 0.905)


def test_a_state_that_is_empty_begins_anew(gantry: Geometry) -> None:
    answer(gantry.restore, b"", boxes(point(0.2, 0.0)))
    assert gantry._anchors.pose[EAST].tolist() == [0.2, 0.0]
