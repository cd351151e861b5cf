"""The recorder with real processes: hand-over, kill -9, full disk, signals, status."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pytest
import zmq

from runtime.errors import StartRefused
from runtime.events import Event, EventKind
from runtime.messages import new_record
from runtime.record_format import RecorderStatus, RecordHeader, header_from_metadata
from runtime.record_format import header_to_metadata as to_metadata
from runtime.recorder import WINDOW_TICKS, RecorderClient, recorder_command
from runtime.records import read_record
from tests.runtime.recording_kit import (
    EPISODE_TICKS,
    ROOT,
    SIZES,
    fill_tick,
    finish,
    make_config,
    make_header,
    make_place,
    recording,
    send_ticks,
    start_recorder,
    wait_until,
)


def numbers(folder: Path) -> list[int]:
    ticks: list[int] = read_record(folder).scalar("tick").tolist()
    return ticks


def acknowledged(client: RecorderClient) -> int:
    client._exchange()
    return client.totals.acknowledged


def test_all_that_is_recorded_in_lockstep_is_there(tmp_path: Path) -> None:
    place = make_place(tmp_path)
    with recording(place, make_config()) as (client, process):
        send_ticks(client, 1, 3 * WINDOW_TICKS)
        client.event(Event(7, 7, EventKind.KEYFRAME, data=b"\x00\xff" * 100))
        client.close()
        code, errors = finish(process)
    assert (code, errors) == (0, "")
    record = read_record(place.folder)
    assert record.scalar("tick").tolist() == list(range(1, 3 * WINDOW_TICKS + 1))
    assert not record.truncated and not record.gaps and not record.notes
    assert record.events == (Event(7, 7, EventKind.KEYFRAME, data=b"\x00\xff" * 100),)
    assert client.totals.acknowledged == client.totals.made == 3 * WINDOW_TICKS
    assert client.totals.size_bytes == record.size_bytes
    assert not place.journal.exists()


def test_header_survives_as_metadata() -> None:
    header = make_header("run")
    assert header_from_metadata(to_metadata(header)) == header
    with pytest.raises(msgspec.ValidationError, match="robot_id"):
        header_from_metadata({"run": "x"})
    assert {entry.name for entry in msgspec.structs.fields(RecordHeader)} == set(
        to_metadata(header)
    )


def test_without_a_recorder_the_start_is_refused(tmp_path: Path) -> None:
    place = make_place(tmp_path)
    client = RecorderClient(place, make_header("x"), lockstep=False, lost_after_s=0.1, wait_s=0.1)
    with pytest.raises(StartRefused, match=r"did not answer within 0\.1 s"):
        client.wait_ready(0.1)
    client.close()


def test_folder_that_cannot_be_written_refuses_the_start(tmp_path: Path) -> None:
    (tmp_path / "records").write_text("a file where a folder should be")
    place = make_place(tmp_path)
    process = start_recorder(place, make_config())
    client = RecorderClient(
        place, make_header(place.run), lockstep=True, lost_after_s=0.5, wait_s=0.1
    )
    with pytest.raises(StartRefused, match=r"cannot be written: .*recorder\.folder"):
        client.wait_ready(10.0)
    client.close()
    assert finish(process)[0] == 4


def test_killed_recorder_keeps_what_it_acknowledged_and_is_lost(tmp_path: Path) -> None:
    place = make_place(tmp_path)
    with recording(place, make_config(), lockstep=False, wait_s=0.2) as (client, process):
        send_ticks(client, 1, 500, pause_s=0.0005)
        process.kill()
        process.wait()
        safe = acknowledged(client)
        assert safe > 0
        assert numbers(place.folder)[:safe] == list(range(1, safe + 1))
        assert not client.health().lost
        time.sleep(0.6)
        send_ticks(client, 501, 20)
        assert client.health().lost
        assert client.health().dropped == 0
        send_ticks(client, 521, WINDOW_TICKS)
        assert client.health().dropped == 520 - safe
    assert place.journal.exists()


def test_restarted_recorder_gets_what_its_predecessor_did_not_write(tmp_path: Path) -> None:
    place = make_place(tmp_path)
    config = make_config()
    with recording(place, config) as (client, first):
        send_ticks(client, 1, 400)
        wait_until(lambda: acknowledged(client) >= 400)
        send_ticks(client, 401, 300)
        first.kill()
        first.wait()
        send_ticks(client, 701, 300)
        second = start_recorder(place, config)
        send_ticks(client, 1001, 2 * WINDOW_TICKS)
        client.close()
        assert finish(second)[0] == 0
    record = read_record(place.folder)
    assert record.scalar("tick").tolist() == list(range(1, 1001 + 2 * WINDOW_TICKS))
    assert len(record.paths) == 2
    assert record.truncated
    assert client.health().dropped == 0


def test_lockstep_waits_for_a_stopped_recorder_then_declares_it_lost(tmp_path: Path) -> None:
    place = make_place(tmp_path)
    with recording(place, make_config(), wait_s=0.3) as (client, process):
        send_ticks(client, 1, 10)
        process.send_signal(signal.SIGSTOP)
        begin_s = time.monotonic()
        send_ticks(client, 11, WINDOW_TICKS + 100)
        assert 0.3 <= time.monotonic() - begin_s < 3.0
        assert client.health().lost
        assert client.health().dropped > 0
        process.send_signal(signal.SIGCONT)
        wait_until(lambda: acknowledged(client) > 0 and not client.health().lost)


def test_killed_tree_and_the_next_start(tmp_path: Path) -> None:
    """Everything acknowledged is readable, at most 0.5 s is not, and the next start says so."""
    script = ROOT / "tests" / "runtime" / "recording_child.py"
    child = subprocess.Popen(
        [sys.executable, str(script), str(tmp_path)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert child.stdout is not None
    lines: list[tuple[float, list[int]]] = []
    while not lines or lines[-1][1][2] < 1000:
        lines.append((time.monotonic(), [int(word) for word in child.stdout.readline().split()]))
    os.killpg(child.pid, signal.SIGKILL)
    killed_s = time.monotonic()
    rest = child.stdout.read().split("\n")
    child.wait()
    child.stdout.close()
    lines += [(killed_s, [int(word) for word in line.split()]) for line in rest if line]
    _, made, safe = lines[-1][1]
    folder = tmp_path / "records" / "killed"
    readable = numbers(folder)
    assert readable == list(range(1, len(readable) + 1))
    assert len(readable) >= safe
    assert max(when for when, words in lines if words[1] <= len(readable)) > killed_s - 0.5
    wait_until(lambda: not Path(f"/proc/{lines[-1][1][0]}").exists())
    place = make_place(tmp_path, "next")
    with recording(place, make_config()) as (client, process):
        send_ticks(client, 1, 100)
        client.close()
        code, errors = finish(process)
    assert code == 0
    words = errors.split()
    missing, total = int(words[words.index("closing:") + 1]), int(words[words.index("its") + 1])
    assert total >= made
    assert missing == total - len(readable)
    record = read_record(place.folder)
    assert [event.kind for event in record.events] == [EventKind.NOTE]
    assert record.events[0].text == errors.strip()
    assert not list(place.sockets.glob("*.journal"))


def test_full_disk_is_heard_and_costs_nothing_acknowledged(tmp_path: Path) -> None:
    place = make_place(tmp_path)
    limit = 200_000
    command = ["prlimit", f"--fsize={limit}", *recorder_command(place, make_config())]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)
    client = RecorderClient(place, make_header(place.run), lockstep=True, lost_after_s=0.5)
    client.wait_ready(10.0)
    record = new_record(SIZES)
    tick = 0
    while not client.health().lost and tick < 1_000_000:
        tick += 1
        fill_tick(record, tick)
        record.tau[:] = hash((tick, "noise")) * 1e-19  # so that it does not compress away
        client.record(record)
    client.close()
    code, errors = finish(process)
    assert code == 4
    assert "cannot be written" in errors and "recorder.folder" in errors
    assert "cannot be written" in client.totals.failure
    readable = numbers(place.folder)
    assert readable[: client.totals.acknowledged] == list(range(1, client.totals.acknowledged + 1))
    assert client.totals.acknowledged > 0
    assert read_record(place.folder).truncated


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_closes_the_file_once_control_is_silent(tmp_path: Path, number: int) -> None:
    place = make_place(tmp_path)
    with recording(place, make_config(), wait_s=0.2) as (client, process):
        send_ticks(client, 1, 64)
        process.send_signal(number)
        send_ticks(client, 65, 64, pause_s=0.002)
        assert finish(process)[0] == 0
    record = read_record(place.folder)
    assert len(record) == 128
    assert not record.truncated


def test_parents_death_closes_the_file(tmp_path: Path) -> None:
    place = make_place(tmp_path)
    command = recorder_command(place, make_config())
    command[command.index("--parent") + 1] = "$$"
    shell = subprocess.Popen(
        ["sh", "-c", " ".join(command) + " & echo $!; wait"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert shell.stdout is not None
    pid = int(shell.stdout.readline())
    client = RecorderClient(
        place, make_header(place.run), lockstep=True, lost_after_s=0.5, wait_s=0.2
    )
    client.wait_ready(10.0)
    send_ticks(client, 1, 64)
    shell.kill()
    shell.wait()
    wait_until(lambda: not Path(f"/proc/{pid}").exists())
    shell.stdout.close()
    client.close()
    record = read_record(place.folder)
    assert len(record) == 64
    assert not record.truncated


def test_status_is_published(tmp_path: Path) -> None:
    place = make_place(tmp_path)
    with recording(place, make_config()) as (client, _), zmq.Context() as context:
        with context.socket(zmq.SUB) as live:
            live.setsockopt(zmq.SUBSCRIBE, b"")
            live.setsockopt(zmq.LINGER, 0)
            live.connect(place.status_endpoint)
            send_ticks(client, 0, 4 * EPISODE_TICKS, pause_s=0.001)
            assert live.poll(2000)
            time.sleep(0.4)
            while live.poll(0):
                data = live.recv()
        status = msgspec.msgpack.decode(data, type=RecorderStatus)
    assert status.run == place.run
    assert [result.outcome for result in status.results] == [
        "SUCCESS",
        "SUCCESS",
        "FAILURE",
        "SUCCESS",
    ][: len(status.results)]
    assert len(status.results) >= 3
    assert status.results[1].duration_s == pytest.approx((EPISODE_TICKS - 1) * 0.002)
    assert status.mode == "BASE"
    assert status.limited_ticks["JERK"] - len(status.results) in (0, 1)
    assert status.limited_ticks["POSITION"] == 0
    assert status.stage_p50_us[2] == pytest.approx(20.05, abs=0.1)
    assert status.size_bytes > 0


def test_handing_over_a_tick_is_cheap(tmp_path: Path) -> None:
    """Median cost in control; generous, for the machine that runs this is shared."""
    place = make_place(tmp_path)
    record = new_record(SIZES)
    costs = []
    with recording(place, make_config()) as (client, _):
        for tick in range(2000):
            fill_tick(record, tick)
            begin_ns = time.perf_counter_ns()
            client.record(record)
            costs.append(time.perf_counter_ns() - begin_ns)
    assert sorted(costs)[len(costs) // 2] < 20_000
