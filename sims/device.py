"""The robot's own side of a command: what it takes, what it drops, and when it holds by itself.

Shares no code with the envelope: this plays the hardware behind the link.
"""

import math

import numpy as np

from runtime.clock import seconds_to_ns
from runtime.layout import Floats
from runtime.messages import Command


class CommandReceiver:
    """Turns the commands that arrive into one joint target (rad) a servo period.

    Drops older epochs, repeated or older sequence numbers, not finite targets, and commands whose
    answered observation is already older than `valid_for_ns` on the device's clock. Once the
    newest command is older than that, the watchdog keeps the last target.
    """

    def __init__(self, start_q_rad: Floats, period_ns: int, latency_s: float) -> None:
        self._target = start_q_rad.copy()
        delay = round(seconds_to_ns(latency_s) / period_ns)
        self._line = np.tile(start_q_rad, (delay + 1, 1))
        self._slot = 0
        self._epoch = -1
        self._sequence = -1
        self._expires_ns: int | None = None
        self.accepted = 0
        self.dropped_old_epoch = 0
        self.dropped_old_sequence = 0
        self.dropped_not_finite = 0
        self.dropped_expired = 0
        self.watchdog_trips = 0

    @property
    def holding(self) -> bool:
        """True while no valid command drives the robot: before the first and after an expiry."""
        return self._expires_ns is None

    def accept(self, command: Command, now_ns: int) -> bool:
        """Take `command` at device time `now_ns`, or count why not; True when taken."""
        if command.epoch < self._epoch:
            self.dropped_old_epoch += 1
            return False
        if command.epoch == self._epoch and command.sequence <= self._sequence:
            self.dropped_old_sequence += 1
            return False
        expires_ns = command.answers_device_stamp_ns + command.valid_for_ns
        if not (now_ns <= expires_ns):
            self.dropped_expired += 1
            return False
        if not (len(command.q) == len(self._target) and all(map(math.isfinite, command.q))):
            self.dropped_not_finite += 1
            return False
        self._epoch, self._sequence = command.epoch, command.sequence
        self._expires_ns = expires_ns
        self._target[:] = command.q
        self.accepted += 1
        return True

    def next_target(self, now_ns: int) -> Floats:
        """Return the drive's target for the period that starts at `now_ns`; call once a period.

        The latency is a delay line behind the watchdog, so what was accepted always arrives.
        """
        if self._expires_ns is not None and now_ns > self._expires_ns:
            self._expires_ns = None
            self.watchdog_trips += 1
        self._line[self._slot] = self._target
        self._slot = (self._slot + 1) % len(self._line)
        delayed: Floats = self._line[self._slot]
        return delayed
