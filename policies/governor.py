"""The way up: how a residual earns its authority, and what follows when it was taken away.

Pure: episodes, promotions, faults and orders go in, in the order of the record; `grant` says what
is granted then. The way down is in the tick (runtime/residual_watch.py), at once; the governor
hears of it from the record and decides what may be tried next.

OBSERVE measures the base alone. WARM waits until the learner has that, for its critic to start
from. EXPLORE lets the residual act and learn, inside a loss budget: the sum of (lower bound of the
base's success rate - outcome) over its episodes, never below zero. SHADOW computes it and moves
nothing. ADAPTIVE is what it earns.
"""

from dataclasses import dataclass

from policies.experience import Dropped, Episode, StepSeen
from policies.governor_record import (
    Course,
    Earned,
    Evidence,
    Return,
    Standing,
    limited_share,
    pressed_share,
    successes,
    tried,
)
from runtime.change_detector import Reference
from runtime.faults import Fault
from runtime.gate_wire import Beat, Grant, References
from runtime.governor_spec import GovernorConfig
from runtime.messages import Outcome, Stage
from runtime.outcomes import KNOWN, Ruling
from runtime.wire import Order, OrderKind

# what undoes snapshots; the other rows give authority back by themselves
UNDOING = (
    Fault.SUCCESS_FELL,
    Fault.SUCCESS_BELOW_BASE,
    Fault.RESIDUAL_LIMITED,
    Fault.RESIDUAL_PRESSES,
    Fault.CRITIC_MISJUDGES,
    Fault.UPDATE_GUARD_PASSED,
)
_ACTING = (Stage.EXPLORE, Stage.ADAPTIVE)
# the residual's share of the episodes falls once more, and then to nothing, at so many budgets
_HARDLY, _NOT_AT_ALL = 1.35, 1.6
_HARDLY_SHARE = 0.2
_SPENT = "it has lost too much against the base, which works alone until a person says resume"


@dataclass(frozen=True)
class Terms:
    """What a governor is made for. `actions`: how many an authority has; `pressed_n`: what presses;
    `learner`: whether one learns; `shadow_only`: nothing shall move the robot."""

    actions: int
    pressed_n: float
    learner: bool
    shadow_only: bool = False


