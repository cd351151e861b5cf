"""What the governor has counted: the base's episodes, the residual's, and what they cost."""

from collections import deque
from collections.abc import Collection, Iterable

import msgspec
from scipy.stats import binomtest

from policies.experience import Episode
from runtime.change_detector import OwnRecord, OwnRecordState, Reference
from runtime.governor_spec import GovernorConfig
from runtime.messages import Stage

# how many ended episodes can still be corrected
_REMEMBERED = 1000
# one end of each interval, with a tenth of all cases beyond it: both at once in about one of 25
_CONFIDENCE = 0.8
# an episode of an earlier run stands for so many policy steps
_STEPS = 1000


class Earned(msgspec.Struct, frozen=True):
    """What a snapshot had earned in a place: kept over restarts, and worth nothing elsewhere.

    `place`: robot and field; `digest`, `interface`: of the snapshot and of what it was made for.
    `own`, `base`: (successes, episodes). `base_limited`, `base_pressed`: shares of policy steps.
    """

    place: str
    interface: str
    digest: str
    version: int
    own: tuple[int, int]
    base: tuple[int, int]
    base_limited: float
    base_pressed: float


class Tried(msgspec.Struct):
    """One ended episode. `own`: the residual had a part in it, if only its noise; `version`: the
    newest snapshot that acted. `number`: of the episode; 0: it was of an earlier run. `guarded`: a
    guard took over in it, so it is a failure whatever is said of it later."""

    number: int
    own: bool
    version: int
    success: bool
    steps: int
    limited: int
    pressed: int
    guarded: bool = False


class Return(msgspec.Struct, frozen=True):
    """A version that shall be live again in the stead of what is, and why."""

    version: int
    why: str


class Standing(msgspec.Struct):
    """Where a governor stands. `why`: what moved the stage last. `trial` is raised whenever
    evidence begins anew. `good`: the version that has done well so far; `quiet`: how many episodes
    the residual still has to move nothing; `warm_from`: the learner's policy step that WARM waits
    for; `undone`: how often since authority was earned; `faults`: those that act, one bit each;
    `observed`: the base was seen to succeed and to fail; `held`: the stage that a person, or too
    many returns, hold it in; `pinned`: the only version allowed, 0 for any; `returning`: what shall
    be live in the stead of what is."""

    why: str
    stage: Stage = Stage.OBSERVE
    trial: int = 1
    good: int = 0
    quiet: int = 0
    warm_from: int = 0
    undone: int = 0
    faults: int = 0
    observed: bool = False
    held: Stage | None = None
    pinned: int = 0
    returning: Return | None = None


class Evidence(msgspec.Struct, frozen=True):
    """What a governor has weighed in one run: kept for the case that its process dies. `loss`,
    `careful`, `base`, `own`, `record`: see Course."""

    standing: Standing
    loss: float
    careful: bool
    base: list[Tried]
    own: list[Tried]
    record: OwnRecordState | None


def tried(episode: Episode, success: bool, pressed_n: float) -> Tried:
    """Count an episode. It is the residual's if it changed any of its actions."""
    own = any(step.granted.any() for step in episode.steps)
    return Tried(
        number=episode.number,
        own=own,
        version=max(step.version for step in episode.steps),
        success=success,
        steps=len(episode.steps),
        limited=sum(step.limited for step in episode.steps),
        pressed=sum(not (step.force_n <= pressed_n) for step in episode.steps),
        guarded=episode.guarded,
    )


def successes(entries: Iterable[Tried]) -> int:
    """Return how many succeeded."""
    return sum(one.success for one in entries)


def pressed_share(entries: Iterable[Tried]) -> float:
    """Return the share of policy steps that pressed; 0 without any."""
    return _of_steps([(one.pressed, one.steps) for one in entries])


def limited_share(entries: Iterable[Tried]) -> float:
    """Return the share of policy steps in which the envelope acted; 0 without any."""
    return _of_steps([(one.limited, one.steps) for one in entries])


def _of_steps(counts: Collection[tuple[int, int]]) -> float:
    return sum(some for some, _ in counts) / max(1, sum(steps for _, steps in counts))


