"""What a servo tick costs: `python -m tests.benchmarks.tick_cost`.

One process, the simulated robot in it, a recorder beside it. A servo tick is everything between two
commands but the simulation's physics: read, step, write, offer to the recorder. A residual of two
hidden layers of 64 is live and acts with full authority. The policy's part (features, base,
residual) is compared with a bare bound session.run of the base's file, called between the same
ticks. After that, 10 minutes of robot time must not make the process grow.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnxruntime as ort

from policies.contract_io import INPUT_NAME, OUTPUT_NAME, open_session, read_model_bytes
from policies.residual import LearnedResidual
from runtime.config import resolve
from runtime.gate_wire import Grant
from runtime.interfaces import BasePolicy, ResidualAnswer
from runtime.layout import Floats, Ints
from runtime.loop import ControlLoop, EpisodesDone
from runtime.messages import STAGES, Command, Stage, TickRecord, new_record
from runtime.operator_port import ScriptedPort
from runtime.realtime import quiet_garbage_collector
from runtime.record_format import RecorderPlace
from runtime.recorder import RecorderClient, recorder_command
from runtime.wiring import (
    Deployment,
    Surroundings,
    build_loop,
    load_base,
    load_deployment,
    record_header,
    sizes_for,
)
from sims.config import load_sim
from sims.link import LockstepLink
from sims.plant import Plant
from tests.benchmarks.kit import CONFIG_FILE, SERVO_HZ, load_text, quantile, resident_mb, spread
from tests.runtime.gate_kit import HandGate
from tests.snapshot_kit import SnapshotMaker

ROBOT_S = 600.0
WARM_UP_S = 120.0  # until then buffers and allocators find their size
SLICES = 5
SERVO_MEDIAN_MAX_US = 100.0
POLICY_RATIO_MAX, POLICY_EXTRA_US = 2.5, 30.0
RESIDUAL_RATIO_MAX = 1.25  # to the bare run, in the loop; caches are as cold for both
RESIDUAL_WARM_MAX_US = 25.0
_WARM_CALLS = 2000
_EARNED = Grant(Stage.ADAPTIVE, [], noise_share=0.0)
GROWTH_MAX_MB = 1.0
_RECORDER_START_S = 10.0
_NEVER = 1_000_000_000
_US = 1e-3  # per ns


class TimedLink(LockstepLink):
    """The lockstep link; says how long its physics took in the last write."""

    physics_ns = 0

    def _step(self, command: Command | None) -> None:
        begin = time.perf_counter_ns()
        super()._step(command)
        self.physics_ns = time.perf_counter_ns() - begin


class TimedResidual(LearnedResidual):
    """The learned residual; says how long its last answer took."""

    took_ns = 0

    def act(
        self, record: TickRecord, base_action: Floats, grant: Grant, out: ResidualAnswer
    ) -> None:
        begin = time.perf_counter_ns()
        super().act(record, base_action, grant, out)
        self.took_ns = time.perf_counter_ns() - begin


class BareSession:
    """The policy's network alone: buffers bound once, nothing written into them."""

    def __init__(self, file: Path, features: int, actions: int) -> None:
        session = open_session(read_model_bytes(file), str(file))
        self._input = np.zeros((1, features), dtype=np.float32)
        self._output = np.zeros((1, actions), dtype=np.float32)
        self._binding: ort.IOBinding = session.io_binding()
        self._binding.bind_cpu_input(INPUT_NAME, self._input)
        self._binding.bind_output(
            OUTPUT_NAME, "cpu", 0, np.float32, self._output.shape, self._output.ctypes.data
        )
        self._run = session.run_with_iobinding

    def run_ns(self) -> int:
        """Run it once; return how long that took."""
        begin = time.perf_counter_ns()
        self._run(self._binding)
        return time.perf_counter_ns() - begin


