"""The envelope's share of real lockstep ticks, and the same demands once more without the loop."""

import gc
import math
import resource
import time
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any, Literal
from unittest import mock

import numpy as np

from runtime import wiring
from runtime.envelope.certificate import Certificate
from runtime.envelope.envelope import Envelope, EnvelopeState
from runtime.layout import Floats, Ints
from runtime.messages import STAGES, Limit
from runtime.realtime import quiet_garbage_collector
from runtime.robot_spec import JointLimits
from runtime.trajectory import Trajectory
from runtime.wiring import Deployment
from tests.benchmarks.kit import SERVO_HZ, NoSink, assemble

Flags = np.ndarray[Any, np.dtype[np.bool_]]

NEAR_M = 0.1
_LOOKED_EVERY_TICKS = 50
# joint targets around home, and how long one is asked for
_REACH_RAD = 0.35
_HELD_TICKS = 150
_BLEND_S = 0.1
_WARM_UP_TICKS = 3 * SERVO_HZ
Demand = Literal["honest", "planned", "steps"]


def preemptions() -> int:
    """Return how often this thread had to make way for another."""
    return resource.getrusage(resource.RUSAGE_THREAD).ru_nivcsw


class Stopwatch:
    """Adds up time; `disturbed` says whether another thread took the core meanwhile, which is this
    machine's doing and not that of what is measured."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Begin anew."""
        self.spent_ns, self.disturbed = 0, False

    def start(self) -> None:
        """Let it run."""
        self._preemptions = preemptions()
        self._begin = time.perf_counter_ns()

    def stop(self) -> None:
        """Stop it and add up."""
        self.spent_ns += time.perf_counter_ns() - self._begin
        self.disturbed |= preemptions() > self._preemptions


@dataclass(frozen=True)
class Times:
    """Times of one thing, us, shape [ticks], and in which ticks it was disturbed."""

    took_us: Floats
    disturbed: Flags

    @classmethod
    def of(cls, readings: Sequence[tuple[int, bool]]) -> "Times":
        """Take what a stopwatch showed in each tick: ns, and whether it was disturbed."""
        took = np.array([ns for ns, _ in readings]) / 1e3
        return cls(took, np.array([disturbed for _, disturbed in readings], dtype=bool))


class Timed(Envelope):
    """An envelope that times itself, and keeps what it was asked (None: to brake)."""

    def keep(self) -> EnvelopeState:
        """Begin to keep the demands; return the state in which they begin."""
        self.asked: list[list[float] | None] = []
        self.watch = Stopwatch()
        return self.save()

    def take(self) -> tuple[int, bool]:
        """Return what the tick took, ns, and whether it was disturbed; the next tick begins."""
        reading = self.watch.spent_ns, self.watch.disturbed
        self.watch.reset()
        return reading

    asked: list[list[float] | None] = []
    watch = Stopwatch()

    def admit(self, q_desired: Iterable[float]) -> None:
        self.watch.start()
        super().admit(q_desired)
        self.watch.stop()
        self.asked.append(list(q_desired))

    def brake(self) -> None:
        self.watch.start()
        super().brake()
        self.watch.stop()
        self.asked.append(None)

    def certify(
        self,
        epoch: int,
        sequence: int,
        answers_sequence: int,
        answers_device_stamp_ns: int,
        valid_for_ns: int,
    ) -> Certificate:
        self.watch.start()
        certificate = super().certify(
            epoch, sequence, answers_sequence, answers_device_stamp_ns, valid_for_ns
        )
        self.watch.stop()
        return certificate

    def again(self, tick: int, desired: list[float] | None) -> tuple[int, bool]:
        """Take one tick without a loop: admit `desired` or brake, then certify."""
        if desired is None:
            self.brake()
        else:
            self.admit(desired)
        self.certify(0, tick, 0, 0, 1)
        return self.take()


class JointsOnly(Timed):
    """The same without geometry, whatever the config says."""

    def __init__(self, limits: tuple[JointLimits, ...], dt_s: float, *_: object) -> None:
        super().__init__(limits, dt_s)


class Presser(Trajectory):
    """Asks for random joint targets around home, so that the arm presses on what is near it: in
    steps, or `planned` as the runtime's own motion is. The first ticks are honest: until the arm
    stands at home."""

    def __init__(
        self,
        limits: Sequence[JointLimits],
        dt_s: float,
        share: float,
        home: Floats,
        *,
        planned: bool,
    ) -> None:
        super().__init__(limits, dt_s, share)
        self._home, self._planned = home, planned
        self._rng = np.random.default_rng(5)
        self._left = 0
        self._honest_ticks = _WARM_UP_TICKS
        self._target: list[float] = []

    def next(self) -> list[float]:
        if self._honest_ticks > 0:
            self._honest_ticks -= 1
            return super().next()
        if self._left == 0:
            self._left = _HELD_TICKS
            reach = self._rng.uniform(-_REACH_RAD, _REACH_RAD, len(self._home))
            self._target = (self._home + reach).tolist()
            self.move_to(self._target, _BLEND_S)
        self._left -= 1
        return super().next() if self._planned else list(self._target)


