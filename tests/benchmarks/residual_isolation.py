"""What a learner costs the loop at 500 Hz: off, on, killed, stopped and flooding its socket.

`python -m tests.benchmarks.residual_isolation [--rounds 3] [--seconds 20]`. Conditions alternate
within each round. Also prints how long a snapshot takes from the gate's verdict to its first use.
A witness on the loop's core tells misses of ours from those of a core that did not run at all
(core_witness.py): both are printed, ours are judged.
"""

import argparse
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ruamel.yaml import YAML

from policies.lineage import Lineage
from runtime.companions import cpus_beside, gate_command, learner_command
from runtime.config import load_config
from runtime.control_process import command as control_command
from runtime.messages import STAGES, Mode, Phase, Request
from runtime.operator_port import OperatorClient, operator_client
from runtime.record_format import RecorderPlace
from runtime.recorder import recorder_command
from runtime.records import Record, read_record
from runtime.wire import OperatorRequest
from tests.benchmarks.core_witness import CoreWitness
from tests.benchmarks.kit import CONFIG_FILE, load_text, spread

OFF, ON, KILLED, STOPPED, FLOODING = "off", "on", "killed", "stopped", "flooding"
CONDITIONS = (OFF, ON, KILLED, STOPPED, FLOODING)
ROUNDS = 3
SECONDS = 20.0
SHARE_MAX = 1.5
ALWAYS_ALLOWED_US = 100.0
MORE_MISSES_MAX = 1e-4
FIRST_USE_PERIODS_MAX = 2.0
POLICY_PERIOD_MS = 50.0
PERIOD_US = 2000
UTD_4 = {"updates_per_step": 4}
START_S = 60.0
_WITNESSSTART_S = 0.5
BEAT_S = 0.1
_ABOVE = 10
_KILL_EVERY_S = 4.0
_LATENESS, _READ, _STEP = (STAGES.index(stage) for stage in ("lateness", "read", "step"))

Microseconds = np.ndarray[tuple[int], np.dtype[np.float64]]


@dataclass(frozen=True)
class Slice:
    """One run under one condition: lateness per tick (us), misses, and shares of a core.

    `missed`: while the core ran; `stood_still`: the other missed ticks; `gaps`: how often it did.

    `first_use_ms`: from verdict to first use, of snapshots that passed while an episode ran;
    `later_use_ms`: of the others, which wait for the next one.
    """

    wake_us: Microseconds
    write_us: Microseconds
    missed: int
    stood_still: int
    gaps: int
    control_share: float
    learner_share: float
    first_use_ms: list[float]
    later_use_ms: list[float]


class Scene:
    """The processes of one run. `agent`: settings of the learner's own."""

    def __init__(
        self,
        stack: ExitStack,
        condition: str,
        cpu: int,
        priority: int,
        agent: Mapping[str, object] = UTD_4,
    ) -> None:
        self.condition = condition
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        self._stack = stack
        # an import path that does not depend on where this was started
        self._cpus = cpus_beside(cpu)
        self._environment = {**os.environ, "PYTHONPATH": str(CONFIG_FILE.parent)}
        self._config_file = _config(folder, cpu, priority, agent)
        self.place = RecorderPlace("isolation", folder / "records", folder / "sockets")
        self.place.sockets.mkdir()
        self.lineage = Lineage(folder / "lineage")
        self.learner: subprocess.Popen[bytes] | None = None
        config = load_config(self._config_file)
        self.recorder = self._start(recorder_command(self.place, config.recorder))
        gate = "none" if condition == OFF else "learning"
        options = ["--config", str(self._config_file), "--clock", "realtime", "--simulated-only"]
        words = control_command(self.place, [*options, "--gate", gate])
        if condition != OFF:
            gate_words = gate_command(self.place, self.lineage.folder, learner=True)
            self._start_beside(gate_words)
            self.start_learner()
        self.control = self._start(words)

    def start_learner(self) -> None:
        """Start a learner, or who floods in its place."""
        if self.condition == FLOODING:
            module = "tests.benchmarks.residual_flood"
            words = [sys.executable, "-m", module, self.place.learner_endpoint]
        else:
            words = learner_command(self.place, self.lineage.folder)
        self.learner = self._start_beside(words)

    def is_ready(self) -> bool:
        """Whether the condition holds: a learner has offered something (or floods)."""
        return self.condition in (OFF, FLOODING) or bool(self.lineage.entries())

    def disturb(self, elapsed_s: float) -> None:
        """Do to the learner what the condition says."""
        learner = self.learner
        if learner is None:
            return
        if self.condition == STOPPED and elapsed_s > 1.0:
            learner.send_signal(signal.SIGSTOP)
        if self.condition == KILLED and elapsed_s % _KILL_EVERY_S < BEAT_S:
            learner.kill()
            learner.wait()
            self.start_learner()

    def _start_beside(self, words: list[str]) -> "subprocess.Popen[bytes]":
        """Start it on the cores that the supervisor would give it."""
        process = self._start(words)
        if self._cpus:
            os.sched_setaffinity(process.pid, self._cpus)
        return process

    def _start(self, words: list[str]) -> "subprocess.Popen[bytes]":
        process = subprocess.Popen(words, env=self._environment)
        self._stack.callback(_end, process)
        return process


