"""The choice among admitted commands, beside barriers that are straight lines: a case at a time."""

import math
from collections.abc import Sequence

import daqp
import numpy as np
import pytest
from numpy.typing import NDArray

from runtime.envelope import choice as choice_file
from runtime.envelope.anchors import Anchors, Bounds, Extents, Gains, Seen
from runtime.envelope.choice import Choice, _boxes, _Program, _reach, _travel, _within
from runtime.envelope.cover import SPARE_M, Cover
from runtime.envelope.joint import JointAdmission, Reference
from runtime.messages import Limit
from tests.runtime.envelope_kit import DT_S, TWO_JOINTS, answer

Array = NDArray[np.float64]
Pair = tuple[Reference, ...]
JOINTS = tuple(JointAdmission(limits, DT_S) for limits in TWO_JOINTS)
GEOMETRY = int(Limit.GEOMETRY)


def at(q: float, low: float, high: float, v: float = 0.0) -> Reference:
    return Reference(q=q, v=v, a=0.0, stop_a=0.0, q_low=low, q_high=high, limited_by=0, margin=1.0)


def moving(ticks: int = 20) -> tuple[Pair, Pair]:
    """Both joints on their way up, and the wish to go on."""
    last: Pair = tuple(joint.rest(0.0) for joint in JOINTS)
    for _ in range(ticks):
        last = tuple(joint.admit(now, 0.4) for joint, now in zip(JOINTS, last, strict=True))
    wish = tuple(joint.admit(now, 0.4) for joint, now in zip(JOINTS, last, strict=True))
    return last, wish


LAST, WISH = moving()
KEPT = tuple(joint.brake(now, GEOMETRY) for joint, now in zip(JOINTS, LAST, strict=True))


class Lines:
    """A stand-in for Geometry: of each near barrier slopes along both joints, m/rad, and what is
    left at 0, m. Bending costs what `between` is said to be; with a lever, joint 1 bends the first
    one as well."""

    def __init__(
        self, *rows: tuple[float, float, float], between_m: float = 0.0, lever_m: float = 0.0
    ) -> None:
        slopes = np.array([row[:2] for row in rows]).reshape(-1, 2)
        sides = np.concatenate([slopes, -np.abs(slopes)], axis=1)
        count = len(rows)
        offset = np.array([row[2] for row in rows])
        pose = np.zeros((count, 2))
        anchors = Anchors(pose, np.stack([offset] * 2), np.stack([sides] * 2), offset)
        levers = np.zeros((count, 2))
        levers[:1, 0] = lever_m
        self.near = Bounds(anchors, levers, 0.5 * np.eye(2))
        self.cover = Cover([-9.0] * 2, [9.0] * 2, np.arange(count) + 3, 0.05, 7)
        self.between_m = between_m
        self.looks: list[Extents] = []
        self.gained: list[list[float]] = []
        self.back_in = False
        self.anew: list[tuple[Extents, list[float]]] = []
        self.restored: list[tuple[bytes, Extents]] = []
        self.ways: list[float] = []

    def look(self, boxes: Extents) -> tuple[Seen, Array]:
        self.looks.append(boxes)
        seen = self.near.see(boxes)
        return seen, seen.least()[:, 2]

    def ratchet(self, room: Array) -> bool:
        self.gained.append(room.tolist())
        return self.back_in

    def between(self, travel_rad: float) -> float:
        self.ways.append(travel_rad)
        return self.between_m

    def cover_anew(self, boxes: Extents, velocity: Array) -> None:
        self.anew.append((boxes, velocity.tolist()))
        self.cover = self.cover._replace(low=[-9.0] * 2, high=[9.0] * 2, room_m=0.04, nearest=2)

    def restore(self, state: bytes, stop: Extents) -> None:
        self.restored.append((state, stop))


def choice(lines: Lines) -> Choice:
    return answer(Choice, JOINTS, lines)  # type: ignore[arg-type]


def wall(left_m: float, *, of: Pair) -> tuple[float, float, float]:
    """A barrier ahead of joint 1 that leaves so much to the stop kept by `of`."""
    return (-1.0, 0.0, left_m + of[0].q_high)


WAY_M = WISH[0].q_high - LAST[0].q_high  # what joint 1's wish brings its stop nearer to a wall


def test_who_came_back_in_is_looked_at_again() -> None:
    lines = Lines(wall(0.01, of=LAST))
    lines.back_in = True
    answer(choice(lines).of, LAST, WISH)
    assert len(lines.looks) == 2
    lines.back_in = False
    answer(choice(lines).of, LAST, WISH)
    assert len(lines.looks) == 3


