"""A client's socket to a robot's driver: its options, endpoint and keys (PROTOCOL.md, 1 and 9)."""

from pathlib import Path

import zmq
from zmq.auth import load_certificate

from runtime.config import Config, resolve
from runtime.endpoints import check_robot_endpoint
from runtime.errors import ConfigError
from runtime.record_format import socket_folder
from runtime.robot_codes import MAX_FRAME_BYTES
from runtime.zmq_spec import CurveKeysConfig, ZmqConfig

OPTIONS = {
    zmq.LINGER: 0,
    zmq.SNDHWM: 16,
    zmq.RCVHWM: 256,
    zmq.MAXMSGSIZE: MAX_FRAME_BYTES,
    zmq.IMMEDIATE: 1,
    zmq.TCP_KEEPALIVE: 1,
    zmq.RECONNECT_IVL: 50,
    zmq.RECONNECT_IVL_MAX: 500,
}


def open_socket(
    context: "zmq.Context[zmq.Socket[bytes]]",
    config: Config,
    robot: ZmqConfig,
    config_file: Path,
) -> "zmq.Socket[bytes]":
    """Return a socket that connects to the robot's driver, with our keys where there are any.

    Raises:
        ConfigError: the endpoint is not allowed, or a key cannot be used.
    """
    endpoint = robot.endpoint or f"ipc://{socket_folder(config.robot_id)}/robot"
    check_robot_endpoint(endpoint, robot)
    socket = context.socket(zmq.DEALER)
    for option, value in OPTIONS.items():
        socket.setsockopt(option, value)
    try:
        if robot.curve is not None:
            _use_keys(socket, robot.curve, config_file)
        socket.connect(endpoint)
    except BaseException:
        socket.close()
        raise
    return socket


def _use_keys(
    socket: "zmq.Socket[bytes]", curve: CurveKeysConfig, config_file: Path
) -> None:
    """Let only the device with that key answer. Raises ConfigError."""
    found = []
    for name in ("secret_key", "device_key"):
        file = resolve(getattr(curve, name), config_file)
        try:
            found.append(load_certificate(file))
        except (OSError, ValueError) as error:
            raise ConfigError(
                f"zmq.curve.{name}: {file} holds no key ({error}); make one with `trimtab keys`"
            ) from None
    (public, secret), (device, _) = found
    if secret is None:
        raise ConfigError("zmq.curve.secret_key: no secret in it; name the file *.key_secret")
    socket.curve_publickey, socket.curve_secretkey = public, secret
    socket.curve_serverkey = device
