"""Who may speak to a simulated robot: sessions, the one lease, and the age of what they say.

Sections 3 and 4 of the protocol. Ages are judged by the device's own stamps, as they come back.
"""

from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from runtime.robot_codes import DeviceState, DropCode, OutcomeCode, Refusal, Role, SignalCode
from runtime.robot_wire import (
    Arm,
    Command,
    Group,
    Heartbeat,
    Hello,
    OtherHello,
    Refused,
    Release,
    Signal,
    Welcome,
    clipped,
)

NS_PER_MS = 1_000_000
MAX_SESSIONS = 16
# one place is a commander's, however many look on
_MAX_OBSERVERS = MAX_SESSIONS - 1
MAX_SIGNALS = 256
SIGNALS_AT_ONCE = 16
SIGNAL_AGAIN_NS = 50 * NS_PER_MS
STATUS_NS = 1000 * NS_PER_MS
ERRORS_PER_S = 10
MAX_TOLD = 64

SessionMessage = Heartbeat | Arm | Command | Release


@dataclass(frozen=True)
class RobotFacts:
    """What a device says of itself in WELCOME, and what it compares in HELLO.

    `groups`: besides the joints, name and size. Hashes: raw SHA-256 (section 10).
    """

    robot: str
    joints: tuple[str, ...]
    groups: tuple[tuple[str, int], ...]
    period_ns: int
    watchdog_ns: int
    lease_ns: int
    robot_hash: bytes
    contract_hash: bytes
    simulated: bool = True

    def welcome(self, nonce: int, session: int, epoch: int) -> Welcome:
        """Return the answer to a HELLO that is granted."""
        groups = (("joints", 3 * len(self.joints)), *self.groups)
        return Welcome(
            nonce=nonce,
            session=session,
            epoch=epoch,
            robot=self.robot,
            simulated=self.simulated,
            period_ns=self.period_ns,
            lease_ns=self.lease_ns,
            watchdog_ns=self.watchdog_ns,
            joints=self.joints,
            groups=tuple(Group(name, size) for name, size in groups),
        )


class Session:
    """One client's: what it said last, which stamps it was sent, which signals it has not seen."""

    def __init__(self, number: int, routing: bytes, hello: Hello, now_ns: int) -> None:
        self.number = number
        self.routing = routing
        self.nonce = hello.nonce
        self.role = hello.role
        self.who = hello.who
        self.since_ns = now_ns
        self.heard_ns = now_ns
        self.newest_stamp_ns = 0
        self._told_state: DeviceState | None = None
        self._status_due_ns = 0
        self._count = 0
        self._stamps: OrderedDict[int, None] = OrderedDict()
        self._signals: deque[Signal] = deque(maxlen=MAX_SIGNALS)
        self._numbered = 0
        self._signals_due_ns = 0

    def sent(self, stamp_ns: int, keep_ns: int) -> None:
        """Remember a stamp that went out, and forget those that are older by `keep_ns`."""
        self._stamps[stamp_ns] = None
        while next(iter(self._stamps)) < stamp_ns - keep_ns:
            self._stamps.popitem(last=False)

    def judge(self, message: SessionMessage, age_max_ns: int, now_ns: int) -> DropCode | None:
        """Return why a message of this session is dropped, or None for one that is heard."""
        if not (message.count > self._count):
            return DropCode.REPEATED
        self._count = message.count
        self.newest_stamp_ns = max(self.newest_stamp_ns, message.stamp_ns)
        sent_ns = message.answers_stamp_ns
        if sent_ns not in self._stamps or not (now_ns - sent_ns <= age_max_ns):
            return DropCode.STALE
        self.heard_ns = now_ns
        return None

    def status_due(self, state: DeviceState, now_ns: int) -> bool:
        """Return whether STATUS goes out now: once a second, and when the state is another one."""
        due = state is not self._told_state or now_ns >= self._status_due_ns
        if due:
            self._told_state = state
            self._status_due_ns = now_ns + STATUS_NS
        return due

    def tell(self, kind: SignalCode, outcome: OutcomeCode, target: tuple[float, ...]) -> None:
        """Number a signal and send it until it was seen."""
        self._numbered += 1
        self._signals.append(
            Signal(
                session=self.number,
                number=self._numbered,
                kind=kind,
                outcome=outcome,
                target=target,
            )
        )
        self._signals_due_ns = 0

    def seen(self, number: int) -> None:
        """Forget the signals up to `number`."""
        while self._signals and self._signals[0].number <= number:
            self._signals.popleft()

    def due_signals(self, now_ns: int) -> list[Signal]:
        """Return the oldest unseen signals, if it is time to send them."""
        if not self._signals or now_ns < self._signals_due_ns:
            return []
        self._signals_due_ns = now_ns + SIGNAL_AGAIN_NS
        return list(self._signals)[:SIGNALS_AT_ONCE]


