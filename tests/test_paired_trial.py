"""The paired trial: a robot and its twin differ in what the residual does, and in nothing else."""

from dataclasses import dataclass, field, replace

import numpy as np
import pytest

from runtime.gate_wire import Grant
from runtime.interfaces import BasePolicy, ResidualAnswer, ResidualPolicy
from runtime.layout import Floats
from runtime.messages import Outcome, Phase, SignalKind, Stage, TickRecord, new_record
from sims.faulty import Switch
from tests.benchmarks.collapse import Broken
from tests.benchmarks.paired_trial import PairedTally, PairedTrial, Start, run_twin, summary
from tests.benchmarks.residual_kit import Run, Study, study_deployment, train
from tests.runtime.control_kit import panda_sizes

QUICK = {
    "learner.prefill_steps": 40,
    "learner.prefill_successes": 0,
    "learner.candidate_every_steps": 30,
    "learner.agent.warm_up_updates": 5,
    "learner.agent.batch": 16,
    "learner.agent.compile": "off",
    "residual.exploration.clean_share": 0.0,
}
STEPS = 150


@dataclass
class Witness(PairedTally):
    """Also keeps every command and set-point, and every image that the policy could see."""

    motion: list[bytes] = field(default_factory=list)
    images: set[Start] = field(default_factory=set)
    asked: int = 0

    def look(self, record: TickRecord) -> None:
        super().look(record)
        self.motion.append(
            record.setpoint.tobytes() + record.q_applied.tobytes() + record.q.tobytes()
        )
        if record.phase.item() == Phase.RUNNING:
            self.images.add(tuple(record.view["observation_task"].tolist()))
        self.asked += bool(record.residual_action.any())


class Sideways:
    """A residual that always pushes along x, as far as it may."""

    version, refused = 1, 0

    def act(
        self, record: TickRecord, base_action: Floats, grant: Grant, out: ResidualAnswer
    ) -> None:
        out.action[:] = (0.6, 0.0, 0.0, 0.0)
        out.takes_part = True

    def offer(self, data: bytes) -> str:
        return ""

    def go_back(self, data: bytes) -> str:
        return ""


class WorseStudy(Study):
    """The same, with a residual that misses the hole."""

    def residual(self, base: BasePolicy) -> ResidualPolicy:
        return Sideways()


def paired(study: Study) -> tuple[Run, PairedTrial, Witness, Witness]:
    deployed, alone = Witness(), Witness()
    run = train(study, STEPS, tally=deployed)
    run_twin(study, deployed, alone)
    return run, PairedTrial(study.seed, deployed, alone, 0.0), deployed, alone


def test_without_authority_the_shortfall_is_exactly_zero_and_every_tick_the_same() -> None:
    study = Study(study_deployment(QUICK), "field", seed=7, authority=0.0)
    run, trial, deployed, alone = paired(study)
    # something was learnt, and would have moved the arm
    assert run.gate.promoted
    assert deployed.asked
    assert not alone.asked
    assert len(deployed.ended) >= 2
    assert deployed.ended == alone.ended
    assert trial.shortfall == [0] * (1 + len(deployed.ended))
    last = min(len(deployed.motion), len(alone.motion))
    assert last > 5000
    assert deployed.motion[:last] == alone.motion[:last]
    assert deployed.pressed_share == alone.pressed_share


def test_a_worse_policy_falls_short_on_the_same_starts_and_images() -> None:
    _, trial, deployed, alone = paired(WorseStudy(study_deployment(QUICK), "field", seed=9))
    assert deployed.motion[: len(alone.motion)] != alone.motion
    assert list(deployed.ended) == list(alone.ended)
    assert not any(deployed.ended.values())
    assert trial.shortfall[-1] == sum(alone.ended.values()) > 0
    # the images that one saw and the other did not: one was longer at its task
    assert len(deployed.images & alone.images) >= 0.95 * len(alone.images) > 100
    assert trial.missed()
    assert "end" in trial.line()


