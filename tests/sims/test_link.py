"""Both simulated links: stamps, groups, time, and what they refuse."""

import time
from collections.abc import Callable

import numpy as np
import pytest

from runtime.clock import MonotonicClock
from runtime.errors import LinkError
from runtime.messages import GroupSize, Sizes, TickInputs, new_inputs
from sims.link import LockstepLink, RealtimeLink
from tests.sims.kit import SERVO_HZ, PegLoop, make_plant, robot_spec

PERIOD_NS = round(1e9 / SERVO_HZ)
GROUPS = (GroupSize("force", 3), GroupSize("task", 4))


def inputs() -> TickInputs:
    return new_inputs(Sizes(joints=7, action=4, setpoint=4, groups=GROUPS))


def lockstep() -> LockstepLink:
    return LockstepLink(make_plant(), robot_spec(), 4.0)


def realtime() -> RealtimeLink:
    return RealtimeLink(make_plant(), robot_spec(), 4.0)


@pytest.mark.parametrize("make", [lockstep, realtime])
def test_describes_itself(make: Callable[[], LockstepLink | RealtimeLink]) -> None:
    said = make().describe()
    assert said.robot == "panda"
    assert said.joint_names == tuple(f"joint{i}" for i in range(1, 8))
    assert said.groups == GROUPS
    assert said.simulated
    assert said.lockstep is (make is lockstep)


@pytest.mark.parametrize("make", [lockstep, realtime])
def test_refuses_what_has_no_certificate(make: Callable[[], LockstepLink | RealtimeLink]) -> None:
    class Forged:
        command = None

    link = make()
    with pytest.raises(LinkError, match=r"Forged.*certificate"):
        link.write(Forged())  # type: ignore[arg-type]
    assert link.plant.device.accepted == 0


def test_closed_link_refuses() -> None:
    link = lockstep()
    link.close()
    with pytest.raises(LinkError, match="closed"):
        link.write(None)


def test_lockstep_time_moves_by_one_period_a_write_and_only_then() -> None:
    link, block = lockstep(), inputs()
    link.read(block)
    before = block.group_sequence.tolist()
    assert before == [1, 1, 1]
    assert link.clock.now_ns() == 0
    link.write(None)
    assert link.clock.now_ns() == PERIOD_NS
    link.read(block)
    assert block.group_sequence.tolist() == [2, 2, 1]
    assert block.group_received_ns.tolist() == [PERIOD_NS, PERIOD_NS, 0]
    assert block.link_received_ns[0] == PERIOD_NS
    assert block.group_device_stamp_ns.tolist()[:2] == [PERIOD_NS, PERIOD_NS]


def test_read_delivers_the_plants_measurements() -> None:
    link, block = lockstep(), inputs()
    for _ in range(30):
        link.write(None)
    link.read(block)
    assert (block.q == link.plant.q).all()
    assert (block.dq == link.plant.dq).all()
    assert (block.tau == link.plant.tau).all()
    assert (block.view["observation_force"] == link.plant.force).all()
    assert (block.view["observation_task"] == link.plant.perception.pose).all()
    assert block.group_sequence[2] == 4  # 50 Hz in 60 ms


def test_lockstep_sequences_never_skip_over_whole_episodes() -> None:
    peg = PegLoop(field="field")
    last = np.zeros(3, dtype=np.int64)
    while len(peg.outcomes) < 2:
        record = peg.step()
        now = record.group_sequence.copy()
        assert (now[:2] == last[:2] + 1).all()
        assert now[2] - last[2] in (0, 1)
        last = now
    assert peg.link.plant.device.dropped_expired == 0
    assert peg.link.plant.device.watchdog_trips == 0


def test_realtime_simulates_as_much_as_passed() -> None:
    link = realtime()
    assert isinstance(link.clock, MonotonicClock)
    begin_ns = time.monotonic_ns()
    for _ in range(50):
        link.write(None)
        time.sleep(0.001)
    link.write(None)
    passed_ns = time.monotonic_ns() - begin_ns
    assert link.plant.now_ns == pytest.approx(passed_ns, abs=2 * PERIOD_NS)


def test_realtime_drops_what_is_too_long_ago() -> None:
    link = realtime()
    link.write(None)
    steps = link.plant.sequence
    time.sleep(0.2)
    link.write(None)
    simulated = link.plant.sequence - steps
    assert simulated == round(link.plant.config.catch_up_s * SERVO_HZ)
    assert link.dropped_periods >= 60
    # the device's clock runs on, so that a command answering the old observation has expired
    assert link.plant.now_ns >= 190_000_000


def test_open_link_chooses_field_and_seed() -> None:
    peg = PegLoop(field="field", seed=11)
    assert (peg.link.plant.config.field, peg.link.plant.config.seed) == ("field", 11)
