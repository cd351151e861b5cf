"""What a record says of the residual, as plain numbers: lineage, verdicts, size, exploration."""

import json
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from runtime.errors import SnapshotError
from runtime.events import Event, EventKind
from runtime.faults import Response
from runtime.messages import Phase, Stage
from runtime.records import Record
from runtime.residual_tally import (
    acting,
    grant_of,
    order_of,
    progress_of,
    rollback_of,
    updates_per_step,
    verdict_of,
)
from runtime.snapshot import decode_snapshot

_AT_BOUND = 0.98


class VerdictRow(msgspec.Struct, frozen=True):
    """One verdict of the gate. `robot_s`: when it reached the record, in robot time."""

    robot_s: float
    version: int
    parent: int
    passed: bool
    reasons: list[str]


class LiveRow(msgspec.Struct, frozen=True):
    """A snapshot that went live. `steps`, `updates`: what it was trained with."""

    robot_s: float
    version: int
    parent: int
    steps: int
    updates: int


class SayRow(msgspec.Struct, frozen=True):
    """A sentence of gate, learner or control about the residual."""

    robot_s: float
    text: str


class StageRow(msgspec.Struct, frozen=True):
    """A stage that began at a time, and what the gate said of it."""

    robot_s: float
    stage: str
    why: str


class RollbackRow(msgspec.Struct, frozen=True):
    """An earlier version that went live again in the stead of `undone`, and why."""

    robot_s: float
    version: int
    undone: int
    trial: int
    why: str


class OrderRow(msgspec.Struct, frozen=True):
    """What a person said of the residual, and who."""

    robot_s: float
    what: str
    who: str


class SizeRow(msgspec.Struct, frozen=True):
    """How much of its bound the residual asked for in one action, in steps in which it had
    authority: mean share of the learnt part; 95th percentile with noise; how often it was at the
    bound (98 % or more)."""

    action: str
    mean: float
    p95: float
    at_bound: float


class ResidualSummary(msgspec.Struct, frozen=True):
    """A record's residual in numbers.

    `robot_s`: policy steps over the policy's rate. `acting_steps`: policy steps in which it had
    authority, `explored_steps` those of them with noise. `dropped_s`: how long a fault took its
    authority. `updates_per_step`: gradient steps per policy step since the first update.
    `version`: the last one that was live.
    """

    rate_hz: float
    policy_steps: int
    robot_s: float
    stage: str
    version: int
    acting_steps: int
    explored_steps: int
    dropped_s: float
    updates: int
    updates_per_step: float
    verdicts: list[VerdictRow]
    live: list[LiveRow]
    said: list[SayRow]
    size: list[SizeRow]
    stages: list[StageRow] = []
    rollbacks: list[RollbackRow] = []
    orders: list[OrderRow] = []

    @property
    def promoted(self) -> int:
        """How many candidates passed the gate."""
        return sum(verdict.passed for verdict in self.verdicts)

    @property
    def refused(self) -> int:
        """How many candidates it refused."""
        return len(self.verdicts) - self.promoted


@dataclass(frozen=True)
class PolicySteps:
    """The policy steps of a record: the tick in which each action first counts.

    `index`: rows of the record [steps]; `robot_s`: policy steps so far over the rate [steps].
    """

    record: Record

    @cached_property
    def index(self) -> NDArray[np.intp]:
        """Rows in which a new action came in."""
        return np.flatnonzero(np.diff(self.record.scalar("base_sequence"), prepend=0) > 0)

    @cached_property
    def rate_hz(self) -> float:
        """The policy's rate; the servo's where the record does not say."""
        return self.record.header.rate_hz() or self.record.header.servo_hz

    @cached_property
    def robot_s(self) -> NDArray[np.float64]:
        """Robot time at each step."""
        return np.asarray(self.record.scalar("base_sequence")[self.index] / self.rate_hz)

    def at_tick(self, tick: int) -> float:
        """Return the robot time at a tick."""
        if not len(self.record):
            return 0.0
        row = int(np.searchsorted(self.record.scalar("tick"), tick, side="right")) - 1
        return float(self.record.scalar("base_sequence")[max(0, row)]) / self.rate_hz

    def column(self, name: str) -> NDArray[Any]:
        """Return a field at each step, [steps, size]."""
        values: NDArray[Any] = self.record.column(name)[self.index]
        return values


def residual_bound(record: Record) -> tuple[list[str], NDArray[np.float64]]:
    """Return names and residual bounds [action] from the record's contract; none without one."""
    contract = json.loads(record.header.contract or "{}")
    action = contract.get("action", {})
    bound = np.array(action.get("residual_bound", []), dtype=float)
    return list(action.get("names", [])), bound


