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
from runtime.errors import ConfigError, SnapshotError, StartRefused
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
from runtime.messages import Event, EventKind, Stage, TickRecord
from runtime.record_format import RecorderPlace
from runtime.residual_spec import GateConfig
from runtime.snapshot import decode_snapshot

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
    without it.
    """

    def __init__(
        self,
        place: RecorderPlace,
        actions: int,
        *,
        lost_after_s: float,
        lag_steps: int | None = None,
        wait_s: float = 120.0,
    ) -> None:
        self._grant = Grant(Stage.OBSERVE, [0.0] * actions)
        self._lost_after_ns = seconds_to_ns(lost_after_s)
        self._lag_steps = lag_steps
        self._wait_ns = seconds_to_ns(wait_s)
        self._heard_ns = self._beat_ns = time.monotonic_ns()
        self._granted = False
        self._progress = self._progress_recorded = 0
        self._steps = 0
        self._version = 0
        self._waiting = True
        self._offers: deque[Offer] = deque()
        self._news: list[tuple[EventKind, str, bytes]] = []
        self._said = ""
        self._first_use_of = 0
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
        return self._grant

    def health(self) -> GateHealth:
        """Return whether gate and learner still beat (cheap)."""
        lost = time.monotonic_ns() - self._heard_ns > self._lost_after_ns
        return GateHealth(gate_lost=lost, learner_lost=self._grant.learner_lost)

    def wait_ready(self, timeout_s: float) -> None:
        """Wait until the gate grants something and no learner is missed.

        Raises:
            StartRefused: they were not ready within `timeout_s`.
        """
        deadline_ns = time.monotonic_ns() + seconds_to_ns(timeout_s)
        while not self._granted or self._grant.learner_lost:
            if time.monotonic_ns() > deadline_ns:
                who = "learner is" if self._granted else "gate is"
                raise StartRefused(
                    f"the {who} not ready after {timeout_s:g} s; its own words are above: mend "
                    "that, or run without --learn and --residual"
                )
            self._beat()
            self._socket.poll(_WAIT_SLICE_MS)
            self._receive(_MAX_PER_TICK)

    def after(self, record: TickRecord, residual: ResidualPolicy) -> Sequence[Event]:
        """Take what arrived, hand due offers to `residual`, answer; return what to record."""
        self._version = residual.version
        self._receive(_MAX_PER_TICK)
        self._beat()
        steps = record.base_sequence.item()
        if steps != self._steps:
            self._steps = steps
            if self._lag_steps is not None:
                self._wait_for_learner(steps - self._lag_steps)
        while self._offers and self._is_due(self._offers[0]):
            self._hand_over(self._offers.popleft(), residual)
        if self._first_use_of and record.residual_version.item() == self._first_use_of:
            self._send(Taken(self._first_use_of, first_use_ns=record.now_ns.item()))
            self._first_use_of = 0
        if not self._news:
            return ()
        news, self._news = self._news, []
        tick, now_ns = record.tick.item(), record.now_ns.item()
        return [Event(tick, now_ns, kind, text, data) for kind, text, data in news]

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
            except msgspec.MsgspecError as error:
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
        if grant.learner_lost and not self._grant.learner_lost:
            self._waiting = False
        self._grant = grant
        self._granted = True

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

    def _is_due(self, offer: Offer) -> bool:
        return self._lag_steps is None or offer.at_step <= self._steps

    def _hand_over(self, offer: Offer, residual: ResidualPolicy) -> None:
        """Let the residual judge it, tell the gate, and note it for the record."""
        try:
            snapshot = decode_snapshot(offer.snapshot)
            version, reason = snapshot.version, residual.offer(offer.snapshot)
        except SnapshotError as error:
            version, reason = 0, str(error)
        self._send(Taken(version, reason))
        if reason:
            self._say(f"version {version} is refused by control: {reason}")
            return
        self._first_use_of = version
        text = f"version {version}, child of {snapshot.parent}, {snapshot.digest[:12]}, is live"
        self._news.append((EventKind.SNAPSHOT, text, offer.snapshot))

    def _say(self, text: str) -> None:
        self._news.append((EventKind.VERDICT, text, b""))

    def _beat(self) -> None:
        now_ns = time.monotonic_ns()
        if now_ns - self._beat_ns >= seconds_to_ns(_BEAT_S):
            self._beat_ns = now_ns
            self._send(Beat(self._steps, self._version))

    def _send(self, message: Taken | Beat) -> None:
        try:
            self._socket.send(encode(message), zmq.NOBLOCK)
        except zmq.Again:
            # nobody listens: the gate is lost, and that is said elsewhere
            return
