"""Where a device may listen, who gets in, and that nothing on the wire raises."""

import time
from pathlib import Path

import pytest
import zmq
import zmq.auth

from runtime.errors import ConfigError, LinkError
from runtime.robot_wire import WireError, decode_from_client
from sims.bridge_config import BridgeConfig, CurveConfig, read_bridge
from sims.bridge_process import main
from sims.bridge_socket import DeviceSocket, bound, check_endpoint

# section 1 of the protocol, written again
OPTIONS = {
    zmq.LINGER: 0,
    zmq.SNDHWM: 16,
    zmq.RCVHWM: 256,
    zmq.MAXMSGSIZE: 65536,
    zmq.TCP_KEEPALIVE: 1,
}
LOCAL = BridgeConfig(loopback=True)


def dealer(context: "zmq.Context[zmq.Socket[bytes]]", endpoint: str) -> "zmq.Socket[bytes]":
    socket = context.socket(zmq.DEALER)
    socket.setsockopt(zmq.LINGER, 0)
    socket.connect(endpoint)
    return socket


def received(device: DeviceSocket, wait_s: float = 5.0) -> list[tuple[bytes, bytes]]:
    end_s = time.monotonic() + wait_s
    while time.monotonic() < end_s:
        found = list(device.frames(256))
        if found:
            return found
        time.sleep(0.01)
    return []


def endpoint_of(device: DeviceSocket) -> str:
    value = device.raw.getsockopt(zmq.LAST_ENDPOINT)
    assert isinstance(value, bytes)
    return value.decode().rstrip("\0")


def test_the_options_of_the_protocol_are_set_before_it_binds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = {}
    real = zmq.Socket.bind

    def bind(self: "zmq.Socket[bytes]", endpoint: str) -> object:
        seen.update({option: self.getsockopt(option) for option in OPTIONS})
        return real(self, endpoint)

    monkeypatch.setattr(zmq.Socket, "bind", bind)
    with bound(f"ipc://{tmp_path}/own/robot", BridgeConfig()) as device:
        assert seen == OPTIONS
        assert device.raw.getsockopt(zmq.TYPE) == zmq.ROUTER
    assert (tmp_path / "own").stat().st_mode & 0o777 == 0o700


def test_a_second_client_cannot_take_the_routing_id_of_a_first(tmp_path: Path) -> None:
    endpoint = f"ipc://{tmp_path}/own/robot"
    with bound(endpoint, BridgeConfig()) as device, zmq.Context() as context:
        sockets = []
        for said in (b"first", b"second"):
            socket = context.socket(zmq.DEALER)
            socket.setsockopt(zmq.LINGER, 0)
            socket.setsockopt(zmq.ROUTING_ID, b"same")
            socket.connect(endpoint)
            socket.send(said)
            sockets.append(socket)
            if said == b"first":
                assert received(device) == [(b"same", b"first")]
        assert received(device, 0.3) == []
        device.send(b"same", b"for the first")
        assert sockets[0].recv() == b"for the first"
        for socket in sockets:
            socket.close(0)


@pytest.mark.parametrize(
    ("endpoint", "config", "said"),
    [
        ("tcp://127.0.0.1:0", BridgeConfig(), "--loopback"),
        ("tcp://0.0.0.0:0", LOCAL, "trimtab keys"),
        ("tcp://*:0", LOCAL, "without keys anybody"),
        ("tcp://localhost:0", LOCAL, "without keys anybody"),
        ("tcp://192.168.1.2:5555", LOCAL, "without keys anybody"),
        ("ipc://@abstract", LOCAL, "in no folder"),
        ("ipc://relative/robot", LOCAL, "in no folder"),
        ("inproc://robot", LOCAL, "allowed are ipc:// and tcp://"),
        ("nonsense", LOCAL, "allowed are ipc:// and tcp://"),
    ],
)
def test_an_open_endpoint_is_refused_with_the_way_out(
    endpoint: str, config: BridgeConfig, said: str
) -> None:
    with pytest.raises(LinkError, match=said):
        check_endpoint(endpoint, config)


def test_loopback_is_allowed_when_somebody_says_so() -> None:
    check_endpoint("tcp://127.0.0.1:5555", LOCAL)
    check_endpoint("tcp://[::1]:5555", LOCAL)
    with bound("tcp://127.0.0.1:*", LOCAL) as device, zmq.Context() as context:
        socket = dealer(context, endpoint_of(device))
        socket.send(b"hello")
        ((_, payload),) = received(device)
        assert payload == b"hello"
        socket.close(0)


def test_a_folder_that_others_may_enter_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "shared"
    folder.mkdir(mode=0o755)
    folder.chmod(0o755)
    with pytest.raises(LinkError, match=r"mode 0755.*chmod 700"):
        check_endpoint(f"ipc://{folder}/robot", BridgeConfig())
    link = tmp_path / "link"
    link.symlink_to(folder)
    with pytest.raises(LinkError, match="no folder of your own"):
        check_endpoint(f"ipc://{link}/robot", BridgeConfig())


def test_what_cannot_be_bound_says_so(tmp_path: Path) -> None:
    with (
        bound("tcp://127.0.0.1:*", LOCAL) as device,
        pytest.raises(LinkError, match="cannot be bound"),
        bound(endpoint_of(device), LOCAL),
    ):
        pass
    long = tmp_path / ("x" * 120)
    with pytest.raises(LinkError, match="cannot be bound"), bound(f"ipc://{long}/r", LOCAL):
        pass


