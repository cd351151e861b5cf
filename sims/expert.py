"""A scripted expert that sees the truth: align above the hole, then descend.

It uses what an imitating policy can also see (tool to hole, yaw error, set-point lag), so that a
clone of it is a function of its own inputs.
"""

import math
from collections.abc import Sequence

import numpy as np

from runtime.layout import Floats
from runtime.messages import TickRecord
from runtime.policy_contract import PolicyInterface
from sims.plant import Plant

NOISE_STD = (0.0, 0.1, 0.25)

_HOVER_M = 0.010
_BOTTOM_M = -0.030
_ALIGNED_M = 0.0015
_MISALIGNED_M = 0.006
_IN_HOLE_M = 0.006
_ALIGNED_RAD = 0.02
_METRES_PER_RADIAN = 0.03
_GAIN = 0.8
_LAG_SHARE = 0.4
_DESCENT = 0.6


class ScriptedExpert:
    """A base policy that reads the true pose of the hole from the plant.

    The action moves the set-point by a share of what is missing, less a smaller share of the
    set-point's lead over the measured pose: the difference integrates against sag and friction.
    `noise_std` are standard deviations in action units; each episode draws one of them from
    (seed, episode). `label` is the last action without noise, shape [4].
    """

    def __init__(
        self,
        plant: Plant,
        contract: PolicyInterface,
        seed: int = 0,
        noise_std: Sequence[float] = (0.0,),
    ) -> None:
        self._plant = plant
        self._contract = contract
        self._seed = seed
        self._choices = tuple(noise_std)
        self._episode = -1
        self._std = 0.0
        self._rng = np.random.default_rng(seed)
        self._scale = np.asarray(contract.action.scale)
        self.label = np.zeros(len(self._scale))

    @property
    def contract(self) -> PolicyInterface:
        """The contract whose actions this expert writes."""
        return self._contract

    @property
    def unfamiliarity(self) -> float:
        """Nothing is: it never trained."""
        return 0.0

    def act(self, record: TickRecord, out: Floats) -> None:
        """Write the action for `record`, with this episode's noise, into `out` (shape [4])."""
        self._begin(int(record.episode[0]))
        self.label[:] = self._action(
            record.setpoint_measured.astype(np.float64), record.setpoint.astype(np.float64)
        )
        out[:] = self.label
        if self._std > 0:
            out += self._std * self._rng.standard_normal(len(out))
            np.clip(out, -1, 1, out=out)

    def _begin(self, episode: int) -> None:
        if episode == self._episode:
            return
        self._episode = episode
        self._rng = np.random.default_rng((self._seed, episode))
        self._std = float(self._rng.choice(self._choices))

    def _action(self, measured: Floats, setpoint: Floats) -> Floats:
        hole = self._plant.hole
        missing = hole.as_array() - measured
        missing[3] = math.remainder(missing[3], 2 * math.pi)
        missing[2] += self._height(missing)
        action = (_GAIN * missing - _LAG_SHARE * (setpoint - measured)) / self._scale
        action[2] = max(action[2], -_DESCENT)
        clipped: Floats = np.clip(action, -1, 1)
        return clipped

    @staticmethod
    def _height(missing: Floats) -> float:
        """Return the wanted height of the tip above the lip (m)."""
        turned = _METRES_PER_RADIAN * max(0.0, abs(missing[3]) - _ALIGNED_RAD)
        off = max(math.hypot(missing[0], missing[1]), turned)
        if missing[2] > _IN_HOLE_M:
            return _BOTTOM_M
        share = float(off - _ALIGNED_M) / (_MISALIGNED_M - _ALIGNED_M)
        return _BOTTOM_M + (_HOVER_M - _BOTTOM_M) * min(1.0, max(0.0, share))
