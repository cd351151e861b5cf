"""Writes rows of a record by hand: episodes of policy steps, with holes and late outcomes."""

from dataclasses import dataclass, field

import numpy as np

from policies.experience import Rows
from runtime.messages import (
    GroupSize,
    Mode,
    Outcome,
    Phase,
    SignalKind,
    SignalSource,
    Sizes,
    TaskSignal,
    new_record,
    tick_layout,
)
from runtime.signal_slots import put_signals

SIZES = Sizes(3, 4, 4, (GroupSize("force", 3), GroupSize("task", 4)))
TICKS_PER_STEP = 5
BOUND = 0.4


@dataclass
class Script:
    """Rows as control would record them; `step` is the number of the last policy step."""

    tick: int = 0
    step: int = 0
    episode: int = 0
    _data: bytearray = field(default_factory=bytearray)

    def __post_init__(self) -> None:
        self._record = new_record(SIZES)
        self._left = 1.0

    def row(self, *signals: TaskSignal, **values: object) -> None:
        """Add a tick; what is not named is as at rest between episodes."""
        self.tick += 1
        record = self._record
        for view in record.view.values():
            view[:] = 0
        record.tick[0] = self.tick
        record.mode[0] = Mode.HOMING
        record.base_sequence[0] = self.step
        record.episode[0] = self.episode
        put_signals(record, signals)
        for name, value in values.items():
            record.view[name][:] = value
        self._data += record.raw

    def run(
        self,
        steps: int,
        outcome: Outcome = Outcome.SUCCESS,
        *,
        source: SignalSource = SignalSource.DRIVER,
        residual: float = 0.1,
        version: int = 1,
        force_n: float = 0.0,
        feature: float | None = None,
    ) -> None:
        """Add an episode. Its goal offset in x at step k is `feature` + k mm (default: episode)."""
        self.episode += 1
        at = self.episode if feature is None else feature
        for number in range(steps):
            self._step(number, residual, version, force_n, 0.001 * (at + number))
        signal = TaskSignal(SignalKind.OUTCOME, source, outcome)
        by_time = outcome is Outcome.TIMEOUT
        self._row_within(
            *(() if by_time else (signal,)),
            number=steps,
            residual=residual,
            version=version,
            offset_m=0.001 * (at + steps),
            phase=Phase.WAITING,
            outcome=outcome,
            outcome_source=SignalSource.MANAGER if by_time else source,
        )

    def _step(
        self, number: int, residual: float, version: int, force_n: float, offset_m: float
    ) -> None:
        for tick in range(TICKS_PER_STEP):
            due = tick == 0
            self._row_within(
                number=number,
                residual=residual,
                version=version,
                offset_m=offset_m,
                policy_due=due,
                # the answer was acted on in the tick after
                episode_step=number + (not due),
                # one tick in the middle of the step presses
                contact_force_n=force_n if tick == 2 else 0.0,
            )
            self.step += due

    def _row_within(
        self,
        *signals: TaskSignal,
        number: int,
        residual: float,
        version: int,
        offset_m: float,
        **values: object,
    ) -> None:
        base = 0.01 * self.step
        running = {"phase": Phase.RUNNING, "mode": Mode.ADAPTIVE, "episode_step": number}
        values = running | values
        task = np.array([offset_m, 0.0, 0.0, 0.0])
        self.row(
            *signals,
            time_left=1.0 - 0.1 * number,
            base_action=base,
            residual_action=residual,
            residual_version=version,
            authority=1.0,
            action=base + residual,
            action_executed=base + residual,
            observation_task=task,
            **values,
        )

    def rows(self, without: tuple[int, ...] = ()) -> Rows:
        """Return all rows so far, but those with these tick numbers."""
        rows = tick_layout(SIZES).read(bytes(self._data))
        return rows[~np.isin(rows["tick"][:, 0], without)]