def test_a_second_device_at_the_same_address_is_refused(tmp_path: Path) -> None:
    """ZeroMQ would let it take the address over while the first still drives the robot."""
    endpoint = f"ipc://{tmp_path}/own/robot"
    with (
        bound(endpoint, LOCAL),
        pytest.raises(LinkError, match="another driver listens there"),
        bound(endpoint, LOCAL),
    ):
        pass
    with bound(endpoint, LOCAL) as device:
        assert endpoint_of(device) == endpoint


def certificates(folder: Path, *names: str) -> dict[str, tuple[bytes, bytes]]:
    """Make key pairs and an allow-list of all but the last."""
    allowed = folder / "allowed"
    allowed.mkdir()
    found = {}
    for name in names:
        public, secret = zmq.auth.create_certificates(folder, name)
        Path(secret).chmod(0o600)
        keys = zmq.auth.load_certificate(secret)
        assert keys[1] is not None
        found[name] = (keys[0], keys[1])
        if name != names[-1]:
            Path(public).rename(allowed / f"{name}.key")
    return found


def test_only_who_is_on_the_list_gets_in(tmp_path: Path) -> None:
    keys = certificates(tmp_path, "device", "friend", "stranger")
    curve = CurveConfig(
        secret_key=str(tmp_path / "device.key_secret"), allowed=str(tmp_path / "allowed")
    )
    heard: dict[str, list[bytes]] = {}
    with bound("tcp://127.0.0.1:*", BridgeConfig(curve=curve)) as device, zmq.Context() as context:
        for name in ("stranger", "friend", "nobody"):
            socket = context.socket(zmq.DEALER)
            socket.setsockopt(zmq.LINGER, 0)
            if name in keys:
                socket.curve_publickey, socket.curve_secretkey = keys[name]
                socket.curve_serverkey = keys["device"][0]
            socket.connect(endpoint_of(device))
            socket.send(name.encode())
            heard[name] = [payload for _, payload in received(device, 0.5)]
            socket.close(0)
    assert heard == {"stranger": [], "friend": [b"friend"], "nobody": []}


def test_keys_that_do_not_serve_are_refused(tmp_path: Path) -> None:
    certificates(tmp_path, "device", "stranger")
    secret, allowed = tmp_path / "device.key_secret", tmp_path / "allowed"

    def refused(secret_key: Path, folder: Path, said: str) -> None:
        curve = CurveConfig(secret_key=str(secret_key), allowed=str(folder))
        with pytest.raises(LinkError, match=said), bound(
            "tcp://127.0.0.1:*", BridgeConfig(curve=curve)
        ):
            pass

    refused(tmp_path / "missing", allowed, "no key pair can be read")
    refused(tmp_path / "stranger.key", allowed, "holds no secret key")
    refused(secret, tmp_path / "empty", "nobody could connect")
    secret.chmod(0o644)
    refused(secret, allowed, "others may read it")


def test_frames_of_any_kind_are_handed_on_and_none_raises(tmp_path: Path) -> None:
    endpoint = f"ipc://{tmp_path}/own/robot"
    with bound(endpoint, BridgeConfig()) as device, zmq.Context() as context:
        socket = dealer(context, endpoint)
        for parts in ([b""], [b"one", b"two"], [b"\xc1"], [b"x" * 65536], []):
            socket.send_multipart(parts or [b""] * 300)
        found: list[tuple[bytes, bytes]] = []
        while len(found) < 5:
            found += received(device)
        assert [len(payload) for _, payload in found] == [0, 0, 1, 65536, 0]
        assert device.multipart == 2
        for _, payload in found:
            with pytest.raises(WireError):
                decode_from_client(payload)
        device.send(b"nobody", b"x")
        assert device.unsent == 1
        socket.close(0)


def test_a_peer_that_does_not_read_costs_nothing_but_what_it_is_sent(tmp_path: Path) -> None:
    endpoint = f"ipc://{tmp_path}/own/robot"
    with bound(endpoint, BridgeConfig()) as device, zmq.Context() as context:
        socket = context.socket(zmq.DEALER)
        socket.setsockopt(zmq.LINGER, 0)
        socket.setsockopt(zmq.RCVHWM, 1)
        socket.connect(endpoint)
        socket.send(b"x")
        ((routing, _),) = received(device)
        begun_s = time.monotonic()
        for _ in range(5000):
            device.send(routing, b"x" * 4096)
        assert device.unsent > 1000
        assert time.monotonic() - begun_s < 5.0
        socket.close(0)


def test_a_bridge_that_may_not_bind_ends_with_a_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--config", "config.yaml", "--endpoint", "tcp://0.0.0.0:5555"]
    assert main(arguments) == LinkError.exit_code
    assert "trimtab keys" in capsys.readouterr().err


def test_the_block_is_checked(tmp_path: Path) -> None:
    file = tmp_path / "bridge.yaml"
    for text, said in (
        ("watchdog_s: 0.2", "watchdog_s"),
        ("lease_s: 3.0", "lease_s"),
        ("to_robot: {loss_share: 1.5}", "loss_share"),
        ("to_robot: {lossshare: 0.5}", "unknown key"),
    ):
        file.write_text(text, encoding="utf-8")
        with pytest.raises(ConfigError, match=said):
            read_bridge(file)
