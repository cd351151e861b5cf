"""The trainer: what it offers and when, whatever the batches; resuming; outcomes that come late."""

import json
from dataclasses import replace

import pytest

from policies import gate_checks
from policies.learner.checkpoint import TrainerState
from policies.learner.replay import Pool
from policies.learner.setup import Setup
from policies.learner.trainer import Trainer
from policies.learner.trainer_settings import TrainerSettings
from runtime.errors import LearnerError
from runtime.events import Event, EventKind
from runtime.faults import Fault
from runtime.gate_wire import Candidate, Progress
from runtime.messages import Mode, Outcome, SignalKind, SignalSource, TaskSignal
from runtime.snapshot import decode_snapshot, interface_hash, matrices
from tests.policies.learner.trainer_kit import SETTINGS, episodes, run
from tests.policies.record_script import TICKS_PER_STEP, Script


def test_learning_begins_after_the_prefill_and_keeps_pace(setup: Setup) -> None:
    trainer = Trainer(setup)
    said = run(trainer, episodes(10))
    # the second success is in the fourth episode, after 24 steps; 60 steps were seen in all
    assert trainer.agent.updates == 30 + 3 * (60 - 24)
    progress = [one for one in said if isinstance(one, Progress)]
    assert [one.steps for one in progress] == sorted(one.steps for one in progress)
    assert progress[-1].steps == 60
    assert progress[-1].updates == trainer.agent.updates
    assert all(one.updates == 0 for one in progress if one.steps < 20)


def test_no_learning_before_enough_successes_but_at_most_so_many_steps(setup: Setup) -> None:
    script = Script()
    for _ in range(6):
        script.run(6, Outcome.TIMEOUT)
    trainer = Trainer(setup)
    run(trainer, script.rows())
    assert not trainer.begun
    script.run(6, Outcome.TIMEOUT)
    run(trainer, script.rows())
    assert trainer.begun


def test_candidates_come_before_the_progress_of_their_step(setup: Setup) -> None:
    said = run(Trainer(setup), episodes(10))
    offers = [(at, one) for at, one in enumerate(said) if isinstance(one, Candidate)]
    assert [one.steps for _, one in offers] == [25, 35, 45, 55]
    for at, one in offers:
        after = said[at + 1]
        assert isinstance(after, Progress)
        assert after.steps == one.steps
        assert all(p.steps < one.steps for p in said[:at] if isinstance(p, Progress))


def test_a_candidate_passes_what_control_checks(setup: Setup) -> None:
    trainer = Trainer(setup)
    offers = [one for one in run(trainer, episodes(8)) if isinstance(one, Candidate)]
    snapshot = decode_snapshot(offers[-1].snapshot)
    layers = matrices(snapshot)
    contract = interface_hash(setup.contract, setup.residual)
    assert gate_checks.identity(snapshot, contract, 8, 4) == ""
    assert gate_checks.finite(snapshot, layers) == ""
    assert gate_checks.norm(layers, 50.0) == ""
    assert gate_checks.parity(snapshot, layers) == ""
    assert gate_checks.update_guard(snapshot) == ""
    assert [decode_snapshot(one.snapshot).version for one in offers] == [1, 2, 3]
    assert snapshot.seed == 3


def test_a_candidate_descends_from_the_last_that_acted(setup: Setup) -> None:
    script = Script()
    for version in (0, 0, 0, 0, 1, 1, 3, 3, 3):
        script.run(6, version=version)
    said = run(Trainer(setup), script.rows())
    offers = [decode_snapshot(one.snapshot) for one in said if isinstance(one, Candidate)]
    assert [(one.version, one.parent) for one in offers] == [(1, 0), (2, 0), (3, 1), (4, 3)]


@pytest.mark.parametrize("size", [1, TICKS_PER_STEP, 13])
def test_the_batches_make_no_difference(setup: Setup, size: int) -> None:
    rows = episodes(8)
    whole = run(Trainer(setup), rows)
    assert run(Trainer(setup), rows, size) == whole


def test_another_seed_learns_something_else(setup: Setup) -> None:
    rows = episodes(8)
    agent = SETTINGS.agent.model_copy(update={"seed": 4})
    other = replace(setup, settings=SETTINGS.model_copy(update={"agent": agent}))
    assert run(Trainer(setup), rows) != run(Trainer(other), rows)


@pytest.mark.parametrize("cut", [40, 150, 161, 200])
def test_it_resumes_exactly(setup: Setup, cut: int) -> None:
    rows = episodes(10)
    first = Trainer(setup)
    run(first, rows[:cut])
    data = first.state()
    rest = run(first, rows[cut:])

    second = Trainer(setup)
    second.rebuild(rows[rows["tick"][:, 0] <= Trainer.saved_position(data)])
    second.restore(data)
    assert run(second, rows[cut:]) == rest
    assert second.state() == first.state()


