"""What is known of every episode's outcome, however late, doubled or contradictory it comes.

Unknown is not failure: such an episode waits, and may never count. Whoever says something about
an episode that ended already corrects it, unless somebody whose word weighs more has spoken.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np

from runtime.events import Event, EventKind
from runtime.messages import Outcome, Phase, SignalKind, SignalSource
from runtime.wire import Correction

Rows = np.ndarray[Any, np.dtype[Any]]

# a person at the robot outweighs a mark from elsewhere, that a predicate, that a driver's program
_WEIGHT = {
    SignalSource.NONE: 0,
    SignalSource.MANAGER: 0,
    SignalSource.DRIVER: 1,
    SignalSource.PREDICATE: 2,
    SignalSource.MARK: 3,
    SignalSource.OPERATOR: 4,
}
KNOWN = (Outcome.SUCCESS, Outcome.FAILURE, Outcome.TIMEOUT)
_SAID = (*KNOWN, Outcome.UNKNOWN)


@dataclass(frozen=True, slots=True)
class Ruling:
    """What became of one statement about an episode. `changed`: whether `outcome` is news."""

    episode: int
    outcome: Outcome
    changed: bool
    note: str = ""


@dataclass(slots=True)
class _Entry:
    outcome: Outcome
    source: SignalSource


class Ledger:
    """Outcomes by episode number. `counts` says how many statements were `late`, `doubled`,
    `corrected`, `overruled` (by a weightier word before) or `stray` (about no ended episode), and
    how many episodes ended `unknown` or `aborted`.
    """

    def __init__(self) -> None:
        self._entries: dict[int, _Entry] = {}
        self.counts: Counter[str] = Counter()

    def ended(self, episode: int, outcome: Outcome, source: SignalSource) -> Ruling:
        """Take down how an episode ended."""
        self._entries[episode] = _Entry(outcome, source)
        if outcome is Outcome.UNKNOWN:
            self.counts["unknown"] += 1
        if outcome is Outcome.ABORT:
            self.counts["aborted"] += 1
        return Ruling(episode, outcome, changed=True)

    def said(self, episode: int, outcome: Outcome, source: SignalSource) -> Ruling:
        """Take a statement about an episode that ended before."""
        entry = self._entries.get(episode)
        if entry is None or outcome not in _SAID:
            self.counts["stray"] += 1
            return Ruling(episode, Outcome.NONE, changed=False, note=_stray(episode, outcome))
        self.counts["late"] += 1
        if entry.outcome is Outcome.ABORT:
            # it ended for reasons of its own: no verdict on the policy, whoever gives one
            self.counts["overruled"] += 1
            note = f"episode {episode} was aborted; {source.name} cannot make it {outcome.name}"
            return Ruling(episode, entry.outcome, changed=False, note=note)
        if outcome is entry.outcome:
            self.counts["doubled"] += 1
            entry.source = max(entry.source, source, key=_WEIGHT.__getitem__)
            return Ruling(episode, outcome, changed=False)
        if entry.outcome is not Outcome.UNKNOWN and _WEIGHT[source] < _WEIGHT[entry.source]:
            self.counts["overruled"] += 1
            note = (
                f"{source.name} says {outcome.name} of episode {episode}, {entry.source.name} said "
                f"{entry.outcome.name}; the latter weighs more and stays"
            )
            return Ruling(episode, entry.outcome, changed=False, note=note)
        note = f"episode {episode}: {entry.outcome.name} becomes {outcome.name}, says {source.name}"
        self.counts["corrected"] += 1
        self._entries[episode] = _Entry(outcome, source)
        return Ruling(episode, outcome, changed=True, note=note)

    def outcome(self, episode: int) -> Outcome:
        """Return what is known of an episode; NONE if it has not ended."""
        entry = self._entries.get(episode)
        return entry.outcome if entry else Outcome.NONE

    def source(self, episode: int) -> SignalSource:
        """Return whose word that is; NONE if it has not ended."""
        entry = self._entries.get(episode)
        return entry.source if entry else SignalSource.NONE


def late_outcomes(row: Any, *, ended: bool) -> Iterator[tuple[Outcome, SignalSource]]:
    """Yield the outcomes that a tick's row brings while no episode runs: they are of the last one
    that ended. `ended`: an episode ended in this very row."""
    said = [slot for slot, kind in enumerate(row["signal_kind"]) if kind == SignalKind.OUTCOME]
    if not said or row["phase"][0] == Phase.RUNNING:
        return
    # the first one is what ended this row's episode, unless time or an abort did
    by_signal = ended and row["outcome_source"][0] == row["signal_source"][said[0]]
    for slot in said[1:] if by_signal else said:
        yield Outcome(int(row["signal_outcome"][slot])), SignalSource(
            int(row["signal_source"][slot])
        )


def correction_of(event: Event) -> tuple[int, Outcome] | None:
    """Return episode and outcome of a person's word about an ended one; None for other events.

    Raises:
        ValueError: it cannot be understood.
    """
    if event.kind is not EventKind.OUTCOME:
        return None
    try:
        said = msgspec.json.decode(event.text, type=Correction)
        return said.episode, Outcome[said.outcome]
    except (msgspec.MsgspecError, KeyError) as error:
        raise ValueError(
            f"a correction that nobody understands: {event.text!r}: {error}"
        ) from None


def outcomes_of(rows: Rows, events: Sequence[Event]) -> Ledger:
    """Return what is known of every episode at the end of a record (structured ticks, events)."""
    ledger, last_ended = Ledger(), 0
    said = np.logical_or.reduce(rows["signal_kind"] == SignalKind.OUTCOME, axis=1)
    stops = np.flatnonzero(said | (rows["outcome"][:, 0] != Outcome.NONE))
    corrections = [event for event in events if event.kind is EventKind.OUTCOME]
    for row in rows[stops]:
        while corrections and corrections[0].tick < row["tick"][0]:
            _correct(ledger, corrections.pop(0))
        outcome = Outcome(int(row["outcome"][0]))
        if outcome is not Outcome.NONE:
            last_ended = int(row["episode"][0])
            ledger.ended(last_ended, outcome, SignalSource(int(row["outcome_source"][0])))
        for late, source in late_outcomes(row, ended=outcome is not Outcome.NONE):
            ledger.said(last_ended, late, source)
    for correction in corrections:
        _correct(ledger, correction)
    return ledger


def _correct(ledger: Ledger, event: Event) -> None:
    try:
        found = correction_of(event)
    except ValueError:
        # no word about any episode; who learns from the record says so
        return
    if found is not None:
        ledger.said(*found, SignalSource.OPERATOR)


def _stray(episode: int, outcome: Outcome) -> str:
    allowed = ", ".join(known.name for known in _SAID)
    return (
        f"{outcome.name} was said of episode {episode}; allowed is one of {allowed}, of an episode "
        "that has ended. It was left out"
    )
