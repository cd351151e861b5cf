"""Makes golden.mcap, a short record with much in it: `python -m tests.golden.make`.

The tests replay the committed file, on whatever machine they run; make it anew when the record's
fields or the control law change on purpose, and say so where you commit it. A good episode comes
first; then the base fails, pushes, goes wild and is stopped, so that holds, a latched stop, guards
and limits are all in it. Everything runs in one process, in lockstep.
"""

import sys
import tempfile
from pathlib import Path

import numpy as np

from policies.base import OnnxBasePolicy
from runtime.events import Event
from runtime.interfaces import RecorderHealth
from runtime.layout import Floats
from runtime.messages import Mode, Outcome, Request, TickRecord
from runtime.operator_port import ScriptedPort
from runtime.policy_contract import PolicyContract
from runtime.record_format import RecordHeader
from runtime.record_writer import RecordWriter, WriterLimits
from runtime.tick import ControlTick
from runtime.wiring import (
    Surroundings,
    build_loop,
    load_base,
    load_deployment,
    open_link,
    record_header,
    zero_residual,
)
from sims.link import SimulatedLink
from tests.daemon_kit import write_config

GOLDEN = Path(__file__).with_name("golden.mcap")
# few ticks and short ways keep the file small; the shares leave the envelope something to do
CHANGES: dict[str, object] = {
    "robot_id": "golden",
    "control.servo_hz": 100.0,
    "control.command_valid_s": 0.05,
    "control.motion_share": 1.0,
    "control.blend_s": 0.05,
    "control.homing_speed_share": 0.8,
    "observations.joints_max_age_s": 0.05,
    "observations.groups": [
        {"name": "force", "size": 3, "max_age_s": 0.06},
        {"name": "task", "size": 4, "max_age_s": 0.2},
    ],
    "geometry.self_collision": False,  # many barriers make large keyframes
    "guards.tool_speed_m_s": 0.42,
    "episode.retract_to_m": 0.145,
    "episode.settle_s": 0.02,
    "sim.task.hole_range_m": [0.01, 0.01, 0.002],
    "sim.task.start_height_m": [0.04, 0.042],
    "sim.task.start_lateral_m": 0.01,
    "sim.start_offset_rad": 0.02,
    "sim.field": "nominal",
}
_NAN_STEP, _WILD_STEPS, _STOP_STEP = 4, range(12, 32), 36
_LIMIT_TICKS, _CHUNK_TICKS = 6000, 50


class MisbehavingBase:
    """The committed base, until its second episode."""

    def __init__(self, inner: OnnxBasePolicy) -> None:
        self._inner = inner
        self._failed = False
        self._rng = np.random.default_rng(3)

    @property
    def contract(self) -> PolicyContract:
        return self._inner.contract

    @property
    def unfamiliarity(self) -> float:
        return self._inner.unfamiliarity

    def act(self, record: TickRecord, out: Floats) -> None:
        self._inner.act(record, out)
        step = int(record.episode_step[0])
        if record.episode[0] < 2:
            return
        if step == _NAN_STEP and not self._failed:
            self._failed = True
            out[:] = np.nan
        elif step in _WILD_STEPS:
            out[:] = 3.0 * np.sign(self._rng.normal(size=len(out)))


class Writing:
    """A sink that writes in this process."""

    def __init__(self, folder: Path, header: RecordHeader) -> None:
        self._writer = RecordWriter(folder, header, WriterLimits(1 << 30, 1e6, 1 << 40))

    def record(self, record: TickRecord) -> None:
        self._writer.add_ticks(memoryview(bytes(record.raw)))
        if record.tick[0] % _CHUNK_TICKS == 0:
            self._writer.flush()

    def event(self, event: Event) -> None:
        self._writer.add_event(event)

    def health(self) -> RecorderHealth:
        return RecorderHealth(dropped=0, lost=False)

    def close(self) -> None:
        self._writer.close()


class Director:
    """Pushes, stops and re-arms at its time; says when the record holds enough."""

    def __init__(self, port: ScriptedPort, link: SimulatedLink) -> None:
        self._port = port
        self._link = link
        self._stopped = False

    def __call__(self, tick: ControlTick) -> bool:
        record = tick.record
        assert record.tick[0] < _LIMIT_TICKS, "this never ends"
        if self._stopped:
            if tick.state.mode is Mode.STOPPED and tick.at_rest:
                self._port.ask(Request.REARM)
            return tick.state.mode is Mode.READY
        if record.outcome[0] and record.episode[0] == 1:
            assert record.outcome[0] == Outcome.SUCCESS, "another seed would begin better"
        if record.episode[0] == 2 and record.episode_step[0] == _STOP_STEP:
            self._port.ask(Request.STOP)
            self._stopped = True
        return False


def make(target: Path) -> None:
    """Write the golden record to `target`."""
    with tempfile.TemporaryDirectory(prefix="golden-") as name:
        folder = Path(name)
        deployment = load_deployment(write_config(folder, CHANGES))
        base = load_base(deployment)
        assert isinstance(base, OnnxBasePolicy)
        link = open_link(deployment, base.contract, lockstep=True)
        assert isinstance(link, SimulatedLink)
        header = record_header(deployment, base.contract, "golden", "lockstep", link.describe())
        port = ScriptedPort()
        sink = Writing(folder / "record", header)
        misbehaving = MisbehavingBase(base)
        surroundings = Surroundings(link, misbehaving, zero_residual(), sink, port, None)
        build_loop(deployment, surroundings, Director(port, link)).run()
        (written,) = (folder / "record").iterdir()
        target.write_bytes(written.read_bytes())
    sys.stdout.write(f"{target.name}: {target.stat().st_size / 1e3:.0f} kB\n")


if __name__ == "__main__":
    make(GOLDEN)
