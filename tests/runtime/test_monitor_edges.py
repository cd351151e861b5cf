"""Monitors and guards one step beside every limit, and what a new one remembers."""

import math
from dataclasses import dataclass, replace

import pytest

from runtime.config import BoxConfig, GuardsConfig
from runtime.envelope.guards import WORKSPACE, Guards, Measured
from runtime.faults import Fault
from runtime.messages import GroupSize, Sizes, TickInputs, new_inputs
from runtime.monitors import WALL_STEP_NS, MonitorLimits, Monitors, MonitorState
from runtime.plausibility import PlaceState, Plausibility
from runtime.robot_spec import JointSpec, RobotSpec, ToolSpec, TrackingMargin

SIZES = Sizes(joints=2, action=2, setpoint=3, groups=(GroupSize("force", 3),))
MS = 1_000_000
GUARDS_COUNT = 7


@dataclass(frozen=True)
class Joint:
    """A joint as the plausibility monitor knows it: rad and rad/s."""

    name: str
    position_min_rad: float = -1.0
    position_max_rad: float = 2.0
    velocity_max_rad_s: float = 0.5


LIMITS = MonitorLimits(
    joints=[Joint("a"), Joint("b")],
    groups_ns=(10 * MS, 20 * MS),
    link_lost_ns=100 * MS,
    base_max_age_ns=50 * MS,
    base_max_inference_ns=5 * MS,
    base_max_unfamiliarity=3.0,
    residual_bound=(0.5, 0.5),
    missed_per_s=4,
    servo_hz=8.0,
)


def tick(number: int) -> TickInputs:
    """Healthy inputs of the tick so many 2 ms after 1 s."""
    inputs = new_inputs(SIZES)
    now_ns = 1000 * MS + 2 * MS * number
    inputs.now_ns[0] = inputs.link_received_ns[0] = now_ns
    inputs.group_sequence[:] = 7 + number
    inputs.group_received_ns[:] = inputs.group_device_stamp_ns[:] = now_ns
    return inputs


def seen(mask: int) -> set[str]:
    return {fault.name for fault in Fault if mask >> fault & 1}


def test_a_new_one_remembers_nothing() -> None:
    assert Monitors(SIZES, LIMITS).state == MonitorState(
        q=[0.0, 0.0],
        dq=[0.0, 0.0],
        tau=[0.0, 0.0],
        groups={"force": [0.0, 0.0, 0.0]},
        sequence=[0, 0],
        place=PlaceState(known=False, refused=False, stamp_ns=0, received_ns=0),
        stale_groups=0,
        dropped=0,
        missed_level=0.0,
        workspace_floor=0.0,
        fast_refused=False,
        wall_offset_ns=None,
        snapshots_refused=0,
    )


def test_what_is_good_is_taken_over() -> None:
    monitors, inputs = Monitors(SIZES, LIMITS), tick(0)
    inputs.q[:], inputs.dq[:], inputs.tau[:] = (0.1, 0.2), (0.3, 0.4), (5.0, 6.0)
    inputs.view["observation_force"][:] = (7.0, 8.0, 9.0)
    assert monitors.look(inputs) == 0
    state = monitors.state
    assert (state.q, state.dq, state.tau) == ([0.1, 0.2], [0.3, 0.4], [5.0, 6.0])
    assert monitors.fresh_groups == {"force": [7.0, 8.0, 9.0]}


def test_before_the_first_sample_nothing_is_implausible() -> None:
    monitors, inputs = Monitors(SIZES, LIMITS), tick(0)
    inputs.group_sequence[0] = 0
    inputs.q[:], inputs.dq[:] = 50.0, 60.0
    assert seen(monitors.look(inputs)) == {"JOINTS_STALE"}
    assert (monitors.state.q, monitors.state.dq) == ([50.0] * 2, [60.0] * 2)
    assert not monitors.state.place.known


def test_the_very_first_sample_is_judged() -> None:
    monitors, inputs = Monitors(SIZES, LIMITS), tick(0)
    inputs.group_sequence[0] = 1
    inputs.q[0] = 50.0
    assert seen(monitors.look(inputs)) == {"OBSERVATION_IMPLAUSIBLE"}