def _end(process: "subprocess.Popen[bytes]") -> None:
    if process.poll() is None:
        process.kill()
    process.wait()


def _config(folder: Path, cpu: int, priority: int, agent: Mapping[str, object]) -> Path:
    """Write the repository's config for a learner that has something to do at once."""
    yaml = YAML()
    data = yaml.load(CONFIG_FILE)
    data["realtime"].update({"cpu": cpu, "priority": priority})
    data["robot_id"] = "isolation-benchmark"
    data["base"]["file"] = str(CONFIG_FILE.parent / data["base"]["file"])
    data["gate"].update({"simulation_field": None, "replay_s": 1.0})
    learner = data["learner"] or {}
    settings = {**learner.get("agent", {}), **agent}
    quick = {"prefill_steps": 20, "prefill_successes": 0, "prefill_most_steps": 20}
    data["learner"] = {**learner, **quick, "candidate_every_steps": 20, "agent": settings}
    path = folder / CONFIG_FILE.name
    yaml.dump(data, path)
    return path


def run_condition(condition: str, seconds: float, cpu: int, priority: int) -> Slice:
    """Run the loop for `seconds` while the condition holds."""
    with ExitStack() as stack:
        scene = Scene(stack, condition, cpu, priority)
        client = stack.enter_context(operator_client(scene.place.sockets))
        arm(scene, client)
        beat_until(scene, client, scene.is_ready, START_S)
        with CoreWitness(cpu, priority + _ABOVE) as witness:
            time.sleep(_WITNESSSTART_S)
            begin_ns, used_s, learner_s = time.monotonic_ns(), _cpu_s(scene.control), 0.0
            learner_before_s = _cpu_s(scene.learner)
            while (elapsed_s := (time.monotonic_ns() - begin_ns) * 1e-9) < seconds:
                client.heartbeat()
                client.receive()
                scene.disturb(elapsed_s)
                time.sleep(BEAT_S)
            end_ns = time.monotonic_ns()
        used_s = _cpu_s(scene.control) - used_s
        learner_s = max(0.0, _cpu_s(scene.learner) - learner_before_s)
        scene.control.send_signal(signal.SIGTERM)
        scene.control.wait(START_S)
        scene.recorder.wait(START_S)
        return _read(scene, witness, (begin_ns, end_ns), used_s, learner_s)


def arm(scene: Scene, client: OperatorClient) -> None:
    """Arm the robot, however long it takes to be ready."""
    armed = False

    def granted() -> bool:
        nonlocal armed
        client.send(OperatorRequest(Request.ARM, "benchmark"))
        reply = client.receive()
        armed = armed or (reply is not None and reply.mode not in (Mode.DISARMED, Mode.READY, None))
        return armed

    beat_until(scene, client, granted, START_S)


def beat_until(
    scene: Scene, client: OperatorClient, condition: Callable[[], bool], limit_s: float
) -> None:
    """Keep the loop alive until something holds; ends the benchmark after `limit_s`."""
    deadline_s = time.monotonic() + limit_s
    while not condition():
        client.heartbeat()
        client.receive()
        time.sleep(BEAT_S)
        if scene.control.poll() is not None or time.monotonic() > deadline_s:
            raise SystemExit(f"{scene.condition}: it did not start; its own words are above")


def _cpu_s(process: "subprocess.Popen[bytes] | None") -> float:
    """Return the processor time of all threads of a process, s (proc(5), utime and stime)."""
    if process is None or process.poll() is not None:
        return 0.0
    text = Path(f"/proc/{process.pid}/stat").read_text(encoding="ascii")
    fields = text.rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _read(
    scene: Scene,
    witness: CoreWitness,
    between_ns: tuple[int, int],
    control_s: float,
    learner_s: float,
) -> Slice:
    begin_ns, end_ns = between_ns
    record = read_record(scene.place.folder)
    now_ns = record.scalar("now_ns")
    # a record has the times of the tick before it
    inside = np.flatnonzero((now_ns >= begin_ns) & (now_ns <= end_ns))[:-1]
    stages = record.column("stage_ns")[inside + 1] / 1e3
    missed = record.scalar("missed_ticks")[inside]
    # the pacer counts from the deadline that it serves; here, from the first that was due
    wake = np.asarray(stages[:, _LATENESS] + missed * PERIOD_US)
    elapsed_s = (end_ns - begin_ns) * 1e-9
    late = inside[missed > 0]
    excused = [i for i in late if witness.saw(int(now_ns[i - 1]), int(now_ns[i]))]
    stood_still = int(record.scalar("missed_ticks")[excused].sum())
    return Slice(
        wake_us=wake,
        write_us=np.asarray(wake + stages[:, _READ] + stages[:, _STEP]),
        missed=int(missed.sum()) - stood_still,
        stood_still=stood_still,
        gaps=len(witness.gaps),
        control_share=control_s / elapsed_s,
        learner_share=learner_s / elapsed_s,
        first_use_ms=_uses(scene, record, running=True),
        later_use_ms=_uses(scene, record, running=False),
    )


