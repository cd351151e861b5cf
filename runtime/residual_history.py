"""What befell the residual in a run beside the gate's verdicts: orders, stages, roll-backs.

Read from the record's events alone, in their order, so that they can be told between the verdicts.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path

import msgspec

from runtime.errors import RecordError
from runtime.events import Event
from runtime.record_format import SEGMENT_SUFFIX
from runtime.records import read_events
from runtime.residual_tally import grant_of, order_of, rollback_of, verdict_of

_UTC = "%Y-%m-%dT%H:%M:%SZ"


class Happening(msgspec.Struct, frozen=True):
    """One of them. `what`: "stage", "order" or "rollback"; `words` tell it and `why` says why, or
    who. `after_verdicts`: how many verdicts of its run came before it. `at_utc`: by the time of
    day, where the robot's clock follows it; `run_s`: since the run began, on the robot's clock.
    """

    what: str
    tick: int
    version: int
    words: str
    why: str = ""
    run: str = ""
    run_s: float = 0.0
    at_utc: str = ""
    after_verdicts: int = 0


def happenings(run: Path) -> list[Happening]:
    """Return what befell the residual in a run, oldest first. Raises RecordError."""
    record = read_events(run)
    header = record.header
    begun_ns = next((event.now_ns for event in record.events if event.now_ns), 0)
    begun = datetime.fromisoformat(header.started_utc)
    found: list[Happening] = []
    verdicts, stage = 0, ("", "")
    for event in record.events:
        verdicts += verdict_of(event) is not None
        told = _told(event)
        if told is None or (told.what == "stage" and (told.words, told.why) == stage):
            continue
        stage = (told.words, told.why) if told.what == "stage" else stage
        run_s = max(0, event.now_ns - begun_ns) * 1e-9
        by_day = (begun + timedelta(seconds=run_s)).strftime(_UTC)
        found.append(
            msgspec.structs.replace(
                told,
                run=header.run,
                run_s=run_s,
                at_utc="" if header.clock == "lockstep" else by_day,
                after_verdicts=verdicts,
            )
        )
    return found


def _told(event: Event) -> Happening | None:
    """Return what an event tells, its run and times to come; None for other events."""
    order, rollback, grant = order_of(event), rollback_of(event), grant_of(event)
    if order is not None:
        return Happening(
            "order", event.tick, order.version, order.kind.value, f"says {order.who}"
        )
    if rollback is not None:
        newer = rollback.undone != rollback.version
        words = f"{rollback.undone} undone" if newer else "live already"
        return Happening("rollback", event.tick, rollback.version, words, rollback.why)
    if grant is not None:
        return Happening("stage", event.tick, 0, grant.stage.name.lower(), grant.why)
    return None


def runs_since(records: Path, robot_id: str, first: str) -> list[Path]:
    """Return the folders of a robot's runs from `first` on (names sort by their start)."""
    segments = records.glob(f"{robot_id}-*/*{SEGMENT_SUFFIX}")
    return sorted({path.parent for path in segments if path.parent.name >= first})


def happenings_in(runs: Sequence[Path]) -> list[Happening]:
    """Return what befell the residual in some runs; records that cannot be read say nothing."""
    found = []
    for run in runs:
        try:
            found.extend(happenings(run))
        except RecordError:
            continue
    return found