@dataclass(frozen=True)
class LoopCosts:
    """Ticks of one scene. `step_us` [ticks]: the whole step that the envelope is part of. `q`
    [ticks, joints]: the reference before each tick; `asked`: what the tick asked for (None: to
    brake); `state`: the envelope's before the first. Shares are of the ticks."""

    envelope: Times
    step_us: Floats
    q: Floats
    asked: list[list[float] | None]
    state: EnvelopeState
    geometry_share: float
    limited_share: float
    clearance_m: Floats
    faults: int


def patched(envelope: type[Envelope]) -> AbstractContextManager[Any]:
    """Let the wiring build `envelope` in the place of the runtime's."""
    return mock.patch.object(wiring, "Envelope", envelope)


def run_loop(
    deployment: Deployment, envelope: type[Timed], ticks: int, demand: Demand
) -> LoopCosts:
    """Run lockstep ticks of the simulated robot and time the envelope in each.

    With another demand than the honest one the policy never gets its turn: the arm presses on its
    surroundings while the runtime takes it home.
    """
    with patched(envelope):
        assembly = assemble("field", 3001, NoSink(), lambda _: False, deployment=deployment)
    motion = assembly.tick.motion
    if demand != "honest":
        home = np.array([joint.home_rad for joint in deployment.robot.joints])
        limits, share = deployment.robot.command_limits(), deployment.config.control.motion_share
        presser = Presser(
            limits, 1.0 / SERVO_HZ, share, home, planned=demand == "planned"
        )
        motion.parts = replace(motion.parts, trajectory=presser)
    timed = motion.parts.envelope
    assert isinstance(timed, Timed)
    loop = assembly.loop
    for _ in range(2 * _WARM_UP_TICKS):
        loop.tick_once()
    quiet_garbage_collector()
    readings: list[tuple[int, bool]] = []
    step, clearance = np.zeros(ticks), np.zeros(ticks)
    q = np.zeros((ticks, len(deployment.robot.joints)))
    limited: Ints = np.zeros(ticks, dtype=np.int64)
    faults = 0
    state = timed.keep()
    for tick in range(ticks):
        q[tick] = timed.q
        record = loop.tick_once()
        readings.append(timed.take())
        step[tick] = loop._inputs.stage_ns[STAGES.index("step")] / 1e3
        clearance[tick] = record.clearance_m.item()
        limited[tick] = np.bitwise_or.reduce(record.limited_by)
        faults |= record.faults.item()
    gc.enable()
    return LoopCosts(
        envelope=Times.of(readings),
        step_us=step,
        q=q,
        asked=timed.asked,
        state=state,
        geometry_share=float(np.mean(limited & int(Limit.GEOMETRY) != 0)),
        limited_share=float(np.mean(limited != 0)),
        clearance_m=clearance,
        faults=faults,
    )


def fresh_envelope(deployment: Deployment, envelope: type[Timed]) -> Timed:
    """Return the envelope that the wiring builds for `deployment`, in no loop."""
    contract = wiring.load_base(deployment).contract
    with patched(envelope):
        built = wiring.build_tick(deployment, contract).motion.parts.envelope
    assert isinstance(built, Timed)
    built.keep()
    return built


def volumes_near(envelope: Timed, costs: LoopCosts) -> float:
    """Return the median number of things, volumes, walls and own shapes, within NEAR_M of the
    reference; 0 without geometry."""
    geometry = envelope.geometry
    if geometry is None:
        return 0.0
    things = np.array([name.split(" | ")[1] for name in geometry.names])
    counts = [
        len(set(things[geometry.distances_m(q.tolist()) <= NEAR_M]))
        for q in costs.q[::_LOOKED_EVERY_TICKS]
    ]
    return float(np.median(counts))


def run_tight(envelope: Timed, costs: LoopCosts) -> Times:
    """Ask the demands of `costs` once more, one after the other."""
    envelope.restore(costs.state)
    gc.collect()
    gc.disable()
    readings = [envelope.again(tick, desired) for tick, desired in enumerate(costs.asked)]
    gc.enable()
    if not np.allclose(envelope.q, costs.q[-1], atol=math.pi / 100):
        raise AssertionError("the demands once more led the envelope elsewhere")
    return Times.of(readings)
