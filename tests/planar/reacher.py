"""A scripted reacher that knows the arm's geometry: the joint pose that puts the tip on a goal."""

import math

import numpy as np

from runtime.layout import Floats
from runtime.messages import TickRecord
from runtime.policy_contract import PolicyInterface

UPPER_M, FORE_M, HAND_M = 0.4, 0.3, 0.2
WRIST_RAD = 0.6


def reach_pose(x_m: float, y_m: float) -> list[float]:
    """Return the joint positions (rad) whose tip is at (x, y) in base, the wrist at WRIST_RAD.

    With the wrist fixed, fore arm and hand are one link; the rest is the law of cosines.
    """
    along = FORE_M + HAND_M * math.cos(WRIST_RAD)
    across = HAND_M * math.sin(WRIST_RAD)
    outer_m, bend_rad = math.hypot(along, across), math.atan2(across, along)
    square = x_m * x_m + y_m * y_m
    cosine = (square - UPPER_M**2 - outer_m**2) / (2 * UPPER_M * outer_m)
    angle = math.acos(min(max(cosine, -1.0), 1.0))
    inside = math.atan2(outer_m * math.sin(angle), UPPER_M + outer_m * math.cos(angle))
    return [math.atan2(y_m, x_m) - inside, angle - bend_rad, WRIST_RAD]


class ScriptedReacher:
    """A base policy that sends the joint pose of the goal; `noise_std` in action units."""

    def __init__(self, contract: PolicyInterface, seed: int = 0, noise_std: float = 0.0) -> None:
        self._contract = contract
        self._noise_std = noise_std
        self._rng = np.random.default_rng(seed)
        self.label = np.zeros(len(contract.action.names))

    @property
    def contract(self) -> PolicyInterface:
        """The contract whose actions this reacher writes."""
        return self._contract

    @property
    def unfamiliarity(self) -> float:
        """Nothing is: it never trained."""
        return 0.0

    def act(self, record: TickRecord, out: Floats) -> None:
        """Write the action for `record` (shape [joints]); `label` is it without noise."""
        action = self._contract.action
        x_m, y_m = record.view["observation_task"].tolist()
        self.label[:] = (np.array(reach_pose(x_m, y_m)) - action.offset) / action.scale
        out[:] = self.label
        if self._noise_std > 0.0:
            out += self._noise_std * self._rng.standard_normal(len(out))
        np.clip(out, action.low, action.high, out=out)
