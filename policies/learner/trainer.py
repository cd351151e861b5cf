"""What the learner does with recorded ticks, without sockets, files or a clock.

Ticks and events go in, in order; progress and candidates come out, in the order in which they are
to be sent. The same ticks and the same seed give the same learner, whatever the batches were.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import msgspec
import numpy as np

from policies.experience import Dropped, Episode, Experience, PolicyStep, Rows, StepSeen
from policies.learner.agent import Agent, Problem
from policies.learner.candidates import PARITY_ROWS, Label, Normaliser, Seen, candidate
from policies.learner.prefill import Prefill
from policies.learner.replay import Source, Step
from policies.learner.trainer_settings import TrainerSettings
from policies.outcomes import KNOWN, Ruling
from runtime.config import Config, parse, parse_yaml
from runtime.errors import LearnerError
from runtime.gate_wire import Candidate, Progress
from runtime.layout import Floats
from runtime.messages import Event, EventKind, Outcome, SignalSource, Sizes
from runtime.policy_contract import PolicyContract
from runtime.record_format import RecordHeader
from runtime.residual_spec import GateConfig, ResidualConfig
from runtime.snapshot import interface_hash
from runtime.wire import Correction

STATE_VERSION = 1
# between two signs of life the learner makes at most so many updates
UPDATES_PER_BOUT = 20


@dataclass(frozen=True)
class Setup:
    """What a trainer is made for; `of` reads it from a record's header.

    Raises:
        LearnerError: in lockstep robot and learner would wait for each other.
    """

    sizes: Sizes
    contract: PolicyContract
    residual: ResidualConfig
    gate: GateConfig
    settings: TrainerSettings

    def __post_init__(self) -> None:
        every, lag = self.settings.update_every_steps, self.gate.lockstep_lag_steps
        if not (every <= lag):
            raise LearnerError(
                f"learner.update_every_steps {every} is above gate.lockstep_lag_steps {lag}: in "
                "lockstep the robot would wait for a learner that waits for the robot; make it "
                "at most that"
            )

    @classmethod
    def of(cls, header: RecordHeader) -> "Setup":
        """Return the setup of the run that a header describes.

        Raises:
            ConfigError: its config or contract cannot be used.
            LearnerError: the run has no residual or no gate.
        """
        config = parse(
            Config, parse_yaml(header.config, "the record's config"), "the record's config"
        )
        if config.residual is None or config.gate is None:
            raise LearnerError(
                "the record's config lacks the block `residual` or `gate`, so there is nothing to "
                "learn; add both and record again"
            )
        contract = parse(PolicyContract, json.loads(header.contract), "the record's contract")
        settings = parse(TrainerSettings, config.learner or {}, "learner")
        return cls(header.sizes(), contract, config.residual, config.gate, settings)


class SavedTrainer(msgspec.Struct, frozen=True):
    """A checkpoint: everything of a Trainer but what the records hold. `position`: the last tick
    taken in; `begun_at`, `candidate_at`: the policy steps at which the prefill ended and the last
    candidate was made, -1 before."""

    version: int
    position: int
    begun_at: int
    candidate_at: int
    next_version: int
    agent: bytes


class Trainer:
    """Learns a residual from the ticks of one run.

    `position`: last tick taken in. `next_version`: the version that the next candidate gets.
    """

    def __init__(self, setup: Setup) -> None:
        self._setup = setup
        settings = setup.settings
        action = setup.contract.action
        self._experience = Experience(setup.sizes, action, setup.residual.terms)
        problem = Problem(
            observation=self._experience.width,
            bound=action.residual_bound,
            discount=setup.contract.reward.discount,
            success_reward=setup.contract.reward.success,
        )
        self.agent = Agent(problem, settings.agent)
        self.next_version = 1
        self._contract = interface_hash(setup.contract, setup.residual)
        self._normaliser: Normaliser | None = None
        self._prefill = Prefill(settings)
        self._offline: list[Episode] = []
        self._guarded: set[int] = set()
        self._low: Floats = np.full(self._experience.width, np.inf)
        self._high: Floats = -self._low
        self._recent: list[PolicyStep] = []
        self._steps = 0
        self._begun_at = -1
        self._candidate_at = -1
        self._parent = 0
        self._notes: list[str] = []
        self._learning = True
        self._feeding = False

    @property
    def position(self) -> int:
        """The last tick taken in."""
        return self._experience.position

    @property
    def experience(self) -> Experience:
        """Where episodes and outcomes come from, with their counts."""
        return self._experience

    @property
    def begun(self) -> bool:
        """True once the prefill is over."""
        return self._normaliser is not None

    def add_base_log(self, rows: Rows) -> None:
        """Take an earlier record of base episodes, before the first feed: the offline half."""
        log = Experience(self._setup.sizes, self._setup.contract.action, self._setup.residual.terms)
        self._offline.extend(news for news in log.feed(rows) if isinstance(news, Episode))

    def feed(self, rows: Rows, events: Sequence[Event] = ()) -> Iterator[Progress | Candidate]:
        """Take the next ticks and events, each in order; yield what is to be sent, in order.

        Raises:
            LearnerError: the weights are no longer finite; go back to the last checkpoint.
        """
        self._feeding = True
        for piece, said in _in_order(rows, events):
            for news in self._experience.feed(piece):
                yield from self._take(news)
            if said is not None:
                self._correct(said)
        self._feeding = False

    def rebuild(self, rows: Rows, events: Sequence[Event] = ()) -> None:
        """Take ticks and events in without learning, before `restore`."""
        self._learning = False
        for _ in self.feed(rows, events):
            pass
        self._learning = True

    def state(self) -> bytes:
        """Return a checkpoint; with the same records up to `position` learning goes on exactly.

        Raises:
            LearnerError: a feed is under way.
        """
        if self._feeding:
            raise LearnerError("a checkpoint in the middle of a feed; make it between two")
        return msgspec.msgpack.encode(
            SavedTrainer(
                version=STATE_VERSION,
                position=self.position,
                begun_at=self._begun_at,
                candidate_at=self._candidate_at,
                next_version=self.next_version,
                agent=self.agent.state(),
            )
        )

    @staticmethod
    def saved_position(data: bytes) -> int:
        """Return the tick up to which `rebuild` must run before `restore(data)`.

        Raises:
            LearnerError: it is no checkpoint.
        """
        return _saved(data).position

    def restore(self, data: bytes) -> None:
        """Go on from a checkpoint, after `rebuild` up to its position.

        Raises:
            LearnerError: it is no checkpoint, or not one of these records.
        """
        saved = _saved(data)
        if saved.position != self.position or saved.begun_at != self._begun_at:
            raise LearnerError(
                f"the checkpoint was made at tick {saved.position}, learning since step "
                f"{saved.begun_at}; the records were rebuilt to tick {self.position}, learning "
                f"since {self._begun_at}. Rebuild from the run's own records, or start without it"
            )
        self.agent.restore(saved.agent)
        self._candidate_at, self.next_version = saved.candidate_at, saved.next_version

    # -- what the records tell ----------------------------------------------------------------

    def _take(self, news: StepSeen | Episode | Dropped | Ruling) -> Iterator[Progress | Candidate]:
        if isinstance(news, StepSeen):
            self._steps = news.number
            if self._steps % self._setup.settings.update_every_steps == 0:
                yield from self._learn()
        elif isinstance(news, Episode):
            self._take_episode(news)
        elif isinstance(news, Dropped):
            self._notes.append(f"episode {news.number} was left out: {news.reason}")
        else:
            self._take_ruling(news)

    def _take_episode(self, episode: Episode) -> None:
        for step in episode.steps:
            np.minimum(self._low, step.features, out=self._low)
            np.maximum(self._high, step.features, out=self._high)
            # what acted on the robot, and not what the gate said meanwhile: that comes at any time
            self._parent = max(self._parent, step.version)
        if episode.guarded:
            self._guarded.add(episode.number)
        self._recent = [*self._recent, *episode.steps][-PARITY_ROWS:]
        if self.begun:
            self._add(episode)
        else:
            self._prefill.add(episode)

    def _take_ruling(self, ruling: Ruling) -> None:
        if ruling.note:
            self._notes.append(ruling.note)
        if not ruling.changed or ruling.episode in self._guarded:
            return
        if self.begun:
            self.agent.replay.correct(ruling.episode, self._reward(ruling.outcome))
        else:
            self._begin_if_due()

    def _correct(self, event: Event) -> None:
        try:
            said = msgspec.json.decode(event.text, type=Correction)
            outcome = Outcome[said.outcome]
        except (msgspec.MsgspecError, KeyError) as error:
            self._notes.append(f"a correction that nobody understands: {event.text!r}: {error}")
            return
        self._take_ruling(
            self._experience.ledger.said(said.episode, outcome, SignalSource.OPERATOR)
        )

    def _begin_if_due(self) -> None:
        """End the prefill once there is enough to learn from."""
        prefill = self._prefill
        outcomes = [self._outcome(episode) for episode in prefill.episodes]
        if not prefill.is_over(self._steps, outcomes):
            complaint = prefill.complaint(self._steps, outcomes)
            self._notes += [complaint] * bool(complaint)
            return
        waiting = prefill.take()
        known = [*self._offline, *waiting]
        raw = np.array([step.features for episode in known for step in episode.steps])
        by_terms = self._setup.settings.normaliser == "terms"
        self._normaliser = (
            Normaliser.of_terms(self._experience.scale) if by_terms else Normaliser.of(raw)
        )
        self._begun_at = self._steps
        for number, episode in enumerate(self._offline, start=1):
            # numbers of the run count from 1; those of the log before it are negative
            self._add(episode, number=-number, offline=True)
        for episode in waiting:
            self._add(episode)
        self._offline.clear()

    def _add(self, episode: Episode, *, number: int | None = None, offline: bool = False) -> None:
        normaliser, replay = self._normaliser, self.agent.replay
        assert normaliser is not None
        features = normaliser(
            np.array([*(step.features for step in episode.steps), episode.last_features])
        )
        # the step after the last is never taken: its base action is bootstrapped on by nobody
        following = (*episode.steps[1:], episode.steps[-1])
        replay.begin_episode(episode.number if number is None else number, offline=offline)
        for step, after, (here, there) in zip(
            episode.steps, following, pairwise(features), strict=True
        ):
            replay.add_step(
                Step(
                    observation=here,
                    base_action=step.base.astype(np.float32),
                    residual=self._stored(step).astype(np.float32),
                    next_observation=there,
                    next_base_action=after.base.astype(np.float32),
                    force_n=step.force_n,
                    source=_source(step),
                )
            )
        outcome = episode.outcome if offline else self._outcome(episode)
        replay.end_episode(self._reward(outcome))

    def _outcome(self, episode: Episode) -> Outcome:
        """Return what is known of an episode of this run by now."""
        ledger = self._experience.ledger
        return episode.outcome if episode.guarded else ledger.outcome(episode.number)

    def _stored(self, step: PolicyStep) -> Floats:
        return step.executed if self._setup.settings.stored == "executed" else step.granted

    def _reward(self, outcome: Outcome) -> float | None:
        """Return the contract's reward of an outcome, None while it is not known."""
        if outcome not in KNOWN:
            return None
        reward = self._setup.contract.reward
        return reward.success if outcome is Outcome.SUCCESS else reward.failure

    # -- learning -----------------------------------------------------------------------------

    def _learn(self) -> Iterator[Progress | Candidate]:
        """Make the updates that are due, then offer what is due, then say how far it is."""
        if self.begun and self._learning:
            done = self._steps - self._setup.settings.update_every_steps
            while due := self.agent.due(self._steps - self._begun_at):
                self.agent.update(min(due, UPDATES_PER_BOUT))
                yield Progress(done, self.agent.updates)
            if self._candidate_due():
                yield self._candidate()
        text, self._notes = "; ".join(self._notes), []
        yield Progress(self._steps, self.agent.updates, text)

    def _candidate_due(self) -> bool:
        since = self._steps - self._candidate_at
        return self._candidate_at < 0 or since >= self._setup.settings.candidate_every_steps

    def _candidate(self) -> Candidate:
        assert self._normaliser is not None
        self._candidate_at = self._steps
        version, self.next_version = self.next_version, self.next_version + 1
        seen = Seen(
            np.array([step.features for step in self._recent]),
            np.array([step.base for step in self._recent]),
            self._low,
            self._high,
        )
        label = Label(version, self._parent, self._contract, self._steps)
        return Candidate(candidate(self.agent, self._normaliser, seen, label), self._steps)


def _source(step: PolicyStep) -> Source:
    if step.noisy:
        return Source.EXPLORING
    return Source.RESIDUAL if step.version and step.granted.any() else Source.BASE


def _saved(data: bytes) -> SavedTrainer:
    try:
        saved = msgspec.msgpack.decode(data, type=SavedTrainer)
    except msgspec.MsgspecError as error:
        raise LearnerError(f"{len(data)} bytes are no trainer's checkpoint: {error}") from None
    if saved.version != STATE_VERSION:
        raise LearnerError(
            f"checkpoint version {saved.version}; this trainer reads {STATE_VERSION}. Start "
            "without it: the records hold the rest"
        )
    return saved


def _in_order(rows: Rows, events: Sequence[Event]) -> Iterator[tuple[Rows, Event | None]]:
    """Cut the rows where somebody corrects an outcome: the same order whatever the batches."""
    ticks = rows["tick"][:, 0]
    begin = 0
    for event in events:
        if event.kind is EventKind.OUTCOME:
            end = int(np.searchsorted(ticks, event.tick, side="right"))
            yield rows[begin:end], event
            begin = max(begin, end)
    yield rows[begin:], None
