"""Joint measurements that the arm cannot have: at the boundary values, and what is then used."""

import math
from dataclasses import replace

import numpy as np
import pytest

from runtime.clock import NS_PER_S
from runtime.faults import Fault
from runtime.messages import Mode, Request, Sizes, TickInputs, TickRecord, new_inputs
from runtime.monitors import MonitorLimits, Monitors
from runtime.plausibility import JUMP_TOLERANCE_RAD, RANGE_TOLERANCE_RAD, SPEED_FACTOR
from runtime.robot_spec import JointLimits
from runtime.wiring import Deployment
from tests.runtime.control_kit import Rig, assert_judged_clean, faults, panda, settled

TICK_NS = 2_000_000
IMPLAUSIBLE = 1 << Fault.OBSERVATION_IMPLAUSIBLE
FAST = 0.5
REACH = FAST * SPEED_FACTOR * TICK_NS / NS_PER_S + JUMP_TOLERANCE_RAD


class Watched:
    """Two joints of 0.5 rad/s between -1 and 2 rad, and the monitors that look at them."""

    def __init__(self) -> None:
        joints = [
            JointLimits(
                name=name,
                position_min_rad=-1.0,
                position_max_rad=2.0,
                velocity_max_rad_s=FAST,
                acceleration_max_rad_s2=1.0,
                jerk_max_rad_s3=1.0,
            )
            for name in ("first", "second")
        ]
        limits = MonitorLimits(
            joints=joints,
            groups_ns=(NS_PER_S,),
            link_lost_ns=NS_PER_S,
            base_max_age_ns=1,
            base_max_inference_ns=1,
            base_max_unfamiliarity=1.0,
            residual_bound=(1.0,),
            missed_per_s=1,
            servo_hz=500.0,
        )
        sizes = Sizes(joints=2, action=1, setpoint=2)
        self.monitors = Monitors(sizes, limits)
        self.inputs: TickInputs = new_inputs(sizes)
        self.inputs.now_ns[0] = 1_000 * NS_PER_S

    def sample(self, q: float, dq: float = 0.0, ticks: int = 1) -> bool:
        """Let the second joint be measured after `ticks`; True when that was implausible."""
        inputs = self.inputs
        inputs.now_ns[0] += ticks * TICK_NS
        inputs.group_sequence[0] += 1
        inputs.group_received_ns[0] = inputs.now_ns[0]
        inputs.group_device_stamp_ns[0] += ticks * TICK_NS
        inputs.q[1], inputs.dq[1] = q, dq
        return bool(self.monitors.look(inputs) & IMPLAUSIBLE)

    @property
    def used(self) -> float:
        return self.monitors.state.q[1]


@pytest.mark.parametrize("sign", [1.0, -1.0])
@pytest.mark.parametrize(("excess", "refused"), [(-1e-9, False), (1e-9, True)])
def test_a_jump_stands_at_what_the_joint_can_do(sign: float, excess: float, refused: bool) -> None:
    arm = Watched()
    assert not arm.sample(0.5)
    assert arm.sample(0.5 + sign * (REACH + excess)) is refused
    assert (arm.used == 0.5) is refused
    assert arm.inputs.q[0] == 0.0 == arm.monitors.state.q[0]


def test_more_time_allows_more_way_on_either_clock() -> None:
    arm = Watched()
    arm.sample(0.0)
    assert not arm.sample(REACH - 1e-9 + 3 * FAST * SPEED_FACTOR * TICK_NS / NS_PER_S, ticks=4)
    # the device began to count anew: ours goes on
    arm.inputs.group_device_stamp_ns[0] = 0
    assert not arm.sample(arm.used + REACH - 1e-9)
    # ours stood still (one burst of old samples): the device's counts
    arm.inputs.now_ns[0] -= TICK_NS
    assert not arm.sample(arm.used + REACH - 1e-9)
    # neither moved: only the tolerance is left
    arm.inputs.now_ns[0] -= TICK_NS
    arm.inputs.group_device_stamp_ns[0] -= 2 * TICK_NS
    assert arm.sample(arm.used + JUMP_TOLERANCE_RAD + 1e-9)