def test_a_jump_is_said_once_and_not_used_until_a_person_accepts_it() -> None:
    monitors = Monitors(SIZES, LIMITS)
    assert monitors.look(tick(0)) == 0
    for number in (1, 2):
        inputs = tick(number)
        inputs.q[1] = 0.7
        assert seen(monitors.look(inputs)) == {"OBSERVATION_IMPLAUSIBLE"}
        assert monitors.state.q == [0.0, 0.0]
        assert monitors.place_refused
        said = [text for text in monitors.news if text.startswith("measurement refused: b is")]
        assert len(said) == len(monitors.news) == (1 if number == 1 else 0)
    monitors.accept_place()
    inputs = tick(3)
    inputs.q[1] = 0.7
    assert monitors.look(inputs) == 0
    assert monitors.state.q == [0.0, 0.7]
    assert not monitors.place_refused


def test_a_speed_that_cannot_be_is_said_once_and_not_used() -> None:
    monitors = Monitors(SIZES, LIMITS)
    for number, speed in enumerate((0.2, 1.6, 1.6, 0.1, 1.6)):
        inputs = tick(number)
        inputs.dq[0] = speed
        fast = speed > 1.5
        assert seen(monitors.look(inputs)) == ({"OBSERVATION_IMPLAUSIBLE"} if fast else set())
        assert monitors.state.fast_refused is fast
        assert len(monitors.news) == (1 if number in (1, 4) else 0)
        assert all(text.startswith("measurement refused: a is") for text in monitors.news)
        assert monitors.state.dq[0] == {0: 0.2, 1: 0.2, 2: 0.2, 3: 0.1, 4: 0.1}[number]
    assert not monitors.place_refused


def test_each_clock_of_a_sample_is_its_own() -> None:
    """The joints' own stamps say how long they had; those of another group say nothing."""
    for which in ("group_device_stamp_ns", "group_received_ns"):
        monitors = Monitors(SIZES, LIMITS)
        monitors.look(tick(0))
        inputs = tick(1)
        # 1.5 rad/s for 100 ms and 0.01 rad of tolerance
        inputs.q[0] = 0.155
        assert seen(monitors.look(inputs)) == {"OBSERVATION_IMPLAUSIBLE"}
        monitors = Monitors(SIZES, LIMITS)
        monitors.look(tick(0))
        inputs.view[which][0] += 100 * MS
        assert monitors.look(inputs) & 1 << Fault.OBSERVATION_IMPLAUSIBLE == 0


def test_a_stale_group_is_said_in_seconds() -> None:
    monitors, inputs = Monitors(SIZES, LIMITS), tick(0)
    inputs.group_received_ns[1] -= 25 * MS
    assert seen(monitors.look(inputs)) == {"GROUP_STALE"}
    assert monitors.news == [
        "group force is stale: sample 7 is 0.0250 s old, its budget is 0.02 s"
    ]


def test_a_link_that_was_never_heard_is_not_lost() -> None:
    monitors, inputs = Monitors(SIZES, LIMITS), tick(0)
    inputs.link_received_ns[0] = 0
    assert monitors.look(inputs) == 0


def test_what_a_group_says_is_taken_over_beside_one_that_says_nothing() -> None:
    monitors, inputs = Monitors(SIZES, LIMITS), tick(0)
    inputs.q[0] = math.nan
    inputs.view["observation_force"][:] = 3.0
    assert seen(monitors.look(inputs)) == {"OBSERVATION_NOT_FINITE"}
    assert monitors.state.groups == {"force": [3.0] * 3}


@pytest.mark.parametrize("side", [1, -1])
@pytest.mark.parametrize(("nanoseconds", "stepped"), [(0, False), (1, True)])
def test_fifty_milliseconds_are_a_step_of_the_wall_clock_when_passed(
    side: int, nanoseconds: int, stepped: bool
) -> None:
    assert WALL_STEP_NS == 50 * MS
    monitors = Monitors(SIZES, LIMITS)
    assert monitors.look(tick(0)) == 0
    inputs = tick(1)
    inputs.wall_offset_ns[0] = side * (50 * MS + nanoseconds)
    found = seen(monitors.look(inputs))
    assert found == ({"WALL_CLOCK_STEPPED"} if stepped else set())


def test_a_clock_that_was_wrong_from_the_start_has_not_stepped() -> None:
    inputs = tick(0)
    inputs.wall_offset_ns[0] = 10**18
    try:
        assert Monitors(SIZES, LIMITS).look(inputs) == 0
    except TypeError as error:
        pytest.fail(f"there is no offset before the first: {error}")


