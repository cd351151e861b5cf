"""The watch under anything at all: it never raises, forgets with the trial, and is saved whole."""

import math
from typing import Any, NamedTuple

from hypothesis import given
from hypothesis import strategies as st

from runtime.messages import Mode, Outcome
from tests.runtime.watch_kit import Watched

EVIDENCE_BITS = {
    "SUCCESS_FELL", "SUCCESS_BELOW_BASE", "RESIDUAL_LIMITED", "RESIDUAL_PRESSES",
}  # fmt: skip

whole = st.integers(-(2**63), 2**63 - 1)
number = st.one_of(
    st.floats(), st.sampled_from([0.0, 0.5, 1.0, math.nan, math.inf, -math.inf, 1e308])
)
share = st.one_of(st.floats(0.0, 1.0), st.sampled_from([0.0, 1.0, math.nan, 1.5]))
counts = st.one_of(
    st.tuples(whole, whole), st.sampled_from([(0, 0), (9, 10), (10**6, 10**6), (11, 10)])
)
values = {
    "base_sequence": st.tuples(whole),
    "own_reference": counts,
    "base_reference": counts,
    "base_limited_share": st.tuples(number),
    "base_pressed_share": st.tuples(number),
    "critic_gap": st.tuples(number),
    "update_ratio": st.tuples(number),
    "weights_age_ns": st.tuples(whole),
    "residual_held": st.tuples(st.booleans()),
    "residual_takes_part": st.tuples(st.booleans()),
    "residual_action": st.tuples(number, number),
    "residual_noise": st.tuples(number, number),
}


class Tick(NamedTuple):
    """What one tick of a run says and comes to."""

    said: dict[str, Any]
    step: bool
    mode: Mode
    outcome: Outcome
    authority: tuple[float, float]
    level: tuple[float, float]
    limited: bool
    force_n: float


anything = st.builds(
    Tick,
    said=st.fixed_dictionaries({}, optional=values),
    step=st.booleans(),
    mode=st.sampled_from(list(Mode)),
    outcome=st.sampled_from(list(Outcome)),
    authority=st.tuples(share, share),
    level=st.tuples(share, share),
    limited=st.booleans(),
    force_n=number,
)
# steps and episodes of a residual that acts, in which evidence can gather
acting = st.builds(
    Tick,
    said=st.fixed_dictionaries(
        {
            "residual_takes_part": st.just((True,)),
            "own_reference": st.sampled_from([(0, 0), (9, 10), (10**6, 10**6)]),
            "base_reference": st.sampled_from([(0, 0), (9, 10), (10**6, 10**6)]),
            "residual_action": st.sampled_from([(0.5, 0.0), (0.0, 0.0), (0.5, -2.0)]),
        }
    ),
    step=st.booleans(),
    mode=st.sampled_from([Mode.ADAPTIVE, Mode.ADAPTIVE, Mode.ADAPTIVE, Mode.HOMING]),
    outcome=st.sampled_from([*[Outcome.NONE] * 4, Outcome.SUCCESS, Outcome.FAILURE]),
    authority=st.just((1.0, 1.0)),
    level=st.just((1.0, 1.0)),
    limited=st.booleans(),
    force_n=st.sampled_from([0.0, 100.0]),
)
runs = st.one_of(
    st.lists(anything, max_size=20),
    st.lists(acting, max_size=80),
    st.lists(st.one_of(acting, anything), max_size=60),
)


def play(watched: Watched, tick: Tick) -> tuple[set[str], list[float]]:
    """Run one tick; return the conditions, and what is allowed of a full grant."""
    record = watched.record
    for name, value in tick.said.items():
        record.view[name][:] = value
    if tick.step and "base_sequence" not in tick.said:
        record.base_sequence[0] = (record.base_sequence.item() + 1) % 2**62
    watched.mode, watched.limited, watched.force_n = tick.mode, tick.limited, tick.force_n
    watched.authority, watched.level = tick.authority, tick.level
    found = watched.tick(tick.outcome)
    return found, watched.watch.allowed([1.0, 1.0])


@given(runs)
def test_nothing_makes_it_raise_and_evidence_stays_in_range(run: list[Tick]) -> None:
    watched = Watched()
    for tick in run:
        play(watched, tick)
        for values_of in watched.evidence():
            assert all(0.0 <= value <= 1.0 for value in values_of)


@given(runs, runs, st.integers(-(2**63), 2**63 - 1))
def test_a_new_trial_begins_as_a_new_watch(past: list[Tick], run: list[Tick], trial: int) -> None:
    old = Watched()
    for tick in past:
        play(old, tick)
    old.record.residual_trial[0] = trial or 1
    new = Watched()
    new.record.raw[:] = old.record.raw
    # both have seen the last answer, and the new one nothing else
    for watched in (old, new):
        watched.mode, watched.limited = Mode.BASE, False
        watched.tick()
    assert old.watch.save() == new.watch.save()
    for tick in run:
        assert play(old, tick) == play(new, tick)
        assert old.evidence() == new.evidence()


@given(runs, runs)
def test_a_keyframe_in_the_middle_changes_nothing(past: list[Tick], run: list[Tick]) -> None:
    one = Watched()
    for tick in past:
        play(one, tick)
    two = one.twin()
    inputs = [name for name in (*values, "residual_trial") if name in one.record.view]
    for name in inputs:
        two.record.view[name][:] = one.record.view[name]
    for tick in run:
        assert play(one, tick) == play(two, tick)
        assert one.evidence() == two.evidence()
    assert repr(one.watch.save()) == repr(two.watch.save())


@given(runs)
def test_without_authority_nothing_speaks_against_it(run: list[Tick]) -> None:
    watched = Watched()
    for tick in run:
        found, _ = play(watched, tick._replace(authority=(0.0, 0.0), level=(0.0, 0.0)))
        assert not found & EVIDENCE_BITS
    success, _, limited, pressed = watched.evidence()
    assert success == [0.0, 0.0]
    assert limited == pressed == [0.0]


@given(runs, runs)
def test_what_was_raised_stays_until_the_trial_is_over(past: list[Tick], run: list[Tick]) -> None:
    watched = Watched()
    raised: set[str] = set()
    for tick in (*past, *run):
        found, _ = play(watched, tick)
        assert raised <= found
        raised = found & EVIDENCE_BITS
    watched.record.residual_trial[0] = 1
    assert not watched.conditions() & EVIDENCE_BITS


@given(runs)
def test_what_is_withheld_is_said(run: list[Tick]) -> None:
    watched = Watched()
    for tick in run:
        _, allowed = play(watched, tick)
        # the next tick says so
        assert ("RESIDUAL_SATURATED" in watched.conditions()) == (allowed != [1.0, 1.0])
