"""The gate's checks: each has a candidate that it refuses, and no other."""

import math

import numpy as np
import pytest

from policies.gate import Evidence, Gate
from policies.gate_window import RecentPast
from runtime.snapshot import Layer, Snapshot, encode_snapshot
from tests.policies.gate_kit import Job, Recipe, make_job, make_snapshot

SMALL = (0.01, -0.01, 0.0, 0.0)
SIDEWAYS = (0.0, -0.95, 0.0, 0.0)


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Job:
    return make_job(tmp_path_factory.mktemp("job"))


@pytest.fixture(scope="module")
def tight_job(job: Job, tmp_path_factory: pytest.TempPathFactory) -> Job:
    """The workspace ends just beside where the base goes, and no change is too large for the cheap
    check."""
    reached_m = min(
        float(rows[name][:, 1].min())
        for rows, _ in job.past._batches
        for name in ("tool_position_in_base_m", "setpoint")
    )
    margin_m = job.deployment.config.geometry.margin_m
    low_m = [0.2, round(reached_m - margin_m - 0.003, 4), 0.0]
    changes = {"residual.max_action_change": 5.0, "guards.workspace.low_m": low_m}
    return make_job(tmp_path_factory.mktemp("tight"), changes)


def reasons(gate: Gate, snapshot: Snapshot | bytes, evidence: Evidence) -> list[str]:
    data = snapshot if isinstance(snapshot, bytes) else encode_snapshot(snapshot)
    verdict = gate.judge(data, evidence).verdict
    assert verdict.passed == (not verdict.reasons)
    return verdict.reasons


def only(found: list[str], check: str) -> str:
    """The one reason, which must be this check's."""
    assert len(found) == 1, found
    assert found[0].startswith(f"{check}: "), found
    return found[0]


def test_an_honest_candidate_passes(job: Job) -> None:
    assert not reasons(job.gate(), make_snapshot(job, Recipe(SMALL)), job.evidence())


# -- one check each -----------------------------------------------------------------------------


def test_only_finite_refuses_a_nan_that_no_mean_action_depends_on(job: Job) -> None:
    snapshot = make_snapshot(job, Recipe(SMALL, spread=math.nan))
    assert "not finite" in only(reasons(job.gate(), snapshot, job.evidence()), "finite")


def test_only_norm_refuses_large_numbers_that_no_mean_action_depends_on(job: Job) -> None:
    snapshot = make_snapshot(job, Recipe(SMALL, spread=1e3))
    said = only(reasons(job.gate(), snapshot, job.evidence()), "norm")
    assert "residual.max_weight_norm" in said


def test_only_contract_refuses_what_was_made_for_another_base(job: Job) -> None:
    snapshot = make_snapshot(job, Recipe(SMALL, contract="0" * 64))
    assert "another base" in only(reasons(job.gate(), snapshot, job.evidence()), "contract")


def test_only_contract_refuses_a_changed_digest(job: Job) -> None:
    honest = make_snapshot(job, Recipe(SMALL))
    data = encode_snapshot(honest).replace(honest.digest.encode(), b"f" * 64)
    assert "it was changed" in only(reasons(job.gate(), data, job.evidence()), "contract")


def test_only_contract_refuses_another_format(job: Job) -> None:
    snapshot = make_snapshot(job, Recipe(SMALL, changes={"format_version": 9}))
    assert "format 9" in only(reasons(job.gate(), snapshot, job.evidence()), "contract")


def test_only_contract_refuses_sizes_that_do_not_fit(job: Job) -> None:
    snapshot = make_snapshot(job, Recipe(SMALL, changes={"low": [0.0]}))
    assert "low has 1" in only(reasons(job.gate(), snapshot, job.evidence()), "contract")


def test_only_version_refuses_what_is_not_newer(job: Job) -> None:
    gate = job.gate()
    gate.promote(make_snapshot(job, Recipe(SMALL, version=4)))
    for version in (3, 4):
        snapshot = make_snapshot(job, Recipe(SMALL, version=version))
        assert "not newer" in only(reasons(gate, snapshot, job.evidence()), "version")


def test_only_version_refuses_a_parent_younger_than_its_child(job: Job) -> None:
    snapshot = make_snapshot(job, Recipe(SMALL, version=2, parent=2))
    assert "child" in only(reasons(job.gate(), snapshot, job.evidence()), "version")


def test_only_parity_refuses_what_the_trainer_computes_otherwise(job: Job) -> None:
    snapshot = make_snapshot(job, Recipe(SMALL, parity_shift=1e-2))
    assert "framework" in only(reasons(job.gate(), snapshot, job.evidence()), "parity")


def test_only_action_change_refuses_a_leap(job: Job) -> None:
    snapshot = make_snapshot(job, Recipe((0.9, 0.9, 0.9, 0.9)))
    said = only(reasons(job.gate(), snapshot, job.evidence()), "action change")
    assert "residual.max_action_change" in said


def test_action_change_is_measured_from_what_is_live(job: Job) -> None:
    gate = job.gate()
    large = (0.9, 0.9, 0.9, 0.9)
    gate.promote(make_snapshot(job, Recipe(large)))
    assert not reasons(gate, make_snapshot(job, Recipe(large, version=2)), job.evidence())


