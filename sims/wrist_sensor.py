"""The force sensor between flange and tool: tared, low-pass filtered, noisy, in the base frame."""

import math

import mujoco
import numpy as np

from runtime.layout import Floats

Vector3 = tuple[float, float, float]


class WristSensor:
    """What the surroundings do to the tool (N, base frame), shape [3].

    The raw reading holds the weight and the inertia of everything beyond the flange; the tare
    takes the weight away. The filter is two one-pole low-passes in a row: it delays slow signals
    by `delay_s`, twice its time constant 1 / (2 pi cutoff).
    """

    def __init__(
        self,
        model: mujoco.MjModel,
        data: mujoco.MjData,
        cutoff_hz: float,
        noise_n: float,
        seed: tuple[int, int],
    ) -> None:
        self._reading: Floats = data.sensor("wrist_force").data
        self._rotation: Floats = data.site_xmat[model.site("wrist").id]
        time_constant_s = 1 / (2 * math.pi * cutoff_hz)
        self._smoothing = 1 - math.exp(-model.opt.timestep / time_constant_s)
        self.delay_s = 2 * time_constant_s
        self._rng = np.random.default_rng(seed)
        self._noise_n = noise_n
        # plain numbers: for three of them numpy's calls cost more than the arithmetic
        self._raw = self._first = self._filtered = self._tare = (0.0, 0.0, 0.0)
        self.force = np.zeros(3)

    def start(self) -> None:
        """Take the present reading as what the filter has always seen, and as zero."""
        self._raw = self._read()
        self._first = self._filtered = self._raw
        self.tare()

    def tare(self) -> None:
        """Take the present filtered force as zero."""
        self._tare = self._filtered

    def filter(self) -> None:
        """Take in one physics step."""
        self._raw = self._read()
        self._first = self._towards(self._first, self._raw)
        self._filtered = self._towards(self._filtered, self._first)

    def sample(self) -> None:
        """Make `force` the present sample, with its noise."""
        self.force[:] = self._filtered
        self.force -= self._tare
        if self._noise_n > 0:
            self.force += self._rng.normal(0.0, self._noise_n, 3)

    def _read(self) -> Vector3:
        """Return the reading in base. MuJoCo gives what the flange does to the tool; the
        surroundings do the opposite."""
        x, y, z = self._reading.tolist()
        xx, xy, xz, yx, yy, yz, zx, zy, zz = self._rotation.tolist()
        return (
            -(xx * x + xy * y + xz * z),
            -(yx * x + yy * y + yz * z),
            -(zx * x + zy * y + zz * z),
        )

    def _towards(self, state: Vector3, goal: Vector3) -> Vector3:
        share = self._smoothing
        return (
            state[0] + share * (goal[0] - state[0]),
            state[1] + share * (goal[1] - state[1]),
            state[2] + share * (goal[2] - state[2]),
        )

    @property
    def unfiltered(self) -> Floats:
        """The last raw reading minus the tare (N)."""
        return np.subtract(self._raw, self._tare)