def test_planted_snapshots_break_from_a_step_on_inside_the_bound_and_old_ones_stay_whole() -> None:
    inner, switch, record = Sideways(), Switch(), new_record(panda_sizes())
    broken = Broken(inner, switch, (0.5,) * 4, factor=-0.5, from_step=100)
    answer, grant = ResidualAnswer(np.zeros(4), np.zeros(4)), Grant(Stage.ADAPTIVE, [1.0] * 4)

    def asked(step: int, version: int) -> float:
        record.base_sequence[0], inner.version = step, version
        broken.act(record, np.zeros(4), grant, answer)
        return float(answer.action[0])

    assert asked(step=99, version=3) == 0.6
    # what is at work when it begins is as it was, and so is what went before it
    assert asked(step=100, version=3) == asked(step=101, version=2) == 0.6
    assert switch.acted == 0
    assert asked(step=102, version=4) == -0.3
    assert asked(step=103, version=3) == 0.6
    assert switch.acted == 1
    loud = Broken(inner, switch, (0.5,) * 4, factor=3.0, from_step=0)
    inner.version = 4
    loud.act(record, np.zeros(4), grant, answer)
    inner.version = 5
    loud.act(record, np.zeros(4), grant, answer)
    assert answer.action[0] == 0.5


def test_a_start_asked_for_again_is_the_same_and_an_aborted_episode_did_not_succeed() -> None:
    tally, record = PairedTally(), new_record(panda_sizes())
    record.signal_kind[1] = SignalKind.RESET_BEGIN
    record.signal_target[4:8] = 1.0, 2.0, 3.0, 4.0
    tally.look(record)
    tally.look(record)
    record.signal_kind[1] = SignalKind.NONE
    record.outcome[0] = Outcome.ABORT
    tally.look(record)
    assert tally.drawn == [(1.0, 2.0, 3.0, 4.0)]
    assert tally.ended == {(1.0, 2.0, 3.0, 4.0): False}


def test_one_seed_that_falls_short_fails_the_benchmark() -> None:
    good = trial_of("0111", "1100")
    assert (good.shortfall, good.largest, good.missed()) == ([0, 1, 1, 0, -1], 1, [])
    assert summary([good])[1]
    assert not summary([good, trial_of("00", "00")])[1]


@pytest.mark.parametrize(
    ("deployed", "alone", "pressed", "word"),
    [
        ("0" * 11 + "1" * 12, "1" * 11 + "0" * 12, 0, "shortfall 11 > 10"),
        ("01", "10", 0, "end 0 >= 0"),
        ("11", "00", 2, "presses more than the base: 20.0% > 10.0%"),
    ],
)
def test_each_goal_can_be_missed(deployed: str, alone: str, pressed: int, word: str) -> None:
    trial = trial_of(deployed, alone)
    trial.deployed.pressed = pressed
    assert trial.missed() == [word]
    assert word in trial.line()


def test_the_median_is_judged_too() -> None:
    six = trial_of("0" * 6 + "1" * 7, "1" * 6 + "0" * 7)
    assert six.missed() == []
    assert not summary([six])[1]
    assert summary([six, trial_of("1", "0"), trial_of("1", "0")])[1]


def test_an_episode_without_a_twin_counts_against_the_robot() -> None:
    trial = trial_of("011", "00")
    assert trial.shortfall == [0, 0, -1, -1]
    assert "1 without a twin" in trial.line()
    lost = replace(trial, alone=PairedTally())
    assert lost.shortfall == [0, 1, 1, 1]


def trial_of(deployed: str, alone: str) -> PairedTrial:
    """A trial in which the robot and its base fared so; 1 is a success."""
    first, second = (
        PairedTally(
            outcomes=[(0, letter == "1") for letter in said],
            steps=10,
            pressed=1,
            ended={(float(at),): letter == "1" for at, letter in enumerate(said)},
        )
        for said in (deployed, alone)
    )
    return PairedTrial(1, first, second, 0.0)
