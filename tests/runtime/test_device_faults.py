"""What the robot's own controller does, as the tick judges it: while armed, and before."""

import pytest

from runtime.faults import ROWS, Fault
from runtime.messages import Device, Mode, Request, TickInputs
from tests.runtime.control_kit import (
    Rig,
    assert_judged_clean,
    changed,
    faults,
    noise,
    panda,
)

LONG = changed(panda(), episode={"steps": 100_000})
LATCHED = {
    Device.STOPPED: "DEVICE_STOPPED",
    Device.NOT_READY: "DEVICE_NOT_READY",
}


def let_it(rig: Rig, device: Device, patch: pytest.MonkeyPatch) -> None:
    """Let the device do that from now on."""
    read = rig.link.read

    def told(inputs: TickInputs) -> None:
        read(inputs)
        inputs.device[0] = device

    patch.setattr(rig.link, "read", told)


@pytest.mark.parametrize("device", LATCHED)
def test_a_stopped_device_ends_the_command_until_a_person_says_otherwise(
    device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig = Rig(noise(2), LONG)
    rig.begin()
    rig.run(180)
    epoch = rig.table()["epoch"][-1]
    with monkeypatch.context() as patch:
        let_it(rig, device, patch)
        record = rig.run(1)
        assert record.mode[0] == Mode.STOPPED and faults(record) >= {LATCHED[device]}
        assert record.epoch[0] == epoch + 1
        rig.run(300)
        # a person re-arms: what the device does while nobody commands it is not asked
        rig.port.ask(Request.REARM)
        assert rig.run(1).mode[0] == Mode.READY
    rig.port.ask(Request.ARM)
    assert rig.run(1).mode[0] == Mode.HOMING
    assert_judged_clean(rig)


def test_a_device_that_let_go_is_taken_hold_of_again_at_rest_and_held_until_it_follows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rig = Rig(noise(2), LONG)
    armed: list[int] = []
    monkeypatch.setattr(rig.link, "arm", armed.append)
    rig.begin()
    rig.run(180)
    assert len(armed) == 1
    device = [Device.BRAKING]
    read = rig.link.read

    def told(inputs: TickInputs) -> None:
        read(inputs)
        # as a real one: armed again it has not answered yet
        inputs.device[0] = Device.ARMING if len(armed) > 1 and device[0] else device[0]

    monkeypatch.setattr(rig.link, "read", told)
    record = rig.run(1)
    assert record.mode[0] == Mode.HOLD and faults(record) == {"DEVICE_LET_GO"}
    # it does not execute what is sent, so nothing is
    assert not record.command_sent[0]
    # at rest it is when the device says so, not when it looks so
    record = rig.run(200)
    assert not record.command_sent[0] and len(armed) == 1
    device[0] = Device.HOLDING
    record = rig.until(lambda r: bool(r.command_sent[0]))
    assert armed[1:] == [record.epoch[0]] and armed[1] == armed[0] + 1
    assert abs(record.q_applied - record.q).max() < 1e-3
    record = rig.run(60)
    assert record.mode[0] == Mode.HOLD and len(armed) == 2
    device[0] = Device.FOLLOWS
    rig.until_mode(Mode.BASE, 150)
    assert_judged_clean(rig)


def test_arming_may_take_as_long_as_the_table_says(monkeypatch: pytest.MonkeyPatch) -> None:
    allowed = ROWS[Fault.DEVICE_NOT_ARMED].debounce_ticks
    rig = Rig(noise(2), LONG)
    rig.begin()
    rig.run(180)
    let_it(rig, Device.ARMING, monkeypatch)
    assert rig.run(allowed - 1).mode[0] != Mode.STOPPED
    record = rig.run(1)
    assert record.mode[0] == Mode.STOPPED and faults(record) == {"DEVICE_NOT_ARMED"}


@pytest.mark.parametrize("device", Device)
def test_before_anybody_arms_only_drives_that_are_not_ready_matter(
    device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig = Rig(noise(2), LONG, arm=False)
    let_it(rig, device, monkeypatch)
    record = rig.run(20)
    assert record.mode[0] == Mode.READY and not faults(record)
    rig.port.ask(Request.ARM)
    record = rig.run(1)
    refused = device is Device.NOT_READY
    assert bool(record.request_refused[0]) is refused
    assert record.mode[0] == (Mode.READY if refused else Mode.HOMING)
    assert any("drives are not ready" in note for note in rig.tick.notes) is refused
