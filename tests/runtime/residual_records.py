"""Records with a residual in them, written by hand for the tests of what people see of it."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from runtime.events import Event, EventKind
from runtime.gate_wire import Grant, Progress, Verdict
from runtime.messages import Mode, Outcome, Phase, Stage, TickRecord, new_record
from runtime.record_writer import RecordWriter, WriterLimits
from runtime.records import Record, read_record
from runtime.snapshot import Snapshot, SnapshotParity, encode_snapshot
from runtime.wire import Correction, Order, OrderKind, Rollback
from tests.runtime.recording_kit import EPISODE_TICKS, SIZES, fill_tick, make_header

LIMITS = WriterLimits(segment_bytes=10**9, segment_s=600.0, retention_bytes=10**9)
STEP_TICKS = 10
RATE_HZ = 50.0
BOUND = (0.4, 0.0)
CONTRACT = {"rate_hz": RATE_HZ, "action": {"names": ["a", "b"], "residual_bound": list(BOUND)}}

Change = Callable[[TickRecord, int], None]


def successes(*outcomes: bool) -> Change:
    """Return a change that gives each episode its outcome."""

    def change(record: TickRecord, tick: int) -> None:
        if record.outcome[0]:
            good = outcomes[tick // EPISODE_TICKS]
            record.outcome[0] = Outcome.SUCCESS if good else Outcome.FAILURE

    return change


def learning(record: TickRecord, tick: int) -> None:
    """Three episodes: base alone, disturbed base, version 2 with a constant residual."""
    episode = tick // EPISODE_TICKS
    record.residual_stage[0] = Stage.EXPLORE
    record.residual_takes_part[0] = True
    running = record.phase[0] == Phase.RUNNING
    record.mode[0] = Mode.ADAPTIVE if running else Mode.HOMING
    record.residual_version[0] = 2 if episode >= 2 else 0
    record.authority[:] = 1.0 if running and episode >= 1 else 0.0
    # the noise of the first is drawn where nothing has authority
    noisy, acts = episode < 2, episode >= 2
    record.residual_noise[:] = [0.1, 0.0] if noisy else 0.0
    record.residual_action[:] = [0.1 if noisy else 0.3 if acts else 0.0, 0.0]
    record.contact_force_n[0] = 100.0 if running and tick % EPISODE_TICKS < 33 else 5.0


def governed(record: TickRecord, tick: int) -> None:
    """Five episodes: OBSERVE, EXPLORE, ADAPTIVE with version 2, the base's own, SHADOW."""
    episode = tick // EPISODE_TICKS
    stages = (Stage.OBSERVE, Stage.EXPLORE, Stage.ADAPTIVE, Stage.ADAPTIVE, Stage.SHADOW)
    running = record.phase[0] == Phase.RUNNING
    acts = episode in (1, 2)
    record.residual_stage[0] = stages[episode]
    record.residual_version[0] = 2 if episode in (1, 2, 3) else 0
    record.authority[:] = 1.0 if running and episode in (1, 2, 3) else 0.0
    record.residual_takes_part[0] = acts
    record.residual_action[:] = [0.1 if acts else 0.0, 0.0]
    record.residual_noise[:] = 0.0
    record.success_evidence[:] = [0.25, 0.1 * episode]
    record.own_reference[:] = [38, 40]
    record.base_reference[:] = [21, 42]
    record.limited_share[0], record.base_limited_share[0] = 0.02, 0.01
    record.pressed_share[0], record.base_pressed_share[0] = 0.03, 0.04
    record.saturated_share[:] = [0.5, 0.0]
    record.weights_age_ns[0] = 7_000_000_000


def snapshot_event(tick: int, version: int, parent: int) -> Event:
    parity = SnapshotParity([], [], [])
    data = encode_snapshot(
        Snapshot(version, parent, "", [], [], [], [], [], 20, 77, 0, 0.0, 1.0, parity)
    )
    return Event(tick, 0, EventKind.SNAPSHOT, "live", data)


def text_event(
    tick: int,
    kind: EventKind,
    said: Verdict | Progress | Grant | Order | Rollback | Correction | str,
) -> Event:
    text = said if isinstance(said, str) else msgspec.json.encode(said).decode()
    return Event(tick, 0, kind, text)


EVENTS = (
    text_event(100, EventKind.PROGRESS, Progress(10, 0)),
    text_event(150, EventKind.VERDICT, Verdict(1, 0, "d", False, ["norm: too large"], 12)),
    text_event(150, EventKind.VERDICT, "the learner is back"),
    text_event(170, EventKind.VERDICT, Verdict(1, 0, "d", False, ["finite: NaN"], 16)),
    text_event(180, EventKind.PROGRESS, Progress(16, 40)),
    text_event(199, EventKind.VERDICT, Verdict(2, 0, "e", True, [], 18)),
    snapshot_event(199, 2, 0),
    text_event(250, EventKind.PROGRESS, Progress(20, 50)),
    text_event(260, EventKind.VERDICT, "{half of a verdi"),
    text_event(260, EventKind.PROGRESS, "garbage"),
    Event(270, 0, EventKind.SNAPSHOT, "not one", b"garbage"),
)

NOTHING, ALL = [0.0] * SIZES.action, [1.0] * SIZES.action
GOVERNED_EVENTS = (
    text_event(0, EventKind.GRANT, Grant(Stage.OBSERVE, NOTHING, why="the base first")),
    text_event(100, EventKind.GRANT, Grant(Stage.EXPLORE, ALL, share=0.5, why="1 of 1", trial=1)),
    text_event(120, EventKind.VERDICT, Verdict(2, 0, "e", True, [], 12)),
    snapshot_event(120, 2, 0),
    text_event(
        200, EventKind.GRANT,
        Grant(Stage.ADAPTIVE, ALL, share=0.9, why="earned", trial=1, learning=True),
    ),
    text_event(310, EventKind.GRANT, Grant(Stage.ADAPTIVE, ALL, share=0.8, why="earned", trial=1)),
    text_event(350, EventKind.ORDER, Order(OrderKind.PIN, "anna", 2)),
    text_event(360, EventKind.ORDER, Order(OrderKind.DROP, "ben")),
    text_event(
        400, EventKind.GRANT, Grant(Stage.SHADOW, NOTHING, share=0.9, why="success fell", trial=2)
    ),
    text_event(400, EventKind.ROLLBACK, Rollback(0, 2, 2, "success fell")),
    text_event(401, EventKind.ROLLBACK, "garbage"),
    text_event(402, EventKind.ORDER, "garbage"),
)  # fmt: skip


def write_record(
    folder: Path,
    changes: Sequence[Change] = (),
    events: Sequence[Event] = (),
    episodes: int = 3,
    seed: int = 7,
) -> Record:
    """Write a record of `episodes` short episodes and read it again."""
    header = msgspec.structs.replace(
        make_header(folder.name), contract=json.dumps(CONTRACT), seeds={"sim": seed}
    )
    writer = RecordWriter(folder, header, LIMITS)
    record = new_record(SIZES)
    for tick in range(episodes * EPISODE_TICKS):
        fill_tick(record, tick)
        record.base_sequence[0] = tick // STEP_TICKS + 1
        record.episode_step[0] = tick % EPISODE_TICKS // STEP_TICKS + 1
        for change in changes:
            change(record, tick)
        writer.add_ticks(record.raw)
    for event in events:
        writer.add_event(event)
    writer.close()
    return read_record(folder)