def test_three_boxes_of_the_kept_stop_of_the_wish_and_around_both() -> None:
    last, to = (at(0.0, -0.1, 0.3), at(1.0, 1.0, 1.0)), (at(0.1, 0.1, 0.2), at(0.9, 0.5, 2.0))
    boxes = answer(_boxes, last, to)
    low, high = boxes.middle - boxes.half, boxes.middle + boxes.half
    assert low == pytest.approx(np.array([[-0.1, 1.0], [0.1, 0.5], [-0.1, 0.5]]), abs=2e-9)
    assert high == pytest.approx(np.array([[0.3, 1.0], [0.2, 2.0], [0.3, 2.0]]), abs=2e-9)
    # a little wider
    assert low[2] == pytest.approx([-0.1 - 1e-9, 0.5 - 1e-9], abs=1e-12)
    assert high[2] == pytest.approx([0.3 + 1e-9, 2.0 + 1e-9], abs=1e-12)
    reach = answer(_reach, to)
    assert reach.middle == pytest.approx(np.array([[0.15, 1.25]]))
    assert reach.half == pytest.approx(np.array([[0.05, 0.75]]))
    assert answer(_travel, last, to) == pytest.approx(0.1 + 0.1)


@pytest.mark.parametrize(
    ("low", "high", "inside"),
    [
        (-0.1, 2.0, True),
        (-0.1 - 1e-9, 2.0 + 1e-9, True),
        (-0.1 - 1.1e-9, 1.0, False),
        (0.0, 2.0 + 1.1e-9, False),
        (math.nan, 1.0, False),
        (0.0, math.nan, False),
    ],
)
def test_within_means_in_the_box_around_both_stops(low: float, high: float, inside: bool) -> None:
    last, wish = (at(0.0, 0.0, 2.0), at(0.0, -0.1, 0.0)), (at(0.0, -0.1, 0.0), at(0.0, 0.0, 2.0))
    ends = at(0.0, low, high)
    assert answer(_within, (at(0.0, 0.0, 0.0), ends), last, wish) is inside
    assert answer(_within, (ends, at(0.0, 0.0, 0.0)), last, wish) is inside


# -- nothing is tight ---------------------------------------------------------------------------


def test_in_a_cover_with_nobody_near_the_wish_is_taken_unseen() -> None:
    lines = Lines()
    chooser = choice(lines)
    assert (chooser.room_m, chooser.nearest) == (0.0, -1)
    assert answer(chooser.of, LAST, WISH) is WISH
    assert (chooser.room_m, chooser.nearest) == (0.05, 7)
    assert not lines.looks
    assert not lines.anew


def test_outside_the_cover_a_new_one_is_made_first() -> None:
    lines = Lines()
    lines.cover = lines.cover._replace(high=[9.0, WISH[1].q_high - 1e-6])
    chooser = choice(lines)
    assert answer(chooser.of, LAST, WISH) is WISH
    assert len(lines.anew) == 1
    boxes, velocity = lines.anew[0]
    assert boxes.middle.tolist() == answer(_boxes, LAST, WISH).middle.tolist()
    assert velocity == [to.v for to in WISH]
    assert (chooser.room_m, chooser.nearest) == (0.04, 2)


def test_a_near_barrier_with_room_for_both_changes_nothing() -> None:
    exact = choice(Lines((0.0, 0.0, SPARE_M)))
    assert answer(exact.of, LAST, WISH) is WISH
    assert exact.room_m == SPARE_M
    lines = Lines(wall(2.1e-4, of=WISH), (0.0, 0.0, 1.0))
    chooser = choice(lines)
    assert answer(chooser.of, LAST, WISH) is WISH
    assert not lines.anew
    assert chooser.room_m == pytest.approx(2.1e-4, abs=1e-8)
    assert chooser.nearest == 3
    assert lines.gained == [[pytest.approx(2.1e-4, abs=1e-8), 1.0]]
    assert not lines.ways


def test_the_nearest_is_whoever_leaves_least_near_or_far() -> None:
    lines = Lines((0.0, 0.0, 0.06), (0.0, 0.0, 0.055))
    chooser = choice(lines)
    answer(chooser.of, LAST, WISH)
    assert (chooser.room_m, chooser.nearest) == (0.05, 7)
    lines.cover = lines.cover._replace(room_m=0.07)
    answer(chooser.of, LAST, WISH)
    assert (chooser.room_m, chooser.nearest) == (0.055, 4)


