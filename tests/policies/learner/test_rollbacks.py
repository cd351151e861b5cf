"""Which versions are undone, which states are kept, and what replay and agent make of it."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policies.learner.agent import SavedNetworks
from policies.learner.replay import Pool, Source
from policies.learner.rollbacks import KeptStates, Undone
from runtime.errors import LearnerError
from tests.policies.learner.kit import fill, new_agent
from tests.policies.learner.test_replay import add, new_replay, step

STROKES = st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), max_size=6)


def undone_by(*strokes: tuple[int, int]) -> set[int]:
    undone = Undone()
    for version, instead_of in strokes:
        undone.go_back(version, instead_of)
    return {version for version in range(40) if version in undone}


@pytest.mark.parametrize(
    ("strokes", "undone"),
    [
        ([(10, 12)], {11, 12}),
        ([(0, 3)], {1, 2, 3}),
        # a second one, further back, and one after new snapshots
        ([(10, 12), (8, 10)], {9, 10, 11, 12}),
        ([(10, 12), (10, 15)], {11, 12, 13, 14, 15}),
        # a person goes back to 8 and forward again: only what was bad before stays undone
        ([(10, 12), (8, 15), (15, 8)], {11, 12}),
        ([(8, 15), (12, 20)], set(range(13, 21))),
        ([(5, 5)], set()),
        ([(5, 0)], set()),
        ([(-3, 2)], {1, 2}),
    ],
)
def test_what_is_undone_after_so_many_strokes(
    strokes: list[tuple[int, int]], undone: set[int]
) -> None:
    assert undone_by(*strokes) == undone


@given(STROKES, st.integers(0, 30), st.integers(0, 30))
def test_what_is_live_is_not_undone_and_the_base_never_is(
    strokes: list[tuple[int, int]], version: int, instead_of: int
) -> None:
    undone = undone_by(*strokes, (version, instead_of))
    assert version not in undone
    assert 0 not in undone
    assert set(range(version + 1, instead_of + 1)) <= undone
    # nothing is undone that no stroke passed over
    assert undone <= {
        passed
        for low, high in [*strokes, (version, instead_of)]
        for passed in range(low + 1, high + 1)
    }


def networks(version: int) -> SavedNetworks:
    return SavedNetworks({"critic": bytes([version % 256])}, version, version)


def test_states_are_kept_the_fewer_the_older_they_are() -> None:
    kept = KeptStates()
    for version in range(1, 1001):
        kept.keep(version, networks(version))
    ages = [1000 - version for version in kept.saved]
    assert [age.bit_length() for age in ages] == list(range(10, -1, -1))
    assert next(iter(kept.saved)) == 1


@settings(max_examples=200)
@given(st.lists(st.tuples(st.integers(1, 60), st.integers(1, 200)), min_size=1, max_size=4))
def test_there_is_always_one_at_most_four_times_as_old(courses: list[tuple[int, int]]) -> None:
    kept, newest, made = KeptStates(), 0, []
    for count, back in courses:
        for version in range(newest + 1, newest + 1 + count):
            kept.keep(version, networks(version))
            made.append(version)
        newest += count
        wanted = max(made[0], newest - back)
        made = [version for version in made if version <= wanted]
        found = kept.go_back(wanted)
        assert found is not None
        version, state = found
        assert version <= wanted
        assert state == networks(version)
        # of all that were made and not undone since, the best is at most so much newer
        assert newest - version <= 4 * (newest - made[-1]) + 3
        assert all(other <= wanted for other in kept.saved)


def test_before_the_first_there_is_nothing_to_go_back_to() -> None:
    kept = KeptStates()
    assert kept.go_back(5) is None
    kept.keep(7, networks(7))
    assert kept.go_back(6) is None
    assert not kept.saved


def test_episodes_of_undone_versions_leave_sampling_and_come_back() -> None:
    replay = new_replay()
    for number, versions in enumerate([(), (1,), (1, 2), (3,)], start=1):
        replay.begin_episode(number, versions=versions)
        for t in range(3):
            replay.add_step(step(100.0 * number + t))
        replay.end_episode(1.0)
    assert replay.set_aside({2, 3}) == 2
    assert len(replay.ready(Pool.ONLINE)) == 6
    np.testing.assert_array_equal(replay.starts(9)[:, 0], [100, 200])
    assert replay.outcomes(9) == [1.0, 1.0]
    # somebody's word about it does not bring it back
    assert replay.correct(3, 0.0)
    assert len(replay.ready(Pool.ONLINE)) == 6
    assert replay.set_aside({3}) == 1
    assert replay.outcomes(9) == [1.0, 1.0, 0.0]
    assert replay.set_aside(set()) == 0
    assert len(replay.ready(Pool.ONLINE)) == 12


def test_an_episode_that_runs_is_not_asked_and_one_set_aside_makes_room() -> None:
    replay = new_replay(capacity=8)
    add(replay, 1, 4, 1.0)
    replay.begin_episode(2, versions=(5,))
    replay.add_step(step(200.0))
    assert replay.set_aside({5}) == 0
    replay.end_episode(1.0)
    assert replay.set_aside({5}) == 1
    for number in (3, 4):
        add(replay, number, 4, 1.0)
    assert replay.set_aside({5}) == 0
    assert len(replay.ready(Pool.ONLINE)) == 8


def test_only_starts_of_episodes_in_which_a_residual_acted() -> None:
    replay = new_replay()
    for number, source in ((1, Source.BASE), (2, Source.RESIDUAL), (3, Source.EXPLORING)):
        replay.begin_episode(number)
        for t in range(2):
            one = step(100.0 * number + t)
            # the first step of each is the base's
            object.__setattr__(one, "source", source if t else Source.BASE)
            replay.add_step(one)
        replay.end_episode(1.0)
    np.testing.assert_array_equal(replay.starts(9, acted=True)[:, 0], [200, 300])
    np.testing.assert_array_equal(replay.starts(1, acted=True)[:, 0], [300])
    assert len(replay.starts(0, acted=True)) == 0


def test_an_agent_goes_back_and_owes_nothing_again() -> None:
    agent = fill(new_agent(warm_up_updates=5, updates_per_step=1.0))
    agent.update(12)
    before, chance = agent.networks(), agent._chance.save()
    agent.update(8)
    after = agent._chance.save()
    assert agent.networks() != before
    agent.go_back(before)
    assert agent.networks() == before
    assert agent.updates == 20
    assert agent.due(15) == 0
    assert agent.due(18) == 3
    # chance goes on: what it drew once it does not draw again
    assert agent._chance.save() == after != chance
    again = fill(new_agent(warm_up_updates=5, updates_per_step=1.0))
    again.restore(agent.state())
    agent.update(3)
    again.update(3)
    assert again.state() == agent.state()


def test_networks_of_another_size_are_refused_and_change_nothing() -> None:
    agent, other = fill(new_agent()), new_agent(hidden=(4,))
    before = agent.networks()
    with pytest.raises(LearnerError, match="other sizes"):
        agent.go_back(other.networks())
    assert agent.networks() == before


def test_an_agent_that_begins_anew_warms_up_without_a_burst() -> None:
    agent = fill(new_agent(warm_up_updates=5, updates_per_step=1.0))
    first = agent.networks()
    agent.update(12)
    agent.begin_anew()
    assert agent.networks().vectors["actor"] != first.vectors["actor"]
    assert agent.networks().critic_steps == 0
    assert agent.due(7) == 0
    actor = agent.networks().vectors["actor"]
    agent.update(4)
    assert not agent.warm
    agent.update(1)
    assert agent.networks().vectors["actor"] == actor
    agent.update(1)
    assert agent.networks().vectors["actor"] != actor


def test_what_is_waived_is_owed_no_more_and_no_update() -> None:
    agent = fill(new_agent(warm_up_updates=5, updates_per_step=1.0))
    agent.waive(agent.due(10))
    assert agent.due(10) == agent.updates == 0
    assert agent.due(12) == 2
    again = fill(new_agent(warm_up_updates=5, updates_per_step=1.0))
    again.restore(agent.state())
    assert again.due(12) == 2