def test_a_wrong_number_of_guards_or_groups_is_an_error() -> None:
    monitors = Monitors(SIZES, LIMITS)
    for count in (GUARDS_COUNT - 1, GUARDS_COUNT + 1):
        with pytest.raises(ValueError, match="zip"):
            monitors.guards([-1.0] * count)
    monitors.state.sequence = [0]
    with pytest.raises(ValueError, match="zip"):
        monitors.look(tick(0))


@pytest.mark.parametrize("index", [i for i in range(GUARDS_COUNT) if i != WORKSPACE])
def test_who_is_let_back_into_the_workspace_is_let_past_no_other_guard(index: int) -> None:
    monitors = Monitors(SIZES, LIMITS)
    monitors.let_back_in(-0.3)
    margins = [0.5] * GUARDS_COUNT
    margins[WORKSPACE] = -0.3
    assert monitors.guards(margins) == 0
    margins[index] = -1e-12
    assert monitors.guards(margins).bit_count() == 1


# -- plausibility -------------------------------------------------------------------------------

# one joint from 0 to 1 rad, 1 rad/s: beyond by 0.2 rad, three times as fast, and 0.01 rad of error
ONE = (Joint("a", 0.0, 1.0, 1.0),)


def refusal(at: float, before: float, stamp_ns: int, received_ns: int) -> str:
    """What is said of a place, the one before judged at 0 on both clocks."""
    state = PlaceState(known=True)
    return Plausibility(ONE).place_refusal([at], [before], stamp_ns, received_ns, state)


@pytest.mark.parametrize(
    ("at", "fits"),
    [
        (1.2, True),
        (math.nextafter(1.2, 2.0), False),
        (-0.2, True),
        (math.nextafter(-0.2, -1.0), False),
        (math.nan, False),
    ],
)
def test_a_joint_gives_way_at_its_end_stop_by_so_much(at: float, fits: bool) -> None:
    said = refusal(at, at, 0, 0)
    assert (said == "") is fits
    assert ("outside [-0.2000, 1.2000] rad" in said) is not fits


@pytest.mark.parametrize("side", [1.0, -1.0])
@pytest.mark.parametrize(("stamp_ms", "received_ms"), [(100, 0), (0, 100), (100, 100), (100, -9)])
def test_a_joint_goes_three_times_its_speed_on_the_longer_clock(
    side: float, stamp_ms: int, received_ms: int
) -> None:
    for far, fits in ((0.3099, True), (0.3101, False)):
        said = refusal(0.5 + side * far, 0.5, stamp_ms * MS, received_ms * MS)
        assert (said == "") is fits


def test_in_no_time_it_goes_no_further_than_its_error() -> None:
    """Nor in less than none: both clocks may have gone back."""
    for clock_ns in (0, -1000 * MS):
        assert refusal(0.01, 0.0, clock_ns, clock_ns) == ""
        assert refusal(math.nextafter(0.01, 1.0), 0.0, clock_ns, clock_ns) != ""


def test_a_place_out_of_range_is_named_for_its_range_and_not_for_its_jump() -> None:
    state = PlaceState(known=True)
    judge = Plausibility(ONE)
    assert "is no place of it" in judge.place_refusal([9.0], [0.0], 5, 6, state)
    assert state == PlaceState(known=True, refused=True, stamp_ns=5, received_ns=6)
    assert judge.place_refusal([0.0], [0.0], 7, 8, state) == ""
    assert state == PlaceState(known=True, refused=False, stamp_ns=7, received_ns=8)


def test_nothing_is_known_of_a_place_that_was_never_measured() -> None:
    assert PlaceState() == PlaceState(known=False, refused=False, stamp_ns=0, received_ns=0)


@pytest.mark.parametrize("side", [1.0, -1.0])
def test_more_than_three_times_its_speed_is_no_motion(side: float) -> None:
    assert Plausibility(ONE).speed_refusal([side * 3.0]) == ""
    assert "more than 3.0000 rad/s" in Plausibility(ONE).speed_refusal(
        [side * math.nextafter(3.0, 4.0)]
    )
    assert Plausibility(ONE).speed_refusal([math.nan]) != ""


