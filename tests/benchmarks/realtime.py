"""Real time at 500 Hz: `python -m tests.benchmarks.realtime`.

The control process and its recorder as `trimtab run --clock realtime` starts them, the simulated
robot inside the control process, alternating with the same whose cores may sleep between two ticks
(realtime.core_wake_us: null), and with cyclictest (Debian's rt-tests), which keeps them awake as we
do, at the same priority on the same core: three slices of 20 s each. Lateness of the write is the
previous tick's lateness + read + step of each record: when link.write was called, after the
deadline.
"""

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ruamel.yaml import YAML

from runtime.config import load_config
from runtime.control_process import command as control_command
from runtime.messages import STAGES, Mode, Request
from runtime.operator_port import operator_client
from runtime.record_format import RecorderPlace
from runtime.recorder import recorder_command
from runtime.records import read_record
from runtime.wire import OperatorRequest
from tests.benchmarks.kit import CONFIG_FILE, load_text

SLICES = 3
SLICE_S = 20.0
CPU_SHARE_MAX = 0.5
PERIOD_US = 2000
_START_S = 20.0
_BEAT_S = 0.1
_WARM_UP_TICKS = 250
_HISTOGRAM_US = 20_000
_LATENESS, _READ, _STEP = (STAGES.index(stage) for stage in ("lateness", "read", "step"))

Microseconds = np.ndarray[tuple[int], np.dtype[np.float64]]


@dataclass(frozen=True)
class Slice:
    """One run of the control process. Times in us, one per tick."""

    wake_us: Microseconds
    write_us: Microseconds
    missed: int
    ticks_in_charge: int
    cpu_share: float
    notes: tuple[str, ...]


def percentiles(values: Microseconds) -> str:
    marks = " ".join(f"{np.quantile(values, q):9.1f}" for q in (0.5, 0.99, 0.999))
    return f"{marks} {values.max():9.1f}"


def run_control(seconds: float, cpu: int, priority: int, *, asleep: bool = False) -> Slice:
    """Run recorder and control process for `seconds` after the arm was granted; `asleep`: cores
    may sleep between two ticks."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        config_file = _config(folder, cpu, priority, asleep=asleep)
        config = load_config(config_file)
        place = RecorderPlace("realtime", folder / "records", folder / "sockets")
        place.sockets.mkdir()
        recorder = subprocess.Popen(recorder_command(place, config.recorder))
        stack.callback(_end, recorder)
        options = ["--config", str(config_file), "--clock", "realtime", "--simulated-only"]
        # an import path that does not depend on where this was started
        environment = {**os.environ, "PYTHONPATH": str(CONFIG_FILE.parent)}
        control = subprocess.Popen(control_command(place, options), env=environment)
        stack.callback(_end, control)
        share = _drive(control, place, seconds)
        control.send_signal(signal.SIGTERM)
        control.wait(_START_S)
        recorder.wait(_START_S)
        return _read(place, share)


def _config(folder: Path, cpu: int, priority: int, *, asleep: bool) -> Path:
    """Write the repository's config with core and priority filled in."""
    yaml = YAML()
    data = yaml.load(CONFIG_FILE)
    data["realtime"].update({"cpu": cpu, "priority": priority})
    if asleep:
        data["realtime"]["core_wake_us"] = None
    data["robot_id"] = "realtime-benchmark"
    path = folder / CONFIG_FILE.name
    yaml.dump(data, path)
    return path


def _drive(control: subprocess.Popen[bytes], place: RecorderPlace, seconds: float) -> float:
    """Arm, beat for `seconds`, and return the share of a core that control used meanwhile."""
    with operator_client(place.sockets) as client:
        limit_s = time.monotonic() + _START_S
        while True:
            client.heartbeat()
            client.send(OperatorRequest(Request.ARM, "benchmark"))
            time.sleep(_BEAT_S)
            reply = client.receive()
            if reply is not None and reply.mode not in (Mode.DISARMED, Mode.READY):
                break
            if control.poll() is not None or time.monotonic() > limit_s:
                raise SystemExit("the control process did not start; its own words are above")
        begin_s, used_s = time.monotonic(), _cpu_s(control.pid)
        while time.monotonic() - begin_s < seconds:
            client.heartbeat()
            client.receive()
            time.sleep(_BEAT_S)
        return (_cpu_s(control.pid) - used_s) / (time.monotonic() - begin_s)