class Governor:
    """Decides by the evidence of one run. `earned`: what the snapshot that the run begins with had
    earned in this place, None if nothing.
    """

    def __init__(
        self,
        config: GovernorConfig,
        terms: Terms,
        earned: Earned | None = None,
    ) -> None:
        self._config = config
        self._terms = terms
        self.course = Course(config)
        self._now = Standing(
            why=f"the base alone for {config.observe_episodes} episodes",
            held=self._held_anyway,
        )
        self._waiting: dict[int, Episode] = {}
        self._live = 0
        self._steps = self._learnt_steps = 0
        if earned is not None:
            self._take_up(earned)

    @property
    def _held_anyway(self) -> Stage | None:
        """The stage that the run's terms hold it in, whatever people say."""
        return Stage.SHADOW if self._terms.shadow_only else None

    @property
    def stage(self) -> Stage:
        """Where trust stands."""
        return self._now.stage

    @property
    def live(self) -> int:
        """The version that passed last, or that is live again; 0 for none."""
        return self._live

    @property
    def trial(self) -> int:
        """Raised whenever evidence begins anew."""
        return self._now.trial

    @property
    def why(self) -> str:
        """What moved the stage last."""
        return self._now.why

    @property
    def pinned(self) -> int:
        """The only version that a person allows; 0 for any."""
        return self._now.pinned

    @property
    def returning(self) -> Return | None:
        """What shall be live in the stead of what is; None if nothing."""
        return self._now.returning

    def evidence(self) -> Evidence:
        """Return all that was weighed so far, as `meet` takes it up; encode it at once, for it goes
        on changing."""
        course = self.course
        record = course.record.state if course.record is not None else None
        return Evidence(
            self._now, course.loss, course.careful, [*course.base], [*course.own], record
        )

    # -- what it hears ------------------------------------------------------------------------

    def meet(self, control: Beat, before: Evidence | None = None) -> None:
        """Begin beside a control, which may have worked with a gate that died: what that one undid
        or was told to pin still holds, and its evidence, `before`, goes on if it was written down.
        Before anything else is heard."""
        if before is not None:
            self._go_on(before, control)
        elif control.trial:
            # what was earned goes on, with what speaks against it; all else begins anew
            self._now.trial = control.trial + (self._now.stage is not Stage.ADAPTIVE)
        if control.pinned and control.pinned == self._live:
            self._now.pinned = control.pinned
        elif control.pinned and control.pinned != self._now.pinned:
            self.hear_order(Order(OrderKind.PIN, "a person", control.pinned))
        elif control.version > self._live and self._now.returning is None:
            why = f"{control.version} was undone before the restart"
            self._now.returning = Return(self._live, why)
            self._begin_anew(why)

    def hear(self, news: StepSeen | Episode | Dropped | Ruling) -> None:
        """Take what the record tells of episodes, in order."""
        if isinstance(news, StepSeen):
            self._steps = news.number
        elif isinstance(news, Episode):
            self._waiting[news.number] = news
            if len(self._waiting) > self._config.observe_most_episodes:
                # nobody says how they ended
                del self._waiting[next(iter(self._waiting))]
        elif isinstance(news, Ruling) and news.changed and news.outcome in KNOWN:
            self._rule(news.episode, news.outcome is Outcome.SUCCESS)

    def hear_live(self, version: int) -> None:
        """A snapshot passed the gate, or an earlier one is live again."""
        self._live = version
        if self._now.returning is not None and version == self._now.returning.version:
            self._now.returning = None
        if self._now.held is Stage.SHADOW:
            self._move(Stage.SHADOW, self._now.why)
        self._leave_warm()

    def hear_missing(self) -> None:
        """What was to be live again is not whole any more: nothing takes its place."""
        if self._now.returning is not None:
            self._now.returning = Return(0, self._now.returning.why)

    def hear_progress(self, steps: int) -> None:
        """The learner has taken in so many policy steps."""
        self._learnt_steps = steps
        self._leave_warm()

    def hear_faults(self, active: int) -> None:
        """Take the faults that act now, one bit each: those that have just begun count."""
        begun, self._now.faults = active & ~self._now.faults, active
        named = [fault.name for fault in UNDOING if begun >> fault & 1]
        if named and self._now.stage in _ACTING:
            self._undo(", ".join(named))

    def hear_order(self, order: Order) -> None:
        """Take a person's word; a version to pin must exist."""
        said = f"{order.who} says {order.kind.value}"
        if order.kind is OrderKind.RESUME:
            self._now.held = self._held_anyway
            self._now.pinned = self._now.undone = 0
            self._begin_anew(said)
        elif order.kind is OrderKind.PIN:
            self._now.pinned = order.version
            self._begin_anew(f"{said} {order.version}")
            if order.version != self._live or self._now.returning is not None:
                self._now.returning = Return(order.version, self._now.why)
        else:
            self._now.held = Stage.SHADOW if order.kind is OrderKind.SHADOW else Stage.OBSERVE
            self._move(self._now.held, said)

    # -- what it grants -----------------------------------------------------------------------

    def grant(self, critic_gap: float, update_ratio: float, *, learner_lost: bool) -> Grant:
        """Return what is granted now. The two numbers: see gate_wire.References."""
        config, stage = self._config, self._now.stage
        acts = stage in _ACTING and self._now.returning is None
        adaptive = stage is Stage.ADAPTIVE
        noise = config.adaptive_noise_share if adaptive else config.noise_share
        share = self._share()
        return Grant(
            stage=Stage.SHADOW if stage in _ACTING and not acts else stage,
            authority=[float(acts)] * self._terms.actions,
            learner_lost=learner_lost,
            share=share,
            noise_share=noise if self._terms.learner and not learner_lost else 0.0,
            trial=self._now.trial,
            references=self._references(critic_gap, update_ratio),
            learning=self._terms.learner and stage in _ACTING,
            why=self._now.why if share or not acts else _SPENT,
        )

    def earned(self, place: str, interface: str, digest: str) -> Earned | None:
        """Return what the live snapshot has earned here; None unless it is ADAPTIVE."""
        own, base = self._own_record(), self.course.base
        if own is None:
            return None
        return Earned(
            place=place,
            interface=interface,
            digest=digest,
            version=self._live,
            own=(own.successes, own.episodes),
            base=(successes(base), len(base)),
            base_limited=limited_share(base),
            base_pressed=pressed_share(base),
        )

    def _share(self) -> float:
        """Return the residual's share of the episodes."""
        config, course = self._config, self.course
        if not (course.loss <= _NOT_AT_ALL * config.loss_budget):
            return 0.0
        if not (course.loss <= _HARDLY * config.loss_budget):
            return _HARDLY_SHARE * config.careful_share
        if course.careful:
            return config.careful_share
        known = course.base_known
        return 1.0 - (config.base_share_known if known else config.base_share)

    def _own_record(self) -> Reference | None:
        """Return what the residual's success is held against: its own, while it is ADAPTIVE."""
        record = self.course.record
        return record.reference if record and self._now.stage is Stage.ADAPTIVE else None

    def _references(self, critic_gap: float, update_ratio: float) -> References:
        own, base = self._own_record(), self.course.base
        return References(
            own=(own.successes, own.episodes) if own else (0, 0),
            base=(successes(base), len(base)) if own else (0, 0),
            base_limited=limited_share(base),
            base_pressed=pressed_share(base),
            critic_gap=critic_gap,
            update_ratio=update_ratio,
        )

    # -- how it moves -------------------------------------------------------------------------

    def _rule(self, number: int, success: bool) -> None:
        episode = self._waiting.pop(number, None)
        if episode is None:
            self.course.correct(number, success)
            return
        one = tried(episode, success and not episode.guarded, self._terms.pressed_n)
        self.course.add(number, one)
        if self._now.stage is Stage.OBSERVE and self._now.held is None:
            self._observe()
        elif self._now.stage is Stage.SHADOW and self._now.held is None:
            self._wait()
        elif self._now.stage is Stage.EXPLORE and one.own and self.course.surely_better():
            count, quiet = self._config.earn_episodes, self._config.shadow_episodes
            self._shadow(quiet, f"{successes(self.course.own)} of its last {count} succeeded")
        elif self._now.stage is Stage.ADAPTIVE and one.own:
            self._vouch()

    def _observe(self) -> None:
        """Leave a base alone that always succeeds, or never."""
        config, base = self._config, self.course.base
        count, good = len(base), successes(base)
        if count < config.observe_episodes:
            return
        if 0 < good < count:
            self._now.warm_from = self._steps
            self._now.observed = True
            self._move(Stage.WARM, f"the base succeeds in {good} of {count}")
            self._leave_warm()
        elif count >= config.observe_most_episodes:
            # the same words for every further episode: they are news once
            most = config.observe_most_episodes
            self._now.why = (
                f"the base succeeds in all of its last {most}: it is left alone"
                if good
                else f"the base succeeds in none of its last {most}: there is nothing to decorate; "
                "train a better one, or look whether outcomes are told right"
            )

    def _leave_warm(self) -> None:
        """Explore once the learner has what was observed, or where there is a snapshot anyway."""
        learns = self._terms.learner and self._learnt_steps >= self._now.warm_from
        if self._now.stage is Stage.WARM and (learns or self._live):
            self._move(Stage.EXPLORE, self._now.why)

    def _wait(self) -> None:
        """Count down the episodes in which the residual moves nothing."""
        self._now.quiet -= 1
        if self._now.quiet > 0 or self._now.returning is not None:
            return
        if self.course.surely_better():
            self._adapt()
        elif self._now.observed:
            # by way of WARM: somebody may have said shadow before the learner had what it needs
            self._move(
                Stage.WARM, "authority is earned anew" if self._now.undone else "tried again"
            )
            self._leave_warm()
        else:
            self._move(Stage.OBSERVE, "the base was not yet seen to succeed and to fail")

    def _adapt(self) -> None:
        self._now.undone = 0
        self.course.earn()
        self._vouch()
        own = self.course.own
        base = self.course.base
        self._move(
            Stage.ADAPTIVE,
            f"{successes(own)} of {len(own)}, the base {successes(base)} of {len(base)}",
        )

    def _vouch(self) -> None:
        """Keep as good what acted half a window ago: what came of it has done well since."""
        own = self.course.own
        if self.course.surely_better():
            self._now.good = own[len(own) // 2].version

    def _undo(self, why: str) -> None:
        """The tick has dropped the residual: the last good snapshot may earn authority anew."""
        self._now.undone += 1
        good = self._now.good
        if good and good != self._live:
            self._now.returning = Return(good, why)
        self._begin_anew(why)
        if self._now.undone > self._config.rollbacks_max:
            self._now.held = Stage.SHADOW
            often = f"undone {self._now.undone} times and not earned since"
            self._now.why = f"{why}: {often}; a person decides"

    def _begin_anew(self, why: str) -> None:
        """Evidence begins anew, after some episodes of the base."""
        self._now.trial += 1
        self.course.begin_anew()
        if self._now.stage in (Stage.OBSERVE, Stage.WARM) and not self._live:
            self._now.why = why
        else:
            self._shadow(self._config.dwell_episodes, why)

    def _shadow(self, episodes: int, why: str) -> None:
        self._now.quiet = episodes
        self._move(Stage.SHADOW, why)
        if not episodes:
            self._wait()

    def _move(self, stage: Stage, why: str) -> None:
        self._now.stage, self._now.why = stage, why

    def _go_on(self, before: Evidence, control: Beat) -> None:
        """Go on where the gate was that died in this run."""
        self._now = before.standing
        self.course = Course(self._config)
        self.course.go_on(before)
        now = self._now
        if now.returning is not None and now.returning.version == control.version == self._live:
            now.returning = None
        if now.trial < control.trial:
            # it had granted more than it wrote down
            now.trial = control.trial
            self._begin_anew("the gate died over what was new")

    def _take_up(self, earned: Earned) -> None:
        """Go on where this snapshot was when it last ran here."""
        self._live = self._now.good = earned.version
        self._now.observed = True
        self.course.take_up(earned)
        why = f"snapshot {earned.version} has a record in this place"
        self._move(self._now.held or Stage.ADAPTIVE, why)
