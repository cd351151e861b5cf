"""What the learner learns from: a ring of policy steps, grouped by episode, with n-step targets.

An episode enters sampling when it has ended and its outcome is known; a correction rewrites its
rewards and returns in place. Plain numpy: rebuilt from the same steps it is the same, bit for bit.
"""

from collections.abc import Container
from dataclasses import dataclass, field
from enum import IntEnum
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from runtime.errors import LearnerError

Float32s = NDArray[np.float32]
Indices = NDArray[np.int64]


class Source(IntEnum):
    """What moved the robot in a step."""

    BASE = 0
    RESIDUAL = 1
    EXPLORING = 2


class Pool(IntEnum):
    """Which half of a mixed batch an episode belongs to; NONE is in no batch."""

    NONE = 0
    ONLINE = 1
    OFFLINE = 2


@dataclass(frozen=True, slots=True)
class Step:
    """One policy step. `observation` and `next_observation` [n] are normalised; `base_action` and
    `next_base_action` [d] are in action units; `residual` [d] is what was executed, in units of the
    contract's bound, so in [-1, 1]; `reward` is without the episode's outcome; `force_n` is the
    contact force of the step.
    """

    observation: Float32s
    base_action: Float32s
    residual: Float32s
    next_observation: Float32s
    next_base_action: Float32s
    reward: float = 0.0
    force_n: float = 0.0
    source: Source = Source.BASE


@dataclass(frozen=True, slots=True)
class ForceCost:
    """cost * clip((force - free_n) / range_n, 0, 1) is taken from a step's reward, times a scale in
    [0, 1] that only ever rises (reference study: .05, 40 N, 80 N).
    """

    cost: float = 0.05
    free_n: float = 40.0
    range_n: float = 80.0

    def of(self, force_n: Float32s) -> Float32s:
        """Return the cost at scale 1, shape of `force_n`."""
        share = np.clip((force_n - self.free_n) / self.range_n, 0.0, 1.0)
        cost: Float32s = np.float32(self.cost) * share
        return cost


@dataclass(frozen=True, slots=True)
class Columns:
    """Where the parts of a sampled row lie: o, b, u, n-step reward, discount of the bootstrap value
    (0 where the window ends the task), o' and b' after the window, return to go G.
    """

    observation: int
    action: int

    @property
    def width(self) -> int:
        """Numbers in a row."""
        return 2 * self.observation + 3 * self.action + 3

    @property
    def widths(self) -> tuple[int, ...]:
        """Width of each part, in order."""
        n, d = self.observation, self.action
        return (n, d, d, 1, 1, n, d, 1)


@dataclass(slots=True)
class _Episode:
    start: int
    offline: bool
    length: int = 0
    outcome_reward: float | None = None
    terminal: bool = True
    ended: bool = False
    versions: tuple[int, ...] = ()
    acted: bool = False
    aside: bool = False


