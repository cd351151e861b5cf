"""What a session makes of the device's state, its stops and what it drops."""

import msgspec
import pytest

from runtime.messages import Command, Device
from runtime.robot_codes import COUNTS, DeviceState, DropCode
from runtime.robot_session import RobotSession
from runtime.robot_wire import Group, GroupSample, Observation, Status, Welcome

WELCOME = Welcome(
    nonce=1,
    session=7,
    epoch=5,
    robot="toy",
    simulated=True,
    period_ns=2_000_000,
    lease_ns=400_000_000,
    watchdog_ns=20_000_000,
    joints=("a",),
    groups=(Group("joints", 3), Group("task", 1)),
)
DAEMON_EPOCH = 3
# the device knew of 5: an ARM is above that
ARMED_EPOCH = 6


class Said:
    """Makes the messages of a device, each newer than the last."""

    def __init__(self) -> None:
        self.sequence = 0

    def observation(
        self, state: DeviceState, epoch: int, samples: tuple[int, int] = (1, 1)
    ) -> Observation:
        self.sequence += 1
        return Observation(
            session=7,
            sequence=self.sequence,
            stamp_ns=self.sequence,
            answers_stamp_ns=0,
            state=state,
            epoch=epoch,
            executed_count=0,
            groups=tuple(GroupSample(number, number, (0.0,)) for number in samples),
        )

    @staticmethod
    def status(stop_id: int = 0, **dropped: int) -> Status:
        counts = [dropped.get(code.name.lower(), 0) for code in DropCode]
        assert len(counts) == COUNTS
        return Status(
            session=7,
            stamp_ns=1,
            state=DeviceState.IDLE,
            epoch=5,
            stop_id=stop_id,
            stop_who="anna",
            stop_why="the cable",
            counts=tuple(counts),
        )


def measured_earlier(sequence: int, older_ns: int, sample: int | None = None) -> Observation:
    """An OBSERVATION of joints that were measured before it was sent."""
    stamp_ns = 1_000 * sequence
    joints = GroupSample(sample or sequence, stamp_ns - older_ns, (0.0, 0.0, 0.0))
    return msgspec.structs.replace(
        Said().observation(DeviceState.ARMED, ARMED_EPOCH),
        sequence=sequence,
        stamp_ns=stamp_ns,
        groups=(joints, GroupSample(1, 1, (0.0,))),
    )


def answer_to(joints_ns: int) -> Command:
    return Command(DAEMON_EPOCH, 1, 1, joints_ns, 20_000, [0.1], [0.2])


@pytest.mark.parametrize(("older_ns", "valid_ns"), [(0, 20_000), (300, 19_700), (-40, 20_000)])
def test_a_command_answers_the_observation_that_its_joints_came_in(
    older_ns: int, valid_ns: int
) -> None:
    """PROTOCOL.md, section 4: a device drops what answers a stamp that it never sent, and that of
    a sample it never did. What the sample was older counts against the command all the same."""
    session = RobotSession(WELCOME)
    session.take(measured_earlier(5, older_ns))
    session.look()
    # one that nobody looked at yet
    session.take(measured_earlier(6, 0))
    command = session.command(answer_to(5_000 - older_ns), 1)
    assert (command.answers_stamp_ns, command.valid_for_ns) == (5_000, valid_ns)
    assert command.answers_sequence == 5


def test_joints_that_stand_still_make_a_command_older_and_older() -> None:
    session = RobotSession(WELCOME)
    for sequence in range(5, 40):
        session.take(measured_earlier(sequence, 1_000 * (sequence - 5), sample=5))
        session.look()
        command = session.command(answer_to(5_000), 1)
        assert command.answers_stamp_ns == 1_000 * sequence
        assert command.valid_for_ns == max(0, 20_000 - 1_000 * (sequence - 5))


def test_an_arming_knows_of_no_stop_that_no_observation_told_of() -> None:
    """STATUS may come through where the OBSERVATION with its state did not: then it is old."""
    session, said = RobotSession(WELCOME), Said()
    session.take(said.observation(DeviceState.IDLE, 5))
    session.take(msgspec.structs.replace(said.status(stop_id=3), epoch=6))
    assert session.arm(DAEMON_EPOCH, "test", 1).epoch == ARMED_EPOCH
    session.take(said.observation(DeviceState.STOPPED, 6))
    assert session.arm(DAEMON_EPOCH, "test", 1).epoch == ARMED_EPOCH + 1


