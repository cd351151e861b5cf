"""Whole episodes through the real loop: the driver, the expert, determinism, silence."""

import numpy as np
import pytest

from runtime.messages import Outcome, Phase, SignalKind, SignalSource
from sims.expert import NOISE_STD, ScriptedExpert
from sims.plant import Plant
from tests.sims.kit import PegLoop, make_plant


def test_expert_solves_nominal_and_the_envelope_is_silent() -> None:
    peg = PegLoop("nominal", seed=21)
    peg.run_episodes(20)
    assert peg.outcomes.count(Outcome.SUCCESS) >= 19
    assert peg.limited_ticks <= 0.01 * peg.ticks
    assert peg.link.driver.succeeded == peg.outcomes.count(Outcome.SUCCESS)


def test_expert_mostly_solves_the_field() -> None:
    peg = PegLoop("field", seed=22)
    peg.run_episodes(10)
    assert peg.outcomes.count(Outcome.SUCCESS) >= 7


def test_same_seed_same_bytes() -> None:
    def run(seed: int) -> list[bytes]:
        peg = PegLoop("field", seed=seed, keep=True)
        for _ in range(2500):
            peg.step()
        return peg.sink.records

    first = run(4)
    assert first == run(4)
    assert first != run(5)


def test_episodes_start_where_the_task_says_and_the_block_moves_only_when_clear() -> None:
    peg = PegLoop("nominal", seed=23)
    plant = peg.link.plant
    task = plant.config.task
    hole = plant.hole
    began = 0
    while began < 5:
        record = peg.step()
        if plant.hole != hole:
            assert plant.tip.z_m >= max(hole.z_m, plant.hole.z_m) + task.clear_height_m - 0.005
            assert record.phase[0] == Phase.RESETTING
            hole = plant.hole
        if SignalKind.EPISODE_BEGIN in record.signal_kind:
            began += 1
            x, y, z, yaw = plant.tip_in_hole()
            sag_m = 0.005
            assert max(abs(x), abs(y)) <= task.start_lateral_m * 2**0.5 + sag_m
            assert task.start_height_m[0] - sag_m <= z <= task.start_height_m[1] + sag_m
            assert abs(yaw) <= task.start_yaw_rad + 0.02
            assert np.abs(plant.dq).max() < 0.02
            offset = np.abs(hole.as_array()[:3] - task.hole_center_m)
            assert (offset <= task.hole_range_m).all()
            assert abs(hole.yaw_rad) <= task.hole_yaw_range_rad


def test_driver_says_success_and_the_manager_says_timeout(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    peg = PegLoop("nominal", seed=24)
    record = peg.run_until(lambda record: bool(record.outcome[0]), 5000)
    assert record.outcome[0] == Outcome.SUCCESS
    assert record.outcome_source[0] == SignalSource.DRIVER
    record = peg.run_until(lambda record: record.phase[0] == Phase.RUNNING, 5000)
    # nothing counts as success: the episode can only time out, and the next one begins all the same
    episode = int(record.episode[0])
    monkeypatch.setattr(Plant, "succeeded", False)
    record = peg.run_until(lambda record: bool(record.outcome[0]), 5000)
    assert record.outcome[0] == Outcome.TIMEOUT
    assert record.outcome_source[0] == SignalSource.MANAGER
    peg.run_until(lambda record: int(record.episode[0]) == episode + 1, 5000)


def test_an_episode_does_not_depend_on_those_before() -> None:
    def holes(steps_lost: int) -> list[tuple[float, ...]]:
        peg = PegLoop("nominal", seed=25)
        seen: list[tuple[float, ...]] = []
        while len(seen) < 3:
            record = peg.step()
            if SignalKind.EPISODE_BEGIN in record.signal_kind:
                seen.append(tuple(peg.link.plant.hole.as_array()))
            if record.phase[0] == Phase.WAITING and steps_lost:
                peg.link.write(None)
                steps_lost -= 1
        return seen

    assert holes(0) == holes(50)


def test_noise_is_injected_per_episode_and_the_label_is_clean() -> None:
    peg = PegLoop("nominal", seed=26)
    plant, contract = make_plant(field="nominal"), peg.loop._parts.base.contract
    noisy = ScriptedExpert(plant, contract, seed=1, noise_std=NOISE_STD)
    clean = ScriptedExpert(plant, contract, seed=1)
    record = peg.run_until(lambda record: record.phase[0] == Phase.RUNNING, 5000)
    out, reference = np.zeros(4), np.zeros(4)
    levels = set()
    for episode in range(1, 30):
        record.episode[0] = episode
        noisy.act(record, out)
        clean.act(record, reference)
        assert (noisy.label == reference).all()
        assert np.abs(out).max() <= 1.0
        levels.add(noisy._std)
    assert levels == set(NOISE_STD)
