"""Where the robot begins outside its ranges or inside a barrier: it may only move back."""

import numpy as np
import pytest

from runtime.envelope.barriers import Workspace
from runtime.envelope.envelope import Envelope
from runtime.envelope.joint import RECOVERABLE_RAD
from tests.runtime.geometry_kit import (
    MARGIN_M,
    OPEN,
    TABLE,
    TIP,
    Judge,
    glide,
    invariants,
    moved,
    panda,
    step,
)
from tests.runtime.invariant_checker import JointInvariants, check

SEED = 11
TOLERANCE_M = 1e-7


def test_a_joint_outside_its_range_may_only_move_back_in() -> None:
    robot = panda()
    envelope = Envelope(robot.limits, robot.dt_s)
    q = list(robot.home)
    q[0], q[3] = robot.high[0] + 0.15, robot.low[3] - 0.05
    assert envelope.refusal(q) == ""
    envelope.rest_at(q)
    rng = np.random.default_rng(SEED)
    sent = [q]
    for tick in range(3000):
        wish = np.array(robot.home) + rng.uniform(-4.0, 4.0, 7) * (tick % 300 < 200)
        sent.append(step(envelope, wish))
    path = np.array(sent)
    for joint, low, high in zip(path.T, robot.low, robot.high, strict=True):
        # never further out than the tick before
        out = np.maximum(np.maximum(low - joint, joint - high), 0.0)
        assert (np.diff(out) <= 0.0).all()
        assert out[-1] == 0.0
    rates = [
        JointInvariants(-9.0, 9.0, row.v_max, row.a_max, row.j_max) for row in invariants(robot)
    ]
    assert not check(path, robot.dt_s, rates, tolerance=1e-5).violations


def test_further_outside_is_refused_by_name() -> None:
    robot = panda()
    envelope = Envelope(robot.limits, robot.dt_s)
    q = list(robot.home)
    q[0] = robot.high[0] + RECOVERABLE_RAD + 0.001
    assert f"joint joint1 is at {q[0]:.6f} rad, 0.201000 rad outside" in envelope.refusal(q)
    with pytest.raises(ValueError, match="move it there by hand"):
        envelope.rest_at(q)
    q[0] = np.nan
    assert "no position" in envelope.refusal(q)


def test_a_robot_inside_a_barrier_may_only_move_back_out() -> None:
    robot = panda()
    geometry = robot.geometry((TABLE,), workspace=OPEN)
    judge = Judge(robot, [TIP], (TABLE,))
    q = np.array(robot.home)
    while geometry.distances_m(q.tolist()).min() > MARGIN_M - 0.02:
        q[1] += 0.002
    low = q.tolist()
    assert TIP in geometry.nearer_than(MARGIN_M, low)
    envelope = Envelope(robot.limits, robot.dt_s, geometry)
    assert envelope.refusal(low) == ""
    envelope.rest_at(low)
    assert envelope.clearance_m == pytest.approx(1e-4, abs=1e-6)
    deepest = judge.distances(low)[TIP]

    def height() -> float:
        return judge.distances(envelope.q)[TIP]

    deeper = (q + 0.3 * np.eye(7)[1]).tolist()
    for _ in glide(envelope, deeper, 200):
        assert height() >= deepest - 1.2e-4
    # a part of the way out, and down again: what was gained is kept
    part = (q - 0.02 * np.eye(7)[1]).tolist()
    for _ in glide(envelope, part, 400):
        pass
    gained = height()
    assert deepest + 0.005 < gained < MARGIN_M
    saved = envelope.save()
    for _ in glide(envelope, deeper, 400):
        assert height() >= gained - 1e-3
    envelope.restore(saved)
    assert envelope.save() == saved
    for _ in glide(envelope, deeper, 400):
        assert height() >= gained - 1e-3
    for _ in glide(envelope, robot.home, 3000):
        pass
    assert envelope.q == pytest.approx(robot.home, abs=1e-6)
    # and once it is out the margin is the margin
    for _ in glide(envelope, deeper, 2000):
        pass
    assert geometry.distances_m(envelope.q).min() >= MARGIN_M - TOLERANCE_M


def test_who_is_back_at_the_margin_and_turns_round_at_once_is_stopped_like_anybody() -> None:
    robot = panda()
    geometry = robot.geometry((TABLE,), workspace=OPEN)
    low = np.array(robot.home)
    while geometry.distances_m(low.tolist()).min() > MARGIN_M - 1e-4:
        low[1] += 1e-4
    down = np.eye(7)[1]
    # from a hair inside: out for some ticks and in again, so that wherever the margin is reached
    # some run presses against it in that very tick
    for out_for in range(1, 30):
        envelope = Envelope(robot.limits, robot.dt_s, geometry)
        envelope.rest_at(low.tolist())
        deepest = geometry.distances_m(envelope.q).min()
        for tick in range(out_for + 40):
            step(envelope, low + down * (-0.5 if tick < out_for else 0.5))
        assert geometry.distances_m(envelope.q).min() >= deepest - 1.2e-4


def test_further_inside_is_refused_by_name() -> None:
    robot = panda()
    geometry = robot.geometry((TABLE,), workspace=OPEN)
    envelope = Envelope(robot.limits, robot.dt_s, geometry)
    q = list(robot.home)
    q[1] += 0.6
    text = envelope.refusal(q)
    assert f"{TIP} are -" in text
    assert "move it out by hand" in text
    with pytest.raises(ValueError, match="peg"):
        envelope.rest_at(q)


def test_a_tool_outside_its_workspace_may_come_back_from_anywhere() -> None:
    robot = panda()
    geometry = robot.geometry((TABLE,), workspace=Workspace((0.2, -0.4, 0.0), (0.8, 0.4, 0.7)))
    envelope = Envelope(robot.limits, robot.dt_s, geometry)
    q = moved(robot, joint1=1.2)
    wall = "tool | workspace y high"
    judge = Judge(robot, [wall], (TABLE,))
    out = judge.distances(q)[wall]
    assert out < -0.05
    assert envelope.refusal(q) == ""
    envelope.rest_at(q)
    last = out
    for tick, _ in enumerate(glide(envelope, robot.home, 4000)):
        here = judge.distances(envelope.q)[wall]
        assert here >= min(MARGIN_M, last - 2e-4)
        last = max(last, here) if tick else here
    assert envelope.q == pytest.approx(robot.home, abs=1e-6)