def residual_shares(
    record: Record, steps: PolicySteps
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return |residual| over its bound with and without its noise, [steps, action] each; 0 where
    the bound is 0."""
    _, bound = residual_bound(record)
    asked = steps.column("residual_action")
    learnt = asked - steps.column("residual_noise")
    with_noise, without = (
        np.divide(np.abs(one), bound, out=np.zeros_like(asked), where=bound > 0)
        for one in (asked, learnt)
    )
    return with_noise, without


def residual_summary(record: Record) -> ResidualSummary | None:
    """Return the residual in numbers; None where nothing was granted and nothing was judged."""
    if not len(record):
        return None
    stages = record.scalar("residual_stage")
    steps = PolicySteps(record)
    verdicts = _verdict_rows(record, steps)
    granted = (stages != Stage.OBSERVE).any() or any(map(grant_of, record.events))
    if not granted and not verdicts:
        return None
    running = steps.column("phase")[:, 0] == Phase.RUNNING
    acts = running & acting(record.ticks)[steps.index]
    noisy = acts & steps.column("residual_noise").any(axis=1)
    progress = [said for event in record.events if (said := progress_of(event))]
    begun = next((n for n, row in enumerate(progress) if row.updates), len(progress))
    dropped = record.scalar("response") == Response.DROP_RESIDUAL
    return ResidualSummary(
        rate_hz=steps.rate_hz,
        policy_steps=int(record.scalar("base_sequence")[-1]),
        robot_s=float(steps.robot_s[-1]) if len(steps.index) else 0.0,
        stage=Stage(int(stages[-1])).name,
        version=int(record.scalar("residual_version")[-1]),
        acting_steps=int(np.count_nonzero(acts)),
        explored_steps=int(np.count_nonzero(noisy)),
        dropped_s=float(np.count_nonzero(dropped)) / record.header.servo_hz,
        updates=progress[-1].updates if progress else 0,
        updates_per_step=updates_per_step(progress[max(0, begun - 1) :], len(record)),
        verdicts=verdicts,
        live=_live_rows(record, steps),
        said=_said(record, steps),
        size=_sizes(record, steps, acts),
        stages=_stage_rows(record, steps),
        rollbacks=_rollback_rows(record, steps),
        orders=_order_rows(record, steps),
    )


def _verdict_rows(record: Record, steps: PolicySteps) -> list[VerdictRow]:
    return [
        VerdictRow(
            steps.at_tick(event.tick), row.version, row.parent, row.passed, list(row.reasons)
        )
        for event in record.events
        if (row := verdict_of(event))
    ]


def _live_rows(record: Record, steps: PolicySteps) -> list[LiveRow]:
    rows = []
    for event in record.events:
        if event.kind is not EventKind.SNAPSHOT:
            continue
        try:
            snapshot = decode_snapshot(event.data)
        except SnapshotError:
            continue
        robot_s = steps.at_tick(event.tick)
        rows.append(
            LiveRow(robot_s, snapshot.version, snapshot.parent, snapshot.steps, snapshot.updates)
        )
    return rows


def _stage_rows(record: Record, steps: PolicySteps) -> list[StageRow]:
    """Return where the ticks' stage changed, or the reason for the same one, with the words of the
    grant that holds there."""
    stages, ticks = record.scalar("residual_stage"), record.scalar("tick")
    grants = [(e.tick, told) for e in record.events if (told := grant_of(e))]
    changes = {0, *(np.flatnonzero(np.diff(stages)) + 1).tolist()}
    for (_, before), (at, told) in pairwise(grants):
        if before.stage is told.stage and before.why != told.why:
            changes.add(min(int(np.searchsorted(ticks, at)), len(ticks) - 1))
    rows = []
    for index in sorted(changes):
        tick = int(ticks[index])
        why = next((told.why for at, told in reversed(grants) if at <= tick), "")
        rows.append(StageRow(steps.at_tick(tick), Stage(int(stages[index])).name, why))
    return rows


def _rollback_rows(record: Record, steps: PolicySteps) -> list[RollbackRow]:
    return [
        RollbackRow(steps.at_tick(e.tick), told.version, told.undone, told.trial, told.why)
        for e in record.events
        if (told := rollback_of(e))
    ]


def _order_rows(record: Record, steps: PolicySteps) -> list[OrderRow]:
    return [
        OrderRow(
            steps.at_tick(e.tick),
            f"{told.kind.value} {told.version or ''}".strip(),
            told.who,
        )
        for e in record.events
        if (told := order_of(e))
    ]


def _said(record: Record, steps: PolicySteps) -> list[SayRow]:
    def sentence(event: Event) -> bool:
        return event.kind is EventKind.VERDICT and verdict_of(event) is None

    return [SayRow(steps.at_tick(e.tick), e.text) for e in record.events if sentence(e)]


def _sizes(record: Record, steps: PolicySteps, acts: NDArray[np.bool_]) -> list[SizeRow]:
    names, _ = residual_bound(record)
    if not names or not acts.any():
        return []
    asked, learnt = (share[acts] for share in residual_shares(record, steps))
    return [
        SizeRow(
            name,
            float(without.mean()),
            float(np.percentile(with_noise, 95)),
            float(np.mean(with_noise >= _AT_BOUND)),
        )
        for name, with_noise, without in zip(names, asked.T, learnt.T, strict=True)
    ]