def test_only_update_guard_refuses_a_constraint_that_was_broken(job: Job) -> None:
    snapshot = make_snapshot(job, Recipe(SMALL, constraint=2.0, constraint_max=1.0))
    only(reasons(job.gate(), snapshot, job.evidence()), "update guard")


def test_only_replay_refuses_what_presses_into_a_barrier(tight_job: Job) -> None:
    snapshot = make_snapshot(tight_job, Recipe(SIDEWAYS))
    said = only(reasons(tight_job.gate(), snapshot, tight_job.evidence()), "replay")
    assert "GEOMETRY in " in said
    assert " 0 with the one that is live" in said


def test_replay_compares_with_what_is_live(tight_job: Job) -> None:
    """What presses no more than the snapshot that is live is none the worse."""
    gate = tight_job.gate()
    gate.promote(make_snapshot(tight_job, Recipe(SIDEWAYS)))
    same = make_snapshot(tight_job, Recipe(SIDEWAYS, version=2))
    assert not reasons(gate, same, tight_job.evidence())


def test_only_simulation_refuses_the_first_and_it_is_asked_once(job: Job) -> None:
    asked: list[int] = []

    def simulate(snapshot: Snapshot) -> str:
        asked.append(snapshot.version)
        return "it presses"

    gate = job.gate(simulate)
    refused = make_snapshot(job, Recipe(SMALL))
    only(reasons(gate, refused, job.evidence()), "simulation")
    gate.promote(make_snapshot(job, Recipe(SMALL)))
    assert not reasons(gate, make_snapshot(job, Recipe(SMALL, version=2)), job.evidence())
    assert asked == [1]


# -- whatever else arrives ----------------------------------------------------------------------


@pytest.mark.parametrize("data", [b"", b"\x00" * 100, b"not a snapshot", b"\x81\xa1a\x01"])
def test_garbage_is_refused(job: Job, data: bytes) -> None:
    only(reasons(job.gate(), data, job.evidence()), "format")


def test_what_is_too_large_is_refused_unread(job: Job) -> None:
    data = b"\x00" * (job.residual.max_snapshot_bytes + 1)
    said = only(reasons(job.gate(), data, job.evidence()), "format")
    assert "residual.max_snapshot_bytes is " in said


def test_layers_that_contradict_each_other_are_refused(job: Job) -> None:
    odd = [Layer(2, 3, b"\x00" * 24, b"\x00" * 8), Layer(8, 5, b"\x00" * 160, b"\x00" * 32)]
    snapshot = make_snapshot(job, Recipe(SMALL, changes={"layers": odd}))
    only(reasons(job.gate(), snapshot, job.evidence()), "format")


def test_several_faults_are_all_said(job: Job) -> None:
    recipe = Recipe(SMALL, contract="0", constraint=2.0, spread=math.inf)
    found = reasons(job.gate(), make_snapshot(job, recipe), job.evidence())
    named = {reason.split(":")[0] for reason in found}
    assert {"contract", "update guard", "finite"} <= named


def test_nothing_passes_before_the_robot_did_something(job: Job) -> None:
    found = reasons(job.gate(), make_snapshot(job, Recipe(SMALL)), Evidence([], None))
    assert "no recent observation" in only(found, "action change")
    half = Evidence(job.evidence().seen, None)
    found = reasons(job.gate(), make_snapshot(job, Recipe(SMALL)), half)
    assert "no recorded motion" in only(found, "replay")


# -- the recent past ----------------------------------------------------------------------------


def test_the_evidence_of_a_step_does_not_depend_on_what_came_after(job: Job) -> None:
    past = job.past
    middle = job.steps // 2
    stretch = past.stretch(middle, 500)
    assert stretch is not None
    assert int(stretch.rows["base_sequence"][-1, 0]) == middle
    assert np.count_nonzero(stretch.rows["base_sequence"][:, 0] == middle) == 1
    seen = past.recent(middle, 5)
    assert [one.step for one in seen] == list(range(middle - 4, middle + 1))


def test_a_stretch_starts_at_a_keyframe_and_has_no_gap(job: Job) -> None:
    stretch = job.past.stretch(job.steps, 700)
    assert stretch is not None
    ticks = stretch.rows["tick"][:, 0]
    assert (np.diff(ticks) == 1).all()
    assert 700 <= len(ticks) <= 700 + 500
    size = len(stretch.raw) // len(ticks)
    assert size * len(ticks) == len(stretch.raw)


def test_a_gap_ends_the_past(job: Job) -> None:
    kept = job.past._batches[-1]
    past = RecentPast(
        job.sizes,
        job.residual.terms,
        job.base.contract.action.kind,
        keep_ticks=5000,
        keep_steps=10,
    )
    first, last = job.past._batches[-3], kept
    keyframes = dict(job.past._keyframes)
    past._keyframes.update(keyframes)
    past.take(first[1], first[0], [])
    past.take(last[1], last[0], [])
    stretch = past.stretch(job.steps, 5000)
    begin = int(last[0]["tick"][0, 0])
    assert stretch is None or int(stretch.rows["tick"][0, 0]) >= begin
