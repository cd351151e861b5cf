"""The gate's office: takes in candidates in order, has them judged, grants, offers and keeps books.

What the learner says is handled strictly in its order: progress is passed on only after the verdict
on the candidates before it, so that in lockstep control knows every offer that it has to wait for.
"""

import hashlib
import time
from collections import OrderedDict, deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import msgspec
import zmq

from policies.gate import Gate, Judged
from policies.gate_window import RecentPast
from policies.governor_record import Return
from policies.lineage import Kept, Lineage
from runtime.clock import seconds_to_ns
from runtime.feed import FeedReader
from runtime.gate_books import Books
from runtime.gate_line import Line
from runtime.gate_trust import Trust
from runtime.gate_wire import (
    Beat,
    Candidate,
    FromControl,
    FromLearner,
    Offer,
    Progress,
    Taken,
    Verdict,
    from_control,
    from_learner,
)
from runtime.record_format import RecorderPlace
from runtime.snapshot import Snapshot

_BEAT_S = 0.1
_MOST_AT_ONCE = 50
_WAITING_MAX = 64
_REMEMBERED = 256
_FEED_WAIT_S = 2.0
_POLL_MS = 50
_POLL_BUSY_MS = 5


@dataclass(frozen=True)
class OfficeSettings:
    """`run`: whose record it is. `actions`: how many an authority has. `learner`: whether one is
    expected. `lag_steps`: after how many policy steps an offer goes live in lockstep; None: this is
    real time, where it goes live at once and is judged on the latest evidence.
    `message_bytes_max`: of what the learner sends."""

    run: str
    actions: int
    learner: bool
    lost_after_s: float
    lag_steps: int | None
    message_bytes_max: int


@dataclass(frozen=True)
class _Task:
    """A candidate that is being judged."""

    candidate: Candidate
    key: bytes
    future: "Future[Judged]"