@dataclass(slots=True)
class Replay:
    """A preallocated ring of `capacity` steps; the oldest episodes make room, whole.

    `discount` is per policy step, `n_step` the longest window of a target; a window never crosses
    the end of its episode.
    """

    columns: Columns
    capacity: int
    discount: float
    n_step: int
    force_cost: ForceCost = field(default_factory=ForceCost)
    force_scale: float = field(default=0.0, init=False)
    _rows: Float32s = field(init=False)
    _steps: Float32s = field(init=False)
    _sources: NDArray[np.uint8] = field(init=False)
    _pools: NDArray[np.uint8] = field(init=False)
    _ready: dict[Pool, Indices] = field(init=False)
    _episodes: dict[int, _Episode] = field(default_factory=dict, init=False)
    _open: int | None = field(default=None, init=False)
    _cursor: int = field(default=0, init=False)
    _latest: tuple[int, Float32s] = field(init=False)
    _stale: bool = field(default=True, init=False)

    def __post_init__(self) -> None:
        n, d = self.columns.observation, self.columns.action
        self._rows = np.zeros((self.capacity, self.columns.width), dtype=np.float32)
        # next observation and base action of the step itself, its reward and its force
        self._steps = np.zeros((self.capacity, n + d + 2), dtype=np.float32)
        self._sources = np.zeros(self.capacity, dtype=np.uint8)
        self._pools = np.zeros(self.capacity, dtype=np.uint8)
        self._ready = {}
        self._latest = (-1, self._rows[:0])

    def begin_episode(
        self, episode: int, *, offline: bool = False, versions: tuple[int, ...] = ()
    ) -> None:
        """Open an episode; `offline` puts it into the base's half of mixed batches; `versions`:
        the snapshots that act in it.

        Raises:
            LearnerError: another is open, or this number was used before.
        """
        if self._open is not None:
            raise LearnerError(
                f"episode {episode} begins while {self._open} is open; end that one first"
            )
        if episode in self._episodes:
            raise LearnerError(f"episode {episode} is in the replay already; numbers are unique")
        self._episodes[episode] = _Episode(self._cursor, offline, versions=versions)
        self._open = episode

    def add_step(self, step: Step) -> None:
        """Add the next step of the open episode.

        Raises:
            LearnerError: none is open, a number is not finite, the residual is beyond its bound,
                a size is wrong, or the episode alone would fill the ring.
        """
        episode = self._opened()
        n, d = self.columns.observation, self.columns.action
        row, rest = self._rows[self._cursor], self._steps[self._cursor]
        values = np.concatenate((
            step.observation, step.base_action, step.residual,
            step.next_observation, step.next_base_action, (step.reward, step.force_n),
        ))  # fmt: skip
        if not (len(values) == 2 * n + 3 * d + 2 and np.isfinite(values).all()):
            raise LearnerError(
                f"a step of {len(values)} numbers, {np.isfinite(values).sum()} of them finite; "
                f"allowed: {2 * n + 3 * d + 2}, all finite. The step was left out"
            )
        if not (np.abs(step.residual).max(initial=0.0) <= 1.0 + 1e-5):
            raise LearnerError(
                f"executed residual {step.residual.tolist()}; allowed is -1 to 1, in units of the "
                "contract's bound. The step was left out"
            )
        if not (episode.length < self.capacity - 1):
            raise LearnerError(
                f"an episode of more than {self.capacity - 1} steps; raise the replay's capacity"
            )
        self._make_room()
        row[: n + 2 * d] = values[: n + 2 * d]
        rest[:] = values[n + 2 * d :]
        self._sources[self._cursor] = step.source
        episode.length += 1
        episode.acted |= step.source is not Source.BASE
        self._cursor = (self._cursor + 1) % self.capacity

    def end_episode(self, outcome_reward: float | None, *, terminal: bool = True) -> None:
        """Close the open episode. The outcome's reward is added to the last step's; None is an
        outcome that is not known (yet). `terminal` False lets targets bootstrap past the end, as
        the papers' conventions do for a time limit.
        """
        episode = self._opened()
        number, self._open = self._open, None
        episode.ended, episode.terminal = True, terminal
        assert number is not None
        if episode.length == 0:
            del self._episodes[number]
            return
        self.correct(number, outcome_reward)

    def correct(self, episode: int, outcome_reward: float | None) -> bool:
        """Set an ended episode's outcome, late or again; None takes it out of sampling.

        Returns False where the episode is no longer (or was never) in the ring.

        Raises:
            LearnerError: the episode still runs, or the reward is not finite.
        """
        known = self._episodes.get(episode)
        if known is None:
            return False
        if not known.ended:
            raise LearnerError(f"episode {episode} still runs; its outcome comes with its end")
        if outcome_reward is not None and not np.isfinite(outcome_reward):
            raise LearnerError(
                f"outcome reward {outcome_reward} of episode {episode}; allowed is a finite number "
                "or None for unknown"
            )
        known.outcome_reward = outcome_reward
        self._materialise(known)
        return True

    def set_aside(self, undone: Container[int]) -> int:
        """Take the episodes in which an undone version acted out of sampling, and those back in
        that were out for it and need not be. Returns how many ended ones are out now.
        """
        ended = [episode for episode in self._episodes.values() if episode.ended]
        for episode in ended:
            aside = any(version in undone for version in episode.versions)
            if aside != episode.aside:
                episode.aside = aside
                self._materialise(episode)
        return sum(episode.aside for episode in ended)

    def raise_force_scale(self, scale: float) -> None:
        """Raise the force cost's scale to `scale`, in [0, 1], and rewrite all rewards; a lower
        value than before is ignored.
        """
        if not (0.0 <= scale <= 1.0):
            raise LearnerError(f"force scale {scale}; allowed is 0 to 1")
        if scale > self.force_scale:
            self.force_scale = scale
            for episode in self._episodes.values():
                if episode.ended:
                    self._materialise(episode)

    def sample(
        self,
        count: int,
        rng: np.random.Generator,
        offline_share: float | None = None,
        *,
        batches: int = 1,
    ) -> Float32s:
        """Return rows as in `Columns`, [batches, count, width], drawn with replacement.

        `offline_share` None draws evenly from all; else that share of each batch comes from
        offline episodes and the rest from online ones, all from one kind where the other is empty.

        Raises:
            LearnerError: nothing can be sampled yet.
        """
        online, offline = self.ready(Pool.ONLINE), self.ready(Pool.OFFLINE)
        total = len(online) + len(offline)
        if total == 0:
            raise LearnerError("no episode with a known outcome yet; wait with learning")
        if offline_share is None:
            picks = self.ready(Pool.NONE)[rng.integers(total, size=(batches, count))]
        else:
            share = 1.0 if len(online) == 0 else 0.0 if len(offline) == 0 else offline_share
            split = round(count * share)
            picks = np.empty((batches, count), dtype=np.int64)
            if split > 0:
                picks[:, :split] = offline[rng.integers(len(offline), size=(batches, split))]
            if split < count:
                chosen = rng.integers(len(online), size=(batches, count - split))
                picks[:, split:] = online[chosen]
        return self._rows[picks]

    def latest(self, count: int) -> Float32s:
        """Return up to `count` of the newest online rows that can be sampled, oldest first."""
        if self._stale or self._latest[0] != count:
            rows = self.ready(Pool.ONLINE)
            age = (self._cursor - 1 - rows) % self.capacity
            self._latest = (count, self._rows[rows[np.argsort(age)[:count]][::-1]])
        return self._latest[1]

    def ready(self, pool: Pool) -> Indices:
        """Return the ring's rows that can be sampled of one pool; of both for NONE."""
        if self._stale:
            self._ready = {
                Pool.NONE: np.flatnonzero(self._pools != Pool.NONE),
                Pool.ONLINE: np.flatnonzero(self._pools == Pool.ONLINE),
                Pool.OFFLINE: np.flatnonzero(self._pools == Pool.OFFLINE),
            }
            self._latest = (-1, self._rows[:0])
            self._stale = False
        return self._ready[pool]

    def starts(self, count: int, *, offline: bool = False, acted: bool = False) -> Float32s:
        """Return the first rows of the newest `count` sampled episodes of a kind, oldest first;
        `acted`: only of those in which a residual acted."""
        known = (
            episode.start
            for episode in reversed(self._episodes.values())
            if _sampled(episode) and episode.offline == offline and (episode.acted or not acted)
        )
        return self._rows[list(islice(known, count))[::-1]]

    def outcomes(self, count: int) -> list[float]:
        """Return the outcome rewards of the newest `count` online episodes that are sampled."""
        known = (
            episode.outcome_reward
            for episode in reversed(self._episodes.values())
            if _sampled(episode) and not episode.offline and episode.outcome_reward is not None
        )
        return list(islice(known, count))[::-1]

    def _opened(self) -> _Episode:
        if self._open is None:
            raise LearnerError("no episode is open; begin one before its steps and its end")
        return self._episodes[self._open]

    def _make_room(self) -> None:
        """Drop the episode whose row comes next: the oldest, for rows are handed out in turn."""
        for number, episode in self._episodes.items():
            if number == self._open:
                return
            if (self._cursor - episode.start) % self.capacity < episode.length:
                self._pools[self._indices(episode)] = Pool.NONE
                self._stale = True
                del self._episodes[number]
            return

    def _indices(self, episode: _Episode) -> Indices:
        return (episode.start + np.arange(episode.length)) % self.capacity

    def _materialise(self, episode: _Episode) -> None:
        """Write n-step reward, discount, next state and G of an ended episode into its rows."""
        rows = self._indices(episode)
        self._stale = True
        if episode.outcome_reward is None or episode.aside:
            self._pools[rows] = Pool.NONE
            return
        self._pools[rows] = Pool.OFFLINE if episode.offline else Pool.ONLINE
        n, d, length = self.columns.observation, self.columns.action, episode.length
        rewards = self._steps[rows, -2] - self.force_scale * self.force_cost.of(
            self._steps[rows, -1]
        )
        rewards[-1] += episode.outcome_reward
        window = np.minimum(self.n_step, length - np.arange(length))
        summed = np.zeros(length)
        for k in range(min(self.n_step, length)):
            summed[: length - k] += self.discount**k * rewards[k:]
        ends = (np.arange(length) + window == length) & episode.terminal
        first = n + 2 * d
        self._rows[rows, first] = summed
        self._rows[rows, first + 1] = np.where(ends, 0.0, self.discount**window)
        self._rows[rows, first + 2 : -1] = self._steps[rows[np.arange(length) + window - 1], :-2]
        self._rows[rows, -1] = returns_to_go(rewards, self.discount)


def _sampled(episode: _Episode) -> bool:
    return episode.ended and episode.outcome_reward is not None and not episode.aside


def returns_to_go(rewards: Float32s, discount: float) -> Float32s:
    """Return G_t = r_t + discount * G_{t+1} of one episode, 0 after its end; as `rewards`."""
    returns = np.empty(len(rewards), dtype=np.float32)
    ahead = 0.0
    for t in range(len(rewards) - 1, -1, -1):
        ahead = float(rewards[t]) + discount * ahead
        returns[t] = ahead
    return returns
