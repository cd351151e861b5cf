"""What the robot's own controller does with our commands, and what follows from it.

Pure functions of `TickInputs.device`. They take the code: an enum's member costs microseconds.
"""

from runtime.faults import Fault
from runtime.messages import Device

_CONDITIONS = {
    Device.FOLLOWS: 0,
    # this may take a while, see the row's debounce
    Device.ARMING: 1 << Fault.DEVICE_NOT_ARMED,
    Device.BRAKING: 1 << Fault.DEVICE_LET_GO,
    Device.HOLDING: 1 << Fault.DEVICE_LET_GO,
    Device.STOPPED: 1 << Fault.DEVICE_STOPPED,
    Device.NOT_READY: 1 << Fault.DEVICE_NOT_READY,
}
_BY_CODE = tuple(_CONDITIONS[device] for device in Device)
_FOLLOWS, _ARMING, _BRAKING, _HOLDING, _, _NOT_READY = map(int, Device)


def conditions(device: int, following: bool, holding: bool) -> int:
    """Return the conditions (bits of Fault) of a tick in which it should execute what we send.

    `following`: as far as we know it does. `holding`: we hold, and go on only when it follows.
    """
    if device == _FOLLOWS and not following:
        # nothing but the age of its samples says that it let go
        return 1 << Fault.JOINTS_STALE
    if device == _ARMING and holding:
        return _BY_CODE[device] | 1 << Fault.DEVICE_LET_GO
    return _BY_CODE[device]


def lets_go(device: int, fresh: bool) -> bool:
    """Return whether it no longer executes what we send. `fresh`: the sample that a command would
    answer is young enough for it."""
    return not fresh or device in (_BRAKING, _HOLDING)


def can_be_taken(device: int, fresh: bool, at_rest: bool) -> bool:
    """Return whether a hold may take hold of it again. At rest it is where it says so."""
    return fresh and at_rest and device != _BRAKING


def refusal(device: int) -> str:
    """Return why nobody may arm it, or nothing: a stop of its own ends by arming."""
    return "the robot's drives are not ready; see to them first" * (device == _NOT_READY)
