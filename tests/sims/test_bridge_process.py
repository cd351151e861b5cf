"""The simulated hardware as a process of its own: a client drives it, another one stops it."""

import math
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from runtime.clock import seconds_to_ns
from runtime.config import load_config, load_robot
from runtime.layout import Floats
from runtime.robot_codes import DeviceState, DropCode, Refusal
from runtime.robot_hashes import contract_hash, robot_hash
from runtime.robot_wire import Error, Refused, Status, Welcome
from sims.link import GROUPS
from sims.robot_log import Arrived, Dropped, Period, Stopped, read_log
from tests.sims.wire_client import WireClient

ROOT = Path(__file__).resolve().parents[2]
CONFIG = load_config(ROOT / "config.yaml")
ROBOT = load_robot(CONFIG, ROOT / "config.yaml")
# slow, so that a client on a busy machine is not taken for one that fell silent
SERVO_HZ = 100
PERIOD_NS = seconds_to_ns(1.0 / SERVO_HZ)
HASHES = (
    robot_hash(ROBOT),
    contract_hash(ROBOT.joint_names, [(g.name, g.size) for g in GROUPS], PERIOD_NS),
)
MOVE_RAD, MOVE_S = 0.1, 0.6
BRIDGE = "watchdog_s: 0.1\nlease_s: 2.0\n"


@contextmanager
def bridge(folder: Path, *options: str) -> Iterator[tuple[str, Path]]:
    """Run a bridge; yields its endpoint and its log."""
    endpoint, log = f"ipc://{folder}/own/robot", folder / "executed.jsonl"
    file = folder / "bridge.yaml"
    if not file.exists():
        file.write_text(BRIDGE, encoding="utf-8")
    config = (ROOT / "config.yaml").read_text(encoding="utf-8")
    slow = folder / "config.yaml"
    slow.write_text(config.replace("servo_hz: 500.0", f"servo_hz: {SERVO_HZ}.0"), encoding="utf-8")
    command = [sys.executable, "-m", "sims.bridge_process", "--config", str(slow)]
    command += ["--bridge", str(file), "--log", str(log), "--field", "nominal"]
    with subprocess.Popen(
        [*command, "--endpoint", endpoint, *options], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline().strip() == f"robot at {endpoint}"
            yield endpoint, log
        finally:
            process.terminate()
            assert process.wait(20) == 0


def smooth(share: float) -> tuple[float, float]:
    """Return place and pace (per unit of time) of a cosine move at `share` of its time."""
    share = min(share, 1.0)
    return 0.5 - 0.5 * math.cos(math.pi * share), 0.5 * math.pi * math.sin(math.pi * share)


def move(
    client: WireClient, epoch: int, start: Floats, distance_rad: float, share: float
) -> None:
    """Move the first joint along a cosine, up to `share` of the way's time."""
    begun_s = time.monotonic()
    done = 0.0
    while done < share:
        client.take(4)
        done = (time.monotonic() - begun_s) / MOVE_S
        place, pace = smooth(min(done, share))
        q, dq = start.copy(), np.zeros_like(start)
        q[0] += distance_rad * place
        dq[0] = distance_rad * pace / MOVE_S
        client.command(q.tolist(), dq.tolist(), epoch)


def measured(client: WireClient) -> Floats:
    assert client.now is not None
    return np.array(client.now.groups[0].values[: len(ROBOT.joints)])


def go(client: WireClient, distance_rad: float, share: float) -> tuple[int, Floats]:
    """Arm and move; again if the machine was too busy to. Returns the epoch and the start."""
    for _ in range(5):
        epoch = client.arm()
        start = measured(client)
        move(client, epoch, start, distance_rad, share)
        if client.now is not None and client.now.state is DeviceState.ARMED:
            return epoch, start
    raise AssertionError("five times the commands came too late")


def test_a_client_moves_the_robot_and_another_one_stops_it(tmp_path: Path) -> None:
    with (
        bridge(tmp_path) as (endpoint, log),
        WireClient(endpoint, *HASHES) as client,
        WireClient(endpoint, *HASHES) as other,
    ):
        assert (tmp_path / "own").stat().st_mode & 0o777 == 0o700
        answer = client.hello()
        assert isinstance(answer, Welcome)
        assert answer.simulated and answer.joints == ROBOT.joint_names
        refused = other.hello()
        assert isinstance(refused, Refused) and refused.code is Refusal.LEASE
        epoch, start = go(client, MOVE_RAD, 1.0)
        reached = measured(client) - start
        client.release()
        assert isinstance(client.hello(nonce=2), Welcome)
        epoch, start = go(client, 3 * MOVE_RAD, 0.5)
        other.send_stop(77)
        half = start + 1.5 * MOVE_RAD * np.eye(len(start))[0]
        for _ in range(60):
            client.command(half.tolist(), [0.0] * len(half), epoch)
        report = other.stop(77, client.live)
        assert report.at_rest and report.accepted and report.epoch == epoch + 1
        assert report.state is DeviceState.STOPPED
        client.until(lambda m: isinstance(m, Status) and m.stop_id == 77, client.heartbeat)
    entries = read_log(log.read_text(encoding="utf-8"))
    assert reached[0] == pytest.approx(MOVE_RAD, abs=0.03)
    (stopped,) = [entry for entry in entries if isinstance(entry, Stopped)]
    assert stopped.id == 77
    since = entries[entries.index(stopped) :]
    periods = [entry for entry in since if isinstance(entry, Period)]
    assert {period.did for period in periods} == {"brake", "hold"}
    assert periods[0].did == "brake"
    late = [entry for entry in since if isinstance(entry, Dropped)]
    assert {entry.code for entry in late} <= {DropCode.OLD_EPOCH, DropCode.STALE}
    assert len(late) >= 50
    assert not [entry for entry in since if isinstance(entry, Arrived)]


def test_a_bad_network_is_between_them_and_the_robot_says_what_it_dropped(tmp_path: Path) -> None:
    faults = "{duplicate_share: 1.0, latency_s: 0.02, jitter_s: 0.01}"
    text = f"{BRIDGE}to_robot: {faults}\nto_client: {{latency_s: 0.01}}\n"
    (tmp_path / "bridge.yaml").write_text(text, encoding="utf-8")
    with bridge(tmp_path) as (endpoint, log), WireClient(endpoint, *HASHES) as client:
        begun_s = time.monotonic()
        assert isinstance(client.hello(), Welcome)
        assert time.monotonic() - begun_s >= 0.03
        client.socket.send(b"nonsense")
        error = client.until(lambda m: isinstance(m, Error) and m.code is DropCode.MALFORMED)
        assert isinstance(error, Error) and client.welcome is not None
        assert error.session == client.welcome.session
        client.until(
            lambda m: isinstance(m, Status) and m.counts[DropCode.REPEATED - 1] >= 10,
            client.heartbeat,
        )
    codes = [e.code for e in read_log(log.read_text(encoding="utf-8")) if isinstance(e, Dropped)]
    assert codes.count(DropCode.MALFORMED) == 2