def test_a_checkpoint_of_other_records_is_refused(setup: Setup) -> None:
    rows = episodes(8)
    first = Trainer(setup)
    run(first, rows)
    second = Trainer(setup)
    second.rebuild(rows[:50])
    with pytest.raises(LearnerError, match="rebuilt to tick 50"):
        second.restore(first.state())
    with pytest.raises(LearnerError, match="no trainer's checkpoint"):
        second.restore(TrainerState(b"\x00", {}))


def test_no_checkpoint_in_the_middle_of_a_feed(setup: Setup) -> None:
    trainer = Trainer(setup)
    feeding = trainer.feed(episodes(8))
    next(feeding)
    with pytest.raises(LearnerError, match="middle of a feed"):
        trainer.state()


def test_unknown_is_not_failure_and_counts_once_it_is_known(setup: Setup) -> None:
    script = Script()
    for _ in range(4):
        script.run(6)
    script.run(6, Outcome.UNKNOWN)
    script.row()
    trainer = Trainer(setup)
    run(trainer, script.rows())
    assert len(trainer.agent.replay.ready(Pool.ONLINE)) == 24
    script.row(TaskSignal(SignalKind.OUTCOME, SignalSource.OPERATOR, Outcome.SUCCESS))
    run(trainer, script.rows())
    assert len(trainer.agent.replay.ready(Pool.ONLINE)) == 30
    assert trainer.agent.replay.outcomes(1) == [1.0]


def test_a_guarded_episode_stays_a_failure_whatever_is_said_later(setup: Setup) -> None:
    script = Script()
    for _ in range(5):
        script.run(6)
    rows = script.rows().copy()
    last = slice(len(rows) - 20, len(rows) - 1)
    rows["mode"][last], rows["faults"][last] = Mode.HOLD, 1 << Fault.CONTACT_FORCE_GUARD
    rows["policy_due"][last] = 0
    trainer = Trainer(setup)
    run(trainer, rows)
    assert trainer.agent.replay.outcomes(5) == [1.0, 1.0, 1.0, 1.0, 0.0]
    script.row(TaskSignal(SignalKind.OUTCOME, SignalSource.OPERATOR, Outcome.FAILURE))
    script.row(TaskSignal(SignalKind.OUTCOME, SignalSource.OPERATOR, Outcome.SUCCESS))
    run(trainer, script.rows())
    assert trainer.agent.replay.outcomes(1) == [0.0]


def test_a_person_corrects_an_episode_by_its_number(setup: Setup) -> None:
    script = Script()
    for _ in range(5):
        script.run(6)
    trainer = Trainer(setup)
    run(trainer, script.rows())
    text = json.dumps({"episode": 2, "outcome": "FAILURE"})
    events = [Event(script.tick, 0, EventKind.OUTCOME, text)]
    list(trainer.feed(script.rows(), events))
    assert trainer.agent.replay.outcomes(5) == [1.0, 0.0, 1.0, 1.0, 1.0]


@pytest.mark.parametrize("text", ["", "{}", '{"episode": 1, "outcome": "PERHAPS"}', "[" * 99])
def test_a_correction_that_is_none_is_said_and_left_out(setup: Setup, text: str) -> None:
    script = Script()
    script.run(6)
    trainer = Trainer(setup)
    list(trainer.feed(script.rows(), [Event(script.tick, 0, EventKind.OUTCOME, text)]))
    script.run(6)
    (progress,) = run(trainer, script.rows())
    assert isinstance(progress, Progress)
    assert "nobody understands" in progress.text


def test_an_episode_with_holes_is_said(setup: Setup) -> None:
    script = Script()
    script.run(6)
    script.run(6)
    said = run(Trainer(setup), script.rows(without=(9,)))
    assert any("left out" in one.text for one in said if isinstance(one, Progress))


def test_an_earlier_log_of_the_base_fills_the_offline_half(setup: Setup) -> None:
    trainer = Trainer(setup)
    log = Script()
    log.run(6, residual=0.0, version=0)
    trainer.add_base_log(log.rows())
    run(trainer, episodes(8))
    assert len(trainer.agent.replay.ready(Pool.OFFLINE)) == 6


def test_a_learner_that_waits_for_a_robot_that_waits_is_refused(setup: Setup) -> None:
    for every, refused in ((19, False), (20, True), (21, True)):
        settings = SETTINGS.model_copy(update={"update_every_steps": every})
        if refused:
            with pytest.raises(LearnerError, match=r"not below gate\.lockstep_lag_steps 20"):
                replace(setup, settings=settings)
        else:
            assert replace(setup, settings=settings).settings.update_every_steps == every


def test_settings_that_never_begin_are_refused() -> None:
    with pytest.raises(ValueError, match="prefill_most_steps"):
        TrainerSettings(prefill_steps=10, prefill_most_steps=5)
