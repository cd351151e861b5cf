"""What is known of every episode's outcome, however late, doubled or contradictory it comes.

Unknown is not failure: such an episode waits, and may never count. Whoever says something about
an episode that ended already corrects it, unless somebody whose word weighs more has spoken.
"""

from collections import Counter
from dataclasses import dataclass

from runtime.messages import Outcome, SignalSource

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


def _stray(episode: int, outcome: Outcome) -> str:
    allowed = ", ".join(known.name for known in _SAID)
    return (
        f"{outcome.name} was said of episode {episode}; allowed is one of {allowed}, of an episode "
        "that has ended. It was left out"
    )