def test_a_look_says_what_the_kept_stop_leaves() -> None:
    lines = Lines(wall(0.01, of=LAST))
    chooser = choice(lines)
    answer(chooser.look, LAST)
    assert chooser.room_m == pytest.approx(0.01, abs=1e-8)
    assert chooser.nearest == 3
    assert not lines.gained
    far = choice(Lines((0.0, 0.0, 0.1)))
    answer(far.look, LAST)
    assert (far.room_m, far.nearest) == (0.05, 7)
    lines.cover = lines.cover._replace(low=[8.0] * 2)
    answer(chooser.look, LAST)
    assert len(lines.anew) == 1
    assert lines.anew[0][0].middle.tolist() == answer(_boxes, LAST, LAST).middle.tolist()


def test_a_state_is_restored_with_the_box_of_the_kept_stop() -> None:
    lines = Lines()
    answer(choice(lines).restore, b"state", LAST)
    assert len(lines.restored) == 1
    state, stop = lines.restored[0]
    assert state == b"state"
    assert stop.middle.tolist() == answer(_reach, LAST).middle.tolist()


# -- something is tight -------------------------------------------------------------------------


def test_a_wish_that_leads_away_is_taken_however_near_the_barrier_is() -> None:
    lines = Lines((1.0, 0.0, 1e-5 - LAST[0].q_low), between_m=1e-6)
    chooser = choice(lines)
    assert answer(chooser.of, LAST, WISH) is WISH
    left = 1e-5 + WISH[0].q_low - LAST[0].q_low - 1e-6
    assert chooser.room_m == pytest.approx(left, abs=1e-12)
    assert lines.ways == [answer(_travel, LAST, WISH)]


def test_one_joint_may_lead_to_a_barrier_if_another_leads_away() -> None:
    """The first brings 1.7 mm, the second takes half of its 1.35."""
    slopes = (1.0, -0.5, 1e-5 - LAST[0].q_low + 0.5 * LAST[1].q_high)
    assert answer(choice(Lines(slopes)).of, LAST, WISH) is WISH


def test_a_wish_that_brings_nothing_nearer_is_taken() -> None:
    assert answer(choice(Lines((0.0, 0.0, 0.5 * SPARE_M))).of, LAST, WISH) is WISH


def test_a_wish_that_would_use_up_the_spare_room_is_not_taken() -> None:
    """It leaves half of it, which would do; of another barrier it brings nothing nearer."""
    lines = Lines(wall(0.5 * SPARE_M, of=WISH), (0.0, 0.0, 1.0))
    chooser = choice(lines)
    chosen = answer(chooser.of, LAST, WISH)
    assert chosen[0].limited_by & GEOMETRY
    assert chosen[1] is WISH[1]
    assert chooser.room_m >= SPARE_M - 1e-9


def test_a_wish_that_bends_into_a_barrier_is_not_taken() -> None:
    """Straight on it leads nowhere, but the way bends by 1/2 100 / m times its square."""
    bent = [50.0 * now[0].q_high ** 2 for now in (LAST, WISH)]
    lines = Lines((0.0, 0.0, 0.5 * sum(bent)), (0.0, 0.0, 1.0), lever_m=100.0)
    chooser = choice(lines)
    chosen = answer(chooser.of, LAST, WISH)
    assert chosen[0].limited_by & GEOMETRY
    assert chooser.room_m >= 0.0
    assert (lines.near.over(_reach(WISH)) >= 0.0).tolist() == [[False], [True]]


def test_a_wish_that_leaves_the_spare_room_is_taken() -> None:
    """Only the box around both is tight, by what it is wider than the wish."""
    both_tight = (-1.0, 0.0, SPARE_M + 0.5e-9 + WISH[0].q_high)
    assert answer(choice(Lines(both_tight)).of, LAST, WISH) is WISH


def test_the_joint_that_leads_to_the_barrier_gives_way_and_no_other() -> None:
    left = SPARE_M + 0.5 * WAY_M
    lines = Lines(wall(left, of=LAST), (0.0, 0.0, 1.0))
    chooser = choice(lines)
    chosen = answer(chooser.of, LAST, WISH)
    assert chosen[1] is WISH[1]
    share = (chosen[0].a - LAST[0].stop_a) / (WISH[0].a - LAST[0].stop_a)
    assert share == pytest.approx(0.5, abs=1e-3)
    assert chosen[0] == JOINTS[0].part_way(LAST[0], WISH[0], share, GEOMETRY)
    assert chosen[0].limited_by == WISH[0].limited_by | GEOMETRY
    assert chooser.room_m == pytest.approx(left + LAST[0].q_high - chosen[0].q_high)
    assert chooser.nearest == 3
    # whoever changed the wish is named, even if another promises less
    lines.cover = lines.cover._replace(room_m=1e-6)
    assert answer(chooser.of, LAST, WISH) == chosen
    assert (chooser.room_m, chooser.nearest) == (1e-6, 3)


