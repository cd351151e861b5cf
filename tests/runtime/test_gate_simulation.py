"""The gate's check in a nominal simulation: nothing may become dangerous there."""

from dataclasses import replace
from pathlib import Path

import pytest

from policies.gate_replay import MeanActor
from runtime.errors import ConfigError, StartRefused
from runtime.faults import tighten
from runtime.gate_process import compose_gate
from runtime.gate_simulation import Found, SimulationCheck, worse
from runtime.messages import new_record
from tests.policies.gate_kit import Job, Recipe, Worked, make_job, make_snapshot, work

# as far sideways as it may, all the time: it presses on whatever stands there
PRESSING = (0.99, 0.99, -0.99, 0.0)
BASE = Found(force_max_n=20.0)


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Job:
    folder = tmp_path_factory.mktemp("job")
    return make_job(folder, {"gate.simulation_episodes": 1})


@pytest.fixture(scope="module")
def worked(tmp_path_factory: pytest.TempPathFactory) -> Worked:
    return work(tmp_path_factory.mktemp("worked"))


def test_it_refuses_who_presses_and_lets_pass_who_does_not(job: Job) -> None:
    rows = tighten(job.deployment.config.faults)
    check = SimulationCheck(job.deployment, job.base, rows, simulated=True)
    contract, record = job.base.contract, new_record(job.sizes)

    def actor(recipe: Recipe | None) -> MeanActor:
        snapshot = make_snapshot(job, recipe) if recipe else None
        return MeanActor(snapshot, contract, job.residual, record)

    assert not check.compare(actor(Recipe((0.01, 0.0, 0.0, 0.0))), actor(None))
    said = check.compare(actor(Recipe(PRESSING)), actor(None))
    assert "contact force up to" in said or "acts, and does not" in said


def test_a_fault_that_the_base_has_not_is_worse() -> None:
    assert "CONTACT_FORCE acts" in worse(Found({"CONTACT_FORCE"}, 1.0), BASE)
    assert not worse(Found({"CONTACT_FORCE"}, 1.0), Found({"CONTACT_FORCE"}, 1.0))


@pytest.mark.parametrize(
    ("force_n", "passes"), [(30.0, True), (30.1, False), (float("nan"), False)]
)
def test_the_margin_on_force(force_n: float, passes: bool) -> None:
    """The base's own 20 N, a quarter of it and 5 N more."""
    assert bool(worse(Found(set(), force_n), BASE)) != passes


def test_the_field_that_the_robot_works_in_is_hidden_from_the_gate(worked: Worked) -> None:
    # the kit's robot works in the nominal simulation, which is what the gate would look into
    with pytest.raises(ConfigError, match="may not know"):
        compose_gate(worked.deployment, worked.base, worked.header, 1)


def test_a_real_robot_is_not_opened_a_second_time(worked: Worked) -> None:
    with pytest.raises(StartRefused, match="drives a real robot"):
        SimulationCheck(worked.deployment, worked.base, (), simulated=False)


@pytest.mark.parametrize("simulated", [True, False])
def test_a_robot_behind_another_link_is_checked_in_the_simulation_that_is_named(
    job: Job, simulated: bool
) -> None:
    config = job.deployment.config.model_copy(update={"link": "runtime.zmq_link:open_link"})
    behind = replace(job.deployment, config=config)
    check = SimulationCheck(behind, job.base, (), simulated=simulated)
    nothing = MeanActor(None, job.base.contract, job.residual, new_record(job.sizes))
    assert not check.compare(nothing, nothing)


@pytest.mark.parametrize("name", ["runtime.zmq_link:open_link", "nowhere.at:all"])
def test_what_is_no_simulation_is_refused_before_there_is_a_candidate(
    tmp_path: Path, name: str
) -> None:
    odd = make_job(tmp_path, {"gate.simulation_link": name, "zmq": {}})
    with pytest.raises(StartRefused, match="simulation_field to null"):
        SimulationCheck(odd.deployment, odd.base, (), simulated=True)


