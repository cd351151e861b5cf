"""Going back: an earlier snapshot is live again, and what comes later is judged as before."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policies.residual import ZeroResidual
from runtime.gate_wire import Grant
from runtime.messages import Mode, Stage
from tests.policies.residual_bench import BAD, MAKER, Bench, observation

FIRST, SECOND = MAKER.offer(1, 0, push=0.3), MAKER.offer(2, 1, push=0.4)


def seen(bench: Bench) -> Bench:
    """Let it see enough for the check on how far actions may change."""
    for number in range(120):
        bench.record.raw[:] = observation(number).raw
        bench.act()
    return bench


def test_it_acts_as_it_did_then_and_takes_what_is_newer() -> None:
    bench = seen(Bench())
    assert bench.residual.offer(FIRST) == ""
    before = bench.act().action.copy()
    assert bench.residual.offer(SECOND) == ""
    assert bench.act().action.tolist() != before.tolist()
    assert bench.residual.go_back(FIRST) == ""
    assert bench.residual.version == 1
    assert bench.act().action.tolist() == before.tolist()
    assert "not newer than 1" in bench.residual.offer(FIRST)
    assert bench.residual.offer(MAKER.offer(3, 1, push=0.35)) == ""
    assert bench.residual.version == 3


def test_version_0_is_exactly_nothing_again_and_its_children_are_taken() -> None:
    bench = seen(Bench())
    bench.residual.offer(FIRST)
    bench.residual.offer(SECOND)
    assert bench.residual.go_back(b"") == ""
    assert bench.residual.version == 0
    assert bench.act().action.tobytes() == bytes(32)
    assert "parent 9 was never offered" in bench.residual.offer(MAKER.offer(10, 9, push=0.3))
    assert bench.residual.offer(MAKER.offer(3, 0, push=0.3)) == ""
    assert bench.residual.version == 3


def test_how_far_actions_change_is_not_asked_for_nothing_has_authority() -> None:
    bench = seen(Bench(max_action_change=0.4))
    bench.residual.offer(FIRST)
    far = MAKER.offer(7, 6, push=-1.5)
    assert "max_action_change" in bench.residual.offer(MAKER.offer(7, 1, push=-1.5))
    assert bench.residual.go_back(far) == ""
    assert bench.residual.version == 7
    # what comes later is compared with what is live again
    assert "max_action_change" in bench.residual.offer(MAKER.offer(8, 7, push=1.5))
    assert bench.residual.offer(MAKER.offer(9, 7, push=-1.4)) == ""


def test_one_of_an_earlier_run_comes_back_and_the_first_child_of_it_is_known() -> None:
    bench = Bench()
    assert bench.residual.go_back(MAKER.offer(7, 5, push=0.3)) == ""
    assert bench.residual.offer(MAKER.offer(9, 8, push=0.3)) != ""
    assert bench.residual.offer(MAKER.offer(9, 7, push=0.3)) == ""


def test_to_where_it_is_already_changes_nothing() -> None:
    bench = Bench()
    bench.residual.offer(FIRST)
    before = bench.act().action.copy()
    assert bench.residual.go_back(FIRST) == ""
    assert bench.act().action.tolist() == before.tolist()
    fresh = Bench()
    assert fresh.residual.go_back(b"") == ""
    assert fresh.residual.version == 0


@pytest.mark.parametrize("what", BAD)
def test_what_is_bad_is_refused_and_what_is_live_stays(what: str) -> None:
    data, sentence = BAD[what]
    bench = Bench()
    bench.residual.offer(SECOND)
    before = bench.act().action.copy()
    assert sentence in bench.residual.go_back(data)
    assert bench.residual.refused == 1
    assert bench.residual.version == 2
    assert bench.act().action.tolist() == before.tolist()
    # a refusal makes nothing known
    assert bench.residual.offer(MAKER.offer(3, 2, push=0.4)) == ""


@pytest.mark.parametrize(("version", "parent"), [(0, 0), (0, -1), (-3, -4), (4, 4), (4, 5)])
def test_no_version_that_control_counts_by_can_be_faked(version: int, parent: int) -> None:
    bench = Bench()
    assert "cannot be a child of" in bench.residual.go_back(MAKER.offer(version, parent))
    assert bench.residual.version == 0


@settings(max_examples=150, deadline=None)
@given(st.binary(min_size=1, max_size=200), st.integers(0, 2000))
def test_garbage_never_raises(garbage: bytes, place: int) -> None:
    bench = Bench()
    assert bench.residual.go_back(garbage) != ""
    data = bytearray(MAKER.offer(hidden=8))
    data[place % len(data)] ^= 0x55
    assert bench.residual.go_back(bytes(data)) != ""
    assert bench.residual.version == 0


def test_a_config_without_a_residual_goes_back_to_nothing_only() -> None:
    residual = ZeroResidual()
    assert residual.go_back(b"") == ""
    assert residual.refused == 0
    assert "no block `residual`" in residual.go_back(FIRST)
    assert residual.refused == 1


def test_a_shadow_is_computed_and_never_disturbed_or_left_out() -> None:
    bench = Bench(exploration={"clean_share": 0.0})
    bench.residual.offer(FIRST)
    mean = bench.act().action.copy()
    bench.record.mode[0] = Mode.SHADOW
    out = bench.granted(Grant(Stage.SHADOW, [], share=0.0))
    assert out.takes_part
    assert not out.noise.any()
    assert out.action.tolist() == mean.tolist()
    assert bench.residual.explored_steps == 0


def test_a_learnt_residual_is_disturbed_and_left_out_as_the_grant_says() -> None:
    bench = Bench(exploration={"clean_share": 0.0})
    bench.residual.offer(FIRST)
    assert bench.granted(Grant(Stage.ADAPTIVE, [])).noise.all()
    bench.record.episode[0] = 2
    out = bench.granted(Grant(Stage.ADAPTIVE, [], share=0.0))
    assert out.action.tobytes() == bytes(32)
    assert not out.takes_part
    bench.record.episode[0] = 3
    out = bench.granted(Grant(Stage.ADAPTIVE, [], noise_share=0.0))
    assert out.takes_part
    assert not out.noise.any()
    assert np.abs(out.action).max() > 0.0
    assert math.isfinite(out.action.sum())
