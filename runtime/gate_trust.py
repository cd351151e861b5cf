"""The governor at work: what it hears of the record, from which policy step on its grants hold, and
what was earned, on disk.

In lockstep it hears no more of the record than the learner has taken in, and what it grants after
policy step m holds from step m + lag on, so that a seed means the same everywhere.
"""

import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from policies.experience import Experience, StepSeen
from policies.governor import Governor
from policies.governor_record import Earned, Evidence, Return
from policies.lineage import Kept, write_whole
from runtime.events import Event, EventKind
from runtime.gate_wire import Beat, Grant, Progress
from runtime.messages import SignalSource
from runtime.outcomes import correction_of
from runtime.wire import Order, OrderKind, Rollback

EARNED, EVIDENCE = "earned.json", "evidence.json"
_HEARD = (EventKind.ORDER, EventKind.ROLLBACK, EventKind.OUTCOME)
_REMEMBERED = 32

Rows = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Home:
    """Whose evidence it is. `place`: robot and field; `interface`: hash of base, contract and
    terms; `folder`: where what was earned is kept; `run`: whose record."""

    place: str
    interface: str
    folder: Path
    run: str


def earned_before(home: Home, kept: Kept | None) -> Earned | None:
    """Return what a snapshot had earned in this place when it last ran, if it is the very one."""
    if kept is None:
        return None
    try:
        earned = msgspec.json.decode((home.folder / EARNED).read_bytes(), type=Earned)
    except (OSError, msgspec.MsgspecError):
        return None
    ours = (home.place, home.interface, kept.snapshot.digest)
    return earned if (earned.place, earned.interface, earned.digest) == ours else None


class _Diary(msgspec.Struct, frozen=True):
    """What the gate of a run had weighed; worth nothing in another."""

    run: str
    evidence: Evidence


def _evidence_before(home: Home) -> Evidence | None:
    """Return what a gate of this very run had weighed when it died."""
    try:
        diary = msgspec.json.decode((home.folder / EVIDENCE).read_bytes(), type=_Diary)
    except (OSError, ValueError):
        return None
    return diary.evidence if diary.run == home.run else None


