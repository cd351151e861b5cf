"""What the learner does with recorded ticks, without sockets, files or a clock.

Ticks and events go in, in order; progress and candidates come out, in the order in which they are
to be sent. The same ticks and the same seed give the same learner, whatever the batches were.
"""

import math
from collections.abc import Iterator, Sequence

import msgspec
import numpy as np

from policies.experience import Dropped, Episode, Experience, PolicyStep, Rows, StepSeen
from policies.learner import checkpoint
from policies.learner.agent import Agent, Problem
from policies.learner.candidates import PARITY_ROWS, Label, Normaliser, Seen, candidate
from policies.learner.filling import acting_versions, replay_steps
from policies.learner.hearing import episodes_of_log, in_order
from policies.learner.prefill import Prefill
from policies.learner.replay import Pool
from policies.learner.rollbacks import KeptStates, Undone
from policies.learner.seen_range import SeenRange
from policies.learner.setup import Setup
from runtime.errors import LearnerError
from runtime.events import Event, EventKind
from runtime.gate_wire import Candidate, Progress
from runtime.messages import Outcome, SignalSource
from runtime.outcomes import KNOWN, Ruling, correction_of
from runtime.snapshot import encode_snapshot, interface_hash
from runtime.wire import Rollback

# between two signs of life the learner makes at most so many updates
UPDATES_PER_BOUT = 20
# on whose starts the critic is judged: as many as the force cost's share of successes is of
JUDGED_EPISODES = 20
# a ratio that is no number is too much, and messages carry numbers
_FAR_TOO_MUCH = 1e9
_HEARD = (EventKind.OUTCOME, EventKind.ROLLBACK)


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
        self._seen = SeenRange(self._experience.width)
        self._recent: list[PolicyStep] = []
        self._steps = 0
        self._begun_at = -1
        self._candidate_at = -1
        self._parent = 0
        self._trial = 0
        self._undone = Undone()
        self._rollbacks: list[tuple[Event, Rollback]] = []
        self._kept = KeptStates()
        self._critic_gap = 0.0
        self._update_ratio = 0.0
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

    def add_base_log(self, rows: Rows, events: Sequence[Event] = ()) -> None:
        """Take a whole earlier record of base episodes, before the first feed: the offline half.
        Outcomes are those known at its end, corrections among its events included."""
        log = Experience(self._setup.sizes, self._setup.contract.action, self._setup.residual.terms)
        self._offline += episodes_of_log(log, rows, events)

    def feed(self, rows: Rows, events: Sequence[Event] = ()) -> Iterator[Progress | Candidate]:
        """Take the next ticks and events, each in order; yield what is to be sent, in order.

        Raises:
            LearnerError: the weights are no longer finite; go back to the last checkpoint.
        """
        self._feeding = True
        for piece, said in in_order(rows, events, _HEARD):
            for news in self._experience.feed(piece):
                yield from self._take(news)
            if said is not None and said.kind is EventKind.OUTCOME:
                self._correct(said)
            elif said is not None:
                self._roll_back(said)
        self._feeding = False

    def rebuild(self, rows: Rows, events: Sequence[Event] = ()) -> None:
        """Take ticks and events in without learning, before `restore`."""
        self._learning = False
        for _ in self.feed(rows, events):
            pass
        self._learning = True

    def state(self) -> checkpoint.TrainerState:
        """Return a checkpoint; with the same records up to `position` learning goes on exactly.

        Raises:
            LearnerError: a feed is under way.
        """
        if self._feeding:
            raise LearnerError("a checkpoint in the middle of a feed; make it between two")
        saved = msgspec.msgpack.encode(
            checkpoint.SavedTrainer(
                version=checkpoint.STATE_VERSION,
                position=self.position,
                begun_at=self._begun_at,
                candidate_at=self._candidate_at,
                next_version=self.next_version,
                rollbacks=len(self._rollbacks),
                critic_gap=self._critic_gap,
                update_ratio=self._update_ratio,
                agent=self.agent.state(),
            )
        )
        return checkpoint.TrainerState(saved, dict(self._kept.saved))

    @staticmethod
    def saved_position(state: checkpoint.TrainerState) -> int:
        """Return the tick up to which `rebuild` must run before `restore(state)`.

        Raises:
            LearnerError: it is no checkpoint.
        """
        return checkpoint.read(state.trainer).position

    def restore(self, state: checkpoint.TrainerState) -> None:
        """Go on from a checkpoint, after `rebuild` up to its position.

        Raises:
            LearnerError: it is no checkpoint, or not one of these records.
        """
        saved = checkpoint.read(state.trainer)
        if saved.position != self.position or saved.begun_at != self._begun_at:
            raise LearnerError(
                f"the checkpoint was made at tick {saved.position}, learning since step "
                f"{saved.begun_at}; the records were rebuilt to tick {self.position}, learning "
                f"since {self._begun_at}. Rebuild from the run's own records, or start without it"
            )
        self.agent.restore(saved.agent)
        self._candidate_at, self.next_version = saved.candidate_at, saved.next_version
        self._critic_gap, self._update_ratio = saved.critic_gap, saved.update_ratio
        self._kept = KeptStates(dict(state.kept))
        # one that came right after the checkpoint was rebuilt with the records, without the agent
        for _, said in self._rollbacks[saved.rollbacks :]:
            self._return_to(said)

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
        self._see(episode, acting_versions(episode))
        for step in episode.steps:
            # what acted on the robot, and not what the gate said meanwhile: that comes at any time
            if step.version not in self._undone:
                self._parent = max(self._parent, step.version)
        if episode.guarded:
            self._guarded.add(episode.number)
        self._recent = [*self._recent, *episode.steps][-PARITY_ROWS:]
        if self.begun:
            self._add(episode)
        else:
            self._prefill.add(episode)

    def _see(self, episode: Episode, versions: tuple[int, ...]) -> None:
        self._seen.add(versions, np.array([step.features for step in episode.steps]))

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
            said = correction_of(event)
        except ValueError as error:
            self._notes.append(str(error))
            return
        if said is not None:
            self._take_ruling(self._experience.ledger.said(*said, SignalSource.OPERATOR))

    def _roll_back(self, event: Event) -> None:
        """Take down that an earlier snapshot is live again; learn no more from what was undone."""
        if any(event == before for before, _ in self._rollbacks):
            return
        try:
            said = msgspec.json.decode(event.text, type=Rollback)
        except msgspec.MsgspecError as error:
            self._notes.append(f"a rollback that nobody understands: {event.text!r}: {error}")
            return
        self._rollbacks.append((event, said))
        self._undone.go_back(said.version, said.undone)
        self._parent, self._trial = said.version, said.trial
        aside = self.agent.replay.set_aside(self._undone)
        note = f"snapshot {said.version} for {said.undone} ({said.why}): {aside} episodes set aside"
        self._notes.append(note)
        if self._learning:
            self._return_to(said)

    def _return_to(self, said: Rollback) -> None:
        """Let the agent be again what it was when what is live was made."""
        if not (said.version < said.undone):
            return
        self._critic_gap = self._update_ratio = 0.0
        kept = self._kept.go_back(said.version)
        if kept is not None:
            self.agent.go_back(kept[1])
            self._notes.append(f"learning goes on from where candidate {kept[0]} was made")
        elif self.begun:
            self.agent.begin_anew()
            self._notes.append("learning begins anew: nothing that old was kept")

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
            self._see(episode, ())
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
        replay.begin_episode(
            episode.number if number is None else number,
            offline=offline,
            versions=() if offline else acting_versions(episode),
        )
        for step in replay_steps(episode, features, self._setup.settings.stored):
            replay.add_step(step)
        outcome = episode.outcome if offline else self._outcome(episode)
        replay.end_episode(self._reward(outcome))
        replay.set_aside(self._undone)

    def _outcome(self, episode: Episode) -> Outcome:
        """Return what is known of an episode of this run by now."""
        ledger = self._experience.ledger
        return episode.outcome if episode.guarded else ledger.outcome(episode.number)

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
                if not len(self.agent.replay.ready(Pool.NONE)):
                    self.agent.waive(due)
                    break
                self.agent.update(min(due, UPDATES_PER_BOUT))
                yield self._progress(done)
            self._judge_critic()
            if self._candidate_due():
                yield self._candidate()
        text, self._notes = "; ".join(self._notes), []
        yield self._progress(self._steps, text)

    def _progress(self, steps: int, text: str = "") -> Progress:
        return Progress(steps, self.agent.updates, text, self._critic_gap, self._update_ratio)

    def _judge_critic(self) -> None:
        """Say how much more the critic surely promises than was achieved; 0 while nobody knows."""
        unit = self.agent.problem.success_reward or 1.0
        low = self.agent.calibration(JUDGED_EPISODES).low / unit
        self._critic_gap = low if math.isfinite(low) else 0.0

    def _candidate_due(self) -> bool:
        since = self._steps - self._candidate_at
        every = self._setup.settings.candidate_every_steps
        return self.agent.warm and (self._candidate_at < 0 or since >= every)

    def _candidate(self) -> Candidate:
        assert self._normaliser is not None
        self._candidate_at = self._steps
        version, self.next_version = self.next_version, self.next_version + 1
        seen = Seen(
            np.array([step.features for step in self._recent]),
            np.array([step.base for step in self._recent]),
            *self._seen.without(self._undone),
        )
        label = Label(version, self._parent, self._contract, self._steps)
        made = candidate(self.agent, self._normaliser, seen, label)
        self._kept.keep(version, self.agent.networks())
        if self._setup.settings.agent.update_guard is not None:
            ratio = made.constraint / made.constraint_max
            self._update_ratio = ratio if math.isfinite(ratio) else _FAR_TOO_MUCH
        return Candidate(encode_snapshot(made), self._steps, self._trial)
