"""Injectors for what happens on the side that learns: the residual, its gate, and its evidence.

Evidence about the residual takes a grant under which it acts, which these injectors bring along.
"""

import dataclasses
import math
from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar

from runtime.faults import Fault
from runtime.gate_wire import Grant, References
from runtime.interfaces import GateHealth, ResidualAnswer
from runtime.loop import LoopParts
from runtime.messages import Stage
from sims.faulty import FaultyLink, FaultyTrajectory
from sims.faulty_learning import FailingEpisodes, FaultyGate, FaultyResidual
from sims.injector import Injector, plant_of

# so many that one failure is enough
_NEVER_FAILED = (10**6, 10**6)


class _Residual(Injector):
    """Damages what the residual asks for."""

    def attach(self, parts: LoopParts) -> LoopParts:
        """Wrap the residual."""
        residual = FaultyResidual(parts.residual, self._switch, self._damage)
        return dataclasses.replace(parts, residual=residual)

    @abstractmethod
    def _damage(self, out: ResidualAnswer) -> None: ...


class ResidualNotFinite(_Residual):
    """The residual asks for NaN."""

    fault = Fault.RESIDUAL_NOT_FINITE

    def _damage(self, out: ResidualAnswer) -> None:
        out.action[0] = math.nan


class ResidualFailed(_Residual):
    """The residual raises."""

    fault = Fault.RESIDUAL_FAILED

    def _damage(self, out: ResidualAnswer) -> None:
        raise RuntimeError("injected: the residual failed")


class ResidualOutOfBound(_Residual):
    """The residual asks for more than any contract allows one."""

    fault = Fault.RESIDUAL_OUT_OF_BOUND

    def _damage(self, out: ResidualAnswer) -> None:
        out.action[0] = 1000.0


class _Gate(Injector):
    """Damages what control hears of the gate, or lets it offer `offered`."""

    health: ClassVar[GateHealth | None] = None
    offered: ClassVar[bytes] = b""

    def attach(self, parts: LoopParts) -> LoopParts:
        """Wrap the gate, or put one where there is none."""
        actions = len(parts.base.contract.action.names)
        gate = FaultyGate(
            parts.gate, actions, self._switch, health=self.health, offered=self.offered
        )
        return dataclasses.replace(parts, gate=gate)


class SnapshotRefused(_Gate):
    """The gate offers what is no snapshot."""

    fault = Fault.SNAPSHOT_REFUSED
    offered = b"no snapshot"


class GateLost(_Gate):
    """The gate's heartbeat stays away."""

    fault = Fault.GATE_LOST
    health = GateHealth(gate_lost=True)


class LearnerLost(_Gate):
    """The learner's heartbeat stays away."""

    fault = Fault.LEARNER_LOST
    health = GateHealth(learner_lost=True)


class WeightsStale(_Gate):
    """No snapshot has gone live for most of an hour."""

    fault = Fault.WEIGHTS_STALE
    health = GateHealth(weights_age_ns=3_000_000_000_000)


class ResidualHeld(_Gate):
    """A person has taken the residual away."""

    fault = Fault.RESIDUAL_HELD
    health = GateHealth(held=True)


class _Granted(Injector):
    """Grants that a residual acts, whose answer `_answer` writes, and says what it is judged by."""

    references: ClassVar[References] = References()

    def attach(self, parts: LoopParts) -> LoopParts:
        """Wrap gate and residual."""
        bound = parts.base.contract.action.residual_bound
        grant = Grant(
            Stage.ADAPTIVE,
            [1.0] * len(bound),
            noise_share=0.0,
            trial=1,
            references=self.references,
        )

        def damage(out: ResidualAnswer) -> None:
            out.action[:], out.noise[:], out.takes_part = 0.0, 0.0, True
            self._answer(out, bound)

        return dataclasses.replace(
            parts,
            gate=FaultyGate(parts.gate, len(bound), self._switch, grant=grant),
            residual=FaultyResidual(parts.residual, self._switch, damage),
        )

    def _answer(self, out: ResidualAnswer, bound: Sequence[float]) -> None:
        """It takes part and asks for nothing."""


class CriticMisjudges(_Granted):
    """The learner's critic promises twice what a success is worth."""

    fault = Fault.CRITIC_MISJUDGES
    references = References(critic_gap=2.0)


class UpdateGuardPassed(_Granted):
    """The learner passes its update guard tenfold."""

    fault = Fault.UPDATE_GUARD_PASSED
    references = References(update_ratio=10.0)


class ResidualSaturated(_Granted):
    """The residual asks for all that its first action may be, to and fro."""

    fault = Fault.RESIDUAL_SATURATED
    _sign = 1.0

    def _answer(self, out: ResidualAnswer, bound: Sequence[float]) -> None:
        self._sign = -self._sign
        out.action[0] = self._sign * bound[0]


class _Failing(_Granted):
    """Episodes fail, though it is said that they never have."""

    every: ClassVar[int] = 400

    def attach(self, parts: LoopParts) -> LoopParts:
        """Wrap the link, too."""
        parts = super().attach(parts)
        return dataclasses.replace(
            parts, link=FailingEpisodes(parts.link, self._switch, self.every)
        )


class SuccessFell(_Failing):
    """It never failed before."""

    fault = Fault.SUCCESS_FELL
    references = References(own=_NEVER_FAILED)


class SuccessBelowBase(_Failing):
    """The base alone never failed."""

    fault = Fault.SUCCESS_BELOW_BASE
    references = References(base=_NEVER_FAILED)


class ResidualLimited(_Granted):
    """In every policy step of the residual the joint target jumps further than any limit allows."""

    fault = Fault.RESIDUAL_LIMITED
    jump_rad: ClassVar[float] = 0.01
    every: ClassVar[int] = 10

    def attach(self, parts: LoopParts) -> LoopParts:
        """Put a generator that lies between the tick's own parts, too."""
        motion, self._count = parts.tick.motion, 0
        faulty = FaultyTrajectory(motion.parts.trajectory, self._switch, self._jump)
        motion.parts = dataclasses.replace(motion.parts, trajectory=faulty)
        return super().attach(parts)

    def _jump(self, q: list[float]) -> list[float]:
        self._count += 1
        if self._count % self.every:
            return q
        return [value + self.jump_rad for value in q]


class ResidualPresses(_Granted):
    """The tool is pressed upwards while the residual acts, hard, but not too hard."""

    fault = Fault.RESIDUAL_PRESSES
    force_n: ClassVar[tuple[float, float, float]] = (0.0, 0.0, 100.0)

    def attach(self, parts: LoopParts) -> LoopParts:
        """Wrap the link, too."""
        parts = super().attach(parts)
        self._plant = plant_of(parts.link)
        link = FaultyLink(parts.link, self._switch, before_write=self._push)
        return dataclasses.replace(parts, link=link)

    def _push(self) -> None:
        self._plant.push(self.force_n)

    @property
    def active(self) -> bool:
        """Whether the tool is pressed now."""
        return self._switch.active

    @active.setter
    def active(self, on: bool) -> None:
        self._switch.active = on
        if not on:
            self._plant.push((0.0, 0.0, 0.0))
