"""Speeds and gravity of a measured pose against plain trigonometry, and the drives' part."""

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.arm_physics import ArmPhysics
from runtime.errors import ConfigError
from runtime.kinematics import Kinematics

# two links of 0.4 m and 0.3 m that swing in the x-z plane, point masses at their ends
SWING = """
<mujoco><compiler angle="radian"/><option gravity="0 0 -10"/><worldbody>
  <body name="a"><joint name="one" axis="0 1 0"/>
    <inertial pos=".4 0 0" mass="2" diaginertia="1e-6 1e-6 1e-6"/>
    <body name="b" pos=".4 0 0"><joint name="two" axis="0 1 0"/><site name="elbow"/>
      <inertial pos=".3 0 0" mass="1" diaginertia="1e-6 1e-6 1e-6"/>
      <site name="tip" pos=".3 0 0"/>
    </body></body>
</worldbody></mujoco>
"""
angles = st.lists(st.floats(-3.0, 3.0), min_size=2, max_size=2)


def physics(
    folder: Path, names: tuple[str, ...], payload_kg: float
) -> tuple[Kinematics, ArmPhysics]:
    path = folder / "swing.xml"
    path.write_text(SWING, encoding="utf-8")
    kinematics = Kinematics(str(path), "tip", names, [0.0] * len(names))
    return kinematics, ArmPhysics(kinematics, "elbow", payload_kg)


@pytest.fixture(scope="module")
def swing(tmp_path_factory: pytest.TempPathFactory) -> tuple[Kinematics, ArmPhysics]:
    return physics(tmp_path_factory.mktemp("swing"), ("one", "two"), 0.5)


@given(q=angles, dq=angles)
def test_speeds_and_torques_against_trigonometry(
    swing: tuple[Kinematics, ArmPhysics], q: list[float], dq: list[float]
) -> None:
    kinematics, arm = swing
    kinematics.move_to(q)
    sums, rates = np.cumsum(q), np.cumsum(dq)
    lengths = np.array([0.4, 0.3])
    tool, elbow = arm.speeds_here(dq)
    assert tool == pytest.approx(
        math.hypot(lengths @ (np.sin(sums) * rates), lengths @ (np.cos(sums) * rates)), abs=1e-12
    )
    assert elbow == pytest.approx(0.4 * abs(dq[0]), abs=1e-12)
    # about y a positive turn lowers what lies in +x: the motor holds with a negative torque
    upper, fore = 0.4 * math.cos(sums[0]), 0.3 * math.cos(sums[1])
    torque, payload = arm.gravity_here()
    assert torque == pytest.approx(
        [-10.0 * (2.0 * upper + 1.0 * (upper + fore)), -10.0 * fore], abs=1e-9
    )
    assert payload == pytest.approx([-5.0 * (upper + fore), -5.0 * fore], abs=1e-9)


def test_joints_follow_the_given_order(tmp_path: Path) -> None:
    straight = physics(tmp_path, ("one", "two"), 1.0)
    turned = physics(tmp_path, ("two", "one"), 1.0)
    straight[0].move_to([0.1, 0.7])
    turned[0].move_to([0.7, 0.1])
    assert straight[1].speeds_here([0.3, -2.0]) == turned[1].speeds_here([-2.0, 0.3])
    for there, back in zip(straight[1].gravity_here(), turned[1].gravity_here(), strict=True):
        assert there == back[::-1]


def test_no_such_elbow(tmp_path: Path) -> None:
    kinematics, _ = physics(tmp_path, ("one", "two"), 0.0)
    with pytest.raises(ConfigError, match=r"no site 'knee'; it has: elbow, tip"):
        ArmPhysics(kinematics, "knee", 0.0)
