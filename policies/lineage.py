"""The lineage on disk: every verdict, and every snapshot that passed, so that any can return.

`verdicts.jsonl` is only ever appended to, one JSON object a line, fsynced. Snapshots are written
beside it, each under its version and digest, before the verdict that names it.
"""

import math
import os
import time
from dataclasses import dataclass
from pathlib import Path

import msgspec

from runtime.errors import ConfigError, SnapshotError
from runtime.snapshot import Snapshot, decode_snapshot, digest_of

VERDICTS = "verdicts.jsonl"
SUFFIX = ".snapshot"


class Entry(msgspec.Struct, frozen=True, omit_defaults=True):
    """One line. `what`: "verdict" (the gate judged a candidate), "rollback" (the gate went back to
    `version` from `parent`, for these `reasons`) or "taken" (control answered an offer;
    `first_use_ns` is when a command first had a part of it, `verdict_ns` when it passed,
    both on the monotonic clock). `reasons` is empty where it passed or was accepted. `steps`:
    policy steps that the learner had seen, `updates` its gradient steps. `run`: whose record.
    """

    what: str
    at_utc: str
    run: str
    version: int
    parent: int = 0
    digest: str = ""
    passed: bool = False
    reasons: list[str] = []
    steps: int = 0
    updates: int = 0
    verdict_ns: int = 0
    first_use_ns: int = 0


def now_utc() -> str:
    """Return the time of day as lines carry it."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def snapshot_name(snapshot: Snapshot) -> str:
    """Return the file name of a snapshot."""
    return f"{snapshot.version:06d}-{snapshot.digest[:16]}{SUFFIX}"


@dataclass(frozen=True)
class Kept:
    """A snapshot that passed: decoded, and as it travels."""

    snapshot: Snapshot
    data: bytes


class Lineage:
    """One folder of snapshots and verdicts; it is made when something is first written."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._passed: dict[int, Entry] | None = None

    def add(self, entry: Entry) -> None:
        """Append one line and wait until the disk has it. Raises OSError."""
        self.folder.mkdir(parents=True, exist_ok=True)
        line = msgspec.json.encode(entry) + b"\n"
        file = os.open(self.folder / VERDICTS, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            size = os.fstat(file).st_size
            if size and os.pread(file, 1, size - 1) != b"\n":
                # a loss of power cut the last line off
                line = b"\n" + line
            try:
                if os.write(file, line) != len(line):
                    raise OSError(28, "No space left on device")
            except OSError:
                # half a line must not spoil the next one
                os.ftruncate(file, size)
                raise
            os.fsync(file)
        finally:
            os.close(file)
        if self._passed is not None:
            self._note_passed(entry)

    def keep(self, snapshot: Snapshot, data: bytes) -> None:
        """Store a snapshot under its name, whole or not at all. Raises OSError."""
        write_whole(self.folder / snapshot_name(snapshot), data)

    def entries(self) -> list[Entry]:
        """Return all lines that can be read, oldest first."""
        file = self.folder / VERDICTS
        if not file.exists():
            return []
        found = []
        for line in file.read_bytes().splitlines():
            try:
                found.append(msgspec.json.decode(line, type=Entry))
            except msgspec.MsgspecError:
                continue  # cut off by a loss of power; what came before it counts
        return found

    def newest_version(self) -> int:
        """Return the highest version that was ever judged; 0 without any."""
        return max((entry.version for entry in self.entries()), default=0)

    def digest(self, version: int) -> str:
        """Return the digest of a version that passed; empty where none did."""
        if self._passed is None:
            self._passed = {}
            for entry in self.entries():
                self._note_passed(entry)
        passed = self._passed.get(version)
        return "" if passed is None else passed.digest

    def kept(self, version: int) -> Kept | None:
        """Return a version that passed, if it is whole."""
        if not self.digest(version) or self._passed is None:
            return None
        return self._read(self._passed[version])

    def _note_passed(self, entry: Entry) -> None:
        if entry.what == "verdict" and entry.passed and self._passed is not None:
            self._passed[entry.version] = entry

    def last_good(self) -> Kept | None:
        """Return the snapshot that is live by these lines: the newest that passed, was not undone
        or refused by control, and is whole."""
        refused = set()
        newest: float = math.inf
        for entry in reversed(self.entries()):
            if entry.what == "taken" and entry.reasons:
                refused.add(entry.version)
            elif entry.what == "rollback":
                # a person may have pinned what was undone before; else it stays undone
                kept = self.kept(entry.version) if newest == math.inf else None
                if kept is not None and entry.version not in refused:
                    return kept
                newest = min(newest, entry.version)
            elif entry.what == "verdict" and entry.passed and entry.version not in refused:
                kept = self._read(entry) if entry.version <= newest else None
                if kept is not None:
                    return kept
        return None

    def set_aside(self, name: str) -> Path | None:
        """Give an earlier lineage another name beside this one; return it, or None without one.

        Raises:
            ConfigError: it cannot be renamed.
        """
        if not self.folder.exists():
            return None
        aside = self.folder.with_name(f"{self.folder.name}-before-{name}")
        try:
            return self.folder.rename(aside)
        except OSError as error:
            raise ConfigError(
                f"gate.lineage: {self.folder} cannot be renamed to {aside.name} "
                f"({error.strerror}): a new learner needs a folder of its own; move it away"
            ) from None

    def _read(self, entry: Entry) -> Kept | None:
        path = self.folder / f"{entry.version:06d}-{entry.digest[:16]}{SUFFIX}"
        try:
            data = path.read_bytes()
            snapshot = decode_snapshot(data)
        except (OSError, SnapshotError):
            return None
        whole = snapshot.digest == entry.digest == digest_of(snapshot)
        return Kept(snapshot, data) if whole else None


def write_whole(path: Path, data: bytes) -> None:
    """Write a file so that after any crash it is the old one or the new one. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.new")
    try:
        with beside.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except OSError:
        beside.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
