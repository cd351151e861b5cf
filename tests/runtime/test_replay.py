"""What was recorded by the real recorder process replays bit for bit; what differs is named."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec
import numpy as np
import pytest

from runtime.errors import RecordError
from runtime.layout import Floats
from runtime.messages import Mode, Request, Sizes
from runtime.recorder import RecorderClient
from runtime.records import Record, read_record
from runtime.replay import Replay, ReplayResult
from runtime.rerun import replay_record
from runtime.wiring import build_tick, open_link, record_header
from tests.runtime.control_kit import ROOT, Rig, changed, noise, panda, trained_base
from tests.runtime.recording_kit import finish, make_config, make_place, start_recorder

SHORT = changed(panda(), episode={"steps": 15})


@dataclass
class Run:
    """A record and the rig that made it."""

    record: Record
    rig: Rig

    def replay(self, record: Record | None = None, *, same_machine: bool = True) -> ReplayResult:
        tick = build_tick(self.rig.deployment, self.rig.base.contract)
        sizes = self.rig.sizes
        replay = Replay(record or self.record, tick, sizes, same_machine=same_machine)
        return replay.envelope()


def record_run(folder: Path, drive: Callable[[Rig], None], make: Callable[..., Rig]) -> Run:
    """Let `drive` run a rig into a real recorder process; read what it wrote."""
    place = make_place(folder)
    contract = trained_base().contract
    link = open_link(panda(), contract, lockstep=True)
    header = record_header(panda(), contract, place.run, "lockstep", link.describe())
    process = start_recorder(place, make_config())
    client = RecorderClient(place, header, lockstep=True, lost_after_s=5.0)
    try:
        client.wait_ready(10.0)
        rig = make(sink=client)
        rig.loop._keyframe()
        drive(rig)
    finally:
        client.close()
        code, errors = finish(process)
    assert code == 0, errors
    return Run(read_record(place.folder), rig)


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The committed base in the field, from arming into its first episode."""

    def drive(rig: Rig) -> None:
        rig.until_mode(Mode.BASE, 6000)
        rig.run(600)

    folder = tmp_path_factory.mktemp("honest")
    return record_run(
        folder, drive, lambda sink: Rig(base=trained_base(), field="field", sink=sink)
    )


