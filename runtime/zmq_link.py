"""A robot behind ZeroMQ as a Link: the daemon's socket (PROTOCOL.md, sections 1, 3 and 9).

Nothing here waits, except `open_link` for the first answer. A device that falls silent is greeted
again; what it then says begins a new session, in which nothing moves before a person arms.
"""

import os
import platform
import secrets
import select
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import zmq

from runtime.clock import Clock, MonotonicClock, seconds_to_ns
from runtime.config import Config
from runtime.envelope.certificate import Certificate
from runtime.errors import ConfigError, LinkError
from runtime.interfaces import CertifiedCommand, LinkDescription
from runtime.messages import GroupSize, TaskSignal, TickInputs
from runtime.robot_codes import Role
from runtime.robot_hashes import contract_hash, robot_hash
from runtime.robot_session import MAY_PASS, RobotSession, refusal_words
from runtime.robot_socket import open_socket
from runtime.robot_spec import RobotSpec
from runtime.robot_wire import (
    Error,
    FromClient,
    FromDevice,
    Hello,
    Observation,
    Refused,
    StopReport,
    Welcome,
    WireError,
    decode_from_device,
    encode,
)
from runtime.zmq_threads import new_context

# whom a second commander is told of
_WHO = f"trimtab, process {os.getpid()} on {platform.node():.64}"
_FRAMES_A_TICK = 256
_RECEIVE_NS = seconds_to_ns(0.0005)
_HELLO_AGAIN_NS = seconds_to_ns(0.1)
_REFUSED_AGAIN_NS = seconds_to_ns(0.5)
_ARM_AGAIN_NS = seconds_to_ns(0.02)
_POLL_MS = 20
# a goodbye is worth waiting for, but not long
_GOODBYE_MS = 100


