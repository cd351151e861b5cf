"""The learner whole: repeatable, resumable, and what leaves it."""

import numpy as np
import pytest
import torch

from policies.learner.agent import Agent
from policies.learner.replay import Pool
from runtime.errors import LearnerError
from runtime.snapshot import forward
from tests.policies.learner.kit import BOUND, OBSERVATION, fill, new_agent, numbers

KINDS = [
    {},
    {"algorithm": "td3", "actor_delay": 2},
    {"update_guard": {"rows": 8}, "offline_share": 0.5},
    {"cal_ql": {"candidates": 2}, "layer_norm": False},
    {"cal_ql": {"candidates": 2, "online": False}, "warm_up_updates": 3},
]


@pytest.mark.parametrize("settings", KINDS)
def test_one_seed_gives_one_learner(settings: dict[str, object]) -> None:
    agents = [fill(new_agent(seed=seed, **settings)) for seed in (3, 3, 4)]
    for agent in agents:
        agent.update(5)
    states = [agent.state() for agent in agents]
    assert states[0] == states[1]
    assert agents[0]._state.critic.ne(agents[2]._state.critic).any()
    assert agents[0]._state.actor.isfinite().all()


@pytest.mark.parametrize("settings", KINDS)
def test_a_checkpoint_resumes_exactly(settings: dict[str, object]) -> None:
    agent = fill(new_agent(**settings))
    agent.update(5)
    saved = agent.state()
    agent.update(4)
    again = fill(new_agent(**settings))
    again.restore(saved)
    assert again.state() == saved
    again.update(4)
    assert again.state() == agent.state()


def test_a_conservative_term_for_the_warm_up_alone_costs_nothing_after_it() -> None:
    settings = {"cal_ql": {"candidates": 2, "online": False}, "warm_up_updates": 3}
    at_once, parted, without = (
        fill(new_agent(**one)) for one in (settings, settings, {**settings, "cal_ql": None})
    )
    candidates = []
    for agent, counts in ((at_once, (5,)), (parted, (3, 2)), (without, (3, 2))):
        for count in counts:
            agent.update(count)
            assert agent._last is not None
            candidates.append(len(agent._last[1].uniform))
    assert candidates == [0, 2, 0, 0, 0]
    assert at_once.state() == parted.state()
    assert at_once._state.critic.ne(without._state.critic).any()


def test_a_checkpoint_of_something_else_is_refused_and_changes_nothing() -> None:
    agent = fill(new_agent())
    agent.update(1)
    before = agent.state()
    others = (new_agent(seed=1), new_agent(learning_rate=1e-3), new_agent(critics=4))
    for saved in (b"", b"nonsense", before[:-9], *(other.state() for other in others)):
        with pytest.raises(LearnerError):
            agent.restore(saved)
    assert agent.state() == before


def test_control_s_forward_gives_the_averaged_actor_s_action() -> None:
    agent = fill(new_agent(learning_rate=0.01, ema_rate=0.5))
    agent.update(20)
    inputs = numbers(np.random.default_rng(1), 9, OBSERVATION + len(BOUND))
    mean, log_std = agent._networks.actor.forward(agent._state.average, torch.from_numpy(inputs))
    action, spread = forward(agent.actor_arrays(), inputs)
    np.testing.assert_allclose(action, torch.tanh(mean).numpy(), atol=1e-6)
    np.testing.assert_allclose(spread, log_std.numpy(), atol=1e-6)
    weights = agent.actor_arrays()
    assert [w.shape for w, _ in weights] == [(8, 7), (8, 8), (4, 8)]
    weights[0][0][:] = 0.0
    assert agent.actor_arrays()[0][0].any()


def test_only_the_critics_move_in_the_warm_up() -> None:
    agent = fill(new_agent(warm_up_updates=3))
    actor, critic = agent._state.actor.clone(), agent._state.critic.clone()
    agent.update(3)
    assert agent._state.actor.equal(actor)
    assert agent._state.average.equal(actor)
    assert agent._state.critic.ne(critic).any()
    agent.update(1)
    assert agent._state.actor.ne(actor).any()