class Trust:
    """Feeds a governor and says what it grants.

    `lag_steps`: in lockstep; None: a grant holds at once. `digest_of` names a version's snapshot,
    empty where the lineage has none. `said` holds sentences for the record.
    """

    def __init__(
        self,
        governor: Governor,
        experience: Experience,
        home: Home,
        lag_steps: int | None,
        digest_of: Callable[[int], str],
    ) -> None:
        self.governor = governor
        self.said: deque[str] = deque()
        self._experience = experience
        self._home = home
        self._lag_steps = lag_steps
        self._digest_of = digest_of
        self._heard: deque[tuple[int, Callable[[], None]]] = deque()
        self._steps = 0
        self._faults = 0
        self._rolled = 0
        self._trial = governor.trial
        self._numbers = (0.0, 0.0)
        self._grants: deque[Grant] = deque()
        self._asked = self._ask(0, learner_lost=False)
        self._saved: Earned | None = None
        self._diary = b""
        # of a feed that filled a gap from files, an event may come twice
        self._orders: deque[Event] = deque(maxlen=_REMEMBERED)

    # -- what comes in ------------------------------------------------------------------------

    def take(self, rows: Rows, events: Sequence[Event]) -> None:
        """Take the next ticks and the events among them, in order; they are heard by `advance`."""
        for piece, after in _cut(rows, events, self._faults):
            for news in self._experience.feed(piece):
                if isinstance(news, StepSeen):
                    self._steps = news.number
                self._later(partial(self.governor.hear, news))
            if isinstance(after, Event):
                self._take_event(after)
            elif after is not None:
                self._faults = after
                self._later(partial(self.governor.hear_faults, after))

    def meet(self, control: Beat) -> None:
        """Take the first word of control, before anything else is taken in or granted."""
        if not self._digest_of(control.pinned):
            control = msgspec.structs.replace(control, pinned=0)
        self._rolled = control.rolled
        # only a control that was granted something has had a gate before
        self.governor.meet(control, _evidence_before(self._home) if control.trial else None)
        if self.governor.trial == control.trial:
            self._trial = control.trial
        self._look(control.steps)

    def advance(self, steps: int | None) -> None:
        """Let the governor hear what is known for certain once policy step `steps` begins, None:
        all that came in."""
        while self._heard and (steps is None or self._heard[0][0] <= steps):
            at, hear = self._heard.popleft()
            hear()
            self._look(at)

    def promoted(self, version: int, steps: int) -> None:
        """A candidate that was made at policy step `steps` passed."""
        self.governor.hear_live(version)
        self._look(steps)

    def progress(self, said: Progress) -> None:
        """The learner has come so far."""
        self._numbers = (said.critic_gap, said.update_ratio)
        self.governor.hear_progress(said.steps)
        self._look(said.steps)

    # -- what goes out ------------------------------------------------------------------------

    def grants(self) -> Iterator[Grant]:
        """Yield what is newly granted, each once, in order."""
        while self._grants:
            yield self._grants.popleft()

    def grant(self, *, learner_lost: bool) -> Grant:
        """Return the newest grant, as a beat."""
        if learner_lost != self._asked.learner_lost:
            self._asked = self._ask(self._asked.at_step, learner_lost=learner_lost)
        return self._asked

    def due_return(self) -> Return | None:
        """Return, once for each trial, what shall be live again."""
        asked = self.governor.returning
        if asked is None or self._rolled == self.governor.trial:
            return None
        self._rolled = self.governor.trial
        return asked

    def not_found(self, asked: Return) -> None:
        """What was to be live again is not whole any more: version 0 takes its place."""
        self.governor.hear_missing()
        self.said.append(
            f"version {asked.version} is not whole in {self._home.folder}: the base works alone "
            "until something newer passes"
        )

    def objection(self, trial: int) -> str:
        """Return why a candidate that was learnt in `trial` cannot be promoted now."""
        if self.governor.pinned:
            return f"pin: a person allows version {self.governor.pinned} only"
        if trial < self._rolled:
            return "rollback: it was learnt from what was undone since"
        return ""

    def keep(self) -> None:
        """Write down what was weighed, and what the live snapshot has earned, if that is news."""
        diary = msgspec.json.encode(_Diary(self._home.run, self.governor.evidence()))
        if diary != self._diary:
            self._diary = diary
            self._write(EVIDENCE, diary)
        version = self.governor.live
        earned = self.governor.earned(
            self._home.place, self._home.interface, self._digest_of(version)
        )
        if earned is None or earned == self._saved:
            return
        self._saved = earned
        self._write(EARNED, msgspec.json.encode(earned))

    def _write(self, name: str, data: bytes) -> None:
        try:
            write_whole(self._home.folder / name, data)
        except OSError as error:
            sys.stderr.write(
                f"gate: {name} cannot be written to {self._home.folder}: {error.strerror}; after "
                "a restart authority must be earned again\n"
            )

    def _forget(self) -> None:
        """Evidence begins anew: a gate that dies now must not find what was earned before."""
        self._saved = None
        try:
            (self._home.folder / EARNED).unlink(missing_ok=True)
        except OSError as error:
            sys.stderr.write(
                f"gate: {EARNED} cannot be removed from {self._home.folder}: {error.strerror}; "
                "remove it, or a restart gives authority by evidence that counts no more\n"
            )

    def _look(self, steps: int) -> None:
        """See whether what was heard at a policy step changed the grant."""
        at_step = 0 if self._lag_steps is None else steps + self._lag_steps
        asked = self._ask(at_step, learner_lost=self._asked.learner_lost)
        if asked.trial != self._trial:
            self._trial = asked.trial
            self._forget()
        if msgspec.structs.replace(asked, at_step=self._asked.at_step) != self._asked:
            self._asked = asked
            self._grants.append(asked)

    def _ask(self, at_step: int, *, learner_lost: bool) -> Grant:
        grant = self.governor.grant(*self._numbers, learner_lost=learner_lost)
        return msgspec.structs.replace(grant, at_step=at_step)

    # -- events -------------------------------------------------------------------------------

    def _later(self, hear: Callable[[], None]) -> None:
        # all of a policy step is known when the next begins
        self._heard.append((self._steps + 1, hear))

    def _take_event(self, event: Event) -> None:
        if event.kind is EventKind.OUTCOME:
            self._correct(event)
            return
        if event in self._orders:
            return
        self._orders.append(event)
        if event.kind is EventKind.ROLLBACK:
            rolled = msgspec.json.decode(event.text, type=Rollback)
            self._later(partial(self.governor.hear_live, rolled.version))
        else:
            order = msgspec.json.decode(event.text, type=Order)
            self._later(partial(self._obey, order))

    def _correct(self, event: Event) -> None:
        try:
            found = correction_of(event)
        except ValueError:
            # the learner says so
            return
        if found is not None:
            ruling = self._experience.ledger.said(*found, SignalSource.OPERATOR)
            self._later(partial(self.governor.hear, ruling))

    def _obey(self, order: Order) -> None:
        if order.kind is OrderKind.PIN and not self._digest_of(order.version):
            self.said.append(
                f"pin {order.version} ({order.who}): no such version is in the lineage, so "
                "nothing changes; `trimtab residual history` lists those that passed"
            )
            return
        self.governor.hear_order(order)


def _cut(
    rows: Rows, events: Sequence[Event], faults: int
) -> Iterator[tuple[Rows, Event | int | None]]:
    """Cut the rows where somebody says something, or where the active faults change from `faults`
    on (then with the new mask): the same order whatever the batches were."""
    ticks, masks = rows["tick"][:, 0], rows["faults"][:, 0]
    before = np.concatenate(([faults], masks[:-1]))
    # the events of a tick come after it, and so after its faults
    marks: list[tuple[int, Event | int]] = [
        *((int(at) + 1, int(masks[at])) for at in np.flatnonzero(masks != before)),
        *(
            (int(np.searchsorted(ticks, event.tick, side="right")), event)
            for event in events
            if event.kind in _HEARD
        ),
    ]
    marks.sort(key=lambda mark: mark[0])
    ends = [0, *(end for end, _ in marks), len(rows)]
    afters: list[Event | int | None] = [*(after for _, after in marks), None]
    for (begin, end), after in zip(pairwise(ends), afters, strict=True):
        yield rows[begin:end], after