class ZmqLink:
    """One robot; it closes `socket` and its context. `malformed`, `unsent`: frames that could not
    be read, and that nobody took."""

    def __init__(
        self,
        socket: "zmq.Socket[bytes]",
        robot: RobotSpec,
        hashes: tuple[bytes, bytes],
        groups: tuple[GroupSize, ...],
    ) -> None:
        self._socket = socket
        self._hashes = hashes
        self._sizes = (3 * len(robot.joint_names), *(group.size for group in groups))
        self._fields = [f"observation_{group.name}" for group in groups]
        self._descriptor = int(socket.getsockopt(zmq.FD))
        self._clock = MonotonicClock()
        self._nonce = 0
        self._hello_due_ns = 0
        self._session: RobotSession | None = None
        self._heard_ns = 0
        self._described: LinkDescription | None = None
        self._shown = 0
        self._arm_due_ns = 0
        self.refused: Refused | None = None
        self.malformed = self.unsent = 0
        self._tell_malformed_at = 1

    @property
    def clock(self) -> Clock:
        """CLOCK_MONOTONIC; the device's own clock is never compared with it."""
        return self._clock

    @property
    def session(self) -> RobotSession | None:
        """The one that lives; None while the device is silent."""
        return self._session

    def connect(self, wait_s: float) -> None:
        """Greet the device until it answers, and has measured something.

        Raises:
            LinkError: it refuses, or says nothing within `wait_s`.
        """
        end_ns = self._clock.now_ns() + seconds_to_ns(wait_s)
        while self._session is None or self._session.observation is None:
            if self._clock.now_ns() > end_ns:
                if self.refused is not None:
                    raise LinkError(refusal_words(self.refused))
                raise LinkError(
                    f"no robot answers within {wait_s:g} s at {self._endpoint()}: start its "
                    "driver, or correct zmq.endpoint (and the keys: a device does not answer "
                    "whom it does not know)"
                )
            self._keep_alive(self._clock.now_ns())
            self._socket.poll(_POLL_MS)
            self._receive()
            if self.refused is not None and self.refused.code not in MAY_PASS:
                raise LinkError(refusal_words(self.refused))

    def require_lease(self, lost_ns: int) -> None:
        """Require that we call the link lost before the robot gives our lease away: else a session
        that began anew would be armed without a person.

        Raises:
            LinkError: `lost_ns` is longer than the lease.
        """
        lease_ns = 0 if self._session is None else self._session.welcome.lease_ns
        if not (lost_ns <= lease_ns):
            raise LinkError(
                f"observations.link_lost_after_s is {lost_ns * 1e-9:g} s; this robot's lease ends "
                f"after {lease_ns * 1e-9:g} s of silence: set at most that"
            )

    def rest(self) -> None:
        """Give the lease back until the first `read`: who starts up says nothing for a while."""
        if self._session is not None:
            self._send(self._session.release(self._clock.now_ns()))
        self._session, self._nonce = None, 0
        self._heard_ns = self._hello_due_ns = 0

    def describe(self) -> LinkDescription:
        """Return what the device said of itself in its first WELCOME."""
        if self._described is None:
            raise LinkError("nobody has answered yet; connect first")
        return self._described

    def wait(self, until_ns: int) -> bool:
        """Wait until an observation has arrived that `read` has not shown, or until `until_ns`."""
        while True:
            took_all = self._receive()
            if self._has_news():
                return True
            left_ns = until_ns - self._clock.now_ns()
            if left_ns <= 0:
                return False
            # the descriptor only tells of a change, and never again of what was left
            if took_all:
                select.select([self._descriptor], (), (), left_ns * 1e-9)

    def _has_news(self) -> bool:
        seen = None if self._session is None else self._session.observation
        return seen is not None and seen.sequence != self._shown

    def read(self, inputs: TickInputs) -> None:
        """Take what arrived; put the newest sample of each group into `inputs`.

        Received counts from when we sent what the observation answers: no common clock is needed,
        and a sample is never taken for younger than it is. Two answers may bound one sample, or a
        newer one; the later bound holds.
        """
        self._receive()
        session = self._session
        inputs.link_received_ns[0] = self._heard_ns
        if session is None or session.observation is None:
            return
        inputs.device[0] = session.device
        observation = session.observation
        if observation.sequence == self._shown or not observation.answers_stamp_ns:
            return
        self._shown = observation.sequence
        joints = self._sizes[0] // 3
        inputs.group_sequence[:] = session.look()
        for index, sample in enumerate(observation.groups):
            older_ns = max(0, observation.stamp_ns - sample.stamp_ns)
            received_ns = observation.answers_stamp_ns - older_ns
            if sample.stamp_ns >= inputs.group_device_stamp_ns.item(index):
                received_ns = max(received_ns, inputs.group_received_ns.item(index))
            inputs.group_received_ns[index] = received_ns
            inputs.group_device_stamp_ns[index] = sample.stamp_ns
            if index:
                inputs.view[self._fields[index - 1]][:] = sample.values
        values = observation.groups[0].values
        inputs.q[:] = values[:joints]
        inputs.dq[:] = values[joints : 2 * joints]
        inputs.tau[:] = values[2 * joints :]

    def signals(self) -> Sequence[TaskSignal]:
        """Return the device's task signals since the last call, oldest first."""
        return () if self._session is None else self._session.signals()

    def news(self) -> Sequence[str]:
        """Return what the device said of stops and of what it dropped, and how many of its frames
        could not be read: told when that has one digit more, not for every frame."""
        news = [] if self._session is None else list(self._session.news())
        if self.malformed >= self._tell_malformed_at:
            self._tell_malformed_at = 10 ** len(str(self.malformed))
            news.append(f"{self.malformed} frames of the robot could not be read")
        return news

    def arm(self, epoch: int) -> None:
        """A person armed the robot: commands of `epoch` follow."""
        now_ns = self._clock.now_ns()
        if self._session is not None:
            self._send(self._session.arm(epoch, _WHO, now_ns))
            self._arm_due_ns = now_ns + _ARM_AGAIN_NS

    def write(self, certified: CertifiedCommand | None) -> None:
        """Send a command, or a sign of life when one is due.

        Raises:
            LinkError: the certificate is not the envelope's, or the link is closed.
        """
        if self._socket.closed:
            raise LinkError("the link to the robot is closed; open a new one to drive it")
        now_ns = self._clock.now_ns()
        if certified is not None and not isinstance(certified, Certificate):
            raise LinkError(
                f"link.write was given a {type(certified).__name__}; allowed: a command with the "
                "envelope's certificate, or None"
            )
        if certified is None or self._session is None:
            self._keep_alive(now_ns)
        else:
            if self._session.owes_heartbeat:
                self._send(self._session.heartbeat(now_ns))
            if now_ns >= self._arm_due_ns:
                self._arm_again(self._session, now_ns)
            self._send(self._session.command(certified.command, now_ns))

    def close(self) -> None:
        """Give the lease back; the device holds by itself."""
        if self._socket.closed:
            return
        if self._session is not None:
            self._send(self._session.release(self._clock.now_ns()))
        self._socket.close(linger=_GOODBYE_MS)
        self._socket.context.term()

    # -- what arrives ---------------------------------------------------------------------------

    def _receive(self) -> bool:
        """Take what is there: so many frames, and for so long, that a device which sends without
        end cannot keep the tick. Return whether nothing was left."""
        enough_ns = self._clock.now_ns() + _RECEIVE_NS
        took_all = False
        for _ in range(_FRAMES_A_TICK):
            took_all = not int(self._socket.getsockopt(zmq.EVENTS)) & zmq.POLLIN
            if took_all:
                break
            self._take_frame()
            if self._clock.now_ns() > enough_ns:
                break
        silent_ns = self._clock.now_ns() - self._heard_ns
        if self._session is not None and not (silent_ns <= self._session.welcome.lease_ns):
            self._session, self._nonce = None, 0
        return took_all

    def _take_frame(self) -> None:
        frames = self._socket.recv_multipart(zmq.NOBLOCK)
        try:
            message = decode_from_device(frames[0] if len(frames) == 1 else b"")
        except WireError:
            self.malformed += 1
            return
        self._take(message)

    def _take(self, message: FromDevice) -> None:
        session = self._session
        if isinstance(message, Welcome):
            if message.nonce == self._nonce and session is None:
                self._begin(message)
        elif isinstance(message, Refused):
            if message.nonce == self._nonce:
                self.refused, self._nonce = message, 0
                self._hello_due_ns = self._clock.now_ns() + _REFUSED_AGAIN_NS
        elif isinstance(message, StopReport) or session is None:
            # the first is for whoever asked, and without a session nothing else is for us
            return
        elif isinstance(message, Observation) and not self._fits(message):
            self.malformed += 1
        elif message.session == session.welcome.session:
            # an ERROR about a session that is over there is no sign that it lives
            if not isinstance(message, Error):
                self._heard_ns = self._clock.now_ns()
            session.take(message)

    def _fits(self, message: Observation) -> bool:
        """Whether every group has as many numbers as it was announced with, and what it answers
        has been said: an echo out of the future would make every sample young."""
        sizes = tuple([len(sample.values) for sample in message.groups])
        return sizes == self._sizes and message.answers_stamp_ns <= self._clock.now_ns()

    def _begin(self, welcome: Welcome) -> None:
        self._session = RobotSession(welcome)
        self._heard_ns = self._clock.now_ns()
        self._shown = 0
        self.refused = None
        self._described = self._described or LinkDescription(
            robot=welcome.robot,
            joint_names=welcome.joints,
            groups=tuple(GroupSize(group.name, group.size) for group in welcome.groups[1:]),
            simulated=welcome.simulated,
            lockstep=False,
        )

    # -- what goes out --------------------------------------------------------------------------

    def _keep_alive(self, now_ns: int) -> None:
        """Say that we live, or ask for a session. In every period: how old a sample is can only
        be told from when we last said something before it."""
        session = self._session
        if session is None:
            if now_ns >= self._hello_due_ns and self._greet():
                self._hello_due_ns = now_ns + _HELLO_AGAIN_NS
        else:
            self._send(session.heartbeat(now_ns))

    def _arm_again(self, session: RobotSession, now_ns: int) -> None:
        again = session.arm_again(now_ns)
        if again is not None:
            self._send(again)
            self._arm_due_ns = now_ns + _ARM_AGAIN_NS

    def _greet(self) -> bool:
        """Send a HELLO; False while nobody is connected."""
        # the same until it is answered: a device answers a nonce that it knows as it did before
        self._nonce = self._nonce or secrets.randbits(62) + 1
        robot, contract = self._hashes
        role = Role.COMMANDER
        hello = Hello(
            nonce=self._nonce, role=role, who=_WHO, robot_hash=robot, contract_hash=contract
        )
        return self._send(hello)

    def _send(self, message: FromClient) -> bool:
        try:
            self._socket.send(encode(message), zmq.NOBLOCK)
        except zmq.Again:
            self.unsent += 1
            return False
        return True

    def _endpoint(self) -> str:
        return self._socket.getsockopt_string(zmq.LAST_ENDPOINT)