@pytest.mark.parametrize("excess", [-1e-9, 1e-9])
@pytest.mark.parametrize("edge", [-1.0 - RANGE_TOLERANCE_RAD, 2.0 + RANGE_TOLERANCE_RAD])
def test_no_joint_is_far_outside_its_range_even_at_first(edge: float, excess: float) -> None:
    arm = Watched()
    assert arm.sample(edge + math.copysign(excess, excess * edge)) is (excess > 0.0)
    assert (arm.used == 0.0) is (excess > 0.0)
    # the first place in range is taken: there was none to compare it with
    assert not arm.sample(edge * 0.5) or excess < 0.0


@pytest.mark.parametrize("sign", [1.0, -1.0])
@pytest.mark.parametrize(("share", "refused"), [(1.0, False), (1.0 + 1e-9, True)])
def test_speed_stands_at_its_multiple(sign: float, share: float, refused: bool) -> None:
    arm = Watched()
    arm.sample(0.5, dq=0.1)
    assert arm.sample(0.5, dq=sign * share * FAST * SPEED_FACTOR) is refused
    assert (arm.monitors.state.dq[1] == 0.1) is refused
    assert arm.used == 0.5
    assert not arm.sample(0.5, dq=0.2)
    assert arm.monitors.state.dq[1] == 0.2


def test_before_the_first_sample_nothing_is_judged() -> None:
    arm = Watched()
    arm.inputs.q[:] = 77.0
    assert not arm.monitors.look(arm.inputs) & IMPLAUSIBLE
    arm.inputs.group_sequence[0] = 1
    assert arm.monitors.look(arm.inputs) & IMPLAUSIBLE


def test_a_glitch_is_over_with_the_next_plausible_sample() -> None:
    arm = Watched()
    arm.sample(0.5)
    assert arm.sample(1.5)
    assert len(arm.monitors.news) == 1
    assert "second is said to have gone from 0.5000 to 1.5000 rad" in arm.monitors.news[0]
    assert arm.sample(1.4)
    assert not arm.monitors.news, "said once"
    assert not arm.sample(0.505)
    assert arm.used == 0.505


def test_a_lasting_jump_never_becomes_plausible_by_waiting() -> None:
    arm = Watched()
    arm.sample(0.5)
    assert all(arm.sample(0.9) for _ in range(2000))
    assert arm.used == 0.5 and arm.monitors.place_refused
    arm.monitors.accept_place()
    assert not arm.sample(0.9)
    assert arm.used == 0.9 and not arm.monitors.place_refused


def test_a_place_out_of_range_is_accepted_by_nobody() -> None:
    arm = Watched()
    arm.sample(0.5)
    assert arm.sample(5.0)
    arm.monitors.accept_place()
    assert arm.sample(5.0)
    assert arm.used == 0.5


def test_what_is_not_finite_is_that_and_not_implausible() -> None:
    arm = Watched()
    arm.sample(0.5)
    assert not arm.sample(math.nan)
    assert not arm.sample(0.5, dq=math.inf)
    # two ticks went by since the last usable sample, and the third
    assert not arm.sample(0.5 + 3 * FAST * SPEED_FACTOR * TICK_NS / NS_PER_S)


# -- in the loop -------------------------------------------------------------------------------


class Rezeroed:
    """Lets the link's measurement of the fourth joint be off by `offset_rad`."""

    def __init__(self, rig: Rig) -> None:
        self.offset_rad = 0.0
        self._read = rig.link.read
        rig.link.read = self.read  # type: ignore[method-assign]

    def read(self, inputs: TickInputs) -> None:
        self._read(inputs)
        inputs.q[3] += self.offset_rad