class Sessions:
    """All sessions of a device. `draw`: a fresh random number above 0 for each."""

    def __init__(self, facts: RobotFacts, draw: Callable[[], int]) -> None:
        self._facts = facts
        self._draw = draw
        self._sessions: dict[int, Session] = {}
        self.holder: Session | None = None

    def __iter__(self) -> Iterator[Session]:
        return iter(self._sessions.values())

    def find(self, routing: bytes, number: int) -> Session | None:
        """Return the living session of that number, if it is bound to that connection."""
        session = self._sessions.get(number)
        return session if session is not None and session.routing == routing else None

    def of(self, routing: bytes) -> Session | None:
        """Return a living session of a connection."""
        return next((session for session in self if session.routing == routing), None)

    def hello(
        self, routing: bytes, hello: Hello, epoch: int, now_ns: int, *, ready: bool
    ) -> Welcome | Refused:
        """Answer a HELLO. One that is said again, because its WELCOME may have been lost, gets the
        session that it began, which lives on.

        `ready`: whether the drive is; a robot that is not takes no commander.
        """
        begun = next((s for s in self if (s.routing, s.nonce) == (routing, hello.nonce)), None)
        if begun is not None:
            begun.heard_ns = now_ns
            return self._facts.welcome(hello.nonce, begun.number, epoch)
        return self._refusal(hello, ready, now_ns) or self._grant(routing, hello, epoch, now_ns)

    def _refusal(self, hello: Hello, ready: bool, now_ns: int) -> Refused | None:
        facts = self._facts
        if hello.robot_hash != facts.robot_hash:
            hashes = (hello.robot_hash.hex(), facts.robot_hash.hex())
            return _refused(hello.nonce, Refusal.ROBOT_HASH, "another robot", *hashes)
        if hello.contract_hash != facts.contract_hash:
            hashes = (hello.contract_hash.hex(), facts.contract_hash.hex())
            said = "other joints, groups or period"
            return _refused(hello.nonce, Refusal.CONTRACT_HASH, said, *hashes)
        if hello.role is Role.OBSERVER:
            if sum(session.role is Role.OBSERVER for session in self) < _MAX_OBSERVERS:
                return None
            said = f"{_MAX_OBSERVERS} observers are here already; close one, or wait until it ends"
            return _refused(hello.nonce, Refusal.NOT_NOW, said)
        if self.holder is not None:
            age_s = (now_ns - self.holder.since_ns) / 1e9
            said = f"{self.holder.who} has held the lease for {age_s:.1f} s"
            return _refused(hello.nonce, Refusal.LEASE, said)
        if not ready:
            return _refused(hello.nonce, Refusal.NOT_NOW, "the drive is not ready")
        return None

    def _grant(self, routing: bytes, hello: Hello, epoch: int, now_ns: int) -> Welcome:
        number = self._draw()
        while number in self._sessions:
            number = self._draw()
        session = Session(number, routing, hello, now_ns)
        self._sessions[number] = session
        if hello.role is Role.COMMANDER:
            self.holder = session
        return self._facts.welcome(hello.nonce, number, epoch)

    def end(self, session: Session) -> None:
        """End a session, and with it the lease if it was its."""
        del self._sessions[session.number]
        if session is self.holder:
            self.holder = None

    def silent(self, now_ns: int) -> list[Session]:
        """Return the sessions of which nothing valid came for the lease's time."""
        return [s for s in self if not (now_ns - s.heard_ns <= self._facts.lease_ns)]


class ErrorBudget:
    """How often each connection may be told why its messages had no effect."""

    def __init__(self) -> None:
        self._told: OrderedDict[bytes, deque[int]] = OrderedDict()

    def spend(self, routing: bytes, now_ns: int) -> bool:
        """Return whether one more ERROR may go there now: at most ERRORS_PER_S a second."""
        times = self._told.setdefault(routing, deque(maxlen=ERRORS_PER_S))
        self._told.move_to_end(routing)
        if len(self._told) > MAX_TOLD:
            self._told.popitem(last=False)
        if len(times) == ERRORS_PER_S and now_ns - times[0] < 1000 * NS_PER_MS:
            return False
        times.append(now_ns)
        return True


def refuse_version(hello: OtherHello, mine: int) -> Refused:
    """Return the answer to a HELLO of another version."""
    said = f"this robot speaks version {mine}"
    return _refused(hello.nonce, Refusal.VERSION, said, str(hello.version), str(mine))


def _refused(nonce: int, code: Refusal, text: str, yours: str = "", mine: str = "") -> Refused:
    return Refused(nonce=nonce, code=code, text=clipped(text), yours=yours, mine=mine)
