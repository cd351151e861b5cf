"""Control's end of the gate: snapshots, grants and verdicts come in, what became of them goes out.

Nothing here blocks in real time, and a tick takes in at most a few messages, so that a flood cannot
eat it. In lockstep the caller waits until the learner has done what is due, and an offer goes live
at exactly the policy step that the gate named, so that a seed means the same everywhere.
"""

import time
from collections import deque
from collections.abc import Sequence

import msgspec
import zmq

from runtime.clock import seconds_to_ns
from runtime.config import Config
from runtime.errors import UNREADABLE, ConfigError, SnapshotError, StartRefused
from runtime.events import Event, EventKind
from runtime.gate_wire import (
    MAX_FRAME_BYTES,
    Beat,
    Grant,
    Offer,
    Progress,
    Taken,
    ToControl,
    Verdict,
    encode,
    to_control,
)
from runtime.interfaces import GateHealth, ResidualPolicy
from runtime.messages import Phase, Stage, TickRecord
from runtime.orders import Orders
from runtime.record_format import RecorderPlace
from runtime.residual_spec import GateConfig
from runtime.snapshot import decode_snapshot
from runtime.wire import Rollback

_MAX_PER_TICK = 4
# between two words on the learner's progress in the record: a second at 20 Hz
_PROGRESS_STEPS = 20
_BEAT_S = 0.1
_WAIT_SLICE_MS = 5
# wall time means little in lockstep, where the robot waits
_LOST_LOCKSTEP_S = 10.0


def gate_rules(config: Config) -> GateConfig:
    """Return the config's `gate` block.

    Raises:
        ConfigError: it has none.
    """
    if config.gate is None:
        raise ConfigError(
            "the config has no `gate` block: add one, or run without --learn and --residual"
        )
    return config.gate


def lost_after_s(rules: GateConfig, *, lockstep: bool) -> float:
    """Return after how much silence gate and learner count as lost."""
    return max(rules.lost_after_s, _LOST_LOCKSTEP_S) if lockstep else rules.lost_after_s


