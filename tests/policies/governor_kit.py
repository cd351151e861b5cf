"""Episodes for a governor, without a robot."""

from collections.abc import Iterator

import numpy as np

from policies.experience import Episode, PolicyStep, StepSeen
from policies.governor import Governor, Terms
from policies.governor_record import Earned
from runtime.gate_wire import Grant
from runtime.governor_spec import GovernorConfig
from runtime.messages import Outcome
from runtime.outcomes import Ruling

STEPS = 10
PRESSED_N = 80.0
CONFIG = GovernorConfig(
    observe_episodes=10,
    observe_most_episodes=30,
    base_share=0.1,
    base_share_known=0.02,
    base_known_episodes=50,
    loss_budget=4.0,
    careful_share=0.25,
    earn_episodes=20,
    shadow_episodes=2,
    noise_share=1.0,
    adaptive_noise_share=0.5,
    dwell_episodes=5,
    rollbacks_max=3,
)


def make_governor(
    *,
    learner: bool = True,
    earned: Earned | None = None,
    shadow_only: bool = False,
    config: GovernorConfig = CONFIG,
) -> Governor:
    return Governor(config, Terms(2, PRESSED_N, learner, shadow_only), earned)


def step(
    version: int, granted: float, force_n: float = 0.0, *, limited: bool = False
) -> PolicyStep:
    values = np.full(2, granted)
    return PolicyStep(
        features=np.zeros(3),
        base=np.zeros(2),
        granted=values,
        executed=values,
        force_n=force_n,
        limited=limited,
        noisy=False,
        version=version,
    )


class Robot:
    """Runs episodes for a governor, numbered from 1."""

    def __init__(self, governor: Governor) -> None:
        self.governor = governor
        self.count = 0

    def run(
        self, outcomes: str, *, own: bool = False, version: int = 0, force_n: float = 0.0
    ) -> None:
        """End an episode for each letter: `+` success, `-` failure, `?` unknown."""
        named = {"+": Outcome.SUCCESS, "-": Outcome.FAILURE, "?": Outcome.UNKNOWN}
        for letter in outcomes:
            self.count += 1
            self.governor.hear(StepSeen(self.count * STEPS))
            one = step(version, 0.5 if own else 0.0, force_n)
            outcome = named[letter]
            episode = Episode(self.count, (one,) * STEPS, np.zeros(3), outcome)
            self.governor.hear(episode)
            self.governor.hear(Ruling(self.count, outcome, changed=True))

    def correct(self, number: int, outcome: Outcome) -> None:
        self.governor.hear(Ruling(number, outcome, changed=True))


def letters(good: int, bad: int) -> Iterator[str]:
    """Yield so many successes and failures, spread."""
    total = good + bad
    for at in range(total):
        yield "+" if (at + 1) * good // total > at * good // total else "-"


def mixed(good: int, bad: int) -> str:
    return "".join(letters(good, bad))


def granted(robot: Robot) -> Grant:
    return robot.governor.grant(0.0, 0.0, learner_lost=False)


def exploring(
    base: str = mixed(5, 5), *, learner: bool = True, config: GovernorConfig = CONFIG
) -> Robot:
    """Return a robot whose base was measured and whose learner, if any, has taken that in."""
    robot = Robot(make_governor(learner=learner, config=config))
    robot.run(base)
    robot.governor.hear_progress(1000)
    return robot


def adaptive() -> Robot:
    """Return a robot whose residual has earned its authority with version 7."""
    robot = exploring()
    robot.governor.hear_live(7)
    robot.run("+" * 20, own=True, version=7)
    robot.run("+-")
    return robot
