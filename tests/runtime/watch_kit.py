"""A watch of a residual with two actions, fed tick by tick; its limits are small round numbers."""

from dataclasses import dataclass, field

import msgspec

from runtime.faults import Fault
from runtime.governor_spec import WatchConfig
from runtime.messages import Mode, Outcome, Sizes, TickRecord, new_record
from runtime.residual_watch import ResidualWatch, WatchState

SIZES = Sizes(joints=1, action=2, setpoint=1)
BOUND = (0.5, 2.0)
LIMITS = WatchConfig(
    false_alarm_episodes=10.0,
    memory_steps=8,
    limited_ratio=2.0,
    limited_allowance=0.25,
    pressed_n=30.0,
    pressed_ratio=1.5,
    pressed_allowance=0.125,
    saturated_share_max=0.5,
    critic_gap_max=0.25,
    update_ratio_max=3.0,
    weights_age_max_s=600.0,
)
EVIDENCE = ("success_evidence", "saturated_share", "limited_share", "pressed_share")


@dataclass
class Watched:
    """A watch, the record that it writes into, and what a tick comes to unless said otherwise."""

    watch: ResidualWatch = field(default_factory=lambda: ResidualWatch(BOUND, LIMITS))
    record: TickRecord = field(default_factory=lambda: new_record(SIZES))
    mode: Mode = Mode.ADAPTIVE
    authority: tuple[float, float] = (1.0, 1.0)
    level: tuple[float, float] = (1.0, 1.0)
    limited: bool = False
    force_n: float = 0.0

    def tick(self, outcome: Outcome = Outcome.NONE) -> set[str]:
        """Run one tick; return the conditions that it began with."""
        found = self.watch.conditions(self.record)
        self.watch.see(
            self.record,
            self.mode,
            outcome,
            self.authority,
            self.level,
            self.limited,
            self.force_n,
        )
        return {fault.name for fault in Fault if found >> fault & 1}

    def conditions(self) -> set[str]:
        """Return what holds now; nothing moves on."""
        found = self.watch.conditions(self.record)
        return {fault.name for fault in Fault if found >> fault & 1}

    def steps(self, count: int, action: tuple[float, float] = (0.0, 0.0)) -> set[str]:
        """Run policy steps of three ticks whose answer is `action`."""
        self.record.residual_action[:] = action
        self.record.residual_takes_part[0] = True
        for _ in range(count):
            self.record.base_sequence[0] += 1
            for _ in range(3):
                self.tick()
        return self.conditions()

    def episode(self, outcome: Outcome, steps: int = 1) -> set[str]:
        """Run an episode and what lies between it and the next."""
        self.steps(steps)
        mode, self.mode = self.mode, Mode.HOMING
        self.tick(outcome)
        self.tick()
        self.mode = mode
        return self.conditions()

    def evidence(self) -> list[list[float]]:
        """Return what stands in the record."""
        return [self.record.view[name].tolist() for name in EVIDENCE]

    def twin(self) -> "Watched":
        """Return another watch with the same memory, by way of a keyframe, and an empty record."""
        other = ResidualWatch(BOUND, LIMITS)
        data = msgspec.msgpack.encode(self.watch.save())
        other.restore(msgspec.msgpack.decode(data, type=WatchState))
        return Watched(other)
