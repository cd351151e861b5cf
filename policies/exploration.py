"""When the residual takes part and when it is disturbed to explore: drawn per episode or segment.

Only the noise itself is drawn at every policy step; whether there is any, and whether the residual
takes part at all, never changes inside an episode's segment: switching at every step jerks. What
the gate grants counts from the next episode on: one that is half the base's is nobody's evidence.
"""

import math

import numpy as np

from runtime.gate_wire import Grant
from runtime.layout import Floats
from runtime.messages import Stage, TickRecord
from runtime.residual_spec import ExplorationConfig
from runtime.snapshot import Float32s

_LOG_SPREAD_MIN, _LOG_SPREAD_MAX = -5.0, 1.0


def limited(value: Floats | Float32s, low: float, high: float, out: Floats) -> None:
    """Write `value` inside [low, high] into `out`; NaN stays NaN. np.clip takes three times as
    long for a few numbers."""
    np.minimum(value, high, out=out)
    np.maximum(out, low, out=out)


class Exploration:
    """Draws from a generator of its own; `seed`: None takes one from the operating system.

    `takes_part` and `noisy` speak of the segment and episode that `look` saw last.
    """

    def __init__(self, config: ExplorationConfig, actions: int, seed: int | None) -> None:
        self._config = config
        self._rng = np.random.default_rng(seed)
        self._draw: Floats = np.zeros(actions)
        self._spread: Floats = np.zeros(actions)
        self._noise: Floats = np.zeros(actions)
        self._kept = config.noise_correlation
        self._fresh = math.sqrt(1.0 - self._kept**2)
        self._noise_begins = True
        self._episode = -1
        self._segment = -1
        self._clean = False
        self._grown = 1.0
        self._belongs = False
        self.takes_part = False
        self.steps = 0

    @property
    def noisy(self) -> bool:
        """True when this episode is disturbed and the budget is not used up."""
        spent = self.steps >= self._config.budget_steps
        return self.takes_part and not (self._clean or spent)

    def look(self, record: TickRecord, grant: Grant) -> None:
        """See which episode and segment a record belongs to; draw where a new one begins.

        `grant`: what the gate grants now; of an episode its first step decides. So many of the
        episodes as it leaves to the base are the base's alone, in all their segments.
        """
        episode = record.episode.item()
        length = self._config.segment_steps
        segment = record.episode_step.item() // length if length else 0
        begins = episode != self._episode
        if begins:
            self._begin(episode, grant)
        if begins or segment != self._segment:
            draw = self._rng.random()
            if begins:
                self._belongs = draw < grant.share
            likely = self._grown * grant.share if begins else self._grown
            self.takes_part = self._belongs and draw < likely
        self._episode, self._segment = episode, segment

    def _begin(self, episode: int, grant: Grant) -> None:
        """Draw whether an episode is disturbed; work out in how many segments of an episode of its
        own the residual takes part by now. What has been learnt has no such schedule any more."""
        config = self._config
        self._noise_begins = True
        self._clean = self._rng.random() < 1.0 - (1.0 - config.clean_share) * grant.noise_share
        horizon = config.horizon_episodes if grant.stage is Stage.EXPLORE else 0
        self._grown = min(episode / horizon, 1.0) if horizon else 1.0

    def disturbed(self, latent: Float32s | None, log_spread: Float32s | None) -> Floats:
        """Return one noisy action [action] in units of the bound, before any limit; reused.

        `latent`, `log_spread`: the actor's mean before tanh and the log of its spread; None where
        version 0 acts, whose noise has the config's spread.
        """
        self.steps += 1
        draw = self._next_noise()
        if latent is None or log_spread is None:
            draw *= self._config.prefill_noise_std
            return draw
        spread = self._spread
        limited(log_spread, _LOG_SPREAD_MIN, _LOG_SPREAD_MAX, spread)
        np.exp(spread, out=spread)
        draw *= spread
        draw += latent
        np.tanh(draw, out=draw)
        return draw

    def _next_noise(self) -> Floats:
        """Return standard normal noise, correlated with that of the step before: a first-order
        autoregression, whose spread is the same at every step; reused."""
        draw, noise = self._draw, self._noise
        self._rng.standard_normal(out=draw)
        if self._noise_begins:
            self._noise_begins = False
        else:
            draw *= self._fresh
            noise *= self._kept
            draw += noise
        noise[:] = draw
        return draw
