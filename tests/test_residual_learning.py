"""The whole way in one process: robot, records, learner, snapshots, robot."""

import msgspec
import numpy as np
import pytest

from policies.learner.setup import Setup
from runtime.errors import TrimtabError
from runtime.interfaces import LinkDescription
from runtime.snapshot import decode_snapshot, matrices
from runtime.wiring import load_base, load_deployment, record_header, sizes_for
from tests.benchmarks.kit import CONFIG_FILE
from tests.benchmarks.residual_kit import Run, Study, evaluate, study_deployment, train

QUICK = {
    "learner.prefill_steps": 60,
    "learner.prefill_successes": 0,
    "learner.candidate_every_steps": 40,
    "learner.agent.warm_up_updates": 20,
    "learner.agent.batch": 32,
    "learner.agent.compile": "off",
    "residual.exploration.clean_share": 0.0,
}


@pytest.fixture(scope="module")
def study() -> Study:
    return Study(study_deployment(QUICK), "field", seed=7)


@pytest.fixture(scope="module")
def run(study: Study) -> Run:
    return train(study, 200)


def test_snapshots_go_live_while_the_robot_works(run: Run) -> None:
    assert run.gate.refused == []
    versions = [version for _, version in run.gate.promoted]
    assert versions == list(range(1, len(versions) + 1))
    assert len(versions) >= 2
    assert run.gate.trainer.experience.dropped <= 1
    snapshot = decode_snapshot(run.gate.live)
    assert any(np.abs(weights).max() > 0 for weights, _ in matrices(snapshot))
    # what was trained on is what the robot did: the residual was granted and took part
    replay = run.gate.trainer.agent.replay
    assert len(replay.latest(1000)) > 100


def test_a_seed_means_the_same_again(study: Study, run: Run) -> None:
    again = train(study, 200)
    assert again.gate.live == run.gate.live
    assert again.tally.outcomes == run.tally.outcomes


def test_a_records_header_says_all_that_the_learner_needs() -> None:
    deployment = load_deployment(CONFIG_FILE)
    base = load_base(deployment)
    link = LinkDescription("panda", deployment.robot.joint_names, (), simulated=True, lockstep=True)
    header = record_header(deployment, base.contract, "run", "lockstep", link)
    setup = Setup.of(header)
    config = deployment.config
    assert (setup.residual, setup.gate) == (config.residual, config.gate)
    assert setup.contract == base.contract
    assert setup.sizes == sizes_for(deployment, base.contract)
    without = msgspec.structs.replace(header, config=header.config.replace("residual:", "# ", 1))
    with pytest.raises(TrimtabError):
        Setup.of(without)


def test_what_is_deployed_acts_without_noise_and_without_a_learner(study: Study, run: Run) -> None:
    first, second = (evaluate(study, run.gate.live, 2) for _ in range(2))
    assert len(first.outcomes) == 2
    assert first == second
