"""The residual bounds itself, and takes no snapshot that fails one of control's own checks."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policies.features import RawFeatures
from policies.residual import ZeroResidual
from runtime.layout import Floats
from runtime.messages import Mode, Stage
from runtime.snapshot import Snapshot, encode_snapshot
from tests.policies.residual_bench import BAD, BOUND, CONFIG, MAKER, Bench, observation
from tests.runtime.control_kit import panda_sizes, trained_base
from tests.snapshot_kit import SnapshotMaker


def by_hand(snapshot: Snapshot, raw: Floats, base: Floats) -> tuple[Floats, Floats]:
    """Return mean action (units of the bound) and log of the spread, in float64 and in words."""
    value = np.concatenate(((raw - np.array(snapshot.mean)) / np.array(snapshot.std), base))
    for number, layer in enumerate(snapshot.layers):
        weights = np.frombuffer(layer.weights, "<f4").reshape(layer.outputs, layer.inputs)
        value = weights.astype(float) @ value + np.frombuffer(layer.bias, "<f4")
        if number < len(snapshot.layers) - 1:
            value = np.where(value > 0.0, value, 0.0)
    return np.tanh(value[:4]), value[4:]


def test_version_0_is_exactly_zero() -> None:
    bench = Bench()
    out = bench.act()
    assert bench.residual.version == 0
    assert out.action.tobytes() == out.noise.tobytes() == bytes(32)


def test_it_acts_as_the_network_says() -> None:
    bench, snapshot = Bench(), MAKER.make(push=0.4)
    assert bench.residual.offer(encode_snapshot(snapshot)) == ""
    assert CONFIG is not None
    raw = RawFeatures(CONFIG.terms, "tool_delta", bench.record).read(bench.record)
    base = np.array([0.5, -0.5, 0.25, 0.0])
    out = bench.act(base=base)
    assert out.action == pytest.approx(BOUND * by_hand(snapshot, raw, base)[0], abs=1e-6)
    assert out.action.any()
    assert not out.noise.any()
    assert out.takes_part
    assert bench.residual.version == 1


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 10**6),
    st.floats(-50.0, 50.0),
    st.floats(-20.0, 20.0),
    st.sampled_from([Stage.EXPLORE, Stage.ADAPTIVE, Stage.SHADOW]),
)
def test_it_never_leaves_its_bound(seed: int, push: float, spread: float, stage: Stage) -> None:
    bench = Bench(seed, {"clean_share": 0.0}, max_action_change=9.0, max_weight_norm=1e9)
    assert bench.residual.offer(MAKER.offer(seed=seed, push=push, log_spread=spread)) == ""
    for number in range(10):
        bench.record.view["observation_force"][:] = 10.0**number
        out = bench.act(stage)
        assert (np.abs(out.action) <= BOUND).all()
        assert (np.abs(out.noise) <= 0.6 * BOUND * (1 + 1e-12)).all()


def test_noise_is_part_of_the_action_and_only_of_exploring() -> None:
    bench = Bench(exploration={"clean_share": 0.0})
    bench.residual.offer(MAKER.offer(push=0.4))
    mean = bench.act(Stage.ADAPTIVE).action.copy()
    bench.record.episode[0] = 2
    explored = bench.act(Stage.EXPLORE)
    assert explored.noise.all()
    assert explored.action - explored.noise == pytest.approx(mean)
    bench.record.mode[0] = Mode.BASE
    assert not bench.act(Stage.EXPLORE).noise.any()
    assert bench.residual.explored_steps == 1


def test_before_the_first_snapshot_noise_is_all_there_is() -> None:
    bench = Bench(exploration={"clean_share": 0.0})
    seen = np.array([bench.act(Stage.EXPLORE).action.copy() for _ in range(500)])
    assert seen.std() == pytest.approx(0.2 * BOUND, rel=0.1)
    assert np.abs(seen).max() <= 0.6 * BOUND * (1 + 1e-12)
    assert bench.out.action.tolist() == bench.out.noise.tolist()


def test_a_segment_for_the_base_alone_is_exactly_zero() -> None:
    bench = Bench(exploration={"horizon_episodes": 10**9})
    bench.residual.offer(MAKER.offer(push=0.4))
    out = bench.act(Stage.EXPLORE)
    assert out.action.tobytes() == bytes(32)
    assert not out.takes_part


@pytest.mark.parametrize("value", [math.nan, math.inf, 1e200])
def test_what_is_no_observation_is_answered_with_nothing(value: float) -> None:
    bench = Bench()
    bench.residual.offer(MAKER.offer(push=0.4))
    assert not bench.act(base=np.array([0.0, value, 0.0, 0.0])).action.any()
    bench.record.view["observation_force"][1] = value
    out = bench.act()
    assert out.action.tobytes() == bytes(32)
    assert not out.takes_part
    bench.record.view["observation_force"][1] = 0.0
    assert bench.act().action.any()


@pytest.mark.parametrize("what", BAD)
def test_a_bad_snapshot_is_refused_with_its_reason(what: str) -> None:
    bench = Bench(max_action_change=9.0)
    assert bench.residual.offer(MAKER.offer(1, push=0.1)) == ""
    before = bench.act().action.copy()
    data, sentence = BAD[what]
    # every one of them is version 1, child of 0, where control has nothing newer
    fresh = Bench(max_action_change=9.0)
    said = fresh.residual.offer(data)
    assert sentence in said
    assert fresh.residual.refused == 1
    assert fresh.residual.version == 0
    assert not fresh.act().action.any()
    bench.residual.offer(data)
    assert bench.act().action.tolist() == before.tolist()


@pytest.mark.parametrize("version", [3, 2, 1])
def test_what_is_not_newer_is_refused(version: int) -> None:
    bench = Bench()
    assert bench.residual.offer(MAKER.offer(3, 2)) == ""
    assert "not newer than 3" in bench.residual.offer(MAKER.offer(version, 0))
    assert bench.residual.version == 3


def test_a_stranger_s_child_is_refused_and_a_refused_one_s_is_not() -> None:
    bench = Bench()
    # a lineage goes on from an earlier run
    assert bench.residual.offer(MAKER.offer(7, 5)) == ""
    assert "parent 6 was never offered here" in bench.residual.offer(MAKER.offer(8, 6))
    assert bench.residual.offer(MAKER.offer(9, 7, std=[math.nan] * 27)) != ""
    assert bench.residual.offer(MAKER.offer(10, 9)) == ""
    assert bench.residual.version == 10


def test_actions_may_not_jump_on_what_was_just_seen() -> None:
    bench = Bench(max_action_change=0.5)
    for number in range(150):
        bench.record.raw[:] = observation(number).raw
        bench.act()
    assert bench.residual.offer(MAKER.offer(1, 0, push=0.3)) == ""
    said = bench.residual.offer(MAKER.offer(2, 1, push=1.5))
    # about tanh(1.5) - tanh(0.3) = .905 - .291
    assert "on the last 100 observations change by 0.6" in said
    assert bench.residual.version == 1
    assert bench.residual.offer(MAKER.offer(3, 1, push=0.8)) == ""


def test_before_anything_was_seen_there_is_nothing_to_compare() -> None:
    assert Bench(max_action_change=0.1).residual.offer(MAKER.offer(push=1.5)) == ""


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200), st.integers(0, 2000))
def test_garbage_never_raises(garbage: bytes, place: int) -> None:
    bench = Bench()
    assert bench.residual.offer(garbage) != ""
    data = bytearray(MAKER.offer(hidden=8))
    data[place % len(data)] ^= 0x55
    # whichever byte it is: a damaged snapshot is no snapshot
    assert bench.residual.offer(bytes(data)) != ""
    assert bench.residual.version == 0


def test_without_a_residual_in_the_config_every_offer_is_refused() -> None:
    residual = ZeroResidual()
    assert "no block `residual`" in residual.offer(MAKER.offer())
    assert residual.refused == 1


def test_another_residual_s_terms_make_another_interface() -> None:
    assert CONFIG is not None
    other = CONFIG.model_copy(update={"terms": CONFIG.terms[::-1]})
    data = SnapshotMaker(trained_base().contract, other, panda_sizes()).offer()
    assert "made for interface" in Bench().residual.offer(data)
