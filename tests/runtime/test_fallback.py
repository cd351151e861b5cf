"""Brake first, then give way until nothing presses more than its holding torque, then stand."""

import math

import msgspec
import pytest

from runtime.fallback import Fallback, FallbackState
from runtime.robot_spec import JointLimits
from runtime.trajectory import Trajectory

LIMITS = tuple(
    JointLimits(
        name=f"j{i}",
        position_min_rad=-2.0,
        position_max_rad=2.0,
        velocity_max_rad_s=2.0,
        acceleration_max_rad_s2=10.0,
        jerk_max_rad_s3=1000.0,
    )
    for i in range(2)
)
STIFFNESS = 100.0
HOLDING = 5.0


class Arm:
    """A reference that goes where it is told, and a joint that is blocked where it is."""

    def __init__(self, reference: list[float], blocked_at: list[float]) -> None:
        self.fallback = Fallback([HOLDING] * 2, 10, 1.0, 0.5)
        self.trajectory = Trajectory(LIMITS, 0.002, 0.9)
        self.reference, self.blocked_at = reference, blocked_at

    @property
    def torque(self) -> list[float]:
        pairs = zip(self.reference, self.blocked_at, strict=True)
        return [STIFFNESS * (to - at) for to, at in pairs]

    def step(self, *, at_rest: bool = True, torque: list[float] | None = None) -> bool:
        desired = self.fallback.step(
            at_rest, self.reference, self.blocked_at, torque or self.torque, self.trajectory
        )
        if desired is not None:
            self.reference = desired
        return desired is not None


def test_it_brakes_until_the_reference_is_at_rest() -> None:
    arm = Arm([1.0, 0.0], [0.0, 0.0])
    assert not any(arm.step(at_rest=False) for _ in range(50))
    assert arm.step()
    # and does not brake again on its own once it has begun to relax
    assert arm.step(at_rest=False)
    arm.fallback.begin()
    assert not arm.step(at_rest=False)


def test_it_gives_way_until_below_the_holding_torque_and_then_stands() -> None:
    arm = Arm([0.5, 0.02], [0.0, 0.0])
    for _ in range(2000):
        arm.step()
    assert abs(arm.torque[0]) <= HOLDING
    # no more than it must: it stops near the limit instead of going all the way
    assert abs(arm.torque[0]) > 0.1 * HOLDING
    assert arm.reference[1] == 0.02
    stood = list(arm.reference)
    for _ in range(200):
        arm.step()
    assert arm.reference == stood


def test_it_stands_where_nothing_presses() -> None:
    arm = Arm([0.3, -0.3], [0.29, -0.26])
    for _ in range(100):
        arm.step()
    assert arm.reference == [0.3, -0.3]


def test_a_torque_that_is_not_a_number_counts_as_too_much() -> None:
    arm = Arm([0.5, 0.5], [0.4, 0.4])
    for _ in range(2000):
        arm.step(torque=[float("nan"), 0.0])
    assert abs(arm.reference[0] - 0.4) < 0.01
    assert arm.reference[1] == 0.5


def test_its_state_is_plain_data() -> None:
    arm = Arm([0.5, 0.0], [0.0, 0.0])
    for _ in range(35):
        arm.step()
    twin = Arm(list(arm.reference), [0.0, 0.0])
    packed = msgspec.msgpack.encode((arm.fallback.state, arm.trajectory.state))
    twin.fallback.state = msgspec.convert(msgspec.msgpack.decode(packed)[0], FallbackState)
    twin.trajectory.restore(
        msgspec.convert(msgspec.msgpack.decode(packed)[1], type(arm.trajectory.state))
    )
    for _ in range(500):
        arm.step()
        twin.step()
        assert arm.reference == twin.reference


def test_it_looks_at_the_torques_at_once_and_then_every_so_many_ticks() -> None:
    for spike_at in range(25):
        arm = Arm([0.5, 0.0], [0.49, 0.0])
        moved_at = None
        for tick in range(40):
            torque = [9.0, 0.0] if tick == spike_at else [0.0, 0.0]
            before = list(arm.reference)
            assert arm.step(torque=torque) or moved_at is not None
            if moved_at is None and arm.reference != before:
                moved_at = tick
        assert arm.fallback.state.ticks == 40 or moved_at is not None
        # looked at in ticks 0, 10, 20
        assert moved_at == (spike_at if spike_at % 10 == 0 else None)


def test_the_first_look_comes_with_every_new_rest() -> None:
    arm = Arm([0.5, 0.0], [0.49, 0.0])
    for _ in range(3):
        arm.step(torque=[0.0, 0.0])
    arm.fallback.begin()
    assert not arm.step(at_rest=False, torque=[9.0, 0.0])
    arm.step(torque=[9.0, 0.0])
    assert arm.reference[0] < 0.5


@pytest.mark.parametrize("side", [1.0, -1.0])
def test_a_joint_gives_way_above_its_holding_torque_and_not_at_it(side: float) -> None:
    above = math.nextafter(HOLDING, math.inf)
    for torque, gives_way in ((HOLDING, False), (above, True)):
        arm = Arm([0.5, 0.5], [0.4, 0.4])
        for _ in range(5):
            arm.step(torque=[side * torque, 0.0])
        assert (arm.reference[0] != 0.5) is gives_way
        assert arm.reference[1] == 0.5


def test_it_ends_giving_way_by_the_stop_as_soon_as_nothing_presses() -> None:
    arm = Arm([0.5, 0.0], [0.0, 0.0])
    arm.step(torque=[9.0, 0.0])
    # it looks again after ten ticks; at rest again it stands
    assert all(arm.step(torque=[0.0, 0.0]) for _ in range(9))
    assert not arm.step(torque=[0.0, 0.0])
    stood = list(arm.reference)
    assert 0.0 < stood[0] < 0.5
    for _ in range(30):
        arm.step(torque=[0.0, 0.0])
    assert arm.reference == stood


def test_it_begins_by_braking_and_has_not_looked_yet() -> None:
    assert Arm([0.0], [0.0]).fallback.state == FallbackState(braking=True, ticks=0)


def test_a_wrong_number_of_joints_is_an_error() -> None:
    for torque, place in (([0.0], [0.0, 0.0]), ([9.0, 9.0], [0.0])):
        arm = Arm([0.5, 0.5], place)
        with pytest.raises(ValueError, match="zip"):
            arm.step(torque=torque)