def _cpu_s(pid: int) -> float:
    """Return the processor time of all threads of a process, s (proc(5), utime and stime)."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _read(place: RecorderPlace, cpu_share: float) -> Slice:
    record = read_record(place.folder)
    sent = record.scalar("command_sent") > 0
    first = int(np.argmax(sent)) + _WARM_UP_TICKS
    # a record has the times of the tick before it
    stages = record.column("stage_ns")[first + 1 :] / 1e3
    missed = record.scalar("missed_ticks")[first:-1]
    # the pacer counts from the deadline that it serves; here, from the first that was due
    wake = np.asarray(stages[:, _LATENESS] + missed * PERIOD_US)
    return Slice(
        wake_us=wake,
        write_us=np.asarray(wake + stages[:, _READ] + stages[:, _STEP]),
        missed=int(missed.sum()),
        ticks_in_charge=int((record.scalar("mode")[first:] == Mode.BASE).sum()),
        cpu_share=cpu_share,
        notes=tuple(event.text for event in record.events if "real time" in event.text)[:1],
    )


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.kill()
    process.wait()


def run_cyclictest(seconds: float, cpu: int, priority: int) -> Microseconds:
    """Return cyclictest's latencies, one per wake-up, us; raises SystemExit if it refuses."""
    words = [
        *("cyclictest", "--quiet", "--threads=1", f"--affinity={cpu}", f"--priority={priority}"),
        *(f"--interval={PERIOD_US}", f"--duration={round(seconds)}", "--mlockall"),
        f"--histogram={_HISTOGRAM_US}",
    ]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"cyclictest ended with {done.returncode}: {done.stderr.strip()}")
    latencies: list[int] = []
    for line in done.stdout.splitlines():
        if line and not line.startswith("#"):
            latency, count = line.split()[:2]
            latencies += [int(latency)] * int(count)
        elif line.startswith("# Histogram Overflows:"):
            latencies += [_HISTOGRAM_US] * int(line.split()[-1])
    return np.array(latencies, dtype=np.float64)


def measure(slices: int, seconds: float, cpu: int, priority: int) -> tuple[list[Slice], list[str]]:
    """Alternate control process and cyclictest; return the slices and printable lines."""
    ours: list[Slice] = []
    lines = [f"{'us':28}       p50       p99     p99.9       max"]
    has_cyclictest = shutil.which("cyclictest") is not None
    if not has_cyclictest:
        lines.append("cyclictest is not installed (Debian: rt-tests); nothing to compare with")
    for number in range(1, slices + 1):
        one = run_control(seconds, cpu, priority)
        ours.append(one)
        told = (
            f"{len(one.wake_us)} ticks ({one.ticks_in_charge} under the policy), "
            f"{one.missed} missed, {one.cpu_share:.1%} of a core"
        )
        lines.append(f"{number}: wake-up                   {percentiles(one.wake_us)}")
        lines.append(f"{number}: link.write                {percentiles(one.write_us)}   {told}")
        asleep = run_control(seconds, cpu, priority, asleep=True)
        marks = percentiles(asleep.wake_us)
        lines.append(f"{number}: wake-up, cores may sleep  {marks}   {asleep.missed} missed")
        if has_cyclictest:
            theirs = run_cyclictest(seconds, cpu, priority)
            lines.append(f"{number}: cyclictest                {percentiles(theirs)}")
    return ours, lines


def summary(slices: Sequence[Slice]) -> str:
    wake = np.concatenate([one.wake_us for one in slices])
    write = np.concatenate([one.write_us for one in slices])
    shares = [one.cpu_share for one in slices]
    verdict = "reached" if max(shares) <= CPU_SHARE_MAX else "NOT REACHED"
    return (
        f"all: wake-up                 {percentiles(wake)}\n"
        f"all: link.write              {percentiles(write)}\n"
        f"{sum(one.missed for one in slices)} missed of {len(wake)} ticks; at most "
        f"{max(shares):.1%} of a core, spin and the simulation's physics included (allowed "
        f"{CPU_SHARE_MAX:.0%}): {verdict}; {'; '.join(slices[0].notes)}; {load_text()}"
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--slices", type=int, default=SLICES)
    parser.add_argument("--seconds", type=float, default=SLICE_S)
    parser.add_argument("--cpu", type=int, default=max(os.sched_getaffinity(0)))
    parser.add_argument("--priority", type=int, default=50)
    options = parser.parse_args()
    slices, lines = measure(options.slices, options.seconds, options.cpu, options.priority)
    print("\n".join(lines))
    print(summary(slices))
    return 0 if max(one.cpu_share for one in slices) <= CPU_SHARE_MAX else 1


if __name__ == "__main__":
    sys.exit(main())