@dataclass(frozen=True)
class Costs:
    """Times of ticks, ns: `stages` has shape [ticks, STAGES], in that order; `policy` of ticks in
    which it acted, `residual` of its part in them, `warm` of the residual called again and again,
    `bare` of session.run. `memory_mb`: resident, once a minute of robot time."""

    stages: Ints
    physics: Ints
    policy: Ints
    residual: Ints
    warm: Ints
    bare: Ints
    memory_mb: list[float]
    robot_s: float
    wall_s: float

    @property
    def servo_us(self) -> Floats:
        read, step, write, record = (
            self.stages[:, STAGES.index(stage)] for stage in ("read", "step", "write", "record")
        )
        return np.asarray((read + step + write + record - self.physics) * _US)

    @property
    def growth_mb(self) -> float:
        """How much the process grew after warming up; NaN if it ran less than two minutes."""
        return self.memory_mb[-1] - self.memory_mb[0] if len(self.memory_mb) > 1 else float("nan")

    def failures(self) -> list[str]:
        bare = quantile(self.bare, 0.5) * _US
        allowed_us = POLICY_RATIO_MAX * bare + POLICY_EXTRA_US
        failures = []
        if not (quantile(self.servo_us, 0.5) <= SERVO_MEDIAN_MAX_US):
            failures.append(f"the servo tick's median is above {SERVO_MEDIAN_MAX_US:g} us")
        if not (quantile(self.policy - self.residual, 0.5) * _US <= allowed_us):
            failures.append(f"the median of features and base is above {allowed_us:.1f} us")
        if not (quantile(self.residual, 0.5) * _US <= RESIDUAL_RATIO_MAX * bare):
            failures.append(f"the residual's median is above {RESIDUAL_RATIO_MAX:g} x bare")
        if not (quantile(self.warm, 0.5) * _US <= RESIDUAL_WARM_MAX_US):
            failures.append(f"the warm residual's median is above {RESIDUAL_WARM_MAX_US:g} us")
        if len(self.memory_mb) > 1 and not (self.growth_mb <= GROWTH_MAX_MB):
            failures.append(f"the process grew by more than {GROWTH_MAX_MB:g} MB")
        return failures

    def text(self) -> str:
        write = self.stages[:, STAGES.index("write")] - self.physics
        rows = [
            ("read", self.stages[:, STAGES.index("read")] * _US),
            ("step", self.stages[:, STAGES.index("step")] * _US),
            ("write, without physics", write * _US),
            ("offer to the recorder", self.stages[:, STAGES.index("record")] * _US),
            ("servo tick, all of these", self.servo_us),
            ("(physics of the simulation)", self.physics * _US),
            ("policy: features, base, residual", self.policy * _US),
            ("of it the residual", self.residual * _US),
            ("(the residual in warm caches)", self.warm * _US),
            ("bare bound session.run", self.bare * _US),
        ]
        parts = (self.policy - self.residual, self.bare)
        policy, bare = (quantile(part, 0.5) * _US for part in parts)
        allowed_us = POLICY_RATIO_MAX * bare + POLICY_EXTRA_US
        lines = [f"{'microseconds':34} median [of {SLICES} slices: least, most]      p99"]
        for name, values in rows:
            medians = [quantile(part, 0.5) for part in np.array_split(values, SLICES)]
            lines.append(f"{name:34} {spread(medians):>34} {quantile(values, 0.99):9.1f}")
        lines.append(
            f"features and base {policy:.1f} us = {policy / bare:.2f} x bare; allowed 2.5 x + 30 "
            f"us = {allowed_us:.1f} us"
        )
        growth = " ".join(f"{at - self.memory_mb[0]:+.2f}" for at in self.memory_mb[1:])
        lines.append(
            f"resident memory {self.memory_mb[0]:.2f} MB, then minute by minute of robot time "
            f"{growth} MB; {self.robot_s:.0f} s of robot time in {self.wall_s:.0f} s"
        )
        return "\n".join(lines)


class _Meter:
    """Runs ticks and keeps their times in arrays that were written to before."""

    def __init__(
        self,
        loop: ControlLoop,
        link: TimedLink,
        residual: TimedResidual,
        bare: BareSession,
        ticks: int,
    ) -> None:
        self._loop, self._link, self._residual, self._bare = loop, link, residual, bare
        self._stages = np.ones((ticks, len(STAGES)), dtype=np.int64)
        self._physics = np.ones(ticks, dtype=np.int64)
        self._policy = np.ones(ticks, dtype=np.int64)
        self._residual_ns = np.ones(ticks, dtype=np.int64)
        self._bare_ns = np.ones(ticks, dtype=np.int64)
        self._memory_mb: list[float] = []

    def run(self, warm_up_ticks: int) -> Costs:
        for _ in range(warm_up_ticks):
            self._loop.tick_once()
        begin, ticks = time.monotonic(), len(self._stages)
        runs = since = 0
        for tick in range(ticks):
            if tick % (60 * SERVO_HZ) == 0:
                self._memory_mb.append(resident_mb())
            record = self._loop.tick_once()
            self._stages[tick] = self._loop._inputs.stage_ns
            self._physics[tick] = self._link.physics_ns
            since += 1
            if record.policy_due.item():
                self._policy[runs] = self._stages[tick, STAGES.index("policy")]
                self._residual_ns[runs] = self._residual.took_ns
                since = 0
            elif since == _BARE_AFTER_TICKS:
                # as far from the policy's own run as can be, so that caches are as cold for both
                self._bare_ns[runs] = self._bare.run_ns()
                runs += 1
        if ticks % (60 * SERVO_HZ) == 0:
            self._memory_mb.append(resident_mb())
        return Costs(
            stages=self._stages,
            physics=self._physics,
            policy=self._policy[:runs],
            residual=self._residual_ns[:runs],
            warm=self._warm_ns(),
            bare=self._bare_ns[:runs],
            memory_mb=self._memory_mb,
            robot_s=ticks / SERVO_HZ,
            wall_s=time.monotonic() - begin,
        )


    def _warm_ns(self) -> Ints:
        """Ask the residual about the last record again and again."""
        record, answer = self._loop._parts.tick.record, self._loop._thinking.answer
        base_action = np.array(record.base_action)
        times = np.ones(_WARM_CALLS, dtype=np.int64)
        for call in range(_WARM_CALLS):
            self._residual.act(record, base_action, _EARNED, answer)
            times[call] = self._residual.took_ns
        return times


