"""Injectors for what happens outside the daemon: sensors, the link, and hands on the robot.

Pushes are forces on the simulated tool, so that what follows is physics and not our own claim.
"""

import dataclasses
import math
from abc import abstractmethod
from typing import ClassVar

from runtime.clock import NS_PER_S
from runtime.faults import Fault
from runtime.loop import LoopParts
from runtime.messages import Device, TickInputs
from sims.faulty import FaultyLink, FrozenGroup, HeldBackStart
from sims.injector import Injector, plant_of

_NO_FORCE = (0.0, 0.0, 0.0)


class _Frozen(Injector):
    """Freezes one observation group; `group` counts from the joints, -1 is the last."""

    group: ClassVar[int] = 0
    every: ClassVar[int] = 0

    def attach(self, parts: LoopParts) -> LoopParts:
        """Wrap the link."""
        names = ["joints", *(group.name for group in parts.link.describe().groups)]
        damage = FrozenGroup(self.group % len(names), names, self.every)
        return dataclasses.replace(parts, link=FaultyLink(parts.link, self._switch, damage))


class JointsStale(_Frozen):
    """The joint measurement stops coming while everything else arrives."""

    fault = Fault.JOINTS_STALE


class GroupStale(_Frozen):
    """The last observation group stops coming."""

    fault = Fault.GROUP_STALE
    group = -1


class SequenceGap(_Frozen):
    """Every second joint sample is lost."""

    fault = Fault.SEQUENCE_GAP
    every = 2


class _Read(Injector):
    """Damages what was read from the link."""

    def attach(self, parts: LoopParts) -> LoopParts:
        """Wrap the link."""
        return dataclasses.replace(parts, link=FaultyLink(parts.link, self._switch, self._damage))

    @staticmethod
    @abstractmethod
    def _damage(inputs: TickInputs) -> None: ...


class ObservationNotFinite(_Read):
    """The first joint's sensor says NaN."""

    fault = Fault.OBSERVATION_NOT_FINITE

    @staticmethod
    def _damage(inputs: TickInputs) -> None:
        inputs.q[0] = math.nan


class ObservationImplausible(_Read):
    """The first joint's encoder loses its zero."""

    fault = Fault.OBSERVATION_IMPLAUSIBLE
    offset_rad: ClassVar[float] = 0.5

    @classmethod
    def _damage(cls, inputs: TickInputs) -> None:
        inputs.q[0] += cls.offset_rad


class WallClockStepped(_Read):
    """Somebody sets the computer's time of day, ten seconds forward."""

    fault = Fault.WALL_CLOCK_STEPPED

    @staticmethod
    def _damage(inputs: TickInputs) -> None:
        inputs.wall_offset_ns[0] += 10 * NS_PER_S


class _Device(_Read):
    """The robot's own controller no longer executes what it is sent."""

    code: ClassVar[Device]

    @classmethod
    def _damage(cls, inputs: TickInputs) -> None:
        inputs.device[0] = cls.code


class DeviceStopped(_Device):
    """Somebody stops the robot past the daemon."""

    fault = Fault.DEVICE_STOPPED
    code = Device.STOPPED


class DeviceLetGo(_Device):
    """Its watchdog ends."""

    fault = Fault.DEVICE_LET_GO
    code = Device.BRAKING


class DeviceNotReady(_Device):
    """Its drives fail."""

    fault = Fault.DEVICE_NOT_READY
    code = Device.NOT_READY


class DeviceNotArmed(_Device):
    """It never answers that it was armed."""

    fault = Fault.DEVICE_NOT_ARMED
    code = Device.ARMING


class LinkLost(Injector):
    """Nothing arrives any more, and no command gets through."""

    fault = Fault.LINK_LOST

    def attach(self, parts: LoopParts) -> LoopParts:
        """Wrap the link."""
        return dataclasses.replace(parts, link=FaultyLink(parts.link, self._switch, lose=True))


class _Pushed(Injector):
    """Pushes `body` of the simulated robot (its tool, if None) with `force_n` (base frame) while
    active."""

    force_n: ClassVar[tuple[float, float, float]]
    body: ClassVar[str | None] = None

    def attach(self, parts: LoopParts) -> LoopParts:
        """Wrap the link."""
        self._plant = plant_of(parts.link)
        link = FaultyLink(parts.link, self._switch, before_write=self._push)
        return dataclasses.replace(parts, link=link)

    def _push(self) -> None:
        self._plant.push(self.force_n, self.body)

    @property
    def active(self) -> bool:
        """Whether the robot is pushed now."""
        return self._switch.active

    @active.setter
    def active(self, on: bool) -> None:
        self._switch.active = on
        if not on:
            self._plant.push(_NO_FORCE, self.body)


class TorqueAboveGuard(_Pushed):
    """Somebody lifts the tool: the wrist's drives are near their limit, the arm hardly moves."""

    fault = Fault.TORQUE_GUARD
    force_n = (0.0, 0.0, 170.0)


class NotFollowing(_Pushed):
    """Somebody leans on the arm harder than its first joint can hold."""

    fault = Fault.TRACKING_GUARD
    force_n = (0.0, 320.0, 0.0)


class ToolTooFast(_Pushed):
    """Something hits the tool."""

    fault = Fault.TOOL_SPEED_GUARD
    force_n = (0.0, 900.0, 0.0)


class WorkspaceLeft(_Pushed):
    """Somebody drags the tool out of the workspace's side, harder than the arm can hold."""

    fault = Fault.WORKSPACE_GUARD
    force_n = (0.0, 320.0, 0.0)


class JointTooFast(_Pushed):
    """Something hits the tool: a joint turns faster than the robot ever would."""

    fault = Fault.JOINT_SPEED_GUARD
    force_n = (0.0, 900.0, 0.0)


class ElbowTooFast(_Pushed):
    """Something hits the elbow."""

    fault = Fault.ELBOW_SPEED_GUARD
    body = "link4"
    force_n = (0.0, 1500.0, 0.0)


class ContactTooHard(_Pushed):
    """The tool is pressed upwards as by a table that it was driven onto."""

    fault = Fault.CONTACT_FORCE_GUARD
    force_n = (0.0, 0.0, 220.0)


class StartRefused(Injector):
    """The arm is pushed in the very moment in which the policy should take over."""

    fault = Fault.START_REFUSED
    force_n: ClassVar[tuple[float, float, float]] = (0.0, 80.0, 0.0)

    def attach(self, parts: LoopParts) -> LoopParts:
        """Wrap the link."""
        plant = plant_of(parts.link)
        fastest = max(parts.base.contract.start.speed_max_rad_s)

        def push(on: bool) -> None:
            plant.push(self.force_n if on else _NO_FORCE)

        link = HeldBackStart(parts.link, self._switch, push, fastest)
        return dataclasses.replace(parts, link=link)
