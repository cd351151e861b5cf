"""Keys and the lease end to end, over TCP and between processes: who gets in, and who hears why."""

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from runtime.errors import LinkError
from runtime.interfaces import Link
from runtime.zmq_spec import CurveKeysConfig
from tests.robot_kit import ROOT, Hand, Setup, bridge

CONNECT_S = 1.0
# what a busy machine may add to it
LATER_S = 2.0


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
        assert isinstance(port, int)
        return port


def trimtab_keys(name: str, folder: Path) -> None:
    command = [sys.executable, "-m", "runtime.cli", "keys", name, "--folder", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=60)


@dataclass(frozen=True)
class Guarded:
    """A robot that only `daemon` may command; `keys`: where everybody's lie."""

    setup: Setup
    keys: Path

    def open(self, secret: str | None = "daemon", device: str = "robot", **more: Any) -> Link:
        """Connect with somebody's keys, expecting some robot's; without keys where `secret` is
        None."""
        if secret is None:
            return self.setup.link(curve=None, **more)
        ours, its = self.keys / f"{secret}.key_secret", self.keys / f"{device}.key"
        keys = CurveKeysConfig(secret_key=str(ours), device_key=str(its))
        return self.setup.link(curve=keys, **more)


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    folder = tmp_path_factory.mktemp("guarded")
    keys, allowed = folder / "keys", folder / "allowed"
    allowed.mkdir()
    for name in ("robot", "daemon", "second", "stranger"):
        trimtab_keys(name, keys)
    for name in ("daemon", "second"):
        (allowed / f"{name}.key").write_bytes((keys / f"{name}.key").read_bytes())
    curve = f"curve: {{secret_key: {keys}/robot.key_secret, allowed: {allowed}}}\n"
    endpoint = f"tcp://127.0.0.1:{free_port()}"
    block = {"connect_s": CONNECT_S, "loopback": True}
    with bridge(folder, block, curve, endpoint) as (setup, _):
        yield Guarded(setup, keys)


def hand_of(guarded: Guarded, link: Link) -> Hand:
    return Hand(link, len(guarded.setup.robot.joints), guarded.setup.groups, 0.005)


def test_who_is_on_the_list_commands_the_robot(guarded: Guarded) -> None:
    link = guarded.open()
    try:
        hand = hand_of(guarded, link)
        way = 0 * hand.read()
        way[0] = 0.06
        start, ended = hand.move(way, 0.3)
        assert ended - start == pytest.approx(way, abs=0.02)
    finally:
        link.close()


@pytest.mark.parametrize(
    "who",
    [
        {"secret": "stranger"},
        {"secret": None},
        {"secret": "daemon", "device": "stranger"},
    ],
    ids=["not on the list", "without keys", "another robot's key"],
)
def test_everybody_else_gets_nothing_and_soon_hears_why(
    guarded: Guarded, who: dict[str, Any]
) -> None:
    begun_s = time.monotonic()
    with pytest.raises(LinkError, match=r"no robot answers within 1 s at tcp://.*and the keys"):
        guarded.open(**who)
    assert CONNECT_S <= time.monotonic() - begun_s < CONNECT_S + LATER_S
    # and it was not the robot that was away
    guarded.open(connect_s=20.0).close()


def test_a_second_commander_hears_who_holds_the_lease(guarded: Guarded) -> None:
    first = guarded.open(connect_s=20.0)
    try:
        hand = hand_of(guarded, first)
        start = hand.read()
        ended, errors = threading.Event(), list[str]()

        def second() -> None:
            try:
                guarded.open("second").close()
            except LinkError as refused:
                errors.append(str(refused))
            ended.set()

        threading.Thread(target=second).start()
        while not ended.is_set():
            hand.tick()
        (error,) = errors
        # one process here, so it is its own rival
        assert f"trimtab, process {os.getpid()} on " in error
        assert "has held the lease for" in error and "stop that one first" in error
        assert hand.read() == pytest.approx(start, abs=0.01)
    finally:
        first.close()
    # with the lease given back the second one gets in
    guarded.open("second", connect_s=20.0).close()
