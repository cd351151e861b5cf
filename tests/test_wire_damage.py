"""What the fault matrix does to frames and groups is what it says it does."""

import math

import pytest

from runtime.robot_codes import DeviceState
from runtime.robot_wire import GroupSample, Observation, Release, encode
from tests.benchmarks.wire_damage import (
    FrameDamage,
    GroupDamage,
    Hurt,
    HurtGroup,
    Way,
    type_of,
)

MS = 1_000_000
RELEASE = 5
FRAMES = [
    encode(Release(session=1, count=n, stamp_ns=n, answers_stamp_ns=n)) for n in range(1, 7)
]


def passed(hurt: Hurt | None) -> tuple[list[int], FrameDamage]:
    """Send the frames 2 ms apart, then look for 10 ms; return the numbers of those that passed."""
    damage, out = FrameDamage(hurt), []
    for number, frame in enumerate(FRAMES):
        out += damage.through(frame, number * 2 * MS)
        out += damage.due(number * 2 * MS)
    for number in range(5):
        out += damage.due((12 + 2 * number) * MS)
    return [FRAMES.index(frame) for frame in out], damage


@pytest.mark.parametrize(
    ("hurt", "order", "acted"),
    [
        (None, [0, 1, 2, 3, 4, 5], 0),
        (Hurt(Way.CUT), [], 6),
        (Hurt(Way.CUT, type=4), [0, 1, 2, 3, 4, 5], 0),
        (Hurt(Way.CUT, type=RELEASE), [], 6),
        (Hurt(Way.HALF), [0, 2, 4], 3),
        (Hurt(Way.DOUBLE), [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5], 6),
        (Hurt(Way.SWAP), [1, 0, 3, 2, 5, 4], 6),
        (Hurt(Way.DELAY, delay_s=0.005), [0, 1, 2, 3, 4, 5], 6),
        (Hurt(Way.HOLD), [], 6),
    ],
)
def test_frames_pass_as_they_are_told_to(hurt: Hurt | None, order: list[int], acted: int) -> None:
    found, damage = passed(hurt)
    assert found == order and damage.acted == acted


def test_what_is_late_comes_when_it_is_due_and_what_is_held_at_the_end() -> None:
    late = FrameDamage(Hurt(Way.DELAY, delay_s=0.005))
    assert late.through(FRAMES[0], 0) == []
    assert late.due(4 * MS) == [] and late.due(5 * MS) == [FRAMES[0]]
    held = FrameDamage(Hurt(Way.HOLD))
    for frame in FRAMES:
        held.through(frame, 0)
    assert held.due(10**12) == [] and held.held == len(FRAMES)
    assert held.end() == FRAMES and held.held == 0


def test_the_type_of_a_frame_is_read_without_decoding_it() -> None:
    assert type_of(FRAMES[0]) == RELEASE
    assert [type_of(odd) for odd in (b"", b"\x91", b"\xdc\x00\x10", b"\x92\xff\x01")] == [-1] * 4


def observation(number: int, every: int = 1) -> Observation:
    """Return what a robot says in its period `number`; group 1 is renewed in every `every`-th."""
    slow = number // every
    groups = (
        GroupSample(number, number * 2 * MS, (float(number), 1.0)),
        GroupSample(slow, slow * every * 2 * MS, (float(slow), 2.0)),
    )
    return Observation(
        session=1, sequence=number, stamp_ns=number * 2 * MS, answers_stamp_ns=1,
        state=DeviceState.ARMED, epoch=1, executed_count=1, groups=groups,
    )  # fmt: skip


def shown(way: Way, group: int, delay_s: float = 0.0, every: int = 1) -> list[tuple[int, float]]:
    """Return sequence and first value of a group in ten periods."""
    damage, out = GroupDamage(HurtGroup(way, group, delay_s)), []
    for number in range(10, 20):
        true = observation(number, every)
        seen = damage.change(true, number * 2 * MS)
        other = 1 - group
        assert seen.groups[other] == true.groups[other]
        assert seen.stamp_ns == true.stamp_ns and seen.sequence == true.sequence
        out.append((seen.groups[group].sequence, seen.groups[group].values[0]))
    assert damage.acted > 0
    return out


@pytest.mark.parametrize(
    ("way", "numbers"),
    [
        (Way.CUT, [10] * 10),
        (Way.HALF, [10, 10, 12, 12, 14, 14, 16, 16, 18, 18]),
        (Way.SWAP, [10, 10, 12, 11, 14, 13, 16, 15, 18, 17]),
        (Way.DELAY, [10, 10, 10, 10, 11, 12, 13, 14, 15, 16]),
    ],
)
def test_a_group_is_shown_as_it_was(way: Way, numbers: list[int]) -> None:
    assert shown(way, 0, delay_s=0.006) == [(n, float(n)) for n in numbers]


def test_a_doubled_sample_is_new_by_its_number_alone() -> None:
    found = shown(Way.DOUBLE, 0)
    assert [number for number, _ in found] == list(range(10, 20))
    assert [value for _, value in found] == [10, 10, 12, 12, 14, 14, 16, 16, 18, 18]


@pytest.mark.parametrize(("way", "value"), [(Way.NAN, math.nan), (Way.INF, math.inf)])
def test_a_value_is_no_number(way: Way, value: float) -> None:
    for number, first in shown(way, 1, every=3):
        assert number in range(3, 7)
        assert math.isnan(first) if math.isnan(value) else first == value


def test_a_slow_group_loses_samples_and_not_periods() -> None:
    found = [number for number, _ in shown(Way.HALF, 1, every=2)]
    assert found == [5, 5, 5, 5, 7, 7, 7, 7, 9, 9]
