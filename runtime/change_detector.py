"""Whether success has fallen below a reference: two detectors of it run inside the tick.

Pure. For each `share` of the reference's success that may be left, a bet against "success is no
lower than the reference" grows with every failure and shrinks with every success; a new bet opens
with every episode. Their sum divided by the number of shares is a Shiryaev-Roberts e-detector
(Shin, Ramdas and Rinaldo 2023, arXiv 2203.03532): while the reference holds its mean is at most the
number of episodes, so that it takes at least c episodes on average to reach c.

The reference is itself a count of episodes. The bets are against its lower confidence bound, which
is above the true rate in at most the share DOUBT of all references, and c is the wanted distance
between false alarms divided by 1 - DOUBT: the mean over all references is then at least the wanted
distance. The point estimate of ten episodes in its place would break that promise. The proof asks
for a reference that stays as it is; for one that grows the promise is measured
(tests/benchmarks/detectors.py).
"""

import math

import msgspec

# What is left of the reference's success, from a collapse to a small drop.
SHARES = (0.3, 0.5, 0.7, 0.8, 0.9, 0.95)
# More doubt alarms earlier for a short reference, but leaves the mean to fewer of the references.
DOUBT = 0.3
# The normal quantile of a doubt of a quarter: the interval is an approximation, and where it errs
# most (31 episodes at a rate of .96) its bound is above the truth in .283 of the references.
DOUBT_Z = 0.6744897501960817
# How far an own record stays behind. A shorter distance takes a slow fall for the usual rate.
BEHIND_EPISODES = 50

_MOST_EPISODES = 10**9


class Reference(msgspec.Struct, frozen=True):
    """What success is compared with: so many `successes` in so many `episodes`.

    Raises ValueError unless 0 <= successes <= episodes <= 1e9.
    """

    successes: int
    episodes: int

    def __post_init__(self) -> None:
        if not (0 <= self.successes <= self.episodes <= _MOST_EPISODES):
            raise ValueError(
                f"a reference of {self.successes} successes in {self.episodes} episodes; allowed "
                f"are 0 to as many successes as episodes, and at most {_MOST_EPISODES:.0e} of "
                "them; count both from the same episodes"
            )

    def floor(self) -> float:
        """Return the lower bound of its success rate, below 1; 0 without any success.

        Wilson's score interval with continuity correction, one end, at DOUBT_Z
        (Newcombe 1998, Statistics in Medicine 17, method 4).
        """
        successes, count, z = self.successes, self.episodes, DOUBT_Z
        if not successes:
            return 0.0
        room = 4.0 * successes * (count - successes + 1) / count
        reach = z * math.sqrt(z * z - 2.0 - 1.0 / count + room)
        return (2.0 * successes + z * z - 1.0 - reach) / (2.0 * (count + z * z))


class DetectorState(msgspec.Struct):
    """`bets`: what the bets on each of SHARES are worth together. `alarm`: it was raised."""

    bets: list[float]
    alarm: bool = False


class ChangeDetector:
    """Raises an alarm when success has fallen below a reference, and keeps it up until a reset.

    `false_alarm_episodes`: mean number of healthy episodes between two false alarms, at least.
    Raises ValueError unless it is in [1, 1e9].
    """

    def __init__(self, false_alarm_episodes: float) -> None:
        if not (1.0 <= false_alarm_episodes <= _MOST_EPISODES):
            raise ValueError(
                f"{false_alarm_episodes} healthy episodes between two false alarms; allowed are "
                f"1 to {_MOST_EPISODES:.0e}; a false alarm every few hundred episodes is usual"
            )
        self._alarm_at = false_alarm_episodes / (1.0 - DOUBT)
        self.reset()

    def reset(self) -> None:
        """Forget all episodes and lower the alarm."""
        self.state = DetectorState([0.0] * len(SHARES))

    def update(self, success: bool, reference: Reference) -> bool:
        """Judge one more episode and return whether the alarm is up.

        The reference may differ from the one before, but must not count this episode. One without
        any success can be fallen below by nobody: then the episode is passed over.
        """
        state, floor = self.state, reference.floor()
        if state.alarm or not floor:
            return state.alarm
        # the likelihood of the outcome at success share * floor, against that at floor
        for i, share in enumerate(SHARES):
            gain = share if success else (1.0 - share * floor) / (1.0 - floor)
            state.bets[i] = (state.bets[i] + 1.0) * gain
        state.alarm = self._worth() >= self._alarm_at
        return state.alarm

    @property
    def evidence(self) -> float:
        """How near the alarm is, on a logarithmic scale from 0 (nothing) to 1 (it is up)."""
        if self.state.alarm:
            return 1.0
        return math.log(max(self._worth(), 1.0)) / math.log(self._alarm_at)

    def _worth(self) -> float:
        return sum(self.state.bets) / len(SHARES)


class OwnRecordState(msgspec.Struct):
    """Counted episodes, and the `recent` ones that are not counted yet, oldest first."""

    successes: int
    episodes: int
    recent: list[bool] = msgspec.field(default_factory=list)


class OwnRecord:
    """A record that goes on growing while it is the reference, BEHIND_EPISODES behind.

    Behind, because what has just fallen must not pull down what it is compared with.
    """

    def __init__(self, earned: Reference) -> None:
        self.state = OwnRecordState(earned.successes, earned.episodes)

    @property
    def reference(self) -> Reference:
        """The episodes counted so far."""
        return Reference(self.state.successes, self.state.episodes)

    def add(self, success: bool) -> None:
        """Take note of one more episode; the one BEHIND_EPISODES before it is counted."""
        state = self.state
        state.recent.append(success)
        if len(state.recent) > BEHIND_EPISODES:
            state.successes += state.recent.pop(0)
            state.episodes += 1

    def forget_recent(self) -> None:
        """Drop what is not counted yet: after an alarm those episodes are not the usual rate."""
        self.state.recent = []