def test_nobody_armed_so_it_holds() -> None:
    session, said = RobotSession(WELCOME), Said()
    assert session.device is Device.HOLDING
    for state in (DeviceState.IDLE, DeviceState.ARMED, DeviceState.STOPPED):
        session.take(said.observation(state, 5))
        assert session.device is Device.HOLDING


@pytest.mark.parametrize("armed", [True, False])
def test_drives_that_are_not_ready_are_told_armed_or_not(armed: bool) -> None:
    session, said = RobotSession(WELCOME), Said()
    if armed:
        session.arm(DAEMON_EPOCH, "test", 1)
    session.take(said.observation(DeviceState.FAULT, 5))
    assert session.device is Device.NOT_READY


@pytest.mark.parametrize("state", set(DeviceState) - {DeviceState.FAULT})
def test_what_it_said_before_it_heard_of_the_arming_is_no_answer(state: DeviceState) -> None:
    session, said = RobotSession(WELCOME), Said()
    assert session.arm(DAEMON_EPOCH, "test", 1).epoch == ARMED_EPOCH
    session.take(said.observation(state, ARMED_EPOCH - 1))
    assert session.device is Device.ARMING


@pytest.mark.parametrize(
    ("state", "device"),
    [
        (DeviceState.IDLE, Device.HOLDING),
        (DeviceState.ARMED, Device.FOLLOWS),
        (DeviceState.BRAKING, Device.BRAKING),
        (DeviceState.STOPPING, Device.STOPPED),
        (DeviceState.STOPPED, Device.STOPPED),
    ],
)
@pytest.mark.parametrize("ahead", [0, 4])
def test_its_state_counts_from_the_arming_on(
    state: DeviceState, device: Device, ahead: int
) -> None:
    session, said = RobotSession(WELCOME), Said()
    session.arm(DAEMON_EPOCH, "test", 1)
    session.take(said.observation(state, ARMED_EPOCH + ahead))
    assert session.device is device


def test_an_arm_is_said_again_until_it_is_answered() -> None:
    session, said = RobotSession(WELCOME), Said()
    assert session.arm_again(1) is None
    first = session.arm(DAEMON_EPOCH, "test", 1)
    again = session.arm_again(2)
    assert again is not None
    assert (again.epoch, again.who) == (first.epoch, first.who)
    assert again.count > first.count and again.stamp_ns == 2
    session.take(said.observation(DeviceState.ARMED, ARMED_EPOCH))
    assert session.arm_again(3) is None
    # it took the ARM and braked: it is not armed again behind anybody's back
    session.take(said.observation(DeviceState.IDLE, ARMED_EPOCH + 1))
    assert session.arm_again(4) is None


def test_stops_and_what_was_dropped_are_news_once() -> None:
    session, said = RobotSession(WELCOME), Said()
    session.take(said.status(stale=9))
    assert session.news() == []
    session.take(said.status(stale=11, old_epoch=1))
    assert session.news() == ["the robot dropped messages: 2 stale, 1 old_epoch"]
    session.take(said.status(stop_id=4, stale=11, old_epoch=1))
    assert session.news() == ["the robot was stopped by 'anna': 'the cable'"]
    session.take(said.status(stop_id=4, stale=11, old_epoch=1))
    assert session.news() == []


def test_a_stop_before_us_is_news() -> None:
    session = RobotSession(WELCOME)
    session.take(Said().status(stop_id=4, stale=3))
    assert session.news() == ["the robot was stopped by 'anna': 'the cable'"]


def test_a_sample_that_nobody_looked_at_is_not_lost_and_one_that_never_came_is() -> None:
    session, said = RobotSession(WELCOME), Said()
    assert list(session.look()) == [0, 0]

    def numbers(*arrived: tuple[int, int]) -> list[int]:
        for samples in arrived:
            session.take(said.observation(DeviceState.IDLE, 5, samples))
        return list(session.look())

    assert numbers((40, 7)) == [1, 1]
    assert numbers() == [1, 1]
    assert numbers((41, 7)) == [2, 1]
    # two came between two looks, and none was lost
    assert numbers((42, 7), (43, 8)) == [3, 2]
    # 44 never came, though 45 and 46 did
    assert numbers((45, 8), (46, 9)) == [5, 3]
    # a group that begins anew has lost something
    assert numbers((1, 10)) == [7, 4]
