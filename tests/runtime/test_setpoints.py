"""What actions move: limits, reach, replaced steps, turns beyond half a circle."""

import math

import pytest

from runtime.kinematics import DifferentialIk, Kinematics
from runtime.policy_contract import ActionSpec
from runtime.setpoints import JointSetpoints, ToolSetpoints, limited_action
from tests.runtime.control_kit import panda, trained_base

ROBOT = panda().robot
HOME = [joint.home_rad for joint in ROBOT.joints]
SPEC = trained_base().contract.action


def tool() -> ToolSetpoints:
    kinematics = Kinematics(str(panda().model_file), ROBOT.tool.site, ROBOT.joint_names, HOME)
    setpoints = ToolSetpoints(SPEC, kinematics, DifferentialIk(kinematics, ROBOT.command_limits()))
    setpoints.start_at(HOME)
    setpoints.measure(HOME)
    return setpoints


def planar_spec() -> ActionSpec:
    return ActionSpec(
        kind="joint_target",
        names=("a", "b"),
        units=("rad", "rad"),
        relative=False,
        scale=(0.5, 2.0),
        offset=(0.1, -0.2),
        low=(-1.0, -1.0),
        high=(1.0, 1.0),
        reach=(0.3, 0.4),
        residual_bound=(0.0, 0.0),
    )


def test_actions_are_limited_to_the_contract() -> None:
    spec = planar_spec()
    assert limited_action(spec, [-7.0, 0.25]) == [-1.0, 0.25]
    assert limited_action(spec, [math.inf, -math.inf]) == [1.0, -1.0]


def test_a_tool_action_moves_the_set_point_by_scale_and_offset() -> None:
    setpoints = tool()
    start = list(setpoints.state.value)
    setpoints.begin_step()
    setpoints.act([0.5] * 4)
    moved = [v - s for v, s in zip(setpoints.state.value, start, strict=True)]
    expected = [0.5 * s + o for s, o in zip(SPEC.scale, SPEC.offset, strict=True)]
    assert moved == pytest.approx(expected, abs=1e-12)


def test_another_sum_for_the_same_step_replaces_it() -> None:
    one, two = tool(), tool()
    one.begin_step()
    one.act([1.0, 0.0, 0.0, 0.0])
    one.act([0.25, 0.0, 0.0, 0.0])
    two.begin_step()
    two.act([0.25, 0.0, 0.0, 0.0])
    assert one.state.value == two.state.value
    one.begin_step()
    one.act([0.25, 0.0, 0.0, 0.0])
    assert one.state.value[0] == pytest.approx(two.state.value[0] + 0.25 * SPEC.scale[0])


def test_the_set_point_stays_within_reach_of_the_measured_pose() -> None:
    setpoints = tool()
    for _ in range(200):
        setpoints.begin_step()
        setpoints.act([1.0, -1.0, 1.0, 1.0])
    gaps = [v - m for v, m in zip(setpoints.state.value, setpoints.state.measured, strict=True)]
    assert [abs(g) for g in gaps] == pytest.approx(list(SPEC.reach), abs=1e-9)


def test_half_a_turn_is_no_jump_between_measured_and_asked() -> None:
    setpoints = tool()
    # joint 7 turns the tool about its own axis: go past where atan2 wraps
    for turn in (3.0, 3.1, 3.2, 3.3):
        q = [*HOME[:6], HOME[6] - turn]
        setpoints.measure(q)
        if turn == 3.0:
            setpoints.start_at(q)
            setpoints.measure(q)
        before = setpoints.state.value[3]
        setpoints.begin_step()
        setpoints.act([0.0, 0.0, 0.0, 1.0])
        assert abs(setpoints.state.value[3] - before) <= SPEC.reach[3] + 0.31
        assert abs(setpoints.state.measured[3] - setpoints.state.value[3]) <= math.pi


def test_approaching_turns_the_short_way() -> None:
    setpoints = tool()
    x, y, z, yaw = setpoints.state.value
    setpoints.state.value = [x, y, z, 3.0]
    assert not setpoints.approach([x, y, z, -3.0], 0.01)
    assert 3.0 < setpoints.state.value[3] < 3.0 + 0.05
    assert yaw < 3.0


def test_approaching_takes_even_steps_and_says_when_it_is_there() -> None:
    setpoints = tool()
    x, y, z, yaw = setpoints.state.value
    goal = [x + 0.03, y, z + 0.04, yaw]
    steps = [setpoints.approach(goal, 0.02) for _ in range(3)]
    assert steps == [False, False, True]
    assert setpoints.state.value == pytest.approx(goal)


def test_rise_and_over_never_lower() -> None:
    setpoints = tool()
    x, y, z, yaw = setpoints.state.value
    assert setpoints.rise(z + 0.1) == [x, y, z + 0.1, yaw]
    assert setpoints.rise(z - 0.1) == [x, y, z, yaw]
    assert setpoints.over([1.0, 2.0, 0.5, 0.3], 0.7) == [1.0, 2.0, 0.7, 0.3]
    assert setpoints.over([1.0, 2.0, 0.9, 0.3], 0.7) == [1.0, 2.0, 0.9, 0.3]


def test_joint_actions_are_targets_within_reach() -> None:
    setpoints = JointSetpoints(planar_spec())
    setpoints.start_at([0.0, 0.0])
    setpoints.measure([0.0, 0.0])
    assert setpoints.act([0.2, 0.05]) == pytest.approx([0.2, -0.1])
    assert setpoints.act([1.0, 1.0]) == pytest.approx([0.3, 0.4])
    assert setpoints.act([-1.0, -9.0]) == pytest.approx([-0.3, -0.4])


def test_executed_is_what_limits_and_reach_left_of_the_action() -> None:
    setpoints = JointSetpoints(planar_spec())
    setpoints.start_at([0.0, 0.0])
    setpoints.measure([0.0, 0.0])
    setpoints.act([0.2, 0.05])
    assert setpoints.executed() == pytest.approx([0.2, 0.05])
    setpoints.act([1.0, -9.0])
    # the reach ends at 0.3 and -0.4, which are (0.3 - 0.1) / 0.5 and (-0.4 + 0.2) / 2
    assert setpoints.executed() == pytest.approx([0.4, -0.1])


def test_executed_of_a_tool_counts_from_the_step_before() -> None:
    setpoints = tool()
    for _ in range(2):
        setpoints.begin_step()
        setpoints.act([0.1, -0.2, 0.05, 0.3])
        assert setpoints.executed() == pytest.approx([0.1, -0.2, 0.05, 0.3])
    setpoints.act([0.1, -0.2, -7.0, 0.2])
    assert setpoints.executed()[2] == pytest.approx(-0.85)


def test_an_action_without_scale_executes_nothing() -> None:
    spec = planar_spec().model_copy(update={"scale": (1.0, 0.0)})
    setpoints = JointSetpoints(spec)
    setpoints.start_at([0.0, 0.0])
    setpoints.measure([0.0, 0.0])
    setpoints.act([0.2, 0.9])
    assert setpoints.executed() == pytest.approx([0.2, 0.0])


def test_joint_set_points_have_no_height() -> None:
    setpoints = JointSetpoints(planar_spec())
    setpoints.start_at([0.1, 0.2])
    assert setpoints.rise(5.0) == [0.1, 0.2]
    assert setpoints.over([0.3, 0.4], 5.0) == [0.3, 0.4]
    assert setpoints.approach([0.3, 0.4], 0.001)
    assert setpoints.state.q_target == [0.3, 0.4]
