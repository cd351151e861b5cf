"""The template for hardware makers, in its own process, obeys the protocol over a real socket."""

import ast
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgpack
import pytest

from runtime.robot_codes import DeviceState, DropCode, Refusal, Role
from runtime.robot_wire import Observation, Refused, Status, Welcome
from tests.golden.make_vectors import VECTORS
from tests.sims.wire_client import WireClient

FILE = Path(__file__).resolve().parents[2] / "sims" / "minimal_driver.py"
ROBOT, CONTRACT = b"\x01" * 32, b"\x02" * 32
PACE_RAD_S = 0.5


@contextmanager
def driver(folder: Path) -> Iterator[str]:
    endpoint = f"ipc://{folder}/own/robot"
    # isolated: nothing of ours can be imported
    command = [sys.executable, "-I", str(FILE), endpoint, ROBOT.hex(), CONTRACT.hex()]
    with subprocess.Popen(command, cwd=folder) as process:
        try:
            yield endpoint
            assert process.poll() is None, "the driver died"
        finally:
            process.terminate()


@pytest.fixture
def endpoint(tmp_path: Path) -> Iterator[str]:
    with driver(tmp_path) as endpoint:
        yield endpoint


def test_it_needs_nothing_of_ours_and_fits_on_a_page() -> None:
    tree = ast.parse(FILE.read_text(encoding="utf-8"))
    names = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    names |= {a.name for node in ast.walk(tree) if isinstance(node, ast.Import) for a in node.names}
    foreign = {name for name in names if name and name.split(".")[0] not in sys.stdlib_module_names}
    assert foreign == {"msgpack", "zmq"}
    assert len(FILE.read_text(encoding="utf-8").splitlines()) <= 120


def test_it_runs_where_nothing_of_ours_can_be_imported(tmp_path: Path) -> None:
    endpoint = f"ipc://{tmp_path}/own/robot"
    command = [sys.executable, "-I", "-X", "importtime", str(FILE), endpoint, "00", "00"]
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as process:
        with WireClient(endpoint, ROBOT, CONTRACT) as client:
            assert isinstance(client.hello(role=Role.OBSERVER), Refused)
        process.terminate()
        assert process.stderr is not None
        told = process.stderr.read()
    imported = {line.rpartition("|")[2].strip().split(".")[0] for line in told.splitlines()}
    assert {"zmq", "msgpack"} <= imported
    assert not imported & {"runtime", "sims", "policies", "numpy"}


def test_it_greets_who_it_knows_and_refuses_the_others(endpoint: str) -> None:
    with WireClient(endpoint, ROBOT, CONTRACT) as client:
        first = client.hello()
        assert isinstance(first, Welcome) and first.joints == ("a", "b") and first.session > 0
        again = client.hello()
        assert again == first
    answer: object
    for hashes, role, code in (
        ((b"x" * 32, CONTRACT), Role.COMMANDER, Refusal.ROBOT_HASH),
        ((ROBOT, b"x" * 32), Role.COMMANDER, Refusal.CONTRACT_HASH),
        ((ROBOT, CONTRACT), Role.COMMANDER, Refusal.LEASE),
        ((ROBOT, CONTRACT), Role.OBSERVER, Refusal.ROLE),
    ):
        with WireClient(endpoint, *hashes) as other:
            answer = other.hello(role=role)
            assert isinstance(answer, Refused) and answer.code is code
            assert (answer.yours != answer.mine) == (code < Refusal.LEASE)
            # by whom and since when
            assert ("'a test' since 0." in answer.text) == (code is Refusal.LEASE)
    with WireClient(endpoint, ROBOT, CONTRACT) as other:
        other.socket.send(msgpack.packb([1, 9, 33, "of another time"]))
        answer = other.until(lambda message: isinstance(message, Refused))
        assert isinstance(answer, Refused)
        assert (answer.code, answer.nonce, answer.yours) == (Refusal.VERSION, 33, "9")


def test_a_lease_ends_by_release_and_by_silence(endpoint: str) -> None:
    with WireClient(endpoint, ROBOT, CONTRACT) as client:
        client.hello()
        client.release()
        assert isinstance(client.hello(nonce=2), Welcome)
        time.sleep(0.7)
        with WireClient(endpoint, ROBOT, CONTRACT) as other:
            assert isinstance(other.hello(), Welcome)


def test_a_greeting_said_again_gets_its_session_which_lives_on(endpoint: str) -> None:
    with (
        WireClient(endpoint, ROBOT, CONTRACT) as client,
        WireClient(endpoint, ROBOT, CONTRACT) as other,
    ):
        first = client.hello(nonce=7)
        for _ in range(16):
            time.sleep(0.05)
            assert client.hello(nonce=7) == first
        assert isinstance(other.hello(nonce=7), Refused)
        client.release()
        second = other.hello(nonce=7)
        assert isinstance(first, Welcome) and isinstance(second, Welcome)
        assert second.session != first.session