def test_what_the_way_between_the_commands_costs_is_kept_too() -> None:
    left = SPARE_M + 0.5 * WAY_M
    lines = Lines(wall(left, of=LAST), between_m=0.25 * WAY_M)
    chooser = choice(lines)
    chosen = answer(chooser.of, LAST, WISH)
    share = (chosen[0].a - LAST[0].stop_a) / (WISH[0].a - LAST[0].stop_a)
    assert share == pytest.approx(0.25, abs=1e-3)
    after = left + LAST[0].q_high - chosen[0].q_high - 0.25 * WAY_M
    assert chooser.room_m == pytest.approx(after)
    assert lines.ways == [answer(_travel, LAST, to) for to in (WISH, chosen)]


class Solver:
    """Stands for daqp: always says the same."""

    def __init__(self, *shares: float, flag: int = 1) -> None:
        self.said: tuple[object, ...] = (np.array(shares), 0.0, flag, {})
        self.calls = 0

    def solve(self, *_: object, **__: object) -> object:
        self.calls += 1
        return self.said


@pytest.mark.parametrize(
    ("left", "share"), [(1.1, 1.0), (0.6, 0.5), (0.3, 0.25), (0.15, 0.0), (0.05, 0.0)]
)
def test_an_answer_that_breaks_a_barrier_is_halved_twice_and_then_dropped(
    left: float, share: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(daqp, "solve", Solver(1.0, 1.0).solve)
    chooser = choice(Lines((0.0, 0.0, 1.0), wall(left * WAY_M, of=LAST)))
    chosen = answer(chooser.of, LAST, WISH)
    if share:
        halved = [
            joint.part_way(now, to, share, GEOMETRY)
            for joint, now, to in zip(JOINTS, LAST, WISH, strict=True)
        ]
        assert chosen == tuple(halved)
        assert chooser.room_m == pytest.approx(left * WAY_M + LAST[0].q_high - halved[0].q_high)
    else:
        kept = [to.limited_by | GEOMETRY for to in WISH]
        assert [now.limited_by for now in chosen] == kept
        assert [now.q for now in chosen] == [now.q for now in KEPT]
        assert chooser.room_m == pytest.approx(left * WAY_M)


def test_as_much_as_there_is_may_be_used_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """No room at all is still room; less than none is not."""
    monkeypatch.setattr(daqp, "solve", Solver(1.0, 1.0).solve)
    over = float(Lines(wall(0.0, of=WISH)).near.over(_reach(WISH))[0, 0])
    exact = (-1.0, 0.0, WISH[0].q_high - over)
    assert answer(choice(Lines(exact)).of, LAST, WISH) == WISH
    less = (-1.0, 0.0, WISH[0].q_high - over - 1e-12)
    assert answer(choice(Lines(less)).of, LAST, WISH) != WISH


def test_a_stop_that_leaves_the_box_of_both_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """Others than the near barriers know only that box."""
    monkeypatch.setattr(daqp, "solve", Solver(0.5, 1.0).solve)
    monkeypatch.setattr(choice_file, "_within", lambda chosen, *_: chosen[1] is not WISH[1])
    chosen = answer(choice(Lines(wall(0.9 * WAY_M, of=LAST))).of, LAST, WISH)
    for joint, now, to, new, share in zip(JOINTS, LAST, WISH, chosen, (0.25, 0.5), strict=True):
        assert new == joint.part_way(now, to, share, GEOMETRY)


def test_the_program_sees_the_tightest_barriers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of three tight ones the two that the wish breaks most, and none that has room."""
    monkeypatch.setattr(choice_file, "_BARRIERS", 2)
    seen: list[list[float]] = []

    def shares(_: object, away: Sequence[float], gains: Gains) -> list[float]:
        assert away == [to.a - now.stop_a for now, to in zip(LAST, WISH, strict=True)]
        seen.append(sorted((gains.wish / WAY_M).tolist()))
        return [0.0, 0.0]

    monkeypatch.setattr(_Program, "shares", shares)
    rows = [wall(left * WAY_M, of=LAST) for left in (0.9, 0.2, 0.5)]
    far = (0.0, 0.0, 1.0)
    chosen = answer(choice(Lines(rows[0], far, *rows[1:])).of, LAST, WISH)
    assert [now.q for now in chosen] == [now.q for now in KEPT]
    answer(choice(Lines(rows[1], far, rows[0])).of, LAST, WISH)
    assert seen[0] == pytest.approx([-0.8, -0.5])
    assert seen[1] == pytest.approx([-0.8, -0.1])