class GateOffice:
    """Serves control and learner until told to end."""

    def __init__(
        self,
        settings: OfficeSettings,
        place: RecorderPlace,
        feed: FeedReader,
        past: RecentPast,
        gate: Gate,
        lineage: Lineage,
        trust: Trust,
    ) -> None:
        self._settings = settings
        self._trust = trust
        # in lockstep the governor hears no more than the learner has taken in
        self._paced = settings.learner and settings.lag_steps is not None
        self._feed = feed
        self._past = past
        self._gate = gate
        self._lineage = lineage
        self._books = Books(settings.run, lineage)
        self._context = zmq.Context()
        self._control: Line[FromControl] = Line(self._context, place.gate_endpoint, from_control)
        self._learner: Line[FromLearner] = Line(
            self._context, place.learner_endpoint, from_learner, settings.message_bytes_max
        )
        self._queue: deque[Candidate | Progress] = deque()
        self._task: _Task | None = None
        self._waited_since_s: float | None = None
        self._verdicts: OrderedDict[bytes, Verdict] = OrderedDict()
        self._before: dict[int, Snapshot | None] = {}
        self._offered: dict[int, int] = {}
        self._kept: Kept | None = lineage.last_good()
        self._gate.promote(self._kept.snapshot if self._kept else None)
        self._learner_heard_ns = 0
        self._control_version = 0
        self._progress = Progress(0, 0)
        self._crowded = 0
        self._said: dict[str, int] = {}
        self._beat_s = 0.0
        # a control that worked before knows what this gate must go on from; see Trust.meet
        self._met = False
        self._ended = False

    def end(self) -> None:
        """Leave `run`. Safe in signal handlers."""
        self._ended = True

    def run(self) -> None:
        """Serve until the end."""
        poller = zmq.Poller()
        for socket in (self._control.socket, self._learner.socket, self._feed.socket):
            poller.register(socket, zmq.POLLIN)
        with ThreadPoolExecutor(1) as worker:
            while not self._ended:
                poller.poll(_POLL_BUSY_MS if self._busy else _POLL_MS)
                self._listen()
                if self._met:
                    self._let_out()
                    self._work(worker)
                    self._do_what_is_due()
        self._control.close()
        self._learner.close()
        self._context.term()

    @property
    def _busy(self) -> bool:
        return self._task is not None or bool(self._queue)

    # -- what comes in ------------------------------------------------------------------------

    def _listen(self) -> None:
        for batch in self._feed.read(0.0):
            self._past.take(batch.raw, batch.rows, batch.events)
            self._trust.take(batch.rows, batch.events)
        if self._met and (not self._paced or self._learner_lost):
            self._trust.advance(None)
        for message in self._control.received(_MOST_AT_ONCE):
            if isinstance(message, Beat):
                self._hear_control(message)
            else:
                self._hear_taken(message)
        for told in self._learner.received(_MOST_AT_ONCE):
            self._learner_heard_ns = time.monotonic_ns()
            if not isinstance(told, Beat):
                self._enqueue(told)

    def _enqueue(self, message: Candidate | Progress) -> None:
        """Queue what the learner said; one that floods us only hurts itself."""
        last = self._queue[-1] if self._queue else None
        if last is not None and self._stands_for(last, message):
            self._queue[-1] = message
        elif len(self._queue) < _WAITING_MAX:
            self._queue.append(message)
        else:
            self._crowded += 1

    def _stands_for(self, last: Candidate | Progress, message: Candidate | Progress) -> bool:
        """Whether the later says all that the earlier did; in lockstep each step counts."""
        if not (isinstance(last, Progress) and isinstance(message, Progress)):
            return False
        return not last.text and (not self._paced or last.steps == message.steps)

    def _hear_control(self, beat: Beat) -> None:
        """Offer again what a control that we did not know of lacks."""
        self._control_version = beat.version
        if not self._met:
            self._met = True
            self._trust.meet(beat)
        kept = self._kept
        if kept is None or kept.snapshot.version in self._offered:
            return
        if beat.version < kept.snapshot.version:
            self._offer(kept, time.monotonic_ns(), 0)

    def _hear_taken(self, taken: Taken) -> None:
        verdict_ns = self._offered.get(taken.version, 0)
        if not taken.reason:
            self._control_version = max(self._control_version, taken.version)
        elif self._control_version < taken.version:
            self._take_back(taken.version)
        if taken.reason or taken.first_use_ns:
            self._books.taken(taken, verdict_ns)

    def _take_back(self, version: int) -> None:
        """Control refused what passed here: compare with the one before again."""
        live = self._gate.live
        if live is not None and live.version == version:
            before = self._before.get(version)
            self._gate.promote(before)
            self._kept = None
            self._trust.promoted(before.version if before else 0, self._past.steps)

    # -- judging ------------------------------------------------------------------------------

    def _work(self, worker: ThreadPoolExecutor) -> None:
        if self._task is not None:
            if not self._task.future.done():
                return
            task, self._task = self._task, None
            self._conclude(task)
        while self._queue and self._task is None:
            head = self._queue[0]
            if isinstance(head, Progress):
                if not self._pass_on(head):
                    return
            elif not self._begin(head, worker):
                return
            self._queue.popleft()

    def _pass_on(self, progress: Progress) -> bool:
        """Let control know, once all that follows from it was said; False while the stream has not
        come as far in lockstep."""
        if self._paced:
            if not self._seen(progress.steps):
                return False
            self._trust.advance(progress.steps)
        self._progress = progress
        self._trust.progress(progress)
        self._let_out()
        self._control.send(progress)
        return True

    def _let_out(self) -> None:
        """Send what the governor has decided."""
        for grant in self._trust.grants():
            self._control.send(grant)
        asked = self._trust.due_return()
        if asked is not None:
            self._go_back(asked)
        while self._trust.said:
            text = self._trust.said.popleft()
            self._control.send(msgspec.structs.replace(self._progress, text=text))

    def _go_back(self, asked: Return) -> None:
        """Let an earlier version be live again; what cannot be found is version 0."""
        governor = self._trust.governor
        self._kept = kept = self._lineage.kept(asked.version)
        self._gate.promote(kept.snapshot if kept else None)
        if kept is None and asked.version:
            self._trust.not_found(asked)
        version, undone = asked.version if kept else 0, governor.live
        self._books.rollback(version, undone, asked.why)
        at_step = self._trust.grant(learner_lost=self._learner_lost).at_step
        data, now_ns = kept.data if kept else b"", time.monotonic_ns()
        if self._control.send(Offer(data, now_ns, at_step, True, governor.trial, asked.why)):
            self._offered[version] = now_ns

    def _begin(self, candidate: Candidate, worker: ThreadPoolExecutor) -> bool:
        """Start to judge; False while the stream has not come as far as the candidate."""
        key = hashlib.sha256(candidate.snapshot).digest()
        if key in self._verdicts:
            # a learner that was restarted does again what it did
            self._learner.send(self._verdicts[key])
            return True
        if not self._seen(candidate.steps):
            return False
        if self._paced:
            self._trust.advance(candidate.steps)
            self._let_out()
        lockstep = self._settings.lag_steps is not None
        steps = candidate.steps if lockstep else self._past.steps
        evidence = self._gate.evidence(self._past, steps)
        objection = self._trust.objection(candidate.trial)
        future = worker.submit(self._gate.judge, candidate.snapshot, evidence, objection)
        self._task = _Task(candidate, key, future)
        return True

    def _seen(self, steps: int) -> bool:
        """Return whether the stream has come so far, or has had its time."""
        now_s = time.monotonic()
        if self._waited_since_s is None:
            self._waited_since_s = now_s
        if self._past.steps < steps and now_s - self._waited_since_s < _FEED_WAIT_S:
            return False
        self._waited_since_s = None
        return True

    def _still_so(self, judged: Judged, trial: int) -> Judged:
        """Return a judgement, after all that was heard while it was made."""
        objection = self._trust.objection(trial)
        if not (judged.verdict.passed and objection):
            return judged
        verdict = msgspec.structs.replace(judged.verdict, passed=False, reasons=[objection])
        return Judged(verdict, judged.snapshot)

    def _conclude(self, task: _Task) -> None:
        """Say what became of a candidate: to the learner, to the record, to the lineage."""
        error = task.future.exception()
        if error is not None:
            reason = f"gate: it could not be judged: {error!r}"
            judged = Judged(Verdict(0, 0, "", passed=False, reasons=[reason], steps=0), None)
        else:
            judged = self._still_so(task.future.result(), task.candidate.trial)
        verdict, snapshot = judged.verdict, judged.snapshot
        verdict_ns = time.monotonic_ns()
        refused = self._books.verdict(judged, task.candidate.snapshot, verdict_ns)
        if refused:
            verdict = msgspec.structs.replace(
                verdict, passed=False, reasons=[*verdict.reasons, refused]
            )
        self._verdicts[task.key] = verdict
        if len(self._verdicts) > _REMEMBERED:
            self._verdicts.popitem(last=False)
        self._learner.send(verdict)
        self._control.send(verdict)
        if verdict.passed and snapshot is not None:
            self._before[snapshot.version] = self._gate.live
            self._gate.promote(snapshot)
            self._kept = Kept(snapshot, task.candidate.snapshot)
            lag = self._settings.lag_steps
            self._offer(self._kept, verdict_ns, 0 if lag is None else task.candidate.steps + lag)
            self._trust.promoted(snapshot.version, task.candidate.steps)
            self._let_out()

    def _offer(self, kept: Kept, verdict_ns: int, at_step: int) -> None:
        if self._control.send(Offer(kept.data, verdict_ns, at_step)):
            self._offered[kept.snapshot.version] = verdict_ns

    # -- what is due --------------------------------------------------------------------------

    def _do_what_is_due(self) -> None:
        now_s = time.monotonic()
        if now_s - self._beat_s < _BEAT_S:
            return
        self._beat_s = now_s
        self._control.send(self._trust.grant(learner_lost=self._learner_lost))
        self._trust.keep()
        self._learner.send(Beat())
        self._learner.count_cuts()
        self._tell("messages that cannot be understood", self._learner.odd, self._learner.last_odd)
        self._tell("messages that came too fast and were dropped", self._crowded, "")
        most = f"it ended, or sent far more than {self._settings.message_bytes_max} bytes at once"
        self._tell("lost connections", self._learner.cut, most)

    @property
    def _learner_lost(self) -> bool:
        settings = self._settings
        silent_ns = time.monotonic_ns() - self._learner_heard_ns
        return settings.learner and silent_ns > seconds_to_ns(settings.lost_after_s)

    def _tell(self, what: str, count: int, example: str) -> None:
        """Put a count into the record when its number of digits changes, not for every message."""
        if count and len(str(count)) != self._said.get(what, 0):
            self._said[what] = len(str(count))
            why = f" (the last one: {example})" if example else ""
            text = f"of the learner: {count} {what}{why}"
            self._control.send(msgspec.structs.replace(self._progress, text=text))
