"""What the camera says of the hole: its true pose plus the field's bias, noise and delay."""

from collections import deque

import numpy as np

from runtime.clock import seconds_to_ns
from runtime.layout import Floats
from sims.config import FieldConfig


class Perception:
    """Perceived lip-centre pose [x, y, z, yaw] in the base frame (m, rad), at its own rate."""

    def __init__(self, field: FieldConfig, rate_hz: float) -> None:
        self._bias = np.array([*field.calibration_bias_m, field.calibration_bias_yaw_rad])
        course = field.calibration_course
        self._moved_at = [point.episode for point in course]
        self._moved = np.array([[*point.bias_m, point.bias_yaw_rad] for point in course])
        metres, radians = field.perception_episode_noise_m, field.perception_episode_noise_rad
        self._episode_std = np.array([metres, metres, metres, radians])
        metres, radians = field.perception_sample_noise_m, field.perception_sample_noise_rad
        self._sample_std = np.array([metres, metres, metres, radians])
        self._delay_ns = seconds_to_ns(field.perception_delay_s)
        self._period_ns = seconds_to_ns(1 / rate_hz)
        self._due_ns = 0
        self._rng = np.random.default_rng(0)
        self._error = np.zeros(4)
        self._coming: deque[tuple[int, Floats]] = deque()
        self.pose = np.zeros(4)
        self.stamp_ns = 0
        self.sequence = 0

    def begin_episode(self, seed: tuple[int, int], now_ns: int) -> None:
        """Draw the episode's error from `seed`, whose second number counts episodes; the next
        `step` takes an image with it."""
        self._rng = np.random.default_rng((*seed, 1))
        drawn = self._rng.standard_normal(4) * self._episode_std
        self._error = self._bias + self._moved_by(seed[1]) + drawn
        self._coming.clear()
        self._due_ns = now_ns

    def step(self, true_pose: Floats, now_ns: int) -> None:
        """Take an image when one is due, and deliver those that are old enough."""
        if now_ns >= self._due_ns:
            self._coming.append((now_ns, self._look(true_pose)))
            self._due_ns += self._period_ns
        while self._coming and now_ns - self._coming[0][0] >= self._delay_ns:
            self._take(*self._coming.popleft())

    def _moved_by(self, episode: int) -> Floats:
        """Return what the calibration has moved by, [x, y, z, yaw]."""
        if not self._moved_at:
            return np.zeros(4)
        columns = [np.interp(episode, self._moved_at, column) for column in self._moved.T]
        return np.array(columns)

    def _look(self, true_pose: Floats) -> Floats:
        noise = self._rng.standard_normal(4) * self._sample_std
        seen: Floats = true_pose + self._error + noise
        return seen

    def _take(self, stamp_ns: int, pose: Floats) -> None:
        self.pose = pose
        self.stamp_ns = stamp_ns
        self.sequence += 1
