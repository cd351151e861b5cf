"""Exploration is drawn per episode or segment, bounded, seeded and counted."""

from itertools import groupby
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policies.exploration import Exploration
from runtime.gate_wire import Grant
from runtime.messages import Sizes, Stage, TickRecord, new_record
from runtime.residual_spec import ExplorationConfig

STEPS = 20
EPISODES = 300
ALL = Grant(Stage.EXPLORE, [1.0, 1.0])


def config(**changes: Any) -> ExplorationConfig:
    plain: dict[str, Any] = {
        "noise_max": 0.5,
        "prefill_noise_std": 0.3,
        "noise_correlation": 0.0,
        "clean_share": 0.0,
        "segment_steps": 0,
        "horizon_episodes": 0,
        "budget_steps": 10**6,
    }
    return ExplorationConfig(**{**plain, **changes})


def at(record: TickRecord, episode: int, step: int) -> TickRecord:
    record.episode[0], record.episode_step[0] = episode, step
    return record


def granted(stage: Stage = Stage.EXPLORE, share: float = 1.0, noise_share: float = 1.0) -> Grant:
    return Grant(stage, [1.0, 1.0], share=share, noise_share=noise_share)


def drawn(seed: int = 1, grant: Grant = ALL, **changes: Any) -> list[list[tuple[bool, bool]]]:
    """Return (takes part, noisy) of every step of every episode."""
    exploration = Exploration(config(**changes), 2, seed)
    record = new_record(Sizes(joints=1, action=2, setpoint=1))
    episodes = []
    for episode in range(1, EPISODES + 1):
        steps = []
        for step in range(STEPS):
            exploration.look(at(record, episode, step), grant)
            steps.append((exploration.takes_part, exploration.noisy))
        episodes.append(steps)
    return episodes


def test_whether_it_is_noisy_is_drawn_once_an_episode() -> None:
    episodes = drawn(clean_share=0.5)
    assert all(len(set(steps)) == 1 for steps in episodes)
    clean = sum(not steps[0][1] for steps in episodes)
    # 300 fair coins: five standard deviations
    assert 107 <= clean <= 193
    assert all(steps[0][0] for steps in episodes)


def test_a_segment_is_the_smallest_thing_that_is_drawn() -> None:
    episodes = drawn(segment_steps=7, horizon_episodes=2 * EPISODES)
    for steps in episodes:
        lengths = [len(list(same)) for _, same in groupby(steps)]
        assert all(length % 7 == 0 for length in lengths[:-1])
    shares = [np.mean([part for part, _ in steps]) for steps in episodes]
    # the share grows by episodes / horizon: about 1/8 in the first half, 3/8 in the second
    assert np.mean(shares[:150]) == pytest.approx(0.125, abs=0.06)
    assert np.mean(shares[150:]) == pytest.approx(0.375, abs=0.08)
    assert any(len(set(steps)) > 1 for steps in episodes)


def test_without_a_horizon_it_takes_part_from_the_first_episode() -> None:
    assert all(part for steps in drawn() for part, _ in steps)


def test_a_segment_for_the_base_alone_has_no_noise() -> None:
    steps = [step for episode in drawn(horizon_episodes=EPISODES) for step in episode]
    assert (False, False) in steps
    assert (False, True) not in steps


def test_a_seed_draws_the_same_and_another_does_not() -> None:
    kind: dict[str, Any] = {"clean_share": 0.5, "segment_steps": 5, "horizon_episodes": 300}
    assert drawn(1, **kind) == drawn(1, **kind)
    assert drawn(1, **kind) != drawn(2, **kind)


def test_the_budget_is_counted_in_noisy_steps_and_then_there_is_none() -> None:
    exploration = Exploration(config(budget_steps=5), 2, 1)
    record = new_record(Sizes(joints=1, action=2, setpoint=1))
    noisy = []
    for step in range(9):
        exploration.look(at(record, 1, step), ALL)
        noisy.append(exploration.noisy)
        if exploration.noisy:
            exploration.disturbed(None, None)
    assert noisy == [True] * 5 + [False] * 4
    assert exploration.steps == 5


def test_noise_has_the_spread_that_config_or_actor_give_it() -> None:
    exploration = Exploration(config(), 2, 1)
    prefill = np.array([exploration.disturbed(None, None).copy() for _ in range(4000)])
    assert prefill.std(axis=0) == pytest.approx([0.3, 0.3], rel=0.08)
    latent = np.array([0.4, -0.4], dtype=np.float32)
    spread = np.log(np.array([0.1, 0.4], dtype=np.float32))
    acted = np.array([exploration.disturbed(latent, spread).copy() for _ in range(4000)])
    assert np.arctanh(acted).mean(axis=0) == pytest.approx(latent, abs=0.04)
    assert np.arctanh(acted).std(axis=0) == pytest.approx([0.1, 0.4], rel=0.08)


def test_an_absurd_spread_is_limited() -> None:
    exploration = Exploration(config(), 2, 1)
    latent, spread = np.zeros(2, np.float32), np.array([50.0, -50.0], np.float32)
    acted = np.array([exploration.disturbed(latent, spread).copy() for _ in range(2000)])
    assert np.arctanh(np.clip(acted[:, 1], -0.9, 0.9)).std() == pytest.approx(np.exp(-5), rel=0.1)
    # tanh of a normal number of spread e
    assert np.mean(np.abs(acted[:, 0]) < np.tanh(np.e)) == pytest.approx(0.683, abs=0.05)


