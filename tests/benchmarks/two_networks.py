"""Where daemon and robot are while their network is bad: two network namespaces, or loopback.

Losses and delays are the kernel's (`tc netem`) where it has that, else the simulated robot's own
(sims/network_faults.py). Namespaces need root and iproute2. Over tcp a frame that the kernel loses
comes late instead; one that the robot's own network loses is gone.
"""

import secrets
import shutil
import socket
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from runtime.curve_keys import make_keys

_ADDRESSES = ("10.213.77.1", "10.213.77.2")
_LIMIT_S = 10.0


@dataclass(frozen=True)
class Condition:
    """Each way: share of the frames (netem: packets) that are lost, and delay."""

    loss_share: float
    delay_s: float

    def __str__(self) -> str:
        return f"loss {100 * self.loss_share:g} %, delay {1000 * self.delay_s:g} ms"


@dataclass(frozen=True)
class Network:
    """`host`: the robot's address. `robot`, `daemon`: words before their commands. `faults`: what
    the robot's own network does, for its config. `said`: what this is, in words."""

    host: str
    robot: tuple[str, ...]
    daemon: tuple[str, ...]
    faults: Mapping[str, object]
    said: str


@contextmanager
def network(condition: Condition) -> Iterator[Network]:
    """Yield the best place that this machine has for a bad network."""
    own = {"loss_share": condition.loss_share, "latency_s": condition.delay_s}
    own_faults = {"to_robot": own, "to_client": own}
    name = f"t{secrets.token_hex(3)}"
    names = (f"{name}r", f"{name}d")
    try:
        if not _connected(names):
            said = "loopback; the robot's own network loses and delays"
            yield Network("127.0.0.1", (), (), own_faults, said)
            return
        robot, daemon = (("ip", "netns", "exec", one) for one in names)
        if _netem(names, condition):
            faults, said = {}, "two network namespaces, tc netem"
        else:
            faults = own_faults
            said = "two network namespaces; no netem, the robot's own network loses and delays"
        yield Network(_ADDRESSES[0], robot, daemon, faults, said)
    finally:
        for one in names:
            _ran("ip", "netns", "del", one)


def _ran(*words: str) -> bool:
    """Run a command; return whether it could."""
    if shutil.which(words[0]) is None:
        return False
    done = subprocess.run(words, check=False, capture_output=True, timeout=_LIMIT_S)
    return done.returncode == 0


def _connected(names: tuple[str, str]) -> bool:
    """Make two namespaces with a cable between them; False where that is not possible."""
    cable = ("ip", "link", "add", names[0], "netns", names[0], "type", "veth")
    commands = [
        *(("ip", "netns", "add", one) for one in names),
        (*cable, "peer", "name", names[1], "netns", names[1]),
    ]
    for one, address in zip(names, _ADDRESSES, strict=True):
        inside = ("ip", "-n", one)
        commands += [
            (*inside, "addr", "add", f"{address}/24", "dev", one),
            (*inside, "link", "set", one, "up"),
            (*inside, "link", "set", "lo", "up"),
        ]
    return all(_ran(*words) for words in commands)


def _netem(names: tuple[str, str], condition: Condition) -> bool:
    """Let the kernel lose and delay, each way; False where it cannot."""
    what = ("delay", f"{1000 * condition.delay_s:g}ms", "loss", f"{100 * condition.loss_share:g}%")
    return all(
        _ran("tc", "-n", one, "qdisc", "add", "dev", one, "root", "netem", *what) for one in names
    )


@dataclass(frozen=True)
class Keys:
    """CURVE key pairs of both sides, as configs name them."""

    robot: dict[str, str]
    daemon: dict[str, str]


def keys(folder: Path) -> Keys:
    """Make a key pair each, and the robot's list of who may connect."""
    robot, daemon = (make_keys(name, folder / "keys") for name in ("robot", "daemon"))
    allowed = folder / "allowed"
    allowed.mkdir(mode=0o700)
    shutil.copy(daemon.public, allowed)
    return Keys(
        {"secret_key": str(robot.secret), "allowed": str(allowed)},
        {"secret_key": str(daemon.secret), "device_key": str(robot.public)},
    )


def free_port() -> int:
    """Return a tcp port that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
