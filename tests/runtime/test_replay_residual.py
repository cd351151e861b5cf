"""A run that learned replays from its record alone, residual included; what differs is named."""

from dataclasses import replace

import numpy as np
import pytest

from runtime.errors import RecordError
from runtime.events import Event, EventKind
from runtime.interfaces import RecordSink
from runtime.layout import Floats
from runtime.messages import Mode, Phase, Stage
from runtime.rerun import replay_record
from tests.runtime.control_kit import Rig, panda, trained_base
from tests.runtime.gate_kit import LearningRig
from tests.runtime.test_replay import Run, record_run, tampered


@pytest.fixture(scope="module")
def learned(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Exploring before and after a first snapshot, a second one, then its mean action."""

    def drive(rig: Rig) -> None:
        assert isinstance(rig, LearningRig)
        rig.gate.allow(Stage.EXPLORE)
        rig.until(lambda record: bool(record.phase[0] == Phase.RUNNING), 6000)
        rig.run(150)
        assert rig.offer(1, 0, push=0.2) == ""
        rig.run(150)
        assert rig.offer(2, 1, push=-0.2) == ""
        rig.gate.allow(Stage.ADAPTIVE, 0.9)
        rig.run(300)

    def make(sink: RecordSink) -> LearningRig:
        # a seed whose first episode is not a clean one
        return LearningRig(
            deployment=panda(), base=trained_base(), field="field", sink=sink, seed=1
        )

    return record_run(tmp_path_factory.mktemp("learned"), drive, make)


def test_it_replays_at_both_strengths_from_its_record_alone(learned: Run) -> None:
    record = learned.record
    assert set(record.scalar("residual_version").tolist()) == {0, 1, 2}
    assert record.column("residual_noise").any()
    assert record.column("authority").max() == 1.0
    assert (record.scalar("mode") == Mode.ADAPTIVE).sum() > 400
    envelope = replay_record(record, "envelope")
    assert envelope.exact
    assert envelope.ticks == len(record)
    policy = replay_record(record, "policy")
    assert policy.exact, policy.examples
    assert policy.actions > 15


def test_an_action_that_no_snapshot_gave_is_found(learned: Run) -> None:
    due = np.flatnonzero(learned.record.scalar("policy_due"))
    index = int(due[-3]) + 1

    def other(values: Floats) -> None:
        values[2] += 1e-6

    broken = tampered(learned.record, index, "residual_action", other)
    result = replay_record(broken, "policy")
    number = int(learned.record.scalar("tick")[index])
    assert [(d.tick, d.field) for d in result.examples] == [(number, "residual_action")]


def test_noise_that_was_not_added_is_found(learned: Run) -> None:
    noisy = np.flatnonzero(learned.record.column("residual_noise").any(axis=1))
    index = int(noisy[np.isin(noisy - 1, np.flatnonzero(learned.record.scalar("policy_due")))][3])

    def other(values: Floats) -> None:
        values[0] *= 0.5

    broken = tampered(learned.record, index, "residual_noise", other)
    assert not replay_record(broken, "policy").exact


def test_a_snapshot_that_is_not_what_went_live_is_refused(learned: Run) -> None:
    def harmed(event: Event) -> Event:
        if event.kind is not EventKind.SNAPSHOT:
            return event
        return Event(event.tick, event.now_ns, event.kind, event.text, event.data[:-60])

    record = replace(learned.record, events=tuple(map(harmed, learned.record.events)))
    with pytest.raises(RecordError, match="version 1: this snapshot cannot be asked again"):
        replay_record(record, "policy")
