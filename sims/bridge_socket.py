"""The device's ROUTER socket: its options, who may connect to it, and frames that never raise.

Sections 1 and 9 of the protocol.
"""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import zmq
from zmq.auth import load_certificate
from zmq.auth.thread import ThreadAuthenticator

from runtime.endpoints import OPEN_TO_OTHERS, is_loopback, require_own_folder
from runtime.errors import LinkError
from runtime.robot_codes import MAX_FRAME_BYTES
from runtime.zmq_threads import new_context
from sims.bridge_config import BridgeConfig, CurveConfig

OPTIONS = {
    zmq.LINGER: 0,
    zmq.SNDHWM: 16,
    zmq.RCVHWM: 256,
    zmq.MAXMSGSIZE: MAX_FRAME_BYTES,
    zmq.TCP_KEEPALIVE: 1,
    zmq.ROUTER_HANDOVER: 0,
    # a peer that is gone, or does not read, is counted instead of passed over in silence
    zmq.ROUTER_MANDATORY: 1,
}


class DeviceSocket:
    """A bound ROUTER. `unsent`: frames that a peer did not take; `multipart`: messages of more than
    one frame, which are no frame of the protocol and are handed on empty."""

    def __init__(self, socket: zmq.Socket[bytes]) -> None:
        self.raw = socket
        self.unsent = 0
        self.multipart = 0

    def frames(self, most: int) -> Iterator[tuple[bytes, bytes]]:
        """Yield what has arrived, (routing id, payload), at most `most`."""
        for _ in range(most):
            try:
                routing, *parts = self.raw.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return
            single = len(parts) == 1
            self.multipart += not single
            yield routing, parts[0] if single else b""

    def send(self, routing: bytes, payload: bytes) -> None:
        """Send without waiting; what cannot be sent is counted."""
        try:
            self.raw.send_multipart((routing, payload), zmq.NOBLOCK)
        except zmq.ZMQError as error:
            if error.errno not in (zmq.EAGAIN, zmq.EHOSTUNREACH):
                raise
            self.unsent += 1


@contextmanager
def bound(endpoint: str, config: BridgeConfig) -> Iterator[DeviceSocket]:
    """Open the device's socket on `endpoint`.

    Raises:
        LinkError: the endpoint cannot be bound, or is open to those whom nobody allowed.
    """
    check_endpoint(endpoint, config)
    keys = _key_pair(Path(config.curve.secret_key)) if config.curve is not None else None
    # below the robot, which they must not keep, and above everything else
    priority = None if config.realtime is None else max(1, config.realtime.priority - 1)
    with (
        _alone_at(endpoint),
        new_context(priority) as context,
        _authenticated(context, config.curve),
    ):
        socket = context.socket(zmq.ROUTER)
        try:
            for option, value in OPTIONS.items():
                socket.setsockopt(option, value)
            if keys is not None:
                socket.curve_publickey, socket.curve_secretkey = keys
                socket.curve_server = True
            _bind(socket, endpoint)
            yield DeviceSocket(socket)
        finally:
            socket.close(0)


@contextmanager
def _alone_at(endpoint: str) -> Iterator[None]:
    """Hold a lock beside an ipc socket: a second bind there would take over who connects from now
    on, and the first device would drive the same robot on. Raises LinkError."""
    if not endpoint.startswith("ipc://"):
        yield
        return
    with Path(endpoint.removeprefix("ipc://") + ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise LinkError(
                f"{endpoint}: another driver listens there; stop it, or choose another address"
            ) from None
        yield


def _bind(socket: "zmq.Socket[bytes]", endpoint: str) -> None:
    try:
        socket.bind(endpoint)
    except zmq.ZMQError as error:
        raise LinkError(f"{endpoint} cannot be bound: {error}; choose another one") from None


def check_endpoint(endpoint: str, config: BridgeConfig) -> None:
    """Refuse an endpoint that others could reach; make the folder of an ipc one.

    Raises:
        LinkError: with the way out.
    """
    transport, _, address = endpoint.partition("://")
    if transport == "ipc":
        require_own_folder(address)
    elif transport != "tcp":
        raise LinkError(f"endpoint {endpoint}: allowed are ipc:// and tcp://")
    elif config.curve is None and not (config.loopback and is_loopback(address)):
        raise LinkError(
            f"endpoint {endpoint}: without keys anybody who reaches it could move the robot. "
            "Allowed without keys: ipc:// in a folder of your own, or 127.0.0.1 with --loopback; "
            "else make keys with `trimtab keys` and name them in sim.bridge.curve"
        )


def _key_pair(file: Path) -> tuple[bytes, bytes]:
    """Return public and secret key of a secret certificate; raises LinkError."""
    try:
        found = file.stat()
        public, secret = load_certificate(file)
    except (OSError, ValueError) as error:
        raise LinkError(f"{file}: no key pair can be read ({error}); see `trimtab keys`") from None
    if secret is None:
        raise LinkError(f"{file}: holds no secret key; name the file that ends in key_secret")
    if found.st_mode & OPEN_TO_OTHERS:
        raise LinkError(f"{file}: others may read it; run `chmod 600 {file}`")
    return public, secret


@contextmanager
def _authenticated(
    context: "zmq.Context[zmq.Socket[bytes]]", curve: CurveConfig | None
) -> Iterator[None]:
    """Run the thread that compares keys with the allow-list; raises LinkError if it is empty."""
    if curve is None:
        yield
        return
    allowed = Path(curve.allowed)
    if not any(allowed.glob("*.key")):
        raise LinkError(
            f"{allowed}: holds no public key (*.key), so nobody could connect; put the keys there "
            "that may, as `trimtab keys` makes them"
        )
    authenticator = ThreadAuthenticator(context)
    authenticator.start()
    try:
        authenticator.configure_curve(domain="*", location=str(allowed))
        yield
    finally:
        authenticator.stop()
