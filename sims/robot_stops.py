"""The stops that a simulated robot was asked for, and who still has to hear that it stands.

Section 8 of the protocol: a STOP is acted on once, and reported until the robot was seen at rest.
"""

from collections import OrderedDict
from dataclasses import dataclass

from runtime.robot_codes import DeviceState, StopCategory
from runtime.robot_wire import Stop, StopReport

MAX_STOPS = 1024
MAX_WAITING = 64
REPORT_AGAIN_NS = 20_000_000


@dataclass(frozen=True)
class Standing:
    """The robot now. `at_rest`: measured; `speed_max_rad_s`: of the fastest joint."""

    state: DeviceState
    epoch: int
    at_rest: bool
    speed_max_rad_s: float
    now_ns: int


@dataclass
class _Taken:
    """A stop, and whether the robot has stood still since."""

    stop: Stop
    done: bool = False


class StopLedger:
    """Remembers stops by id. `categories`: those that the drive can do.

    A stop that it cannot do is done as category 2 all the same, and reported as not accepted.
    """

    def __init__(self, categories: tuple[StopCategory, ...]) -> None:
        self._categories = categories
        self._taken: OrderedDict[int, _Taken] = OrderedDict()
        self._waiting: OrderedDict[tuple[bytes, int], int] = OrderedDict()
        self.newest: Stop | None = None

    def take(self, routing: bytes, stop: Stop) -> bool:
        """Take a STOP; True if it is new and must be acted on."""
        # 0 is nobody's number: two stops may bear it, and both are acted on
        new = stop.id not in self._taken or stop.id == 0
        if new:
            self._taken[stop.id] = _Taken(stop)
            self.newest = stop
            if len(self._taken) > MAX_STOPS:
                self._taken.popitem(last=False)
        # whoever waits for a report waits for a stop that is kept longer than the waiting is
        self._taken.move_to_end(stop.id)
        if not self._taken[stop.id].done:
            self._waiting[routing, stop.id] = 0
            if len(self._waiting) > MAX_WAITING:
                self._waiting.popitem(last=False)
        return new

    def report(self, routing: bytes, number: int, now: Standing) -> StopReport:
        """Return what became of a stop that was taken."""
        if (routing, number) in self._waiting:
            self._waiting[routing, number] = now.now_ns + REPORT_AGAIN_NS
        stop = self._taken[number].stop
        accepted = stop.category in self._categories
        text = "" if accepted else f"no category {stop.category} here: stopped and held with power"
        return StopReport(
            id=number,
            accepted=accepted,
            category=stop.category if accepted else StopCategory.TWO,
            epoch=now.epoch,
            state=now.state,
            at_rest=now.at_rest,
            speed_max=now.speed_max_rad_s,
            stamp_ns=now.now_ns,
            text=text,
        )

    def due(self, now: Standing) -> list[tuple[bytes, StopReport]]:
        """Return the reports of this period; the last ones once the robot is at rest."""
        ripe = [key for key, due_ns in self._waiting.items() if now.at_rest or due_ns <= now.now_ns]
        reports = [(routing, self.report(routing, number, now)) for routing, number in ripe]
        if now.at_rest:
            for _, number in self._waiting:
                self._taken[number].done = True
            self._waiting.clear()
        return reports
