"""The judge of what a robot executed: silent where all is well, and it sees what must never be."""

from types import SimpleNamespace
from typing import cast

import numpy as np
from numpy.typing import NDArray

from runtime.config import load_config, load_robot
from runtime.records import Record
from sims.bridge_config import BridgeConfig
from sims.robot_log import Arrived, Entry, Period
from tests.daemon_kit import ROOT
from tests.executed_judge import judge

CONFIG = ROOT / "config.yaml"
ROBOT = load_robot(load_config(CONFIG), CONFIG)
HZ = 500.0
TICKS = 60
# what is told was measured so long before
BUS_NS = round(BridgeConfig().bus_s * 1e9)
SESSION = 7
Curve = NDArray[np.float64]


class _Record:
    """As much of a record as the judge looks at: commands [ticks, joints] that were all sent."""

    def __init__(self, applied: Curve) -> None:
        self.header = SimpleNamespace(robot=ROBOT.model_dump_json(), servo_hz=HZ)
        stamps = np.arange(len(applied), dtype=np.float64)[:, None] * 1000 + 1000
        self._columns: dict[str, Curve] = {"q_applied": applied, "group_device_stamp_ns": stamps}

    def column(self, name: str) -> NDArray[np.float64]:
        return self._columns[name]

    def scalar(self, name: str) -> NDArray[np.bool_]:
        assert name == "command_sent"
        return np.ones(len(self._columns["q_applied"]), dtype=bool)


def curve(reach_rad: float = 1e-3) -> Curve:
    """A smooth way of one joint, from rest to rest."""
    home = np.array([joint.home_rad for joint in ROBOT.joints])
    share = 0.5 - 0.5 * np.cos(np.linspace(0.0, np.pi, TICKS))
    return np.asarray(home + np.outer(share, np.eye(len(home))[0]) * reach_rad, dtype=np.float64)


def entry(did: str, count: int, target: Curve) -> Period:
    return Period(count, 1, 1, did, SESSION, count, 0, target.tolist(), 0.1 * count)


def executed(applied: Curve, ticks: range | list[int]) -> list[Entry]:
    """The log of a robot that executed the commands of these ticks."""
    found: list[Entry] = []
    for count, tick in enumerate(ticks, 1):
        stamp_ns = tick * 1000 + 1000
        found += [
            Arrived(count, SESSION, count, 1, tick, stamp_ns + BUS_NS),
            entry("command", count, applied[tick]),
        ]
    return found


def record(applied: Curve) -> Record:
    return cast("Record", _Record(applied))


def test_a_robot_that_does_what_it_is_told_is_faultless() -> None:
    applied = curve()
    found = judge(executed(applied, range(TICKS)), record(applied))
    assert found.faultless
    assert (found.commands, found.judged) == (TICKS, TICKS - 3)
    assert found.speed_max_rad_s == 0.1 * TICKS
    assert "60 commands executed, 0 not the daemon's" in found.text()


def test_lost_commands_are_no_violation() -> None:
    applied = curve()
    found = judge(executed(applied, [*range(20), *range(40, TICKS)]), record(applied))
    assert found.faultless and found.judged == 17 + 17


def test_somebody_elses_command_and_an_old_one_are_foreign() -> None:
    applied = curve()
    entries = executed(applied, range(TICKS))
    entries[41] = entry("command", 21, applied[20] + 1e-9)
    assert judge(entries, record(applied)).foreign == 1
    assert judge(executed(applied, [*range(30), 12]), record(applied)).foreign == 1


def test_what_breaks_an_invariant_is_seen() -> None:
    applied = curve(reach_rad=2.0)
    found = judge(executed(applied, range(TICKS)), record(applied))
    assert {one.what for one in found.violations} >= {"velocity", "acceleration"}
    assert not found.faultless


def test_a_robot_that_holds_must_not_move() -> None:
    applied = curve()
    held: list[Entry] = [entry("hold", 1, applied[0]), entry("hold", 2, applied[-1])]
    assert judge(held, record(applied)).froze == 1
    assert judge(held[:1] * 2, record(applied)).faultless

