"""What stands in for the base when it is hostile: sources of numbers, and two places to put them.

Asked: a policy whose actions are noise, 20 times a second. Reference: noise on the joint targets
themselves, 500 times a second, past set-points, inverse kinematics and trajectory, so that nothing
but the envelope stands between it and the arm.
"""

import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from runtime.interfaces import BasePolicy
from runtime.layout import Floats
from runtime.messages import Mode, Request, TickRecord
from runtime.operator_port import ScriptedPort
from runtime.policy_contract import PolicyInterface
from runtime.robot_spec import JointLimits
from runtime.tick import ControlTick
from runtime.trajectory import Trajectory

Source = Iterator[Floats]
HUGE = 1e300


def white(rng: np.random.Generator, size: int) -> Source:
    while True:
        yield rng.uniform(-3.0, 3.0, size)


def square(rng: np.random.Generator, size: int) -> Source:
    while True:
        level = np.where(rng.random(size) < 0.5, -1.0, 1.0)
        for _ in range(int(rng.integers(1, 40))):
            yield level
        yield -level


def sign_flips(rng: np.random.Generator, size: int) -> Source:
    level = np.ones(size)
    while True:
        level = -level
        yield level * rng.uniform(0.5, 1.5)


def walk(rng: np.random.Generator, size: int) -> Source:
    place = np.zeros(size)
    while True:
        place = np.clip(place + rng.normal(0.0, 0.3, size), -2.0, 2.0)
        yield place


def nan_bursts(rng: np.random.Generator, size: int) -> Source:
    while True:
        for _ in range(int(rng.integers(10, 60))):
            yield rng.uniform(-1.0, 1.0, size)
        for _ in range(int(rng.integers(1, 4))):
            burst = rng.uniform(-1.0, 1.0, size)
            burst[rng.integers(size)] = rng.choice([math.nan, math.inf, -math.inf])
            yield burst


def huge(rng: np.random.Generator, size: int) -> Source:
    while True:
        yield np.where(rng.random(size) < 0.5, -HUGE, HUGE)


SOURCES: tuple[Callable[[np.random.Generator, int], Source], ...] = (
    white,
    square,
    nan_bursts,
    huge,
    sign_flips,
    walk,
)


class HostilePolicy:
    """A base with the contract of an honest one, whose actions are noise of another kind in every
    episode."""

    unfamiliarity = 0.0

    def __init__(self, base: BasePolicy, seed: int) -> None:
        self._contract = base.contract
        self._rng = np.random.default_rng(seed)
        self._episode = -1
        self._source: Source = iter(())

    @property
    def contract(self) -> PolicyInterface:
        return self._contract

    def act(self, record: TickRecord, out: Floats) -> None:
        episode = record.episode.item()
        if episode != self._episode:
            self._episode = episode
            self._source = SOURCES[episode % len(SOURCES)](self._rng, len(out))
        out[:] = next(self._source)


class HostileTrajectory(Trajectory):
    """Asks for noise around and beyond the range of every joint while `attacking`.

    A step of a source is held for a random number of ticks, so that slow and fast demands mix.
    """

    def __init__(self, limits: Sequence[JointLimits], dt_s: float, share: float, seed: int) -> None:
        super().__init__(limits, dt_s, share)
        self.attacking = False
        self._rng = np.random.default_rng(seed)
        self._middle = np.array(
            [(limit.position_min_rad + limit.position_max_rad) / 2 for limit in limits]
        )
        self._half = np.array(
            [(limit.position_max_rad - limit.position_min_rad) / 2 for limit in limits]
        )
        self._kind = 0
        self.begin_attack()

    def begin_attack(self) -> None:
        """Take the next source."""
        self._source = SOURCES[self._kind % len(SOURCES)](self._rng, len(self._half))
        self._kind += 1
        self._hold_ticks = self._left = 0

    def next(self) -> list[float]:
        if not self.attacking:
            return super().next()
        if self._left <= 0:
            self._left = int(self._rng.choice([1, 1, 2, 5, 50, 300]))
            self._demand = (self._middle + 1.2 * self._half * next(self._source)).tolist()
        self._left -= 1
        return list(self._demand)


class Attendant:
    """The operator of a hostile run: re-arms what stopped, and counts how often.

    Used as the loop's `is_done`; ends it once the policy was in charge for `attack_ticks`, or when
    the arm cannot get back by itself, which `stuck` then says.
    """

    def __init__(self, port: ScriptedPort, attack_ticks: int) -> None:
        self._port = port
        self._attack_ticks = attack_ticks
        self.attacked = 0
        self.rearmed = 0
        self.stuck = False
        self._idle_ticks = 0
        self._trajectory: HostileTrajectory | None = None

    def lead(self, trajectory: HostileTrajectory) -> None:
        """Tell a hostile trajectory when the policy is in charge."""
        self._trajectory = trajectory

    def __call__(self, tick: ControlTick) -> bool:
        mode = tick.state.mode
        acting = mode is Mode.BASE
        if acting:
            self.attacked += 1
            self._idle_ticks = 0
        else:
            self._idle_ticks += 1
            self._help(mode)
        self._direct(acting)
        self.stuck = self._idle_ticks > _PATIENCE_TICKS
        return self.stuck or (not acting and self.attacked >= self._attack_ticks)

    def _direct(self, acting: bool) -> None:
        trajectory = self._trajectory
        if trajectory is None or trajectory.attacking == acting:
            return
        trajectory.attacking = acting
        if acting:
            trajectory.begin_attack()

    def _help(self, mode: Mode) -> None:
        if self._idle_ticks % _ASK_TICKS:
            return
        if mode is Mode.STOPPED:
            self._port.ask(Request.REARM)
            self.rearmed += 1
        elif mode is Mode.HOLD:
            self._port.ask(Request.REARM)
        elif mode is Mode.READY:
            self._port.ask(Request.ARM)


_ASK_TICKS = 250
_PATIENCE_TICKS = 10_000