def test_what_was_armed_ends_with_its_session_whoever_greets_at_once(endpoint: str) -> None:
    with WireClient(endpoint, ROBOT, CONTRACT) as client:
        client.hello()
        client.until(lambda m: isinstance(m, Observation) and m.sequence > 60, client.live)
        epoch = client.arm()
        client.release()
        welcome = client.hello(nonce=2)
        assert isinstance(welcome, Welcome)
        session, seen = welcome.session, len(client.seen)
        client.until(lambda m: isinstance(m, Observation) and m.epoch > epoch, client.live)
        states = [m.state for m in client.seen[seen:] if isinstance(m, Observation)]
        assert states and DeviceState.ARMED not in states
        assert {m.session for m in client.seen[seen:] if isinstance(m, Observation)} == {session}


def test_a_stop_without_a_number_is_acted_on_each_time(endpoint: str) -> None:
    with WireClient(endpoint, ROBOT, CONTRACT) as client:
        first = client.stop(number=0)
        assert client.stop(number=0).epoch > first.epoch


def test_a_second_driver_at_its_address_does_not_start(endpoint: str) -> None:
    command = [sys.executable, "-I", str(FILE), endpoint, ROBOT.hex(), CONTRACT.hex()]
    with WireClient(endpoint, ROBOT, CONTRACT) as client:
        assert isinstance(client.hello(), Welcome)
        second = subprocess.run(command, check=False, capture_output=True, timeout=20, text=True)
        assert second.returncode and "BlockingIOError" in second.stderr
        assert isinstance(client.hello(nonce=2), Welcome | Refused)


def position(client: WireClient) -> float:
    assert client.now is not None
    return client.now.groups[0].values[0]


def drive(client: WireClient, distance_rad: float) -> int:
    """Arm and move the first joint evenly; again if this machine was too busy. Ends in motion."""
    for _ in range(10):
        epoch = client.arm()
        begun_s, start = time.monotonic(), position(client)
        gone = 0.0
        while gone < distance_rad and client.now and client.now.state is DeviceState.ARMED:
            client.take(2)
            gone = PACE_RAD_S * (time.monotonic() - begun_s)
            client.command([start + gone, 0.0], [PACE_RAD_S, 0.0], epoch)
        client.take()
        if client.now and client.now.state is DeviceState.ARMED:
            return epoch
    raise AssertionError("ten times the commands came too late")


def test_it_moves_while_commands_come_and_brakes_without_them(endpoint: str) -> None:
    with WireClient(endpoint, ROBOT, CONTRACT) as client:
        client.hello()
        epoch = drive(client, 0.05)
        there = position(client)
        client.until(
            lambda m: isinstance(m, Observation) and m.state is DeviceState.IDLE, client.heartbeat
        )
        assert client.now is not None and client.now.epoch == epoch + 1
        # three periods, v^2 / 2a = 0.025 rad, and the lag of the toy's drives
        assert 0.01 < position(client) - there < 0.1


def test_a_stop_is_reported_and_nothing_older_is_executed(endpoint: str) -> None:
    with WireClient(endpoint, ROBOT, CONTRACT) as client, WireClient(endpoint, b"", b"") as other:
        client.hello()
        epoch = drive(client, 0.05)
        other.send_stop(5)
        for _ in range(60):
            client.command([position(client) + 0.02, 0.0], [0.0, 0.0], epoch)
        report = other.stop(5, client.live)
        assert report.accepted and report.at_rest and report.epoch == epoch + 1
        client.take(20)
        stood = position(client)
        assert other.stop(5, client.live).epoch == epoch + 1
        status = client.until(lambda m: isinstance(m, Status) and m.stop_id == 5, client.heartbeat)
        assert isinstance(status, Status) and status.stop_who == "a test"
        counts = client.until(
            lambda m: isinstance(m, Status)
            and m.counts[DropCode.OLD_EPOCH - 1] + m.counts[DropCode.STALE - 1] >= 60,
            client.heartbeat,
        )
        assert isinstance(counts, Status)
        client.take(20)
        assert position(client) == pytest.approx(stood, abs=0.01)
        assert client.arm() > epoch + 1


