"""The checker of what a robot executed finds what must not happen."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
import pytest

from sims.robot_log import Changed, Entry, Period, Stopped
from tests.benchmarks.executed import ExecutedChecker, Sent

DT_NS = 2_000_000
HOME = [0.0, 0.0, 0.0, -1.5, 0.0, 1.5, 0.0]
SPEED = 0.1
NO_COMMAND = "it executed no command of a daemon, or an old one"


@dataclass
class FakeRecord:
    """As much of a record as is looked at: a command in every tick, the first joint moving."""

    q: Any
    ticks: Any

    def scalar(self, name: str) -> Any:
        return {"command_sent": np.ones(len(self.q)), "now_ns": self.ticks * DT_NS}.get(
            name, self.ticks
        )

    def column(self, name: str) -> Any:
        if name == "q_applied":
            return self.q
        speeds = np.zeros_like(self.q)
        speeds[:, 0] = SPEED
        return speeds


def place(tick: int) -> list[float]:
    return [HOME[0] + SPEED * 0.002 * tick, *HOME[1:]]


def sent(ticks: int = 100) -> Sent:
    numbers = np.arange(1, ticks + 1)
    q = np.array([place(int(n)) for n in numbers])
    return Sent([FakeRecord(q, numbers)])  # type: ignore[list-item]


def period(tick: int, did: str = "command", **changes: Any) -> Period:
    usual = {
        "now_ns": tick * DT_NS + 1_000_000, "state": 1 if did in ("command", "coast") else 2,
        "epoch": 5, "did": did, "session": 9, "count": tick, "skipped": 0,
        "target_rad": place(tick), "speed_max_rad_s": SPEED,
    }  # fmt: skip
    return Period(**{**usual, **changes})


def honest() -> list[Entry]:
    """Follow 30 ticks, miss two, follow on, lose the line, brake, hold."""
    entries: list[Entry] = [Changed(0, 0, 1, 5, "ARM")]
    entries += [period(n) for n in range(1, 31)]
    entries += [period(n, "coast", count=30) for n in (31, 32)]
    entries += [period(n) for n in range(33, 51)]
    entries += [period(n, "coast", count=50) for n in (51, 52, 53)]
    at, pace = place(53)[0], SPEED
    for n in range(54, 70):
        pace = max(pace - 15.0 * 0.002, 0.0)
        at += pace * 0.002
        did = "brake" if pace else "hold"
        entries.append(period(n, did, count=50, target_rad=[at, *HOME[1:]]))
    return entries


def broken(entries: list[Entry]) -> list[str]:
    judged = ExecutedChecker(sent(), [0]).follow(entries).broken
    return [one.what for one in judged]


def test_an_honest_robot_broke_nothing() -> None:
    assert broken(honest()) == []


def change(index: int, **fields: Any) -> Callable[[list[Entry]], None]:
    def apply(entries: list[Entry]) -> None:
        entries[index] = msgspec.structs.replace(entries[index], **fields)

    return apply


def stop_before(index: int) -> Callable[[list[Entry]], None]:
    def apply(entries: list[Entry]) -> None:
        entries.insert(index, Stopped(entries[index].now_ns, 1, 2, "a", "b", 6))

    return apply


def test_a_leap_that_was_commanded_is_found_out() -> None:
    numbers = np.arange(1, 41)
    leaping = np.array([place(int(n) + 200 * bool(n > 20)) for n in numbers])
    judge = ExecutedChecker(Sent([FakeRecord(leaping, numbers)]), [0])  # type: ignore[list-item]
    entries = [period(int(n), target_rad=q.tolist()) for n, q in zip(numbers, leaping, strict=True)]
    judged = judge.follow([Changed(0, 0, 1, 5, "ARM"), *entries])
    assert [(one.what, one.now_ns // DT_NS) for one in judged.broken] == [("the target leapt", 21)]


def test_a_late_robot_may_coast_on_the_last_but_one_command_of_a_stop() -> None:
    """A stop's last two commands go to one place; the newest is there, the older one is done."""
    numbers = np.arange(1, 41)
    record = FakeRecord(np.array([place(min(int(n), 30)) for n in numbers]), numbers)
    slow = Sent([record])  # type: ignore[list-item]
    slow.find(place(30), 0, 31 * DT_NS)[0][1][0] = 0.0
    late: dict[str, Any] = {"count": 30, "now_ns": 31 * DT_NS + 500_000}
    entries: list[Entry] = [Changed(0, 0, 1, 5, "ARM"), *(period(n) for n in range(1, 30))]
    entries += [period(30, **late), period(31, "coast", count=30)]
    assert not ExecutedChecker(slow, [0]).follow(entries).broken
    faster = period(31, "coast", count=30, target_rad=place(32))
    judged = ExecutedChecker(slow, [0]).follow([*entries[:-1], faster])
    assert [one.what for one in judged.broken] == ["coasting changed the speed"]


@pytest.mark.parametrize(
    ("damage", "found"),
    [
        (change(10, count=9), "a command was executed twice, or an older one"),
        (change(10, state=2), "a command was executed while not armed"),
        (change(10, target_rad=[9.0, *HOME[1:]]), "a target is beyond the robot's range"),
        (change(10, target_rad=[float("nan"), *HOME[1:]]), "a target is not finite"),
        (change(20, target_rad=[0.00105, *HOME[1:]]), NO_COMMAND),
        (change(20, target_rad=place(2)), NO_COMMAND),
        (stop_before(20), "a command was executed after a stop"),
        (change(31, target_rad=place(30)), "coasting changed the speed"),
        (change(31, skipped=5), "coasted for more than three periods"),
        (change(54, target_rad=place(53)), "brake of joint 0 was no braking"),
        (change(55, target_rad=place(40)), "brake of joint 0 was no braking"),
        (change(60, target_rad=place(90)), "hold of joint 0 was no braking"),
    ],
)
def test_a_dishonest_robot_is_found_out(
    damage: Callable[[list[Entry]], None], found: str
) -> None:
    entries = honest()
    damage(entries)
    assert found in broken(entries)
