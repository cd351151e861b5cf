"""Running counts over recorded ticks, for the recorder's status messages."""

import contextlib
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np

from runtime.events import Event
from runtime.faults import Fault, Response
from runtime.messages import STAGES, Limit, Mode, Outcome, Phase, SignalKind, SignalSource
from runtime.outcomes import Ledger, Ruling, correction_of, late_outcomes
from runtime.record_format import EpisodeResult, RecorderStatus
from runtime.residual_tally import ResidualTally, acting

Rows = np.ndarray[Any, np.dtype[Any]]

_LIMITS = tuple(limit for limit in Limit if limit)
_NS_PER_US = 1000.0
_SHOWN = (
    "tick",
    "now_ns",
    "mode",
    "response",
    "phase",
    "faults",
    "episode",
    "episode_step",
    "records_dropped",
    "base_sequence",
)


@dataclass(frozen=True)
class Volume:
    """How much was written: ticks and bytes of the whole run, and the current segment's name."""

    ticks: int
    size_bytes: int
    bytes_per_s: float
    segment: str


def fault_names(mask: int) -> list[str]:
    """Return the names of the faults whose bits are set in `mask`."""
    return [fault.name for fault in Fault if mask >> fault & 1]


class Tally:
    """Counts what passes; `status` turns the counts into a message.

    `rate_hz`: the policy's, once it is known; 0 before.
    """

    def __init__(self) -> None:
        self.rate_hz = 0.0
        self._residual = ResidualTally()
        self._acted = self._explored = False
        self._results: list[EpisodeResult] = []
        self._place: dict[int, int] = {}
        self._ledger = Ledger()
        self._limited = dict.fromkeys((limit.name or "" for limit in _LIMITS), 0)
        self._stages: list[np.ndarray[Any, np.dtype[np.int64]]] = []
        self._quantiles = np.zeros((2, len(STAGES)))
        self._running = False
        self._begun_ns = self._last_ended = 0
        self._last: Rows | None = None

    def add(self, rows: Rows) -> None:
        """Count rows (at least one, in order)."""
        limited = np.bitwise_or.reduce(rows["limited_by"], axis=1)
        if limited.any():
            for limit in _LIMITS:
                self._limited[limit.name or ""] += int(np.count_nonzero(limited & limit))
        self._stages.append(rows["stage_ns"])
        self._episodes(rows)
        self._residual.add(rows)
        self._last = rows[-1:]

    def hear(self, event: Event) -> None:
        """Count an event."""
        self._residual.hear(event)
        with contextlib.suppress(ValueError):
            # what cannot be understood is no word about any episode
            if said := correction_of(event):
                self._rule(self._ledger.said(*said, SignalSource.OPERATOR))

    def _episodes(self, rows: Rows) -> None:
        running = rows["phase"][:, 0] == Phase.RUNNING
        acted = acting(rows)
        explored = acted & rows["residual_noise"].any(axis=1)
        if self._running and bool(running.all()):
            self._acted = self._acted or bool(acted.any())
            self._explored = self._explored or bool(explored.any())
            return
        outcomes = rows["outcome"][:, 0].tolist()
        spoken = (rows["signal_kind"] == SignalKind.OUTCOME).any(axis=1).tolist()
        for index in range(len(rows)):
            now_ns = int(rows["now_ns"][index, 0])
            if running[index] and not self._running:
                self._begun_ns = now_ns
                self._acted = self._explored = False
            self._running = bool(running[index])
            self._acted = self._acted or bool(acted[index])
            self._explored = self._explored or bool(explored[index])
            ended = bool(outcomes[index])
            if ended:
                self._end(rows[index], Outcome(outcomes[index]), (now_ns - self._begun_ns) * 1e-9)
            for said in late_outcomes(rows[index], ended=ended) if spoken[index] else ():
                self._rule(self._ledger.said(self._last_ended, *said))

    def _end(self, row: Any, outcome: Outcome, duration_s: float) -> None:
        number, version = int(row["episode"][0]), int(row["residual_version"][0])
        self._last_ended = number
        self._place[number] = len(self._results)
        self._ledger.ended(number, outcome, SignalSource(int(row["outcome_source"][0])))
        self._results.append(
            EpisodeResult(
                episode=number,
                outcome=outcome.name,
                duration_s=duration_s,
                version=version if self._acted else 0,
                explored=self._explored,
            )
        )

    def _rule(self, ruling: Ruling) -> None:
        """Show what is known of an ended episode by now."""
        if ruling.changed:
            place = self._place[ruling.episode]
            self._results[place] = msgspec.structs.replace(
                self._results[place], outcome=ruling.outcome.name
            )

    def status(self, run: str, volume: Volume, notes: list[str]) -> RecorderStatus | None:
        """Return the status and begin a new window of stage times; None before the first tick."""
        if self._last is None:
            return None
        if self._stages:
            stages = np.concatenate(self._stages)
            self._quantiles = np.percentile(stages, (50, 99), axis=0) / _NS_PER_US
            self._stages = []
        last = {name: self._last[name][0, 0].item() for name in _SHOWN}
        return RecorderStatus(
            run=run,
            tick=last["tick"],
            now_ns=last["now_ns"],
            mode=Mode(last["mode"]).name,
            response=Response(last["response"]).name,
            phase=Phase(last["phase"]).name,
            faults=fault_names(last["faults"]),
            episode=last["episode"],
            episode_step=last["episode_step"],
            results=self._results,
            ticks=volume.ticks,
            dropped=last["records_dropped"],
            limited_ticks=self._limited,
            stage_p50_us=self._quantiles[0].tolist(),
            stage_p99_us=self._quantiles[1].tolist(),
            segment=volume.segment,
            size_bytes=volume.size_bytes,
            bytes_per_s=volume.bytes_per_s,
            notes=notes,
            robot_s=last["base_sequence"] / self.rate_hz if self.rate_hz else 0.0,
            residual=self._residual.status(),
        )
