"""Runs the reaching task: draws starts and goals, says when an episode begins and succeeds."""

import enum
import math

import numpy as np

from runtime.clock import seconds_to_ns
from runtime.messages import Outcome, SignalKind, SignalSource, TaskSignal
from tests.planar.plant import Plant
from tests.planar.reacher import reach_pose

_AT_START_RAD = 0.02
_REST_RAD_S = 0.01
_REST_NS = seconds_to_ns(0.25)
_ASK_AGAIN_NS = seconds_to_ns(3.0)
_LATE_NS = seconds_to_ns(0.2)


class _Stage(enum.Enum):
    IDLE = enum.auto()
    RESETTING = enum.auto()
    RUNNING = enum.auto()


class ReachDriver:
    """Call `step` after every servo period. Episode n is drawn from (seed, n)."""

    def __init__(self, plant: Plant, episode_s: float) -> None:
        self._plant = plant
        self._episode_ns = seconds_to_ns(episode_s)
        self._hold_ns = seconds_to_ns(plant.sim.success_hold_s)
        self._stage = _Stage.IDLE
        self._moved_ns = self._since_ns = self._away_ns = 0
        self._judged = False
        self._start_rad = plant.q.copy()
        self.episode = 0

    def step(self) -> list[TaskSignal]:
        """Look at the plant and return this period's signals."""
        plant = self._plant
        if not (np.abs(plant.dq).max() <= _REST_RAD_S):
            self._moved_ns = plant.now_ns
        if self._stage is _Stage.RUNNING:
            return self._run()
        if not (plant.device.driven(plant.now_ns) and plant.now_ns - self._moved_ns >= _REST_NS):
            return []
        if self._stage is _Stage.IDLE:
            return [self._draw()]
        if np.abs(plant.q - self._start_rad).max() <= _AT_START_RAD:
            self._enter(_Stage.RUNNING)
            self._away_ns, self._judged = plant.now_ns, False
            return [TaskSignal(SignalKind.EPISODE_BEGIN, SignalSource.DRIVER)]
        # the daemon may have been stopped or re-armed since: ask again
        return [self._ask()] if plant.now_ns - self._since_ns >= _ASK_AGAIN_NS else []

    def _enter(self, stage: _Stage) -> None:
        self._stage, self._since_ns = stage, self._plant.now_ns

    def _point(self, rng: np.random.Generator) -> tuple[float, float]:
        sim = self._plant.sim
        radius = rng.uniform(*sim.goal_radius_m)
        angle = rng.uniform(-sim.goal_angle_rad, sim.goal_angle_rad)
        return radius * math.cos(angle), radius * math.sin(angle)

    def _draw(self) -> TaskSignal:
        sim = self._plant.sim
        self.episode += 1
        rng = np.random.default_rng((sim.seed, self.episode))
        self._plant.goal_m = np.array(self._point(rng))
        spread = rng.uniform(-sim.start_spread_rad, sim.start_spread_rad, len(self._start_rad))
        self._start_rad = np.array(reach_pose(*self._point(rng))) + spread
        return self._ask()

    def _ask(self) -> TaskSignal:
        self._enter(_Stage.RESETTING)
        target = tuple(self._start_rad.tolist())
        return TaskSignal(SignalKind.RESET_BEGIN, SignalSource.DRIVER, target=target)

    def _run(self) -> list[TaskSignal]:
        plant = self._plant
        now_ns, elapsed_ns = plant.now_ns, plant.now_ns - self._since_ns
        if self._judged or elapsed_ns > self._episode_ns + _LATE_NS:
            return [self._draw()]
        if not (plant.distance_m <= plant.sim.success_distance_m):
            self._away_ns = now_ns
        self._judged = now_ns - self._away_ns >= self._hold_ns
        if self._judged:
            return [TaskSignal(SignalKind.OUTCOME, SignalSource.DRIVER, Outcome.SUCCESS)]
        return []
