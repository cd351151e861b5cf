"""What every Link promises, sentence by sentence of runtime/interfaces.py, asked of each: in this
process, of simulated hardware over ZeroMQ, through a bad network, and of the smallest driver."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from runtime.config import load_config, load_robot
from runtime.errors import LinkError
from runtime.interfaces import Link
from runtime.layout import Floats
from runtime.messages import Command, SignalKind
from sims import link as in_process
from tests.robot_kit import CONFIG as CONFIG_FILE
from tests.robot_kit import Hand, Setup, bridge, minimal_driver

STILL_RAD = 0.01
# generous: this asks for waiting, not for speed
NO_WAIT_S = 0.25
BAD_DIRECTION = (
    "{latency_s: 0.005, jitter_s: 0.005, loss_share: 0.05, duplicate_share: 0.2, "
    "reorder_share: 0.1, reorder_s: 0.012}"
)
BAD_NETWORK = f"to_robot: {BAD_DIRECTION}\nto_client: {BAD_DIRECTION}\n"


@dataclass(frozen=True)
class Robot:
    """One that can be opened again and again. `pid`: of its process, 0 if it has none."""

    setup: Setup
    opened: Callable[[], Link]
    tick_s: float
    pid: int
    signals: bool
    lockstep: bool


@contextmanager
def here(folder: Path, *, lockstep: bool) -> Iterator[Robot]:
    config = load_config(CONFIG_FILE)
    setup = Setup(config, load_robot(config, CONFIG_FILE))

    def opened() -> Link:
        return in_process.open_link(
            config, CONFIG_FILE, setup.robot, 4.0, lockstep=lockstep, field="nominal", seed=1
        )

    yield Robot(setup, opened, 0.002, 0, signals=True, lockstep=lockstep)


@contextmanager
def hardware(folder: Path, faults: str = "") -> Iterator[Robot]:
    with bridge(folder, {}, faults) as (setup, running):
        yield Robot(setup, setup.link, 0.005, running.pid, signals=True, lockstep=False)


@contextmanager
def toy(folder: Path) -> Iterator[Robot]:
    with minimal_driver(folder) as (setup, running):
        yield Robot(setup, setup.link, 0.001, running.pid, signals=False, lockstep=False)


ROBOTS: dict[str, Callable[[Path], AbstractContextManager[Robot]]] = {
    "in lockstep": lambda folder: here(folder, lockstep=True),
    "in this process": lambda folder: here(folder, lockstep=False),
    "bridge": hardware,
    "bridge, bad network": lambda folder: hardware(folder, BAD_NETWORK),
    "minimal driver": toy,
}


@pytest.fixture(scope="module", params=ROBOTS)
def robot(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Robot]:
    with ROBOTS[request.param](tmp_path_factory.mktemp("robot")) as robot:
        yield robot


@pytest.fixture
def hand(robot: Robot) -> Iterator[Hand]:
    link = robot.opened()
    try:
        yield Hand(link, len(robot.setup.robot.joints), robot.setup.groups, robot.tick_s)
    finally:
        link.close()


def away(hand: Hand, rad: float = 0.06) -> Floats:
    """Return a small way of the first joint [n]."""
    way = np.zeros(len(hand.inputs.q))
    way[0] = rad
    return way


# -- describe -------------------------------------------------------------------------------------


def test_it_says_what_stands_behind_it(robot: Robot, hand: Hand) -> None:
    said = hand.link.describe()
    assert said.robot == robot.setup.robot.name
    assert said.joint_names == robot.setup.robot.joint_names
    assert said.groups == robot.setup.groups
    assert said.simulated
    assert said.lockstep == robot.lockstep
    hand.tick()
    assert hand.link.describe() == said


# -- read -----------------------------------------------------------------------------------------


def test_every_sample_is_finite_and_was_received(robot: Robot, hand: Hand) -> None:
    inputs = hand.inputs
    hand.tick()
    for values in (inputs.q, inputs.dq, inputs.tau):
        assert np.isfinite(values).all() and len(values) == len(robot.setup.robot.joints)
    for group in robot.setup.groups:
        values = inputs.view[f"observation_{group.name}"]
        assert np.isfinite(values).all() and values.shape == (group.size,)
    now_ns = hand.link.clock.now_ns()
    assert (inputs.group_sequence > 0).all()
    assert (inputs.group_received_ns <= inputs.link_received_ns[0]).all()
    assert now_ns - 10**9 < inputs.link_received_ns[0] <= now_ns


def test_sequences_and_stamps_only_rise(hand: Hand) -> None:
    def stamps() -> np.ndarray[Any, Any]:
        inputs = hand.inputs
        joints = inputs.group_received_ns[:1], inputs.link_received_ns[:1]
        return np.concatenate([inputs.group_sequence, inputs.group_device_stamp_ns, *joints])

    seen = [stamps()]
    for _ in range(100):
        hand.tick()
        seen.append(stamps())
    steps = np.diff(np.array(seen, dtype=np.int64), axis=0)
    assert (steps >= 0).all()
    assert (steps.sum(axis=0) > 0).all()


def test_a_sample_and_its_sequence_change_together(hand: Hand) -> None:
    hand.tick()
    for _ in range(100):
        sequence = hand.inputs.group_sequence.copy()
        stamp = hand.inputs.group_device_stamp_ns.copy()
        hand.tick()
        newer = hand.inputs.group_sequence > sequence
        assert (newer == (hand.inputs.group_device_stamp_ns > stamp)).all()


def test_without_news_nothing_changes(hand: Hand) -> None:
    quiet = 0
    for _ in range(100):
        hand.tick()
        before, heard = bytes(hand.inputs.raw), int(hand.inputs.link_received_ns[0])
        hand.read()
        if int(hand.inputs.link_received_ns[0]) == heard:
            quiet += 1
            assert bytes(hand.inputs.raw) == before
    assert quiet >= 10


# -- write ----------------------------------------------------------------------------------------


def test_no_command_moves_nothing_and_time_runs(hand: Hand) -> None:
    start, sequence = hand.read(), int(hand.inputs.group_sequence[0])
    begin_ns = hand.link.clock.now_ns()
    ended = hand.go(0.3, lambda: None)
    assert np.abs(ended - start).max() < STILL_RAD
    assert int(hand.inputs.group_sequence[0]) > sequence
    assert hand.link.clock.now_ns() > begin_ns


@pytest.mark.parametrize("way_rad", [0.06, -0.06])
def test_a_command_moves_the_robot_where_it_says(hand: Hand, way_rad: float) -> None:
    start, ended = hand.move(away(hand, way_rad), 0.3)
    assert ended - start == pytest.approx(away(hand, way_rad), abs=0.02)


def test_what_has_no_certificate_is_refused_and_not_executed(hand: Hand) -> None:
    start = hand.arm()
    genuine = hand.certificate((start + away(hand)).tolist())

    class Pretender:
        command: Command = genuine.command

    for _ in range(20):
        with pytest.raises(LinkError, match=r"Pretender.*certificate"):
            hand.link.write(Pretender())
        ended = hand.tick()
    assert np.abs(ended - start).max() < STILL_RAD


def test_nothing_waits_for_the_robot(robot: Robot, hand: Hand) -> None:
    took: list[float] = []
    if robot.pid:
        hand.arm()
        os.kill(robot.pid, signal.SIGSTOP)
    try:
        for number in range(40):
            commanded = hand.certificate(hand.inputs.q.tolist()) if number % 2 else None
            begun_s = time.monotonic()
            hand.link.write(commanded)
            hand.read()
            hand.link.signals()
            hand.link.arm(hand.epoch)
            took.append(time.monotonic() - begun_s)
    finally:
        if robot.pid:
            os.kill(robot.pid, signal.SIGCONT)
    assert max(took) < NO_WAIT_S
    assert sorted(took)[20] < 0.02


# -- arm, epochs, silence -------------------------------------------------------------------------


def test_commands_of_an_older_epoch_are_not_executed(hand: Hand) -> None:
    hand.move(away(hand), 0.2)
    old = hand.epoch
    start = hand.arm()
    hand.go(0.1, lambda: hand.certificate(start.tolist()))
    ended = hand.ramp(start, away(hand), 0.3, epoch=old)
    assert np.abs(ended - start).max() < STILL_RAD


def test_commands_that_answer_an_old_observation_are_not_executed(hand: Hand) -> None:
    hand.until(hand.at_rest)
    hand.read()
    old_ns = int(hand.inputs.group_device_stamp_ns[0])
    hand.go(0.15, lambda: None)
    start = hand.arm()
    ended = hand.ramp(start, away(hand), 0.2, stamp_ns=old_ns)
    assert np.abs(ended - start).max() < STILL_RAD


def test_after_a_silence_it_has_braked_and_what_is_old_is_not_executed(hand: Hand) -> None:
    start, _ = hand.move(away(hand), 0.2)
    there = (start + 2 * away(hand)).tolist()
    late = [hand.certificate(there) for _ in range(20)]
    if hand.lockstep:
        hand.go(0.3, lambda: None)
    else:
        # nobody says anything: not even that nothing is commanded
        time.sleep(0.3)
    hand.until(hand.at_rest)
    for one in late:
        hand.tick(one)
    ended = hand.go(0.2, lambda: None)
    assert np.abs(hand.inputs.dq).max() < 0.05
    assert np.abs(ended - start - away(hand)).max() < 2 * STILL_RAD


# -- signals --------------------------------------------------------------------------------------


def test_signals_come_once_and_in_order(robot: Robot, hand: Hand) -> None:
    if not robot.signals:
        hand.move(away(hand), 0.2)
        assert hand.heard == []
        return
    hand.heard.clear()
    for _ in range(5):
        start = hand.arm()
        hand.go(1.2, lambda: hand.certificate(start.tolist()))  # noqa: B023 - called at once
        if hand.heard:
            break
    assert [each.kind for each in hand.heard] == [SignalKind.RESET_BEGIN]
    assert len(hand.heard[0].target) == 4 and np.isfinite(hand.heard[0].target).all()
    assert list(hand.link.signals()) == []


# -- close ----------------------------------------------------------------------------------------


def test_closed_the_robot_holds_and_closing_twice_is_closing(robot: Robot) -> None:
    joints, groups = len(robot.setup.robot.joints), robot.setup.groups
    first = Hand(robot.opened(), joints, groups, robot.tick_s)
    _, there = first.move(away(first), 0.2)
    begun_s = time.monotonic()
    first.link.close()
    first.link.close()
    assert time.monotonic() - begun_s < 1.0
    with pytest.raises(LinkError, match="closed"):
        first.link.write(None)
    if not robot.pid:
        return
    second = Hand(robot.opened(), joints, groups, robot.tick_s)
    second.until(second.at_rest)
    assert np.abs(second.read() - there).max() < 2 * STILL_RAD
    second.link.close()
