"""Counters of a run that outlive kill -9: how many records were made, dropped, acknowledged.

Control writes them into a small shared mapping on every tick. A run that ends well removes its
journal; what a later start finds tells it how many records the killed run lost.
"""

import mmap
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

_MAGIC = 0x54524D5441420001
_SLOTS = ("magic", "made", "dropped", "acknowledged", "last_tick", "last_now_ns", "pid", "started")
_MADE, _DROPPED, _ACKNOWLEDGED, _TICK, _NOW, _PID, _STARTED = range(1, len(_SLOTS))
_NAMES_AT = len(_SLOTS) * 8
_SIZE_BYTES = 4096


@dataclass(frozen=True)
class JournalEntry:
    """What a journal says. Counts are ticks; `folder` holds the run's segments.

    `pid` and `started` (clock ticks since boot) name the process that wrote it.
    """

    path: Path
    run: str
    folder: Path
    made: int
    dropped: int
    acknowledged: int
    last_tick: int
    last_now_ns: int
    pid: int
    started: int

    @property
    def alive(self) -> bool:
        """True when the very process that wrote it still runs."""
        return _start_time(self.pid) == self.started


class Journal:
    """The writing side, in control. Each count is one 8-byte store into shared memory."""

    def __init__(self, path: Path, run: str, folder: Path) -> None:
        self.path = path
        names = f"{run}\0{folder}".encode()
        if not (_NAMES_AT + len(names) <= _SIZE_BYTES):
            raise ValueError(f"{path}: the record folder's path is too long: {folder}")
        # the file appears under its name only when complete: a reader never sees half of it
        partial = path.with_suffix(".new")
        with partial.open("wb+") as file:
            file.truncate(_SIZE_BYTES)
            self._map = mmap.mmap(file.fileno(), _SIZE_BYTES)
        self._map[_NAMES_AT : _NAMES_AT + len(names)] = names
        self._counts = np.frombuffer(memoryview(self._map), np.int64, len(_SLOTS))
        self._counts[_PID] = os.getpid()
        self._counts[_STARTED] = _start_time(os.getpid())
        self._counts[0] = _MAGIC
        partial.rename(path)

    def note_made(self, made: int, tick: int, now_ns: int) -> None:
        """Store that `made` ticks were offered to the recorder, the last being `tick`."""
        counts = self._counts
        counts[_MADE] = made
        counts[_TICK] = tick
        counts[_NOW] = now_ns

    def note_outcome(self, acknowledged: int, dropped: int) -> None:
        """Store how many ticks the recorder has acknowledged, and how many it never got."""
        self._counts[_ACKNOWLEDGED] = acknowledged
        self._counts[_DROPPED] = dropped

    def remove(self) -> None:
        """Delete the file: this run has nothing to report to the next."""
        self.path.unlink(missing_ok=True)


def read_journal(path: Path) -> JournalEntry | None:
    """Return what the journal says; None when the file is no journal."""
    data = path.read_bytes()
    if len(data) != _SIZE_BYTES:
        return None
    counts = [int(value) for value in np.frombuffer(data, np.int64, len(_SLOTS))]
    names = data[_NAMES_AT:].rstrip(b"\0").decode(errors="replace").split("\0")
    if counts[0] != _MAGIC or len(names) != 2:
        return None
    run, folder = names
    return JournalEntry(path, run, Path(folder), *counts[1:])


def left_journals(folder: Path, current_run: str) -> list[JournalEntry]:
    """Return the journals of runs that ended without closing: not ours, and no process behind."""
    entries = [read_journal(path) for path in sorted(folder.glob("*.journal"))]
    return [
        entry
        for entry in entries
        if entry is not None and entry.run != current_run and not entry.alive
    ]


def _start_time(pid: int) -> int:
    """Return when process `pid` started, in clock ticks since boot; -1 when it is gone.

    Process numbers are reused, start times are not; see proc(5), /proc/pid/stat field 22.
    """
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return -1
    # the command name may hold spaces and brackets, so fields count from its last bracket
    fields = text.rpartition(")")[2].split()
    zombie = fields[0] == "Z"
    return -1 if zombie else int(fields[19])