def _interval(entries: Collection[Tried]) -> tuple[float, float]:
    """Return Wilson's score interval of the share of successes (Wilson 1927)."""
    found = binomtest(successes(entries), len(entries))
    interval = found.proportion_ci(_CONFIDENCE, method="wilson")
    return float(interval.low), float(interval.high)


class Course:
    """Episodes in order. `base`: the last of the base's; `own`: the last of the residual's, at
    most as many as it is judged by; `loss`: what it has surely lost against the base, net, in
    episodes.
    """

    def __init__(self, config: GovernorConfig) -> None:
        self._config = config
        self.base: deque[Tried] = deque(
            maxlen=max(config.base_known_episodes, config.observe_most_episodes)
        )
        self.own: deque[Tried] = deque(maxlen=config.earn_episodes)
        self.loss = 0.0
        self.careful = False
        self.record: OwnRecord | None = None
        self._by_number: dict[int, Tried] = {}

    def add(self, number: int, one: Tried) -> None:
        """Count an episode whose outcome is known."""
        self._by_number[number] = one
        if len(self._by_number) > _REMEMBERED:
            del self._by_number[next(iter(self._by_number))]
        if not one.own:
            self.base.append(one)
            return
        self.own.append(one)
        self._lose(self.base_floor - one.success)
        if self.record:
            self.record.add(one.success)

    def correct(self, number: int, success: bool) -> None:
        """Somebody says otherwise of an ended episode, which may be none that was counted.

        The own record, which is counted far behind, keeps what was said first."""
        one = self._by_number.get(number)
        if one is None:
            return
        success = success and not one.guarded
        if one.success is not success:
            one.success = success
            if one.own:
                self._lose(-1.0 if success else 1.0)

    @property
    def base_floor(self) -> float:
        """The lower bound of the base's success rate (change_detector.Reference): what is lost for
        sure. After ten episodes the share itself may be a fifth too high, and each fifth would be
        held against a residual that has only begun to learn."""
        return Reference(successes(self.base), len(self.base)).floor()

    @property
    def base_known(self) -> bool:
        """Whether the base was measured often enough."""
        return len(self.base) >= self._config.base_known_episodes

    def surely_better(self) -> bool:
        """Whether the residual's last episodes surely succeed more often than the base's, and
        press no more: the lower end of the one interval lies above the upper end of the other."""
        if len(self.own) < self._config.earn_episodes or not self.base:
            return False
        if self.own[0].number < self.base[0].number:
            # they are from before all that is known of the base: the place may have changed
            return False
        (low, _), (_, high) = _interval(self.own), _interval(self.base)
        return low > high and pressed_share(self.own) <= pressed_share(self.base)

    def earn(self) -> None:
        """From now on the residual has a record of its own, begun with the last episodes."""
        self.record = OwnRecord(Reference(successes(self.own), len(self.own)))

    def take_up(self, earned: Earned) -> None:
        """Go on with what was counted in an earlier run."""
        good, count = earned.base
        limited, pressed = (
            round(share * _STEPS) for share in (earned.base_limited, earned.base_pressed)
        )
        self.base.extend(
            Tried(0, False, 0, at < good, _STEPS, limited, pressed) for at in range(count)
        )
        self.record = OwnRecord(Reference(*earned.own))

    def go_on(self, before: Evidence) -> None:
        """Begin with what was counted before in this run."""
        self.loss, self.careful = before.loss, before.careful
        self.base.extend(before.base)
        self.own.extend(before.own)
        self._by_number = {one.number: one for one in (*before.base, *before.own) if one.number}
        if before.record:
            record = OwnRecord(Reference(before.record.successes, before.record.episodes))
            record.state.recent = before.record.recent
            self.record = record

    def begin_anew(self) -> None:
        """Forget what speaks for or against the residual, and all but the base's last episodes:
        the place may have changed. It begins carefully, its budget spent."""
        self.own.clear()
        self.record = None
        self.base = deque([*self.base][-self._config.observe_episodes :], self.base.maxlen)
        self.loss, self.careful = self._config.loss_budget, True

    def _lose(self, episodes: float) -> None:
        budget = self._config.loss_budget
        self.loss = max(0.0, self.loss + episodes)
        if not (self.loss <= budget):
            self.careful = True
        elif self.loss < 0.5 * budget:
            self.careful = False
