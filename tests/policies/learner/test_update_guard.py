"""The update guard: what it measures, when it brakes, and when it undoes a step."""

import numpy as np
import pytest
import torch

from policies.learner.agent import Agent
from policies.learner.update_guard import UpdateGuard
from tests.policies.learner.kit import fill, new_agent, numbers

INPUTS = torch.from_numpy(numbers(np.random.default_rng(2), 8, 7))
EPSILON, RATE = 1e-4, 0.25


def moved(distance: float) -> tuple[Agent, UpdateGuard]:
    """Return an agent whose mean action is `distance` everywhere, its average's 0."""
    agent = fill(new_agent(update_guard={"rows": 8, "epsilon": EPSILON, "rate": RATE}))
    guard = agent._update.guard
    assert guard is not None
    agent._state.average.zero_()
    agent._state.actor.zero_()
    # the last four biases: two means, two logs of the spread
    agent._state.actor[-4:-2] = float(np.arctanh(distance))
    return agent, guard


def judged(distance: float, dual: float = 0.0) -> tuple[Agent, float]:
    """Judge a step from parameters of 7 to an actor `distance` from its average."""
    agent, guard = moved(distance)
    agent._state.guard[0] = dual
    before = tuple(torch.full_like(agent._state.actor, 7.0) for _ in range(3))
    return agent, float(guard.judge(agent._state, before, INPUTS))


def test_the_constraint_is_the_mean_square_distance_of_actions() -> None:
    agent, guard = moved(0.02)
    found = guard.constraint(agent._state.actor, agent._state.average, INPUTS)
    assert float(found) == pytest.approx(4e-4, rel=1e-4)


@pytest.mark.parametrize(
    ("excess", "dual", "wanted"),
    # dual + .25 (excess - 1), never below 0
    [(2.0, 0.0, 0.25), (4.0, 1.0, 1.75), (0.5, 1.0, 0.875), (0.5, 0.0, 0.0)],
)
def test_the_dual_variable_rises_above_epsilon_and_falls_below(
    excess: float, dual: float, wanted: float
) -> None:
    agent, found = judged(float(np.sqrt(excess * EPSILON)), dual)
    assert found == pytest.approx(excess * EPSILON, rel=1e-3)
    assert float(agent._state.guard[0]) == pytest.approx(wanted, rel=1e-3)
    assert agent._state.guard[1] == 0.0
    assert agent._state.actor.ne(7.0).all()


def test_a_step_beyond_ten_epsilon_is_undone_with_its_moments() -> None:
    for excess, undone in ((9.9, False), (10.1, True)):
        agent, _ = judged(float(np.sqrt(excess * EPSILON)))
        for vector in (agent._state.actor, agent._state.actor_mean, agent._state.actor_square):
            assert bool(vector.eq(7.0).all()) == undone
        assert float(agent._state.guard[1]) == float(undone)


def test_a_step_that_cannot_be_judged_is_undone() -> None:
    agent, guard = moved(0.0)
    agent._state.actor[-4] = float("nan")
    before = tuple(torch.full_like(agent._state.actor, 7.0) for _ in range(3))
    guard.judge(agent._state, before, INPUTS)
    assert agent._state.actor.eq(7.0).all()
    assert agent._state.guard.isfinite().all()


def test_the_penalty_grows_with_the_dual_variable() -> None:
    agent, guard = moved(0.02)
    for dual in (0.0, 2.0):
        agent._state.guard[0] = dual
        # four epsilon: three beyond the allowed one
        found = guard.penalty(agent._state.actor, agent._state, INPUTS)
        assert float(found) == pytest.approx(3.0 * dual, rel=1e-3, abs=1e-9)


def test_guarded_updates_keep_the_actor_near_its_average() -> None:
    largest = {}
    for epsilon in (1e-5, 1.0):
        agent = fill(new_agent(learning_rate=0.01, update_guard={"rows": 8, "epsilon": epsilon}))
        figures = []
        for _ in range(60):
            agent.update(1)
            figures.append(agent.diagnostics())
        largest[epsilon] = max(f["constraint"] for f in figures[20:])
        assert (max(f["guard_dual"] for f in figures) > 0.0) == (epsilon < 1.0)
    assert largest[1e-5] < 1e-4
    assert largest[1.0] > 10.0 * largest[1e-5]


def test_it_watches_recent_robot_steps_and_before_there_are_some_any() -> None:
    agent = new_agent(update_guard={"rows": 6})
    agent.replay.begin_episode(1, offline=True)
    agent.replay.end_episode(0.0)
    fill(agent, episodes=1, length=4)
    np.testing.assert_array_equal(agent._guard_inputs()[:4], agent.replay.latest(6)[:, :7])
    np.testing.assert_array_equal(agent._guard_inputs()[4:], agent.replay.latest(6)[:2, :7])
