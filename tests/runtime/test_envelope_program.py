"""The quadratic program that shares out motion where a barrier is near, by hand-made cases."""

import math
from collections.abc import Sequence

import daqp
import numpy as np
import pytest

from runtime.envelope.anchors import Gains
from runtime.envelope.choice import _Program
from runtime.envelope.cover import SPARE_M
from tests.runtime.envelope_kit import answer


def fresh() -> _Program:
    """A program for two joints."""
    return answer(_Program, 2)


def gains(
    straight: Sequence[Sequence[float]], stop: Sequence[float], cost: Sequence[float] = (0.0, 0.0)
) -> Gains:
    """Both ends of each barrier alike: what full shares bring, m, and what the stop leaves."""
    rows, left = np.array(straight), np.array(stop)
    return Gains(np.stack([rows] * 2), np.tile(cost, (len(rows), 1)), np.stack([left] * 2), left)


def test_nothing_in_the_way_is_everything() -> None:
    program = fresh()
    for away, row in (([1.0, 1.0], [0.0, 0.0]), ([1.0, -3.0], [0.1, 0.0])):
        found = answer(program.shares, away, gains([row], [1.0]))
        assert found == pytest.approx([1.0, 1.0], abs=1e-9)


def test_the_joints_give_way_by_what_it_costs_them() -> None:
    """min (1 - s1)^2 + (2 (1 - s2))^2 with s1 + s2 <= 1: 1 - s1 = 4 (1 - s2), so 0.2 and 0.8."""
    spare = gains([[-0.01, -0.01]], [0.01 + SPARE_M])
    found = answer(fresh().shares, [1.0, 2.0], spare)
    assert found == pytest.approx([0.2, 0.8], abs=1e-6)
    # the sign and the size of both do not matter
    found = answer(fresh().shares, [-5e-3, 1e-2], spare)
    assert found == pytest.approx([0.2, 0.8], abs=1e-6)


def test_either_end_counts() -> None:
    rows = np.array([[[-0.01, 0.0]], [[0.0, -0.01]]])
    ends = Gains(rows, np.zeros((1, 2)), np.full((2, 1), 0.005 + SPARE_M), np.zeros(1))
    assert answer(fresh().shares, [1.0, 1.0], ends) == pytest.approx([0.5, 0.5], abs=1e-6)


def test_bending_may_use_up_the_spare_room_and_no_more() -> None:
    bent = gains([[-0.01, 0.0]], [0.01 + SPARE_M], cost=(SPARE_M, 0.0))
    assert answer(fresh().shares, [1.0, 1.0], bent) == pytest.approx([1.0, 1.0], abs=1e-6)
    bent = gains([[-0.01, 0.0]], [0.005 + SPARE_M], cost=(0.005, 0.0))
    # (0.01 + 0.005) s <= 0.0052
    found = answer(fresh().shares, [1.0, 1.0], bent)
    assert found == pytest.approx([0.0052 / 0.015, 1.0], abs=1e-6)


def test_where_less_than_the_spare_room_is_left_nothing_may_lead_further_in() -> None:
    for left in (SPARE_M, 0.5 * SPARE_M, 0.0):
        found = answer(fresh().shares, [1.0, 1.0], gains([[-0.01, 0.0]], [left]))
        assert found == pytest.approx([0.0, 1.0], abs=1e-6)
    # ... but along or out of it
    found = answer(fresh().shares, [1.0, 1.0], gains([[-0.01, 0.005]], [0.0]))
    assert found == pytest.approx([0.5, 1.0], abs=1e-6)


def test_a_joint_with_hardly_anything_to_lose_still_counts() -> None:
    """Its weight is 1e-6 of the largest: min w s1^2 ... gives way first, and wholly."""
    program = fresh()
    found = answer(program.shares, [1.0, 0.0], gains([[-0.01, -0.01]], [0.01 + SPARE_M]))
    assert found == pytest.approx([1.0, 0.0], abs=1e-5)
    assert program._diagonal.tolist() == [pytest.approx(1.0), 1e-6]
    assert answer(program.shares, [0.0, 0.0], gains([[0.0, 0.0]], [1.0])) == [1.0, 1.0]


def test_a_program_is_as_good_as_new_after_another() -> None:
    program = fresh()
    many = gains([[-0.01, -0.01]] * 10, [SPARE_M] * 10)
    assert answer(program.shares, [1.0, 1.0], many) == pytest.approx([0.0, 0.0], abs=1e-6)
    once = gains([[-0.01, -0.01]], [0.01 + SPARE_M])
    assert answer(program.shares, [1.0, 2.0], once) == answer(fresh().shares, [1.0, 2.0], once)


@pytest.mark.parametrize(
    ("said", "flag", "shares"),
    [
        ((0.3, 1.0), 1, [0.3, 1.0]),
        ((0.9e-6, 0.4), 1, [0.0, 0.4]),
        ((1e-6, 1.1e-6), 1, [0.0, 1.1e-6]),
        ((-0.9e-6, 1.0 + 0.9e-6), 1, [0.0, 1.0 + 0.9e-6]),
        ((-1.1e-6, 1.0), 1, [0.0, 0.0]),
        ((0.5, 1.0 + 1.1e-6), 1, [0.0, 0.0]),
        ((0.5, math.nan), 1, [0.0, 0.0]),
        ((-1e-6, 1.0 + 1e-6), 1, [0.0, 1.0 + 1e-6]),
        ((0.3, 1.0), -1, [0.0, 0.0]),
        ((0.3, 1.0), 2, [0.0, 0.0]),
    ],
)
def test_an_answer_is_taken_only_if_it_is_one(
    said: tuple[float, float], flag: int, shares: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole: tuple[object, ...] = (np.array(said), 0.0, flag, {})
    monkeypatch.setattr(daqp, "solve", lambda *_, **__: whole)
    assert answer(fresh().shares, [1.0, 1.0], gains([[0.0, 0.0]], [1.0])) == shares