def test_the_average_follows_slowly() -> None:
    agent = fill(new_agent(ema_rate=0.25))
    before = agent._state.average.clone()
    agent.update(1)
    wanted = before + 0.25 * (agent._state.actor - before)
    torch.testing.assert_close(agent._state.average, wanted)


def test_a_delayed_actor_moves_every_other_step() -> None:
    agent = fill(new_agent(actor_delay=2))
    agent.update(5)
    figures = agent.diagnostics()
    assert (figures["critic_steps"], figures["actor_steps"]) == (5.0, 2.0)


def test_updates_owed_are_counted_from_the_prefill() -> None:
    agent = fill(new_agent(warm_up_updates=10, updates_per_step=0.5, prefill_steps=30))
    assert agent.ready
    assert agent.due(0) == 10
    assert agent.due(7) == 13
    agent.update(12)
    assert agent.due(7) == 1
    assert agent.due(0) == 0


def test_learning_waits_for_the_prefill() -> None:
    agent = fill(new_agent(prefill_steps=41))
    before = agent.ready
    fill(agent, episodes=1, seed=1)
    assert (before, agent.ready, new_agent().ready) == (False, True, False)
    with pytest.raises(LearnerError, match="known outcome"):
        new_agent().update(1)


def outcomes(agent: Agent, first: int, rewards: list[float | None]) -> None:
    for number, reward in enumerate(rewards, start=first):
        fill(agent, episodes=1, seed=number)
        agent.replay.correct(1000 * number, reward)


def test_success_switches_the_force_cost_on_and_never_off() -> None:
    cost = {"episodes": 4, "from_success": 0.5, "ramp": 0.5}
    agent = new_agent(force_cost=cost)
    outcomes(agent, 1, [1.0, 1.0, 1.0])
    agent.update(1)
    assert agent.replay.force_scale == 0.0
    outcomes(agent, 4, [0.0, None])
    agent.update(1)
    # three of four: (.75 - .5) / .5
    assert agent.replay.force_scale == pytest.approx(0.5)
    outcomes(agent, 6, [0.0, 0.0])
    agent.update(1)
    assert agent.replay.force_scale == pytest.approx(0.5)
    again = new_agent(force_cost=cost)
    again.restore(agent.state())
    assert again.replay.force_scale == agent.replay.force_scale


def test_weights_that_are_no_longer_finite_stop_learning() -> None:
    agent = fill(new_agent())
    agent._state.critic[0] = float("nan")
    with pytest.raises(LearnerError, match="no longer finite after 1 updates"):
        agent.update(1)


def test_the_critic_sees_the_sum_of_base_and_bounded_residual() -> None:
    agent = fill(new_agent())
    rng = np.random.default_rng(0)
    observation, base, residual = (numbers(rng, 4, n) for n in (OBSERVATION, 2, 2))
    moved = base + np.array(BOUND, dtype=np.float32) * residual
    np.testing.assert_allclose(
        agent.values(observation, base, residual),
        agent.values(observation, moved, np.zeros_like(residual)),
        atol=1e-6,
    )


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.timeout(400)
def test_a_compiled_update_is_the_same_update() -> None:
    settings = {"update_guard": {"rows": 8}, "hidden": (8,)}
    plain, built = fill(new_agent(**settings)), fill(new_agent(**settings, compile="first"))
    figures = built.diagnostics()
    assert built.failure is None
    assert figures["compiled"] == 1.0
    assert figures["compile_s"] > 0.0
    for agent in (plain, built):
        agent.update(5)
    for name, vector in plain._state._asdict().items():
        torch.testing.assert_close(built._state._asdict()[name], vector, atol=1e-4, rtol=1e-3)
    assert len(plain.replay.ready(Pool.ONLINE)) == 40
