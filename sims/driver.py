"""Runs the peg task as a person at the bench would: resets, moves the block, calls success.

The driver only sends task signals; the arm is moved by the daemon alone. Every episode is drawn
from (seed, episode), so it does not depend on how the ones before went.
"""

import enum
import math

import numpy as np

from runtime.clock import seconds_to_ns
from runtime.messages import Outcome, SignalKind, SignalSource, TaskSignal
from sims.plant import Plant, Pose

_AT_TARGET_M = 0.015
_AT_TARGET_RAD = 0.08
_REST_RAD_S = 0.01
_REST_FIRST_S = 0.3
_REST_READY_S = 0.15
_ASK_AGAIN_S = 2.0
_LATE_S = 0.2


class _Stage(enum.Enum):
    IDLE = enum.auto()
    RESETTING = enum.auto()
    RUNNING = enum.auto()


class EpisodeDriver:
    """Draws episodes and sends their signals. Call `step` once after every servo period.

    `episode_s` is how long the daemon's episodes last; it ends them itself, the driver only
    starts the next reset. `succeeded` counts what this driver called a success.
    """

    def __init__(self, plant: Plant, episode_s: float) -> None:
        self._plant = plant
        self._episode_ns = seconds_to_ns(episode_s)
        self._stage = _Stage.IDLE
        self._rest_since_ns = 0
        self._asked_ns = 0
        self._began_ns = 0
        self._judged = False
        self._moved = True
        self._next_hole = plant.hole
        self._start = plant.tip
        self.episode = 0
        self.succeeded = 0

    def step(self) -> list[TaskSignal]:
        """Look at the plant and return the signals of this servo period, oldest first."""
        now_ns = self._plant.now_ns
        if not (np.abs(self._plant.dq).max() <= _REST_RAD_S):
            self._rest_since_ns = now_ns
        if self._stage is _Stage.RUNNING:
            return self._run(now_ns)
        if self._stage is _Stage.RESETTING:
            return self._reset(now_ns)
        driven = not self._plant.device.holding
        if driven and self._rested(_REST_FIRST_S):
            return [self._draw_episode(now_ns)]
        return []

    def _rested(self, seconds: float) -> bool:
        return self._plant.now_ns - self._rest_since_ns >= seconds_to_ns(seconds)

    def _draw_episode(self, now_ns: int) -> TaskSignal:
        task, seed = self._plant.config.task, self._plant.config.seed
        self.episode += 1
        rng = np.random.default_rng((seed, self.episode))
        offset = rng.uniform(-1, 1, 3) * task.hole_range_m
        x, y, z = np.asarray(task.hole_center_m) + offset
        yaw = rng.uniform(-1, 1) * task.hole_yaw_range_rad
        self._next_hole = Pose(float(x), float(y), float(z), float(yaw))
        lateral = rng.uniform(-1, 1, 2) * task.start_lateral_m
        self._start = Pose(
            float(x + lateral[0]),
            float(y + lateral[1]),
            float(z + rng.uniform(*task.start_height_m)),
            float(yaw + rng.uniform(-1, 1) * task.start_yaw_rad),
        )
        self._stage = _Stage.RESETTING
        self._moved = False
        return self._ask(now_ns)

    def _ask(self, now_ns: int) -> TaskSignal:
        self._asked_ns = now_ns
        return TaskSignal(
            SignalKind.RESET_BEGIN,
            SignalSource.DRIVER,
            target=tuple(float(value) for value in self._start.as_array()),
        )

    def _reset(self, now_ns: int) -> list[TaskSignal]:
        if not self._moved:
            self._move_block_when_clear(now_ns)
        elif self._at_start() and self._rested(_REST_READY_S):
            self._plant.wrist.tare()
            self._stage = _Stage.RUNNING
            self._judged = False
            self._began_ns = now_ns
            return [TaskSignal(SignalKind.EPISODE_BEGIN, SignalSource.DRIVER)]
        if self._rested(_ASK_AGAIN_S) and now_ns - self._asked_ns >= seconds_to_ns(_ASK_AGAIN_S):
            return [self._ask(now_ns)]
        return []

    def _move_block_when_clear(self, now_ns: int) -> None:
        plant = self._plant
        highest = max(plant.hole.z_m, self._next_hole.z_m)
        if plant.tip.z_m >= highest + plant.config.task.clear_height_m:
            plant.move_block(self._next_hole)
            plant.perception.begin_episode((plant.config.seed, self.episode), now_ns)
            self._moved = True

    def _at_start(self) -> bool:
        tip, start = self._plant.tip, self._start
        distance = math.dist((tip.x_m, tip.y_m, tip.z_m), (start.x_m, start.y_m, start.z_m))
        turn = abs(tip.yaw_rad - start.yaw_rad)
        return distance <= _AT_TARGET_M and turn <= _AT_TARGET_RAD

    def _run(self, now_ns: int) -> list[TaskSignal]:
        elapsed_ns = now_ns - self._began_ns
        if self._judged or elapsed_ns > self._episode_ns + seconds_to_ns(_LATE_S):
            return [self._draw_episode(now_ns)]
        if elapsed_ns <= self._episode_ns and self._plant.succeeded:
            self._judged = True
            self.succeeded += 1
            return [TaskSignal(SignalKind.OUTCOME, SignalSource.DRIVER, Outcome.SUCCESS)]
        return []
