"""Injectors for what happens on the daemon's own side: base, tick, pacing, recorder, people."""

import dataclasses
import math
import time
from abc import abstractmethod
from typing import ClassVar

from runtime.faults import Fault
from runtime.layout import Floats
from runtime.loop import LoopParts
from runtime.messages import Request
from sims.faulty import (
    FaultyBase,
    FaultyPort,
    FaultySink,
    FaultyTrajectory,
    FaultyWorker,
    LatePacer,
)
from sims.injector import Injector, let_time_pass


class _Base(Injector):
    """Damages what the base policy does, or says of what it saw; where it thinks in a worker,
    `delay_s` freezes that process."""

    strangeness: ClassVar[float] = 0.0
    delay_s: ClassVar[float] = 0.0

    def attach(self, parts: LoopParts) -> LoopParts:
        """Wrap the base, and the worker in which it thinks."""
        self._link = parts.link
        base = FaultyBase(parts.base, self._switch, self._damage, self.strangeness)
        worker = parts.worker and FaultyWorker(
            parts.worker, self._switch, self._damage, self.strangeness, self.delay_s
        )
        return dataclasses.replace(parts, base=base, worker=worker)

    @abstractmethod
    def _damage(self, out: Floats) -> None: ...


class BaseNotFinite(_Base):
    """The base asks for NaN."""

    fault = Fault.BASE_NOT_FINITE

    def _damage(self, out: Floats) -> None:
        out[0] = math.nan


class BaseStale(_Base):
    """Inference takes a quarter of a second, in which the robot goes on without us."""

    fault = Fault.BASE_STALE
    delay_s = 0.25

    def _damage(self, out: Floats) -> None:
        let_time_pass(self._link, self.delay_s)


class BaseFailed(_Base):
    """Inference raises."""

    fault = Fault.BASE_FAILED

    def _damage(self, out: Floats) -> None:
        raise RuntimeError("injected: the base policy's inference failed")


class InferenceSlow(_Base):
    """Inference takes half a policy step longer than it may, and still answers in time."""

    fault = Fault.INFERENCE_SLOW
    delay_s = 0.03

    def _damage(self, out: Floats) -> None:
        let_time_pass(self._link, self.delay_s)


class ObservationUnfamiliar(_Base):
    """The base says that it saw nothing of the kind in its training."""

    fault = Fault.OBSERVATION_UNFAMILIAR
    strangeness = 1000.0

    def _damage(self, out: Floats) -> None:
        """The action stays as it is."""


class _Trajectory(Injector):
    """Damages the joint target on its way to the envelope."""

    def attach(self, parts: LoopParts) -> LoopParts:
        """Put a generator that lies between the tick's own parts."""
        motion = parts.tick.motion
        faulty = FaultyTrajectory(motion.parts.trajectory, self._switch, self._damage)
        motion.parts = dataclasses.replace(motion.parts, trajectory=faulty)
        return parts

    @abstractmethod
    def _damage(self, q: list[float]) -> list[float]: ...


class TooMuchAsked(_Trajectory):
    """The target jumps further in one tick than any limit allows."""

    fault = Fault.ENVELOPE_LIMITED
    jump_rad: ClassVar[float] = 0.1

    def _damage(self, q: list[float]) -> list[float]:
        return [value + self.jump_rad for value in q]


class TickRaised(_Trajectory):
    """The control code raises in the middle of a tick."""

    fault = Fault.TICK_RAISED

    def _damage(self, q: list[float]) -> list[float]:
        raise ArithmeticError("injected: the trajectory generator failed")


class _Late(Injector):
    """Makes ticks start `missed` deadlines late."""

    missed: ClassVar[int]

    def attach(self, parts: LoopParts) -> LoopParts:
        """Wrap the pacer, or put one where lockstep has none."""
        pacer = LatePacer(parts.pacer, self._switch, self.missed, self._sleep)
        return dataclasses.replace(parts, pacer=pacer)

    @staticmethod
    def _sleep(missed: int) -> None:
        # the shortest servo period that a config allows is 1 ms, the longest 10 ms
        time.sleep(0.010 * missed)


class DeadlineMissed(_Late):
    """Ticks start one deadline late."""

    fault = Fault.DEADLINE_MISSED
    missed = 1


class DeadlinesMissed(_Late):
    """Ticks start so late that a second's allowance is gone in a few of them."""

    fault = Fault.DEADLINES_MISSED
    missed = 5


class _Sink(Injector):
    """Damages the way to the recorder."""

    drop: ClassVar[bool]

    def attach(self, parts: LoopParts) -> LoopParts:
        """Wrap the sink."""
        return dataclasses.replace(parts, sink=FaultySink(parts.sink, self._switch, self.drop))


class RecordDropped(_Sink):
    """Ticks do not reach the recorder."""

    fault = Fault.RECORD_DROPPED
    drop = True


class RecorderLost(_Sink):
    """The recorder acknowledges nothing."""

    fault = Fault.RECORDER_LOST
    drop = False


class _Port(Injector):
    """Changes what people and the supervisor say."""

    request: ClassVar[Request]

    def attach(self, parts: LoopParts) -> LoopParts:
        """Wrap the operator port."""
        return dataclasses.replace(parts, port=FaultyPort(parts.port, self._switch, self.request))


class OperatorStop(_Port):
    """A person asks for a stop."""

    fault = Fault.OPERATOR_STOP
    request = Request.STOP


class SupervisorLost(_Port):
    """The supervisor's heartbeat stays away."""

    fault = Fault.SUPERVISOR_LOST
    request = Request.NONE