def test_what_is_stale_repeated_foreign_or_wrong_is_dropped(endpoint: str) -> None:
    with WireClient(endpoint, ROBOT, CONTRACT) as client:
        client.hello()
        old = client.now
        epoch = drive(client, 0.0)
        client.until(
            lambda m: isinstance(m, Observation) and old is not None
            and m.stamp_ns - old.stamp_ns > 30_000_000,
            client.heartbeat,
        )  # fmt: skip
        client.command([float("nan"), 0.0], [0.0, 0.0], epoch)
        client.command([0.0], [0.0], epoch)
        client.command([9.0, 0.0], [0.0, 0.0], epoch)
        client.command([0.0, 0.0], [0.0, 0.0], epoch)
        client.count -= 1
        client.command([0.0, 0.0], [0.0, 0.0], epoch)
        client.now, newest = old, client.now
        client.command([0.0, 0.0], [0.0, 0.0], epoch)
        client.now = newest
        with WireClient(endpoint, ROBOT, CONTRACT) as other:
            other.welcome, other.now = client.welcome, client.now
            other.heartbeat()
            wanted = (DropCode.STALE, DropCode.REPEATED, DropCode.FOREIGN)
            client.until(
                lambda m: isinstance(m, Status) and all(m.counts[code - 1] for code in wanted),
                client.heartbeat,
            )


def test_a_command_that_the_drives_cannot_follow_is_dropped(endpoint: str) -> None:
    wrong = {
        DropCode.LENGTH: ([0.0], [0.0]),
        DropCode.NOT_FINITE: ([0.0, float("nan")], [0.0, 0.0]),
        DropCode.LIMITS: ([0.0, 0.0], [0.0, -2.1]),
        DropCode.JUMP: ([0.06, 0.0], [0.0, 0.0]),
    }
    with WireClient(endpoint, ROBOT, CONTRACT) as client:
        client.hello()
        for code, (q, dq) in wrong.items():
            epoch = client.arm()

            def ask(q: list[float] = q, dq: list[float] = dq, epoch: int = epoch) -> None:
                client.command(q, dq, epoch)

            client.until(lambda m, c=code: isinstance(m, Status) and m.counts[c - 1] > 0, ask)  # type: ignore[misc]
            assert position(client) == 0.0
            client.until(lambda m: isinstance(m, Observation) and m.state == 0, client.heartbeat)


def test_it_tells_good_frames_from_malformed_ones(endpoint: str) -> None:
    vectors = json.loads(VECTORS.read_text(encoding="utf-8"))
    frames = {
        name: [bytes.fromhex(each["hex"]) for each in vectors[name]
               if each["to"] == "device" and each.get("fault") != "size"]
        for name in ("messages", "accepted", "malformed")
    }  # fmt: skip
    with WireClient(endpoint, ROBOT, CONTRACT) as client, WireClient(endpoint, b"", b"") as other:
        client.hello()
        for frame in [each for kind in frames.values() for each in kind]:
            other.socket.send(frame)
            client.live()
        other.socket.send(b"the last")
        told = client.until(
            lambda m: isinstance(m, Status)
            and m.counts[DropCode.MALFORMED - 1] >= len(frames["malformed"]) + 1,
            client.heartbeat,
        )
        assert isinstance(told, Status) and len(frames["malformed"]) > 20
        assert told.counts[DropCode.MALFORMED - 1] == len(frames["malformed"]) + 1


def test_no_frame_kills_it(endpoint: str) -> None:
    with WireClient(endpoint, ROBOT, CONTRACT) as client:
        client.socket.send(b"before anything else")
        client.hello()
        for frame in (b"", b"\xc1", b"\xdd\xff\xff\xff\xff", b"\x91" * 2000, msgpack.packb(None),
                      msgpack.packb([[], 1]), msgpack.packb([6, 1, 1, 3, "", ""]),
                      msgpack.packb([6, 1, 1, True, "", ""]), msgpack.packb([1, 2]),
                      msgpack.packb([True, 1, 1, 1, "", b"", b""]),
                      msgpack.packb({1: 2})):  # fmt: skip
            client.socket.send(frame)
        client.socket.send_multipart([b"one", b"two"])
        client.until(
            lambda m: isinstance(m, Status) and m.counts[DropCode.MALFORMED - 1] == 13,
            client.heartbeat,
        )


def test_an_open_folder_is_refused(tmp_path: Path) -> None:
    for endpoint in (f"ipc://{tmp_path}/robot", "tcp://0.0.0.0:5555"):
        tmp_path.chmod(0o755)
        command = [sys.executable, "-I", str(FILE), endpoint, "00", "00"]
        found = subprocess.run(
            command, cwd=tmp_path, capture_output=True, text=True, timeout=20, check=False
        )
        assert found.returncode == 1
        assert "your own folder of mode 0700" in found.stderr
