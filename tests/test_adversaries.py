"""Adversaries, planted holes and stops by brute force, in short; in full: tests/benchmarks."""

import itertools

import numpy as np
import pytest

from tests.benchmarks.adversaries import Report, Worst, run
from tests.benchmarks.adversary_arena import HIGH, LOW, MARGIN_M, Arena
from tests.benchmarks.adversary_campaign import (
    BOUT_TICKS,
    NOISE,
    OBJECTIVES,
    TRAINED,
    TURNS,
    WEIGHTS,
)
from tests.benchmarks.adversary_demands import half_periods
from tests.benchmarks.adversary_near import NEAR_SIZE, lean
from tests.benchmarks.adversary_trained import SIZE, swing_trainer
from tests.benchmarks.planted_holes import HOLES, search
from tests.benchmarks.stoppability import run as run_stops

BOUTS = 26
SEED = 5
HOLES_SEED = 1  # the benchmark's: what it finds early is found here


@pytest.fixture(scope="module")
def report() -> Report:
    return run(BOUTS * BOUT_TICKS, SEED, bouts_beyond=1)


def test_no_adversary_breaks_an_invariant_or_the_arm(report: Report) -> None:
    assert set(report.kinds) == set(WEIGHTS)
    assert report.ticks == BOUTS * BOUT_TICKS
    for name, worst in report.kinds.items():
        assert (worst.violations, worst.outside) == (0, 0), name
        assert worst.position_rad > 0.0
    for name, worst in report.beyond.items():
        assert worst.violations == 0, name


def test_the_adversaries_press(report: Report) -> None:
    """All that passes nothing would be worth nothing if nobody came near a limit."""
    speeds = [worst.speed for worst in report.kinds.values()]
    assert max(speeds) > 0.5
    assert min(worst.clearance_m for worst in report.kinds.values()) < 0.005


def test_a_report_says_what_failed() -> None:
    bad = Report(
        {
            "a": Worst(ticks=96, violations=1, outside=2),
            TRAINED: Worst(ticks=4, speed=0.6),
        },
        {"speed": (0.6, 0.7)},
        {"far": Worst(violations=3)},
        0,
        0.0,
    )
    words = " / ".join(bad.failures())
    assert "a: 1 violations, 2 measured ticks outside" in words
    assert "far: 3 violations" in words
    assert f"{TRAINED} has 4.0% of the ticks" in words
    assert "trained adversary reached 0.6, noise 0.7" in words


@pytest.mark.parametrize(
    "name", ["finite check removed", "braking distance v^2/2a", "geometry: next pose only"]
)
def test_what_was_broken_on_purpose_is_found(name: str) -> None:
    assert search(HOLES[name], 15_000, HOLES_SEED) is not None


def test_every_sampled_state_can_be_stopped() -> None:
    outcome = run_stops(150, SEED)
    assert outcome.passed, outcome.violations[:3]
    assert sum(ticks > 20 for ticks in outcome.ticks) > 100


def test_the_sweep_begins_at_nyquist_and_leaves_no_gap() -> None:
    periods = half_periods()
    assert periods[0] == 1
    assert all(b <= max(a + 1, 1.11 * a) for a, b in itertools.pairwise(periods))
    assert periods[-1] > 600


def test_the_trainer_learns() -> None:
    trainer = swing_trainer(np.random.default_rng(1), anywhere=False)
    target = np.linspace(-1.0, 1.0, SIZE)
    rewards = []
    for _ in range(400):
        rewards.append(-float(np.square(trainer.ask() - target).sum()))
        trainer.tell(rewards[-1])
    assert np.mean(rewards[-40:]) > 0.5 * np.mean(rewards[:40])
    assert trainer.best_reward == max(rewards)


@pytest.mark.parametrize(("approach", "asked_m"), [(True, 0.005), (False, 1e-6)])
def test_a_leaning_bout_begins_at_its_distance(approach: bool, asked_m: float) -> None:
    arena = Arena()
    scene = arena.cluttered
    assert scene.checker is not None and scene.geometry is not None
    rooms_m = []
    for number in range(6):
        values = np.random.default_rng(number).normal(size=NEAR_SIZE) * 2.0
        values[-1] = 0.0  # halfway from a nanometre to a millimetre, where that is learned
        start = lean(values, arena, scene, approach=approach).start
        assert ((start >= LOW) & (start <= HIGH)).all()
        rooms_m.append(float(scene.geometry.distances_m(start.tolist()).min()) - MARGIN_M)
        assert scene.checker.check(start[None]).least_m > asked_m - 1e-6
    assert min(rooms_m) == pytest.approx(asked_m, abs=1e-9)


def test_every_objective_has_its_turn() -> None:
    assert set(TURNS) == set(OBJECTIVES)


def test_each_kind_has_its_share() -> None:
    assert min(WEIGHTS.values()) / sum(WEIGHTS.values()) >= 0.05
    assert WEIGHTS[TRAINED] == WEIGHTS[NOISE]