def _uses(scene: Scene, record: Record, *, running: bool) -> list[float]:
    """Return the times from verdict to first use of verdicts given while an episode ran, or not."""
    now_ns, phase = record.scalar("now_ns"), record.scalar("phase")
    return [
        (entry.first_use_ns - entry.verdict_ns) * 1e-6
        for entry in scene.lineage.entries()
        if entry.first_use_ns
        and entry.verdict_ns
        and (phase[np.searchsorted(now_ns, entry.verdict_ns) - 1] == Phase.RUNNING) == running
    ]


def line(condition: str, slices: Sequence[Slice]) -> str:
    """Return one row: medians over the rounds, with their range."""

    def at(name: str, quantile: float) -> str:
        return spread([float(np.quantile(getattr(one, name), quantile)) for one in slices])

    missed = sum(one.missed for one in slices)
    ticks = sum(len(one.wake_us) for one in slices)
    stood, gaps = sum(one.stood_still for one in slices), sum(one.gaps for one in slices)
    shares = spread([100 * one.control_share for one in slices])
    learner = spread([100 * one.learner_share for one in slices])
    return (
        f"{condition:9} wake p50 {at('wake_us', 0.5)} p99.9 {at('wake_us', 0.999)}; write p50 "
        f"{at('write_us', 0.5)} p99 {at('write_us', 0.99)} p99.9 {at('write_us', 0.999)} us; "
        f"missed {missed} of {ticks}, and {stood} while the core stood still "
        f"({gaps} times); control {shares} %, learner {learner} % of a core"
    )


def verdict(found: dict[str, list[Slice]]) -> list[str]:
    """Return what was asked for, what was found, and whether it was reached."""

    def p999(condition: str) -> float:
        return statistics.median(float(np.quantile(s.write_us, 0.999)) for s in found[condition])

    def rate(condition: str) -> float:
        ticks = sum(len(one.wake_us) for one in found[condition])
        return sum(one.missed for one in found[condition]) / max(1, ticks)

    lines = []
    for condition in found:
        if condition == OFF:
            continue
        allowed_us = max(SHARE_MAX * p999(OFF), ALWAYS_ALLOWED_US)
        quick = p999(condition) <= allowed_us
        sure = rate(condition) <= rate(OFF) + MORE_MISSES_MAX
        lines.append(
            f"{condition}: p99.9 of write {p999(condition):.0f} us, allowed {allowed_us:.0f}: "
            f"{_word(quick)}; missed {rate(condition):.2e}, allowed "
            f"{rate(OFF) + MORE_MISSES_MAX:.2e}: {_word(sure)}"
        )
    return [*lines, *_first_uses([one for slices in found.values() for one in slices])]


def _first_uses(slices: Sequence[Slice]) -> list[str]:
    uses = [ms for one in slices for ms in one.first_use_ms]
    later = [ms for one in slices for ms in one.later_use_ms]
    if not uses:
        return []
    middle = statistics.median(uses)
    limit_ms = FIRST_USE_PERIODS_MAX * POLICY_PERIOD_MS
    passed = f"{len(uses)} snapshots that passed while an episode ran"
    waited = f"{len(later)} more waited for one, p50 {statistics.median(later or [0.0]):.0f} ms"
    reached = _word(middle <= limit_ms)
    said = f"verdict to first use, {passed}: p50 {middle:.1f} ms, max {max(uses):.1f}"
    return [f"{said}; allowed {limit_ms:g}: {reached}; {waited}"]


def _word(reached: bool) -> str:
    return "reached" if reached else "NOT REACHED"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--seconds", type=float, default=SECONDS)
    parser.add_argument("--cpu", type=int, default=max(os.sched_getaffinity(0)))
    parser.add_argument("--priority", type=int, default=50)
    parser.add_argument("--conditions", nargs="+", choices=CONDITIONS, default=CONDITIONS)
    options = parser.parse_args()
    found: dict[str, list[Slice]] = {condition: [] for condition in options.conditions}
    for number in range(1, options.rounds + 1):
        for condition, slices in found.items():
            slices.append(run_condition(condition, options.seconds, options.cpu, options.priority))
            print(f"round {number}: {line(condition, slices[-1:])}", flush=True)
    for condition, slices in found.items():
        print(line(condition, slices))
    lines = verdict(found) if OFF in found else []
    print("\n".join([*lines, load_text()]))
    return 1 if any("NOT REACHED" in text for text in lines) else 0


if __name__ == "__main__":
    sys.exit(main())
