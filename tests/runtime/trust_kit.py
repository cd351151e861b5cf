"""A governor that listens to rows written by hand, as the gate's office lets it."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from policies.experience import Dropped, Episode, Experience, Rows, StepSeen
from policies.governor import Governor, Terms
from policies.governor_record import Earned
from runtime.events import Event, EventKind
from runtime.faults import Fault
from runtime.gate_trust import Home, Trust
from runtime.gate_wire import Grant, Progress
from runtime.messages import Outcome
from runtime.outcomes import Ruling
from runtime.policy_contract import ActionSpec
from runtime.wire import Correction, Order, Rollback
from tests.policies.conftest import ACTION
from tests.policies.governor_kit import CONFIG, PRESSED_N
from tests.policies.record_script import SIZES, Script

LAG = 4
STEPS = 3
LIVE = 7
FELL = 1 << Fault.SUCCESS_FELL
PLACE, INTERFACE, RUN = "robot/field", "interface", "run-1"
EARNED = Earned(PLACE, INTERFACE, "digest-7", LIVE, (5, 5), (1, 5), 0.0, 0.0)
# a base that succeeds once in four, then five successes in a row: surely better
QUICK = {
    "observe_episodes": 4,
    "earn_episodes": 5,
    "shadow_episodes": 1,
    "dwell_episodes": 1,
    "base_share": 0.0,
}


def digest_of(version: int) -> str:
    """Return the digest of a version that passed: those up to 9."""
    return f"digest-{version}" if 0 < version < 10 else ""


def make_experience() -> Experience:
    action = ActionSpec.model_validate_json(json.dumps(ACTION), strict=True)
    return Experience(SIZES, action, ("goal_offset", "time_left"))


def make_trust(
    folder: Path,
    *,
    lag: int | None = LAG,
    learner: bool = True,
    earned: Earned | None = None,
    shadow_only: bool = False,
    live: int = 0,
) -> Trust:
    """Return a trust in a governor that decides quickly; `live`: what the lineage says."""
    terms = Terms(4, PRESSED_N, learner, shadow_only)
    governor = Governor(CONFIG.model_copy(update=QUICK), terms, earned)
    if live:
        governor.hear_live(live)
    return Trust(governor, make_experience(), Home(PLACE, INTERFACE, folder, RUN), lag, digest_of)


@dataclass
class Story(Script):
    """Also events, each after the row at which it was said."""

    events: list[Event] = field(default_factory=list)
    _told: int = 0
    _heard: int = 0

    def episodes(self, outcomes: str, *, own: bool = False, version: int = LIVE) -> None:
        """Add an episode for each letter (`+` success, `-` failure) and a tick's pause."""
        named = {"+": Outcome.SUCCESS, "-": Outcome.FAILURE, "?": Outcome.UNKNOWN}
        for letter in outcomes:
            self.run(STEPS, named[letter], residual=0.1 if own else 0.0, version=version)
            self.row()

    def say(self, said: Order | Correction | Rollback | str) -> None:
        """Let somebody say something at the last row."""
        kinds = {Order: EventKind.ORDER, Correction: EventKind.OUTCOME, str: EventKind.OUTCOME}
        kind = kinds.get(type(said), EventKind.ROLLBACK)
        text = said if isinstance(said, str) else msgspec.json.encode(said).decode()
        self.events.append(Event(self.tick, self.tick * 1000, kind, text))


    def news(self) -> tuple[Rows, list[Event]]:
        """Return the rows that nobody was given yet, and what was said in them."""
        rows, said = self.rows()[self._told :], self.events[self._heard :]
        self._told, self._heard = self.tick, len(self.events)
        return rows, said


def earn(story: Story) -> None:
    """Tell of a residual that earns its authority."""
    story.episodes("+---")
    story.episodes("+++++", own=True)
    story.episodes("-")


def adaptive(folder: Path, *, lag: int | None = None) -> tuple[Trust, Story]:
    """Return a trust whose residual has authority, and the story so far."""
    trust, story = make_trust(folder, lag=lag), Story()
    trust.promoted(LIVE, 0)
    earn(story)
    tell(trust, story)
    return trust, story


def granted(trust: Trust) -> Grant:
    return trust.grant(learner_lost=False)


def tell(trust: Trust, story: Story) -> None:
    """Let a trust hear what is new in a story, all of it."""
    trust.take(*story.news())
    trust.advance(None)


class Office:
    """Lets a trust hear batches, and the learner's progress, as the gate's office does. `promoted`:
    the version that passed at a policy step."""

    def __init__(self, trust: Trust, promoted: dict[int, int]) -> None:
        self.trust = trust
        self.granted: list[Grant] = []
        self._promoted = promoted
        self._said = 0

    def play(self, story: Story, cuts: Sequence[int], behind: Callable[[], int]) -> None:
        """Take a story in batches that end at `cuts`; the learner is `behind` batches late."""
        rows, events = story.rows(), story.events
        ends = [*sorted(set(cuts)), len(rows)]
        seen: list[int] = []
        first = 0
        for end in ends:
            self._take(rows, events, first, end)
            first = end
            seen.append(int(rows["base_sequence"][max(0, end - 1), 0]))
            late = behind()
            self._learn(seen[-1 - late] if late < len(seen) else 0)
        self._learn(seen[-1])

    def _take(self, rows: Rows, events: Sequence[Event], first: int, end: int) -> None:
        """A tick's events come after it: with it, or with the next batch."""
        last = int(rows["tick"][end - 1, 0]) if end else 0
        before = int(rows["tick"][first - 1, 0]) if first else 0
        some = [event for event in events if before <= event.tick < last]
        whole = end == len(rows)
        some += [event for event in events if whole and event.tick == last]
        self.trust.take(rows[first:end], some)

    def _learn(self, until: int) -> None:
        for step in range(self._said + 1, until + 1):
            self.trust.advance(step)
            if step in self._promoted:
                self.trust.promoted(self._promoted[step], step)
            self.trust.progress(Progress(step, 0))
            grants = list(self.trust.grants())
            # control may have taken all steps that the learner's last word allows: nothing that it
            # hears only now can hold earlier
            assert all(grant.at_step >= step + LAG for grant in grants)
            self.granted.extend(grants)
        self._said = max(self._said, until)


class Telling(Governor):
    """Also keeps in words what it hears."""

    def __init__(self) -> None:
        super().__init__(CONFIG, Terms(4, PRESSED_N, learner=True))
        self.told: list[str] = []

    def hear(self, news: StepSeen | Episode | Dropped | Ruling) -> None:
        if isinstance(news, StepSeen):
            self.told.append(f"step {news.number}")
        elif isinstance(news, Episode):
            self.told.append(f"episode {news.number}")
        super().hear(news)

    def hear_faults(self, active: int) -> None:
        self.told.append(f"faults {active}")
        super().hear_faults(active)