@pytest.fixture(scope="module")
def troubled(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Noise for a base, an action that is no number, an exception, a stop and a re-arm."""

    def drive(rig: Rig) -> None:
        rig.begin()
        rig.run(200)
        rig.loop._inputs.base_action[1] = math.nan
        rig.run(250)
        guards = rig.tick._guards
        rig.tick._guards = None  # type: ignore[assignment]
        rig.run(1)
        rig.tick._guards = guards
        rig.run(400)
        rig.port.ask(Request.REARM)
        rig.run(3)
        rig.port.ask(Request.ARM)
        rig.run(300)

    folder = tmp_path_factory.mktemp("troubled")
    return record_run(folder, drive, lambda sink: Rig(noise(3), SHORT, sink=sink))


def test_an_honest_run_replays_bit_for_bit_at_both_strengths(honest: Run) -> None:
    envelope = replay_record(honest.record, "envelope")
    assert envelope.exact
    assert envelope.same_machine
    assert envelope.skipped == 0
    assert envelope.ticks == len(honest.record) > 1500
    assert envelope.largest == {}
    policy = replay_record(honest.record, "policy")
    assert policy.exact
    assert policy.actions == np.count_nonzero(honest.record.scalar("policy_due")[:-1]) > 10


def test_a_troubled_run_replays_too(troubled: Run) -> None:
    visited = {Mode(int(m)).name for m in troubled.record.scalar("mode")}
    assert visited >= {"READY", "HOMING", "BASE", "HOLD", "STOPPED"}
    result = troubled.replay()
    assert result.exact, result.examples[:3]
    assert result.ticks == len(troubled.record)
    raised = troubled.record.scalar("tick")[troubled.record.scalar("step_raised") != 0]
    assert len(raised) == 1
    assert [f"tick {raised[0]} raised" in note for note in result.notes] == [True]


def test_an_exception_that_lies_in_the_inputs_is_raised_again(troubled: Run) -> None:
    tick = build_tick(troubled.rig.deployment, troubled.rig.base.contract)
    tick._guards = None  # type: ignore[assignment]
    result = Replay(troubled.record, tick, troubled.rig.sizes, same_machine=True).envelope()
    # it raises on every tick now: that is told, tick by tick, and does not end the replay
    assert result.ticks == len(troubled.record)
    assert "step_raised" in result.largest
    assert result.different >= result.ticks - 1


def tampered(record: Record, index: int, field: str, change: Callable[[Floats], None]) -> Record:
    raw = bytearray(record.raw)
    size = record.layout.size_bytes
    row = record.layout.views(raw, index * size)
    change(row[field])
    data = memoryview(bytes(raw))
    return replace(record, raw=data, ticks=record.layout.read(data), _columns={})


def flip_last_bit(values: Floats) -> None:
    values[3:4].view(np.uint64)[:] ^= 1


def test_one_bit_of_one_command_is_found_and_named(honest: Run) -> None:
    index = 1234
    number = int(honest.record.scalar("tick")[index])
    broken = tampered(honest.record, index, "q_applied", flip_last_bit)
    result = honest.replay(broken)
    assert (result.different, result.ticks) == (1, len(honest.record))
    assert [(d.tick, d.field) for d in result.examples] == [(number, "q_applied")]
    assert 0.0 < result.largest["q_applied"] < 1e-14
    assert [(s.first_tick, s.last_tick) for s in result.commanded] == [(number, number)]
    # elsewhere a billionth of a radian is not a difference
    assert honest.replay(broken, same_machine=False).exact


@pytest.mark.parametrize(("offset", "exact"), [(0.9e-9, True), (1.1e-9, False)])
def test_on_another_machine_commands_may_differ_by_a_nanoradian(
    honest: Run, offset: float, exact: bool
) -> None:
    def shift(values: Floats) -> None:
        values[2] += offset

    broken = tampered(honest.record, 900, "q_applied", shift)
    assert honest.replay(broken, same_machine=False).exact is exact


def test_a_decision_must_be_equal_on_every_machine(honest: Run) -> None:
    def other_mode(values: Floats) -> None:
        values[0] = Mode.SHADOW

    broken = tampered(honest.record, 1700, "mode", other_mode)
    result = honest.replay(broken, same_machine=False)
    assert [d.field for d in result.examples] == ["mode"]


def test_an_action_that_the_base_did_not_say_is_found(honest: Run) -> None:
    due = np.flatnonzero(honest.record.scalar("policy_due"))
    index = int(due[5]) + 1

    def other(values: Floats) -> None:
        values[0] += 1e-3

    broken = tampered(honest.record, index, "base_action", other)
    result = replay_record(broken, "policy")
    assert not result.exact
    number = int(honest.record.scalar("tick")[index])
    assert [(d.tick, d.field) for d in result.examples] == [(number, "base_action")]


def without(record: Record, first: int, last: int) -> Record:
    size = record.layout.size_bytes
    data = memoryview(bytes(record.raw[: first * size]) + bytes(record.raw[last * size :]))
    return replace(record, raw=data, ticks=record.layout.read(data), _columns={})


def test_a_replay_goes_on_at_the_keyframe_after_a_gap(honest: Run) -> None:
    gapped = without(honest.record, 700, 720)
    result = honest.replay(gapped)
    assert result.exact
    # ticks 721 to 1000 come before the next keyframe
    assert result.skipped == 280
    assert result.ticks + result.skipped == len(gapped)


def config_with(folder: Path, old: str, new: str) -> Path:
    text = (ROOT / "config.yaml").read_text(encoding="utf-8")
    assert text.count(old) == 1
    path = folder / "config.yaml"
    path.write_text(text.replace(old, new), encoding="utf-8")
    return path


def test_another_config_says_what_it_would_command_differently_and_why(
    honest: Run, tmp_path: Path
) -> None:
    other = config_with(tmp_path, "low_m: [0.2, -0.4, 0.0]", "low_m: [0.2, -0.4, 0.2]")
    result = replay_record(honest.record, "config", other)
    assert result.ticks == len(honest.record)
    first = result.commanded[0]
    # the command keeps out of the new wall before the arm that was measured reaches it
    assert "limited by GEOMETRY" in first.why
    assert "WORKSPACE_GUARD" not in first.why
    guarded = next(part for part in result.commanded if "WORKSPACE_GUARD acts" in part.why)
    assert "mode HOLD instead of HOMING" in guarded.why
    index = int(np.flatnonzero(honest.record.scalar("tick") == guarded.first_tick)[0])
    height_m = honest.record.column("tool_position_in_base_m")[:, 2]
    assert height_m[index] < 0.2 <= height_m[:index].min()


def test_the_same_config_commands_nothing_differently(honest: Run) -> None:
    result = replay_record(honest.record, "config", ROOT / "config.yaml")
    assert result.exact
    assert result.commanded == []


def test_another_config_with_predicates_can_take_up_the_keyframes(
    honest: Run, tmp_path: Path
) -> None:
    said = "[{outcome: FAILURE, group: force, index: 2, above: 0.0, hold_s: 0.0}]"
    other = config_with(tmp_path, "predicates: []", f"predicates: {said}")
    result = replay_record(honest.record, "config", other)
    assert "outcome" in result.largest


def test_a_record_of_other_sizes_is_refused_by_the_fields_that_differ(honest: Run) -> None:
    sizes = honest.rig.sizes
    other = Sizes(sizes.joints, sizes.action + 1, sizes.setpoint, sizes.groups)
    tick = build_tick(panda(), trained_base().contract)
    with pytest.raises(RecordError, match="action"):
        Replay(honest.record, tick, other, same_machine=True)


def test_a_keyframe_of_another_version_is_refused(honest: Run) -> None:
    events = tuple(msgspec.structs.replace(e, data=b"\x80") for e in honest.record.events)
    with pytest.raises(RecordError, match="keyframe at tick 0"):
        honest.replay(replace(honest.record, events=events))


def test_without_a_keyframe_nothing_is_compared(honest: Run) -> None:
    bare = replace(honest.record, events=())
    result = honest.replay(bare)
    assert not result.exact
    assert result.skipped == len(honest.record)
