"""Ticks and the events among them, in the one order in which a learner takes them."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace

import numpy as np

from policies.experience import Episode, Experience, Rows
from runtime.events import Event, EventKind
from runtime.messages import SignalSource
from runtime.outcomes import correction_of


def in_order(
    rows: Rows, events: Sequence[Event], heard: Collection[EventKind]
) -> Iterator[tuple[Rows, Event | None]]:
    """Cut the rows at the events of the kinds heard: the same order whatever the batches."""
    ticks = rows["tick"][:, 0]
    begin = 0
    for event in events:
        if event.kind in heard:
            end = int(np.searchsorted(ticks, event.tick, side="right"))
            yield rows[begin:end], event
            begin = max(begin, end)
    yield rows[begin:], None


def episodes_of_log(log: Experience, rows: Rows, events: Sequence[Event]) -> list[Episode]:
    """Return the episodes of a whole earlier record, each with what is known of its outcome at the
    record's end: whoever corrects it, by a late signal or by its number, says so in the record."""
    episodes: list[Episode] = []
    for piece, said in in_order(rows, events, (EventKind.OUTCOME,)):
        episodes += [news for news in log.feed(piece) if isinstance(news, Episode)]
        try:
            corrected = correction_of(said) if said is not None else None
        except ValueError:
            # no word about any episode; that run's own learner said so
            continue
        if corrected is not None:
            log.ledger.said(*corrected, SignalSource.OPERATOR)
    # what a guard ended stays a failure, whatever is said of it
    return [
        one if one.guarded else replace(one, outcome=log.ledger.outcome(one.number))
        for one in episodes
    ]