class GateConnection:
    """GateClient over ZeroMQ: a DEALER that talks to one gate process.

    `actions`: how many numbers an authority has. `lost_after_s`: without a word for so long the
    gate counts as lost. `lag_steps`: in lockstep with a learner, how many policy steps it may be
    behind; None: nobody waits for it. `wait_s`: how long one wait may last before the run goes on
    without it. `orders`: what people say of the residual; a drop or a shadow needs no gate.
    """

    def __init__(
        self,
        place: RecorderPlace,
        actions: int,
        *,
        lost_after_s: float,
        lag_steps: int | None = None,
        wait_s: float = 120.0,
        orders: Orders | None = None,
    ) -> None:
        self._orders = orders or Orders(residual=True)
        self._resumed = 0
        self._nothing = [0.0] * actions
        self._grant = self._shadowed = self._shadow = Grant(Stage.OBSERVE, self._nothing)
        self._grants: list[Grant] = []
        self._learner_lost = False
        self._grant_recorded: tuple[Stage, int, float, str] | None = None
        self._lost_after_ns = seconds_to_ns(lost_after_s)
        self._lag_steps = lag_steps
        self._wait_ns = seconds_to_ns(wait_s)
        self._heard_ns = self._beat_ns = time.monotonic_ns()
        self._granted = False
        self._progress = self._progress_recorded = 0
        self._steps = self._version = 0
        self._now_ns = 0
        self._age_ns = 0
        self._waiting = True
        self._offers: deque[Offer] = deque()
        self._news: list[tuple[EventKind, str, bytes]] = []
        self._said = ""
        self._first_use_of = self._rolled = 0
        self._misunderstood = 0
        self._context = zmq.Context()
        self._socket: zmq.Socket[bytes] = self._context.socket(zmq.DEALER)
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.setsockopt(zmq.SNDHWM, 100)
        self._socket.setsockopt(zmq.RCVHWM, 1000)
        self._socket.setsockopt(zmq.MAXMSGSIZE, MAX_FRAME_BYTES)
        self._socket.setsockopt(zmq.RECONNECT_IVL, 50)
        self._socket.connect(place.gate_endpoint)

    @property
    def grant(self) -> Grant:
        """Stage and authority granted now; nothing before the gate was heard."""
        if self._resumed != self._orders.resumed:
            self._resumed = self._orders.resumed
            # what was granted before the order is not what was earned after it
            self._grant = msgspec.structs.replace(
                self._grant, stage=Stage.OBSERVE, authority=self._nothing
            )
        return self._as_shadow(self._grant) if self._orders.shadow else self._grant

    def _as_shadow(self, grant: Grant) -> Grant:
        """Return the grant that moves nothing; the same one as long as `grant` is."""
        if grant is not self._shadowed:
            self._shadowed = grant
            self._shadow = msgspec.structs.replace(
                grant, stage=Stage.SHADOW, authority=self._nothing
            )
        return self._shadow

    def health(self) -> GateHealth:
        """Return how gate, learner and weights fare, and whether people hold the residual back;
        cheap. The age of the weights is that of the last tick that `after` saw."""
        lost = time.monotonic_ns() - self._heard_ns > self._lost_after_ns
        return GateHealth(
            gate_lost=lost,
            learner_lost=self._learner_lost,
            weights_age_ns=self._age_ns if self._grant.learning else 0,
            held=self._orders.dropped,
        )

    def wait_ready(self, timeout_s: float) -> None:
        """Wait until the gate grants something and no learner is missed.

        Raises:
            StartRefused: they were not ready within `timeout_s`.
        """
        deadline_ns = time.monotonic_ns() + seconds_to_ns(timeout_s)
        while not self._granted or self._learner_lost:
            if time.monotonic_ns() > deadline_ns:
                who = "learner is" if self._granted else "gate is"
                raise StartRefused(
                    f"the {who} not ready after {timeout_s:g} s; its own words are above: mend "
                    "that, or run without --learn and --residual"
                )
            self._beat()
            self._socket.poll(_WAIT_SLICE_MS)
            self._receive(_MAX_PER_TICK)
        self._grant_what_is_due()

    def after(self, record: TickRecord, residual: ResidualPolicy) -> Sequence[Event]:
        """Take what arrived, hand due offers to `residual`, answer; return what to record."""
        self._version = residual.version
        before_ns, self._now_ns = self._now_ns, record.now_ns.item()
        if before_ns and record.phase.item() == Phase.RUNNING:
            # a robot that rests gives the learner nothing to learn from
            self._age_ns += self._now_ns - before_ns
        self._receive(_MAX_PER_TICK)
        self._beat()
        steps = record.base_sequence.item()
        if steps != self._steps:
            self._steps = steps
            if self._lag_steps is not None:
                self._wait_for_learner(steps - self._lag_steps)
        self._grant_what_is_due()
        while self._offers and self._may_go_live(self._offers[0], record):
            self._hand_over(self._offers.popleft(), residual)
        if self._first_use_of and record.residual_version.item() == self._first_use_of:
            self._send(Taken(self._first_use_of, first_use_ns=self._now_ns))
            self._first_use_of = 0
        if not self._news:
            return ()
        news, self._news = self._news, []
        tick = record.tick.item()
        return [Event(tick, self._now_ns, kind, text, data) for kind, text, data in news]

    def stop_waiting(self) -> None:
        """Go on without the learner until it makes progress. Safe in signal handlers."""
        self._waiting = False

    def close(self) -> None:
        """Let go of the gate."""
        self._socket.close()
        self._context.term()

    def _receive(self, most: int) -> None:
        for _ in range(most):
            if not int(self._socket.getsockopt(zmq.EVENTS)) & zmq.POLLIN:
                return
            data = self._socket.recv(zmq.NOBLOCK)
            try:
                message = to_control.decode(data)
            except UNREADABLE as error:
                self._misunderstood += 1
                if self._misunderstood == 1:
                    self._say(f"the gate said something that cannot be understood: {error}")
                continue
            self._heard_ns = time.monotonic_ns()
            self._take(message)

    def _take(self, message: ToControl) -> None:
        if isinstance(message, Grant):
            self._take_grant(message)
        elif isinstance(message, Offer):
            self._offers.append(message)
        elif isinstance(message, Verdict):
            self._say(msgspec.json.encode(message).decode())
        else:
            self._take_progress(message)

    def _take_grant(self, grant: Grant) -> None:
        if len(grant.authority) != len(self._grant.authority):
            self._say(f"a grant of {len(grant.authority)} numbers is ignored")
            return
        if grant.learner_lost and not self._learner_lost:
            self._waiting = False
        self._learner_lost = grant.learner_lost
        self._granted = True
        if not self._grants or self._grants[-1] != grant:
            self._grants.append(grant)

    def _grant_what_is_due(self) -> None:
        """Let the newest grant hold whose step has come; it stands for all before it."""
        for place in reversed(range(len(self._grants))):
            if self._is_due(self._grants[place].at_step):
                grant = self._grants[place]
                del self._grants[: place + 1]
                self._grant_now(grant)
                return

    def _grant_now(self, grant: Grant) -> None:
        before = self._grant
        if grant == before and self._grant_recorded:
            return
        self._grant = grant
        if grant.learning and not before.learning:
            self._age_ns = 0
        told = (grant.stage, grant.trial, grant.share, grant.why)
        if told != self._grant_recorded:
            self._grant_recorded = told
            self._news.append((EventKind.GRANT, msgspec.json.encode(grant).decode(), b""))

    def _take_progress(self, progress: Progress) -> None:
        self._progress = max(self._progress, progress.steps)
        self._waiting = True
        if progress.steps >= self._progress_recorded + _PROGRESS_STEPS:
            self._progress_recorded = progress.steps
            text = msgspec.json.encode(progress).decode()
            self._news.append((EventKind.PROGRESS, text, b""))
        if progress.text and progress.text != self._said:
            self._said = progress.text
            self._say(progress.text)

    def _wait_for_learner(self, steps: int) -> None:
        """Lockstep: wait until the learner has done what is due for so many policy steps.

        Whoever is lost is not waited for again until it makes progress.
        """
        deadline_ns = time.monotonic_ns() + self._wait_ns
        while self._waiting and self._progress < steps:
            self._beat()
            self._socket.poll(_WAIT_SLICE_MS)
            self._receive(_MAX_PER_TICK)
            now_ns = time.monotonic_ns()
            if now_ns - self._heard_ns > self._lost_after_ns or now_ns > deadline_ns:
                self._waiting = False
                self._say(f"not waited for: the learner's progress to step {steps}")

    def _is_due(self, at_step: int) -> bool:
        return self._lag_steps is None or at_step <= self._steps

    def _may_go_live(self, offer: Offer, record: TickRecord) -> bool:
        """Offers keep their order; the way back waits until the residual moves nothing."""
        return self._is_due(offer.at_step) and not (offer.back and record.authority.any())

    def _hand_over(self, offer: Offer, residual: ResidualPolicy) -> None:
        """Let the residual judge it, tell the gate, and note it for the record."""
        undone = residual.version
        version, about, reason = _described(offer)
        again = offer.back and version == undone
        if not reason and not again:
            hand = residual.go_back if offer.back else residual.offer
            reason = hand(offer.snapshot)
        self._send(Taken(version, reason))
        if reason:
            self._say(f"version {version} is refused by control: {reason}")
            return
        if offer.back:
            self._rolled = offer.trial
            rollback = Rollback(version, undone, offer.trial, offer.why)
            self._news.append((EventKind.ROLLBACK, msgspec.json.encode(rollback).decode(), b""))
        if again:
            # asked for twice, and live already: only its trial is news, to gate and learner
            return
        self._first_use_of = version
        self._age_ns = 0
        self._news.append((EventKind.SNAPSHOT, f"{about}, is live", offer.snapshot))

    def _say(self, text: str) -> None:
        self._news.append((EventKind.VERDICT, text, b""))

    def _beat(self) -> None:
        now_ns = time.monotonic_ns()
        if now_ns - self._beat_ns >= seconds_to_ns(_BEAT_S):
            self._beat_ns = now_ns
            trial = self._grants[-1].trial if self._grants else self._grant.trial
            beat = Beat(self._steps, self._version, trial, self._rolled, self._orders.pinned)
            self._send(beat)

    def _send(self, message: Taken | Beat) -> None:
        try:
            self._socket.send(encode(message), zmq.NOBLOCK)
        except zmq.Again:
            # nobody listens: the gate is lost, and that is said elsewhere
            return


def _described(offer: Offer) -> tuple[int, str, str]:
    """Return an offer's version, what it is in words, and why it cannot be read, if so."""
    if offer.back and not offer.snapshot:
        return 0, "version 0, which asks for nothing", ""
    try:
        snapshot = decode_snapshot(offer.snapshot)
    except SnapshotError as error:
        return 0, "", str(error)
    version, parent = snapshot.version, snapshot.parent
    return version, f"version {version}, child of {parent}, {snapshot.digest[:12]}", ""
