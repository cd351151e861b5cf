"""A robot that starts outside its command range: it may only move back in, or not be armed."""

from dataclasses import replace

import numpy as np

from runtime.messages import Mode
from runtime.wiring import Deployment
from tests.runtime.control_kit import Rig, panda, still

# how far the command range reaches beyond home, and how far outside of it the arm starts
ROOM_RAD, OUTSIDE_RAD, FAR_OUTSIDE_RAD = 0.03, 0.05, 0.25


def narrowed(outside_rad: float) -> Deployment:
    """Return the Panda whose first joint may be commanded up to ROOM_RAD from its home, 0, and
    starts that far outside."""
    deployment = panda()
    top_rad = ROOM_RAD + deployment.robot.tracking_margin.position_rad
    first, *others = deployment.robot.joints
    narrow = first.model_copy(update={"position_max_rad": top_rad})
    robot = deployment.robot.model_copy(update={"joints": (narrow, *others)})
    sim = {**deployment.config.sim, "start_offset_rad": ROOM_RAD + outside_rad}
    config = deployment.config.model_copy(update={"sim": sim})
    return replace(deployment, robot=robot, config=config)


def test_a_joint_somewhat_outside_only_moves_back_in() -> None:
    rig = Rig(still, narrowed(OUTSIDE_RAD))
    rig.until_mode(Mode.HOMING)
    rig.run(600)
    rows = rig.table()
    commanded = rows["q_applied"][rows["command_sent"][:, 0] != 0][:, 0]
    outside = commanded > ROOM_RAD
    assert outside[0]
    inside_from = int(np.flatnonzero(~outside)[0])
    assert np.diff(commanded[: inside_from + 1]).max() <= 0.0
    assert not outside[inside_from:].any()


def test_a_joint_far_outside_is_not_armed() -> None:
    rig = Rig(still, narrowed(FAR_OUTSIDE_RAD))
    rig.run(50)
    rows = rig.table()
    assert not rows["command_sent"].any()
    assert set(rows["mode"][:, 0].tolist()) == {Mode.READY}
    notes = [event.text for event in rig.sink.events if event.text]
    assert any("refused" in note and "joint1" in note for note in notes), notes
