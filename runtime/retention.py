"""Keeps all recorded segments within a byte budget; segments with faults go last."""

from dataclasses import dataclass
from pathlib import Path

from runtime.record_format import FLAGGED_SUFFIX, SEGMENT_SUFFIX


@dataclass(frozen=True)
class Segment:
    """One segment file. `flagged`: it holds a fault that held or stopped the robot."""

    path: Path
    size_bytes: int
    modified_ns: int

    @property
    def flagged(self) -> bool:
        """True when the file's name says that a fault is in it."""
        return self.path.name.endswith(FLAGGED_SUFFIX)


def flagged_path(path: Path) -> Path:
    """Return the name that marks the segment at `path` as one to keep longest."""
    if path.name.endswith(FLAGGED_SUFFIX):
        return path
    return path.with_name(path.name.removesuffix(SEGMENT_SUFFIX) + FLAGGED_SUFFIX)


def find_segments(records: Path) -> list[Segment]:
    """Return the segments of all runs below `records`, the oldest first."""
    segments = []
    for path in records.glob(f"*/*{SEGMENT_SUFFIX}"):
        try:
            status = path.stat()
        except FileNotFoundError:
            continue  # renamed or deleted since the listing
        segments.append(Segment(path, status.st_size, status.st_mtime_ns))
    return sorted(segments, key=lambda segment: (segment.modified_ns, segment.path))


def choose_deletions(segments: list[Segment], budget_bytes: int, keep: Path) -> list[Segment]:
    """Return what to delete so that the rest fits the budget: unflagged before flagged, each
    oldest first. `keep`, the segment being written, is never among them.
    """
    excess = sum(segment.size_bytes for segment in segments) - budget_bytes
    chosen: list[Segment] = []
    for segment in sorted(segments, key=lambda candidate: candidate.flagged):
        if excess <= 0:
            break
        if segment.path != keep:
            chosen.append(segment)
            excess -= segment.size_bytes
    return chosen


def apply_retention(records: Path, budget_bytes: int, keep: Path) -> list[Segment]:
    """Delete segments below `records` until they fit `budget_bytes`; return the deleted ones.

    Run folders that become empty go too.
    """
    deleted = choose_deletions(find_segments(records), budget_bytes, keep)
    for segment in deleted:
        segment.path.unlink(missing_ok=True)
        folder = segment.path.parent
        if folder != keep.parent and not any(folder.iterdir()):
            folder.rmdir()
    return deleted