def test_a_wrong_number_of_measurements_is_an_error() -> None:
    judge = Plausibility(ONE)
    with pytest.raises(ValueError, match="zip"):
        judge.speed_refusal([0.0, 0.0])
    with pytest.raises(ValueError, match="zip"):
        judge.place_refusal([0.0, 0.0], [0.0, 0.0], 0, 0, PlaceState())
    with pytest.raises(ValueError, match="zip"):
        judge.place_refusal([0.0], [0.0, 0.0], 0, 0, PlaceState(known=True))


# -- guards -------------------------------------------------------------------------------------


def robot() -> RobotSpec:
    joints = [
        JointSpec(
            name=name,
            position_min_rad=-2.0,
            position_max_rad=2.0,
            velocity_max_rad_s=2.0,
            acceleration_max_rad_s2=10.0,
            jerk_max_rad_s3=1000.0,
            torque_max_nm=10.0,
            holding_torque_max_nm=5.0,
            stiffness_nm_rad=100.0,
            damping_nm_s_rad=1.0,
            home_rad=0.0,
        )
        for name in ("a", "b")
    ]
    return RobotSpec(
        name="two",
        joints=tuple(joints),
        tracking_margin=TrackingMargin(
            position_rad=0.02, velocity_share=0.95, acceleration_share=0.95, jerk_share=0.95
        ),
        tool=ToolSpec(mjcf="two.xml", site="tool", elbow_site="elbow", payload_max_kg=0.0),
        rest_speed_max_rad_s=0.02,
    )


SETTINGS = GuardsConfig(
    torque_share=0.5,
    tracking_error_rad=0.25,
    joint_speed_share=0.5,
    tool_speed_m_s=2.0,
    elbow_speed_m_s=0.5,
    workspace=BoxConfig(low_m=(0.0, -1.0, 0.0), high_m=(1.0, 1.0, 4.0)),
    contact_force=None,
)


def measured() -> Measured:
    return Measured([0.0] * 2, [0.0] * 2, [0.0] * 2, [0.0] * 2, [0.0] * 2)


def test_who_says_nothing_of_a_tool_is_at_the_origin_at_rest() -> None:
    here = measured()
    assert here.tool_position_in_base_m == [0.0, 0.0, 0.0]
    assert (here.tool_speed_m_s, here.elbow_speed_m_s, here.contact_force_n) == (0.0, 0.0, 0.0)
    try:
        # the corner of the workspace: at its guard
        assert Guards(robot(), SETTINGS).margins(here) == [1.0, 1.0, 1.0, 1.0, 1.0, 0.0, 1.0]
    except AttributeError as error:
        pytest.fail(f"no force is measured, and none is limited: {error}")


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("name", ["motor_nm", "q_commanded", "q", "dq"])
def test_a_wrong_number_of_joints_is_an_error(name: str, count: int) -> None:
    here = measured()
    setattr(here, name, [0.0] * count)
    with pytest.raises(ValueError, match="zip"):
        Guards(robot(), SETTINGS).margins(here)


@pytest.mark.parametrize("count", [2, 4])
def test_a_wrong_number_of_coordinates_is_an_error(count: int) -> None:
    here = measured()
    here.tool_position_in_base_m = [0.5] * count
    with pytest.raises(ValueError, match="zip"):
        Guards(robot(), SETTINGS).margins(here)


def test_a_box_with_a_corner_of_another_world_is_an_error() -> None:
    flat = BoxConfig.model_construct(low_m=(0.0, 0.0), high_m=(1.0, 1.0, 1.0))
    with pytest.raises(ValueError, match="zip"):
        Guards(robot(), SETTINGS.model_copy(update={"workspace": flat}))


def test_a_bound_for_another_number_of_actions_is_an_error() -> None:
    monitors = Monitors(SIZES, replace(LIMITS, residual_bound=(0.5,)))
    with pytest.raises(ValueError, match="zip"):
        monitors.base(tick(0), 0)


@pytest.mark.parametrize("edge", [1.0, -1.0])
def test_a_guard_is_passed_one_number_past_it(edge: float) -> None:
    here = measured()
    here.tool_position_in_base_m = [0.5, 0.0, 2.0]
    guards = Guards(robot(), SETTINGS)
    for speed, passed in ((1.0, False), (math.nextafter(1.0, 0.0), False), (1.0 + 1e-12, True)):
        here.dq = [0.0, edge * speed]
        assert (guards.margins(here)[2] < 0.0) is passed