_BARE_AFTER_TICKS = 12


def measure(robot_s: float, warm_up_s: float = WARM_UP_S) -> Costs:
    """Measure ticks of the field for `robot_s` seconds of robot time, after warming up."""
    deployment = load_deployment(CONFIG_FILE)
    base = load_base(deployment)
    link = _open_timed_link(deployment, base)
    actions = len(base.contract.action.names)
    bare = BareSession(deployment.base_file, _features(base), actions)
    with tempfile.TemporaryDirectory() as folder, _recorder(deployment, base, Path(folder)) as sink:
        residual, gate = _residual(deployment, base), HandGate(actions)
        gate.allow(Stage.ADAPTIVE)
        surroundings = Surroundings(link, base, residual, sink, ScriptedPort(), None, gate=gate)
        loop = build_loop(deployment, surroundings, EpisodesDone(_NEVER))
        quiet_garbage_collector()
        meter = _Meter(loop, link, residual, bare, round(robot_s * SERVO_HZ))
        return meter.run(round(warm_up_s * SERVO_HZ))


def _residual(deployment: Deployment, base: BasePolicy) -> TimedResidual:
    """Return a residual whose live snapshot was made by hand: it asks for nearly nothing."""
    config, sizes = deployment.config.residual, sizes_for(deployment, base.contract)
    assert config is not None
    residual = TimedResidual(base.contract, config, new_record(sizes), 1)
    refusal = residual.offer(SnapshotMaker(base.contract, config, sizes).offer())
    assert not refusal, refusal
    return residual


def _open_timed_link(deployment: Deployment, base: BasePolicy) -> TimedLink:
    config, robot = deployment.config, deployment.robot
    sim = load_sim(config, "field", 3001)
    mjcf = resolve(robot.tool.mjcf, deployment.config_file)
    plant = Plant(mjcf, robot, sim, config.control.servo_hz)
    return TimedLink(plant, robot, config.episode.steps / base.contract.rate_hz)


def _features(base: BasePolicy) -> int:
    from runtime.policy_contract import PolicyContract

    assert isinstance(base.contract, PolicyContract)
    return base.contract.feature_count


@contextmanager
def _recorder(deployment: Deployment, base: BasePolicy, folder: Path) -> Iterator[RecorderClient]:
    """Start a recorder process; it may drop nothing, so it sets the pace where it is slower."""
    place = RecorderPlace("tick-cost", folder / "records", folder)
    # one segment a few megabytes long at a time: the run's records are of no further use
    small = deployment.config.recorder.model_copy(update={"segment_mb": 16.0, "retention_mb": 64.0})
    deployment = replace(
        deployment, config=deployment.config.model_copy(update={"recorder": small})
    )
    process = subprocess.Popen(recorder_command(place, small))
    link = _open_timed_link(deployment, base)
    header = record_header(deployment, base.contract, place.run, "lockstep", link.describe())
    sink = RecorderClient(place, header, lockstep=True, lost_after_s=small.lost_after_s)
    try:
        sink.wait_ready(_RECORDER_START_S)
        yield sink
    finally:
        sink.close()
        process.terminate()
        process.wait()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--robot-s", type=float, default=ROBOT_S)
    options = parser.parse_args()
    costs = measure(options.robot_s)
    failures = costs.failures()
    print(costs.text())
    print(f"{'; '.join(failures) or 'reached'}; {load_text()}")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
