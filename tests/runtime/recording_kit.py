"""What the recording tests share: sizes of no particular robot, ticks, a recorder process."""

import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from runtime.config import RecorderConfig
from runtime.faults import Fault, Response
from runtime.fingerprint import fingerprint
from runtime.layout import Kind, Layout
from runtime.messages import (
    GroupSize,
    Limit,
    Mode,
    Outcome,
    Phase,
    SignalSource,
    Sizes,
    TickRecord,
    new_record,
    tick_layout,
)
from runtime.record_format import RecorderPlace, RecordHeader
from runtime.recorder import RecorderClient, recorder_command

ROOT = Path(__file__).resolve().parents[2]
SIZES = Sizes(joints=3, action=2, setpoint=3, groups=(GroupSize("force", 3), GroupSize("task", 1)))
TICK_NS = 2_000_000
EPISODE_TICKS = 100


def make_header(run: str, sizes: Sizes = SIZES) -> RecordHeader:
    """Return a header for ticks of `sizes`."""
    return RecordHeader(
        run=run,
        robot_id="bench",
        started_utc="2024-01-01T00:00:00Z",
        clock="lockstep",
        servo_hz=500.0,
        joints=[f"joint{number}" for number in range(sizes.joints)],
        groups={group.name: group.size for group in sizes.groups},
        action=sizes.action,
        setpoint=sizes.setpoint,
        layout=tick_layout(sizes).table(),
        fingerprint=fingerprint(),
        config="version: 1\n",
        seeds={"episodes": 7},
    )


def make_place(folder: Path, run: str = "bench-1") -> RecorderPlace:
    """Return a place below a test's folder (short, for socket paths have little room)."""
    sockets = folder / "s"
    sockets.mkdir(exist_ok=True)
    return RecorderPlace(run, folder / "records" / run, sockets)


def make_config(**changes: float) -> RecorderConfig:
    """Return a recorder config that flushes quickly."""
    values: dict[str, float | str] = {
        "folder": "records",
        "segment_mb": 256.0,
        "segment_s": 600.0,
        "retention_mb": 4096.0,
        "flush_ms": 50.0,
        "lost_after_s": 0.5,
    }
    return RecorderConfig.model_validate({**values, **changes})


def fill_noise(record: TickRecord, layout: Layout, seed: int) -> None:
    """Put a valid random value into every element of every field."""
    rng = np.random.default_rng(seed)
    for field in layout.fields:
        view = record.view[field.name]
        if field.kind is Kind.FLOAT:
            view[:] = rng.normal(size=field.size)
        elif field.kind is Kind.INT:
            view[:] = rng.integers(-(2**62), 2**62, size=field.size)
        elif field.kind is Kind.FLAG:
            view[:] = rng.integers(0, 2, size=field.size)
        else:
            view[:] = rng.choice([value for _, value in field.codes], size=field.size)


def fill_tick(record: TickRecord, tick: int) -> None:
    """Make `record` the tick of that number in a run of short episodes, every third a failure."""
    episode, step = divmod(tick, EPISODE_TICKS)
    ends = step == EPISODE_TICKS - 1
    record.tick[0] = tick
    record.now_ns[0] = tick * TICK_NS
    record.stage_ns[:] = [0, 1000, 20_000 + tick % 100, 500, 800, 0]
    record.q[:] = np.sin(tick * 1e-3)
    record.view["observation_force"][:] = [3.0, 4.0, 0.0]
    record.mode[0] = Mode.BASE
    record.phase[0] = Phase.READY if ends else Phase.RUNNING
    record.episode[0] = episode + 1
    record.outcome[0] = 0
    record.outcome_source[0] = 0
    if ends:
        record.outcome[0] = Outcome.FAILURE if episode % 3 == 2 else Outcome.SUCCESS
        record.outcome_source[0] = SignalSource.DRIVER
    record.limited_by[:] = 0
    record.limited_by[1] = Limit.JERK if step == 10 else Limit.NONE
    record.margin[:] = 0.5
    record.margin[2] = 0.0 if step == 10 else 0.25
    record.guard_margin[:] = 0.75


def fill_hold(record: TickRecord) -> None:
    """Add a fault that holds the robot."""
    record.response[0] = Response.HOLD
    record.faults[0] = 1 << Fault.JOINTS_STALE
    record.mode[0] = Mode.HOLD


def start_recorder(place: RecorderPlace, config: RecorderConfig) -> subprocess.Popen[str]:
    """Start a recorder process whose stderr can be read."""
    return subprocess.Popen(
        recorder_command(place, config), cwd=ROOT, stderr=subprocess.PIPE, text=True
    )


@contextmanager
def recording(
    place: RecorderPlace, config: RecorderConfig, *, lockstep: bool = True, wait_s: float = 5.0
) -> Iterator[tuple[RecorderClient, subprocess.Popen[str]]]:
    """Yield a connected client and its recorder process; end both."""
    process = start_recorder(place, config)
    client = RecorderClient(
        place,
        make_header(place.run),
        lockstep=lockstep,
        lost_after_s=config.lost_after_s,
        wait_s=wait_s,
    )
    try:
        client.wait_ready(10.0)
        yield client, process
    finally:
        client.close()
        finish(process)


def finish(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Wait for a recorder's end; return exit code and stderr."""
    try:
        _, errors = process.communicate(timeout=10.0)
    except subprocess.TimeoutExpired:
        process.kill()
        _, errors = process.communicate()
        raise
    except ValueError:  # its stderr was read before
        errors = ""
    return process.returncode, errors


def send_ticks(
    client: RecorderClient,
    first: int,
    count: int,
    change: Callable[[TickRecord, int], None] | None = None,
    pause_s: float = 0.0,
) -> None:
    """Record ticks `first` to `first + count - 1`, each changed by `change`."""
    record = new_record(SIZES)
    for tick in range(first, first + count):
        fill_tick(record, tick)
        record.response[0] = Response.NONE
        record.faults[0] = 0
        if change:
            change(record, tick)
        client.record(record)
        if pause_s:
            time.sleep(pause_s)


def wait_until(condition: Callable[[], bool], timeout_s: float = 10.0) -> None:
    """Poll until `condition` holds, or fail."""
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline_s, "waited in vain"
        time.sleep(0.01)
