"""Where the robot's wire may run: rules that its two ends check alike (PROTOCOL.md, section 9)."""

import ipaddress
import os
import stat
from pathlib import Path

from runtime.errors import ConfigError, LinkError
from runtime.zmq_spec import ZmqConfig

FOLDER_MODE = 0o700
OPEN_TO_OTHERS = 0o077


def is_loopback(address: str) -> bool:
    """Whether a tcp address, `host:port`, names this machine alone. A host name never does: who
    answers for it decides where it leads."""
    host = address.rpartition(":")[0].strip("[]")
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def check_robot_endpoint(endpoint: str, config: ZmqConfig) -> None:
    """Refuse to command a robot where others could listen, or play it.

    Raises:
        ConfigError: the endpoint is none, or needs keys. LinkError: the folder of an ipc one is
            not of this user alone.
    """
    transport, _, address = endpoint.partition("://")
    if transport not in ("ipc", "tcp"):
        raise ConfigError(f"zmq.endpoint: {endpoint}; allowed are ipc:// and tcp://")
    if transport == "ipc":
        require_own_folder(address)
    elif config.curve is None and not (config.loopback and is_loopback(address)):
        raise ConfigError(
            f"zmq.endpoint: {endpoint} without keys; allowed without: ipc://, or a "
            "loopback address with zmq.loopback: true; else make keys with `trimtab keys` and "
            "name them in zmq.curve"
        )


def require_own_folder(address: str) -> None:
    """Require that nobody else can enter the folder of an ipc address, the path of its socket: who
    can, could command the robot, or play it. One that is not there is made, so that nobody else
    makes it.

    Raises:
        LinkError: with the way out.
    """
    path = Path(address)
    if address.startswith("@") or not path.is_absolute():
        raise LinkError(
            f"endpoint ipc://{address}: is in no folder; allowed: an absolute path in a folder of "
            "your own with mode 0700"
        )
    folder = path.parent
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=FOLDER_MODE)
        found = folder.lstat()
    except OSError as error:
        raise LinkError(
            f"endpoint ipc://{address}: {folder} cannot be opened ({error.strerror}); name a "
            "folder of your own"
        ) from None
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        raise LinkError(f"{folder} is no folder of your own; choose another one for the endpoint")
    if found.st_mode & OPEN_TO_OTHERS:
        raise LinkError(
            f"{folder} has mode {stat.S_IMODE(found.st_mode):04o}: others could connect; allowed: "
            f"0700, so run `chmod 700 {folder}` or choose a folder that does not exist yet"
        )
