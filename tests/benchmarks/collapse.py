"""Is a collapse noticed and undone? `python -m tests.benchmarks.collapse`: in pairs, on and off.

Each profile lets the residual go wrong, and the base alone runs the same episodes beside it
(paired_trial.py). `natural`: the learner's own collapse, a large learning rate and bound without
what steadies it. `scaled`, `negated`: from one policy step on every newer snapshot acts three times
as strongly, or the other way round; no check of the gate sees that. `bumped`: somebody bumps into
the camera. Ends with an error unless with the governor no seed's shortfall is ever above 10, and
without it that of `natural` passes 40 within 200 episodes in some seed; and if nothing was planted.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from runtime.gate_wire import Grant
from runtime.interfaces import BasePolicy, ResidualAnswer, ResidualPolicy
from runtime.layout import Floats
from runtime.messages import TickRecord
from sims.faulty import Switch
from sims.faulty_learning import FaultyResidual
from tests.benchmarks.kit import load_text
from tests.benchmarks.paired_trial import PairedTally, PairedTrial, measure
from tests.benchmarks.residual_kit import Study, study_deployment

SEEDS = (101, 102, 103, 104, 105)
EPISODES = 400
# a planted one begins at about the 130th: these show what comes of it
EPISODES_PLANTED = 250
EPISODES_OFF = 200
SHORTFALL_MAX = 10
COLLAPSED = 40
# more than any of the runs needs for its episodes
STEPS_MAX = 60_000
BROKEN_FROM_STEP = 4000
BUMPED_AT_EPISODE = 120


class Broken(FaultyResidual):
    """A residual whose snapshots after `from_step` act otherwise than they were made to: their
    action times `factor`, inside the bound. Earlier ones, live again, are as they were."""

    def __init__(
        self,
        inner: ResidualPolicy,
        switch: Switch,
        bound: Sequence[float],
        factor: float,
        from_step: int,
    ) -> None:
        super().__init__(inner, switch, self._spoil)
        self._broken = switch
        self._bound: Floats = np.array(bound)
        self._factor = factor
        self._from_step = from_step
        self._sound_until: int | None = None

    def act(
        self, record: TickRecord, base_action: Floats, grant: Grant, out: ResidualAnswer
    ) -> None:
        """Ask the snapshot, and spoil what it says."""
        if record.base_sequence.item() >= self._from_step and self._sound_until is None:
            self._sound_until = self.version
        self._broken.active = self._sound_until is not None and self.version > self._sound_until
        super().act(record, base_action, grant, out)

    def _spoil(self, answer: ResidualAnswer) -> None:
        np.clip(answer.action * self._factor, -self._bound, self._bound, out=answer.action)


@dataclass(frozen=True)
class BrokenStudy(Study):
    """A study whose snapshots break at BROKEN_FROM_STEP; `factor`: see Broken. `broken` counts the
    answers that were spoilt."""

    factor: float = 1.0
    broken: Switch = field(default_factory=Switch)

    def residual(self, base: BasePolicy) -> ResidualPolicy:
        """Return version 0, and what will break."""
        inner, bound = super().residual(base), base.contract.action.residual_bound
        return Broken(inner, self.broken, bound, self.factor, BROKEN_FROM_STEP)


@dataclass(frozen=True)
class Profile:
    """How the residual goes wrong. `changes`: of the config; `bound`: of the residual; `factor`:
    of a broken snapshot's action; `bumped`: the camera is."""

    changes: dict[str, Any] = field(default_factory=dict)
    bound: float | None = None
    factor: float = 1.0
    bumped: bool = False

    def study(self, seed: int) -> BrokenStudy:
        """Return what is run for one seed."""
        changes = dict(self.changes)
        if self.bumped:
            changes["sim.fields.field.calibration_course"] = _BUMP
        return BrokenStudy(
            study_deployment(changes), "field", seed, self.bound, factor=self.factor
        )


_BUMP = [
    {"episode": BUMPED_AT_EPISODE - 1, "bias_m": [0.0, 0.0, 0.0], "bias_yaw_rad": 0.0},
    {"episode": BUMPED_AT_EPISODE, "bias_m": [-0.0048, 0.0036, 0.0], "bias_yaw_rad": -0.06},
]
# what a first attempt looks like: fast and strong, acting as it learns, from its first step on; no
# ensemble, LayerNorm, n-step returns, clipped targets, averaged actor, warm-up or cost of acting
_UNSTEADY = {
    "learner.prefill_steps": 100,
    "learner.prefill_successes": 0,
    "learner.agent.prefill_steps": 100,
    "learner.agent.warm_up_updates": 0,
    "learner.agent.learning_rate": 1e-3,
    "learner.agent.layer_norm": False,
    "learner.agent.n_step": 1,
    "learner.agent.critics": 2,
    "learner.agent.actor_std_weight": 0.0,
    "learner.agent.action_cost": 0.0,
    "learner.agent.ema_rate": 1.0,
    "learner.agent.target_low": -1000.0,
    "learner.agent.target_high": 1000.0,
}
PROFILES = {
    "natural": Profile(_UNSTEADY, bound=1.0),
    "scaled": Profile(factor=3.0),
    "negated": Profile(factor=-1.0),
    "bumped": Profile(bumped=True),
}


def first_past(trial: PairedTrial, shortfall: int) -> int | None:
    """Return after how many episodes the shortfall was first above a number."""
    return next((at for at, now in enumerate(trial.shortfall) if now > shortfall), None)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--profiles", nargs="+", choices=list(PROFILES), default=list(PROFILES))
    parser.add_argument("--seeds", nargs="+", type=int, default=SEEDS)
    parser.add_argument("--governor", nargs="+", choices=("on", "off"), default=("on", "off"))
    options = parser.parse_args()
    missed = []
    # the base alone does the same whatever the residual is
    twins: dict[tuple[int, bool], PairedTally] = {}
    for name in options.profiles:
        for governor in options.governor:
            governed = governor == "on"
            with_governor = EPISODES if name == "natural" else EPISODES_PLANTED
            episodes = with_governor if governed else EPISODES_OFF
            found: list[PairedTrial] = []
            for seed in options.seeds:
                study = PROFILES[name].study(seed)
                twin = twins.get((seed, PROFILES[name].bumped))
                found.append(
                    measure(study, STEPS_MAX, governed=governed, episodes=episodes, twin=twin)
                )
                twins[seed, PROFILES[name].bumped] = found[-1].alone
                past = first_past(found[-1], COLLAPSED)
                after = "" if past is None else f"; above {COLLAPSED} after {past} episodes"
                if PROFILES[name].factor != 1.0:
                    after += f"; {study.broken.acted} answers spoilt"
                    if not study.broken.acted:
                        missed.append(f"{name}, seed {seed}: nothing was planted")
                print(f"{name}, governor {governor}: {found[-1].line()}{after}", flush=True)
            if governed and any(trial.largest > SHORTFALL_MAX for trial in found):
                missed.append(f"{name}: a shortfall above {SHORTFALL_MAX} with the governor")
            collapsed = any(first_past(trial, COLLAPSED) is not None for trial in found)
            if name == "natural" and not governed and not collapsed:
                missed.append("natural: no collapse without the governor")
    print(f"{'NOT REACHED: ' + '; '.join(missed) if missed else 'reached'}\n{load_text()}")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
