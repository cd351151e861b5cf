"""Nothing gets past the envelope in the whole loop: tests/benchmarks/invariants.py, in short."""

import numpy as np
import pytest

from tests.benchmarks.invariants import Judgement, judge, run_base, run_hostile


@pytest.fixture(scope="module")
def asked() -> Judgement:
    return run_hostile(8.0, seed=11, reference=False)


@pytest.fixture(scope="module")
def reference() -> Judgement:
    return run_hostile(8.0, seed=12, reference=True)


def test_the_base_in_the_field_keeps_every_invariant() -> None:
    judgement = run_base(2, seed=10)
    assert judgement.passed, judgement.text()
    assert judgement.attacked_s > 1.0


def test_noise_for_actions_keeps_every_invariant(asked: Judgement) -> None:
    assert asked.passed, asked.text()
    assert asked.attacked_s >= 8.0


def test_noise_for_joint_targets_keeps_every_invariant(reference: Judgement) -> None:
    assert reference.passed, reference.text()
    # that is only worth something if the envelope was needed
    assert reference.limited > 0.9
    assert min(reference.verdict.largest_share.values()) > 0.95


def test_the_checker_would_have_noticed(reference: Judgement) -> None:
    rows = reference.rows.copy()
    somewhere = int(np.flatnonzero(rows["command_sent"][:, 0])[1000])
    rows["q_applied"][somewhere, 0] += 2e-4
    judgement = judge("one command pushed by 0.2 mrad", [rows], 0.0, robot_judged=False)
    assert not judgement.passed
    assert {violation.joint for violation in judgement.verdict.violations} == {0}
    assert "jerk" in {violation.what for violation in judgement.verdict.violations}