def held(record: TickRecord) -> bool:
    return record.mode[0] == Mode.HOLD and settled(record)


def test_an_encoder_that_lost_its_zero_stays_held_until_a_person_accepts_it() -> None:
    rig = Rig()
    encoder = Rezeroed(rig)
    rig.until_mode(Mode.HOMING)
    rig.run(100)
    rig.until(settled)
    encoder.offset_rad = 0.1
    record = rig.run(1)
    assert faults(record) == {"OBSERVATION_IMPLAUSIBLE"} and record.mode[0] == Mode.HOLD
    assert "REARM" in rig.tick.notes[0]
    rig.until(held)
    record = rig.run(3000)
    assert record.mode[0] == Mode.HOLD, "not silently: held, and said so in every record"
    assert faults(record) == {"OBSERVATION_IMPLAUSIBLE"}
    epoch = record.epoch.item()
    rig.port.ask(Request.REARM)
    record = rig.run(3)
    assert record.epoch.item() == epoch + 1, "a new reference at the new place"
    assert record.q_applied.tolist() == pytest.approx(record.q.tolist(), abs=1e-3)
    rig.until(lambda seen: seen.mode[0] != Mode.HOLD)
    assert not faults(rig.run(1))
    assert_judged_clean(rig)


def test_a_stopped_robot_is_re_armed_at_the_new_place_too() -> None:
    rig = Rig()
    encoder = Rezeroed(rig)
    rig.until_mode(Mode.HOMING)
    rig.port.ask(Request.STOP)
    rig.until(lambda seen: seen.mode[0] == Mode.STOPPED and settled(seen))
    encoder.offset_rad = -0.2
    assert "OBSERVATION_IMPLAUSIBLE" in faults(rig.run(10))
    rig.port.ask(Request.REARM)
    assert rig.run(5).mode[0] == Mode.READY
    assert not faults(rig.run(200))
    rig.port.ask(Request.ARM)
    assert rig.run(2).mode[0] == Mode.HOMING
    assert_judged_clean(rig)


def test_a_single_glitch_brakes_and_goes_on() -> None:
    rig = Rig()
    encoder = Rezeroed(rig)
    rig.begin()
    rig.run(50)
    encoder.offset_rad = 1.0
    assert "OBSERVATION_IMPLAUSIBLE" in faults(rig.run(1))
    encoder.offset_rad = 0.0
    rig.until_mode(Mode.BASE, 400)
    assert_judged_clean(rig)


def yielding() -> Deployment:
    """Return the Panda whose joints give way to anything that presses a little."""
    robot = panda().robot
    joints = tuple(j.model_copy(update={"holding_torque_max_nm": 1.0}) for j in robot.joints)
    return replace(panda(), robot=robot.model_copy(update={"joints": joints}))


def test_nobody_relaxes_towards_a_place_that_is_not_believed() -> None:
    rig = Rig(deployment=yielding())
    encoder = Rezeroed(rig)
    rig.until_mode(Mode.HOMING)
    rig.run(180)
    encoder.offset_rad = 0.1
    record = rig.until(lambda seen: not np.abs(seen.dq_applied).any())
    pressing = np.abs(rig.tick._arm.now.drive_nm)
    assert (pressing > 1.0).all(), "the last believed place is behind the reference"
    stands = record.q_applied.tolist()
    assert rig.run(500).q_applied.tolist() == stands


def test_a_place_is_accepted_only_at_rest() -> None:
    rig = Rig()
    encoder = Rezeroed(rig)
    rig.until_mode(Mode.HOMING)
    rig.run(60)
    encoder.offset_rad = 0.1
    record = rig.run(1)
    epoch = record.epoch.item()
    assert np.abs(record.dq_applied).max() > 0.05
    rig.port.ask(Request.REARM)
    record = rig.run(3)
    assert record.epoch.item() == epoch and record.command_sent[0]
    assert rig.tick._monitors.place_refused
    assert_judged_clean(rig)
