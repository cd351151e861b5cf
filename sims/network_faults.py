"""A bad network between two sockets: frames are lost, doubled, late, swapped and held up.

Deterministic: the same seed and the same times of the same frames give the same result.
"""

import heapq
import random
from collections import Counter

from runtime.clock import seconds_to_ns
from sims.bridge_config import DirectionFaults

MAX_FRAMES = 65_536

Frame = tuple[bytes, bytes]


class Direction:
    """One direction of the network; frames are (routing id, payload), times are ns.

    `counts`: lost, doubled, swapped, and overflowed where more than MAX_FRAMES were on their way.
    """

    def __init__(self, faults: DirectionFaults, seed: int) -> None:
        self._faults = faults
        self._random = random.Random(seed)
        self._clear = faults == DirectionFaults()
        self._begun_ns: int | None = None
        self._last_due_ns = 0
        self._number = 0
        self._coming: list[tuple[int, int, Frame]] = []
        self.counts: Counter[str] = Counter()

    def send(self, frame: Frame, now_ns: int) -> None:
        """Put a frame on its way."""
        if self._begun_ns is None:
            self._begun_ns = now_ns
        if self._clear:
            self._put(now_ns, frame)
        elif self._happens("lost", self._faults.loss_share):
            return
        else:
            self._delay(frame, now_ns)
            if self._happens("doubled", self._faults.duplicate_share):
                self._delay(frame, now_ns)

    def due(self, now_ns: int) -> list[Frame]:
        """Return the frames that arrive now, in the order of their arrival."""
        if self._frozen(now_ns):
            return []
        arrived = []
        while self._coming and self._coming[0][0] <= now_ns:
            arrived.append(heapq.heappop(self._coming)[2])
        return arrived

    def _happens(self, what: str, share: float) -> bool:
        happens = self._random.random() < share
        self.counts[what] += happens
        return happens

    def _delay(self, frame: Frame, now_ns: int) -> None:
        faults = self._faults
        delay_s = faults.latency_s + faults.jitter_s * self._random.random()
        due_ns = max(now_ns + seconds_to_ns(delay_s), self._last_due_ns)
        if self._happens("swapped", faults.reorder_share):
            self._put(due_ns + seconds_to_ns(faults.reorder_s), frame)
        else:
            self._last_due_ns = due_ns
            self._put(due_ns, frame)

    def _put(self, due_ns: int, frame: Frame) -> None:
        if len(self._coming) >= MAX_FRAMES:
            self.counts["overflowed"] += 1
            return
        # the number keeps frames of the same time in order
        self._number += 1
        heapq.heappush(self._coming, (due_ns, self._number, frame))

    def _frozen(self, now_ns: int) -> bool:
        every_ns = seconds_to_ns(self._faults.freeze_every_s)
        if self._begun_ns is None or every_ns == 0:
            return False
        # at the end of each interval, so that a connection can be made in the first
        since_ns = (now_ns - self._begun_ns) % every_ns
        return since_ns >= every_ns - seconds_to_ns(self._faults.freeze_s)
