"""The gate's books: what it judged, took back and heard of its offers, line by line on the disk."""

import sys

from policies.gate import Judged
from policies.lineage import Entry, Lineage, now_utc
from runtime.gate_wire import Taken


class Books:
    """Writes the lines of one run into a lineage."""

    def __init__(self, run: str, lineage: Lineage) -> None:
        self._run = run
        self._lineage = lineage

    def verdict(self, judged: Judged, data: bytes, verdict_ns: int) -> str:
        """Keep what passed, as `data`, and write down the verdict; return why a promotion is
        impossible, empty if it is not."""
        verdict, snapshot = judged.verdict, judged.snapshot
        try:
            if verdict.passed and snapshot is not None:
                self._lineage.keep(snapshot, data)
            self._lineage.add(
                Entry(
                    "verdict",
                    now_utc(),
                    self._run,
                    verdict.version,
                    parent=verdict.parent,
                    digest=verdict.digest,
                    passed=verdict.passed,
                    reasons=verdict.reasons,
                    steps=verdict.steps,
                    updates=snapshot.updates if snapshot else 0,
                    verdict_ns=verdict_ns,
                )
            )
        except OSError as error:
            return (
                f"lineage: {self._lineage.folder} cannot be written ({error.strerror}): what "
                "could not be undone is not promoted; free space there"
            )
        return ""

    def rollback(self, version: int, undone: int, why: str) -> None:
        """Write down that `version` shall be live again in the stead of `undone`."""
        self._write(
            Entry("rollback", now_utc(), self._run, version, parent=undone, reasons=[why])
        )

    def taken(self, taken: Taken, verdict_ns: int) -> None:
        """Write down what control answered to an offer that passed at `verdict_ns`."""
        self._write(
            Entry(
                "taken",
                now_utc(),
                self._run,
                taken.version,
                reasons=[taken.reason] if taken.reason else [],
                verdict_ns=verdict_ns,
                first_use_ns=taken.first_use_ns,
            )
        )

    def _write(self, entry: Entry) -> None:
        try:
            self._lineage.add(entry)
        except OSError as error:
            sys.stderr.write(f"gate: the lineage cannot be written: {error.strerror}\n")