@pytest.mark.parametrize("correlation", [0.0, 0.6, 0.9])
def test_noise_keeps_its_spread_and_is_as_correlated_as_asked(correlation: float) -> None:
    exploration = Exploration(config(noise_correlation=correlation), 2, 5)
    record = new_record(Sizes(joints=1, action=2, setpoint=1))
    episodes = []
    for episode in range(1, EPISODES + 1):
        exploration.look(at(record, episode, 0), ALL)
        episodes.append([exploration.disturbed(None, None).copy() for _ in range(STEPS)])
    noise = np.array(episodes) / 0.3
    # the spread is that of the first step from the first step on
    assert np.std(noise, axis=(0, 2)) == pytest.approx(np.ones(STEPS), abs=0.15)
    assert np.mean(noise[:, 1:] * noise[:, :-1]) == pytest.approx(correlation, abs=0.05)
    # an episode's noise owes nothing to the one before
    assert np.mean(noise[1:, 0] * noise[:-1, -1]) == pytest.approx(0.0, abs=0.2)


def test_so_many_episodes_as_the_grant_leaves_to_the_base_are_the_base_s_alone() -> None:
    for segment_steps in (0, 7):
        episodes = drawn(grant=granted(share=0.7), segment_steps=segment_steps)
        assert all(len({part for part, _ in steps}) == 1 for steps in episodes)
        taking_part = sum(steps[0][0] for steps in episodes)
        # 300 coins of .7: five standard deviations
        assert 170 <= taking_part <= 250


def test_a_grant_s_share_comes_on_top_of_the_config_s_own() -> None:
    grant = granted(share=0.6)
    growing: dict[str, Any] = {"segment_steps": 7, "horizon_episodes": 1}
    assert drawn(grant=grant, **growing) == drawn(grant=grant, segment_steps=7)
    shares = [
        np.mean([part for part, _ in steps])
        for steps in drawn(grant=grant, segment_steps=7, horizon_episodes=EPISODES)
    ]
    assert np.mean(shares[200:]) == pytest.approx(0.6 * 250 / 300, abs=0.12)
    assert np.mean(shares[:100]) == pytest.approx(0.6 * 50 / 300, abs=0.08)
    half = drawn(grant=granted(share=0.5), horizon_episodes=2 * EPISODES)
    assert np.mean([steps[0][0] for steps in half]) == pytest.approx(0.5 * 0.25, abs=0.06)


def test_what_has_been_learnt_takes_part_whatever_the_schedule_of_learning() -> None:
    grant = granted(Stage.ADAPTIVE, noise_share=0.0)
    assert all(
        step == (True, False) for steps in drawn(grant=grant, horizon_episodes=10**6)
        for step in steps
    )  # fmt: skip


@pytest.mark.parametrize(("clean", "share", "noisy"), [(0.0, 0.5, 0.5), (0.5, 0.5, 0.25)])
def test_noise_is_in_so_many_episodes_as_config_and_grant_leave(
    clean: float, share: float, noisy: float
) -> None:
    for stage in (Stage.EXPLORE, Stage.ADAPTIVE):
        episodes = drawn(grant=granted(stage, noise_share=share), clean_share=clean)
        found = sum(steps[0][1] for steps in episodes)
        assert found / EPISODES == pytest.approx(noisy, abs=5 * np.sqrt(noisy * 0.75 / EPISODES))


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 10**6),
    st.sampled_from([0, 5, 7]),
    st.sampled_from([0, 1, 200]),
    st.floats(0.0, 1.0),
)
def test_a_whole_grant_draws_as_if_there_were_none_and_none_leaves_nothing(
    seed: int, segment_steps: int, horizon: int, clean: float
) -> None:
    kind: dict[str, Any] = {
        "segment_steps": segment_steps,
        "horizon_episodes": horizon,
        "clean_share": clean,
    }
    assert drawn(seed, **kind) == plainly_drawn(seed, segment_steps, horizon, clean)
    assert not any(part for steps in drawn(seed, granted(share=0.0), **kind) for part, _ in steps)
    assert not any(
        noisy for steps in drawn(seed, granted(noise_share=0.0), **kind) for _, noisy in steps
    )


def plainly_drawn(
    seed: int, segment_steps: int, horizon: int, clean: float
) -> list[list[tuple[bool, bool]]]:
    """What the config alone asks for: one draw an episode for noise, one a segment."""
    rng = np.random.default_rng(seed)
    episodes = []
    for episode in range(1, EPISODES + 1):
        disturbed = not (rng.random() < clean)
        steps: list[tuple[bool, bool]] = []
        for step in range(STEPS):
            if step == 0 or (segment_steps and step % segment_steps == 0):
                part = rng.random() < (min(episode / horizon, 1.0) if horizon else 1.0)
            steps.append((part, part and disturbed))
        episodes.append(steps)
    return episodes


def test_a_grant_that_changes_counts_from_the_next_episode_on() -> None:
    exploration = Exploration(config(segment_steps=5), 2, 1)
    record = new_record(Sizes(joints=1, action=2, setpoint=1))
    nothing, noiseless = granted(share=0.0), granted(noise_share=0.0)
    seen = []
    for episode, (first, then) in enumerate([(ALL, nothing), (nothing, ALL), (noiseless, ALL)]):
        for step in range(STEPS):
            exploration.look(at(record, episode + 1, step), first if step == 0 else then)
            seen.append((episode, exploration.takes_part, exploration.noisy))
    assert set(seen) == {(0, True, True), (1, False, False), (2, True, False)}
