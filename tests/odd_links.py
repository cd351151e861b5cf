"""Links to the simulation for tests of whole daemons: one whose judge is away, two in whose way
somebody stands, one that says it drives a real robot."""

import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from runtime.clock import seconds_to_ns
from runtime.config import Config
from runtime.interfaces import CertifiedCommand, Link, LinkDescription
from runtime.messages import Outcome, SignalKind, SignalSource, TaskSignal
from runtime.robot_spec import RobotSpec
from sims import link as simulated
from sims.faulty import FaultyLink, Switch
from sims.outside_injectors import NotFollowing
from sims.plant import Plant

# before the time limit of an episode, which is an outcome, too
UNSURE_AFTER_SHARE = 0.7
LEANS_S = 0.3


class UnsureLink(simulated.LockstepLink):
    """Ends every episode, but nobody is there who could tell how it ended."""

    def __init__(self, plant: Plant, robot: RobotSpec, episode_s: float) -> None:
        super().__init__(plant, robot, episode_s)
        self._unsure_ns = seconds_to_ns(UNSURE_AFTER_SHARE * episode_s)
        self._ends_ns = sys.maxsize

    def signals(self) -> Sequence[TaskSignal]:
        """Return the driver's signals, its outcomes unknown."""
        unknown = TaskSignal(SignalKind.OUTCOME, SignalSource.DRIVER, Outcome.UNKNOWN)
        said = []
        for signal in super().signals():
            if signal.kind is SignalKind.EPISODE_BEGIN:
                self._ends_ns = self.clock.now_ns() + self._unsure_ns
            if signal.kind is not SignalKind.OUTCOME:
                said.append(signal)
            elif self._ends_ns != sys.maxsize:
                self._ends_ns = 0
        if self.clock.now_ns() >= self._ends_ns:
            self._ends_ns = sys.maxsize
            said.append(unknown)
        return said


class LeanedOnLink(FaultyLink):
    """Somebody leans on the arm, harder than it can hold, as the first `times` episodes begin."""

    def __init__(
        self, inner: simulated.LockstepLink | simulated.RealtimeLink, times: int
    ) -> None:
        self._plant = inner.plant
        self._leans = Switch()
        super().__init__(inner, self._leans, before_write=self._lean)
        self._times = times
        self._until_ns = 0

    def signals(self) -> Sequence[TaskSignal]:
        """Return the driver's signals; where an episode begins, lean on the arm."""
        signals = super().signals()
        begins = any(signal.kind is SignalKind.EPISODE_BEGIN for signal in signals)
        if begins and self._times > 0:
            self._times -= 1
            self._until_ns = self.clock.now_ns() + seconds_to_ns(LEANS_S)
            self._leans.active = True
        return signals

    def write(self, certified: CertifiedCommand | None) -> None:
        """Send on; let go of the arm after a while."""
        if self._leans.active and self.clock.now_ns() > self._until_ns:
            self._leans.active = False
            self._plant.push((0.0, 0.0, 0.0))
        super().write(certified)

    def _lean(self) -> None:
        self._plant.push(NotFollowing.force_n)


class RealLookingLink(simulated.LockstepLink):
    """Refuses nothing and moves nothing but the simulation."""

    def describe(self) -> LinkDescription:
        """Return the simulation's description, but for what it is."""
        return replace(super().describe(), simulated=False)


def _open(
    config: Config,
    config_file: Path,
    robot: RobotSpec,
    episode_s: float,
    *,
    lockstep: bool,
    field: str | None,
    seed: int | None,
    odd: Callable[[simulated.LockstepLink | simulated.RealtimeLink, RobotSpec, float], Link],
) -> Link:
    """Open the simulation's own link, and return what `odd` makes of it."""
    plain = simulated.open_link(
        config, config_file, robot, episode_s, lockstep=lockstep, field=field, seed=seed
    )
    return odd(plain, robot, episode_s)


open_unsure = partial(_open, odd=lambda plain, *told: UnsureLink(plain.plant, *told))
open_leaned_on_once = partial(_open, odd=lambda plain, *_: LeanedOnLink(plain, 1))
open_always_leaned_on = partial(_open, odd=lambda plain, *_: LeanedOnLink(plain, sys.maxsize))
open_real_looking = partial(_open, odd=lambda plain, *told: RealLookingLink(plain.plant, *told))