def open_link(
    config: Config,
    config_file: Path,
    robot: RobotSpec,
    episode_s: float,  # noqa: ARG001 - the robot's own people end its episodes
    *,
    lockstep: bool,
    field: str | None,
    seed: int | None,
) -> ZmqLink:
    """Open the robot that the config's block `zmq` names; see LinkFactory.

    Raises:
        ConfigError: the block is missing, or asks for what is not allowed.
        LinkError: no robot answers, it refuses, or its lease is too short for us.
    """
    if config.zmq is None:
        raise ConfigError(
            "link runtime.zmq_link:open_link: needs the block `zmq` with the robot's endpoint; "
            "add it, or name another link"
        )
    if lockstep or field is not None or seed is not None:
        raise ConfigError(
            "a robot over ZeroMQ keeps its own time and place: run it with --clock realtime, and "
            "without --field and --seed"
        )
    groups = tuple(GroupSize(group.name, group.size) for group in config.observations.groups)
    period_ns = seconds_to_ns(1.0 / config.control.servo_hz)
    sizes = [(group.name, group.size) for group in groups]
    hashes = (robot_hash(robot), contract_hash(robot.joint_names, sizes, period_ns))
    with ExitStack() as undo:
        # its threads below the loop, which they must not keep, and above everything else
        context = undo.enter_context(new_context(max(1, config.realtime.priority - 1)))
        link = ZmqLink(open_socket(context, config, config.zmq, config_file), robot, hashes, groups)
        undo.callback(link.close)
        link.connect(config.zmq.connect_s)
        link.require_lease(seconds_to_ns(config.observations.link_lost_after_s))
        link.rest()
        undo.pop_all()
    return link
