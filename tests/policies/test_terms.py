"""Terms and features: every number is the one that its name says."""

import json
import math
import re
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policies.features import FeatureBuilder, Normaliser, RawFeatures
from policies.terms import TERMS, term_named
from runtime.errors import ContractError
from runtime.messages import GroupSize, Sizes, TickRecord
from runtime.policy_contract import PolicyContract, TermSpec

JOINT_SIZES = Sizes(2, 2, 2, (GroupSize("task", 2),))
EXPECTED = {
    "goal_offset": [0.01, 0.019, -0.05],
    "goal_offset_fine": [0.01, 0.010, -0.010],
    "goal_yaw_error": [0.20],
    "goal_position": [0.51, 0.02, 0.10],
    "goal_yaw": [0.30],
    "tool_lag": [0.001, -0.001, 0.002],
    "tool_yaw_lag": [0.01],
    "tool_yaw": [0.10],
    "tool_position": [0.50, 0.001, 0.15],
    "joint_positions": [0.1, 0.2, 0.3],
    "joint_velocities": [0.01, 0.02, 0.03],
    "force": [1.0, 2.0, 3.0],
    "previous_action": [0.1, 0.2, 0.3, 0.4],
    "time_left": [0.75],
}


@pytest.mark.parametrize("name", EXPECTED)
def test_value_of_each_term(name: str, record: TickRecord) -> None:
    raw = RawFeatures([name], "tool_delta", record)
    np.testing.assert_allclose(raw.read(record), EXPECTED[name], atol=1e-12)


def test_every_registered_term_is_tested_here() -> None:
    assert set(TERMS) == set(EXPECTED) | {"joint_lag"}


def test_terms_for_joint_targets(make_record: Callable[..., TickRecord]) -> None:
    record = make_record(
        {
            "setpoint": [0.5, 0.6],
            "setpoint_measured": [0.4, 0.7],
            "tool_position_in_base_m": [0.3, 0.1, 9.0],
            "observation_task": [0.35, 0.05],
        },
        JOINT_SIZES,
    )
    raw = RawFeatures(["joint_lag", "goal_offset"], "joint_target", record)
    np.testing.assert_allclose(raw.read(record), [0.1, -0.1, 0.05, -0.05], atol=1e-12)


def test_yaw_error_takes_the_short_way(make_record: Callable[..., TickRecord]) -> None:
    record = make_record({"observation_task": [0, 0, 0, 3.1], "setpoint_measured": [0, 0, 0, -3.1]})
    values = RawFeatures(["goal_yaw_error"], "tool_delta", record).read(record)
    np.testing.assert_allclose(values, [6.2 - math.tau])


def test_another_record_object_is_bound_anew(
    record: TickRecord, make_record: Callable[..., TickRecord]
) -> None:
    raw = RawFeatures(["time_left"], "tool_delta", record)
    assert raw.read(make_record({"time_left": 0.5}))[0] == 0.5
    assert raw.read(record)[0] == 0.75
    assert raw.sizes == Sizes(3, 4, 4, (GroupSize("force", 3), GroupSize("task", 4)))
    with pytest.raises(ContractError, match="sizes"):
        raw.read(make_record({}, JOINT_SIZES))


def test_unknown_term_names_those_that_exist() -> None:
    with pytest.raises(ContractError, match=r"'goal_ofset'.*goal_offset_fine"):
        term_named("goal_ofset", "tool_delta")


def test_terms_refuse_what_they_cannot_read(make_record: Callable[..., TickRecord]) -> None:
    small = make_record({}, JOINT_SIZES)
    with pytest.raises(ContractError, match=r"force.*not configured"):
        RawFeatures(["force"], "joint_target", small)
    with pytest.raises(ContractError, match=r"goal_yaw needs at least 4 numbers.*has 2"):
        RawFeatures(["goal_yaw"], "joint_target", small)
    with pytest.raises(ContractError, match=r"joint_lag has no meaning.*tool_delta"):
        RawFeatures(["joint_lag"], "tool_delta", small)


def test_builder_refuses_a_term_of_another_size(honest: Any, record: TickRecord) -> None:
    data = json.loads(json.dumps(honest))
    data["terms"][0]["name"] = "time_left"
    contract = PolicyContract.model_validate_json(json.dumps(data), strict=True)
    with pytest.raises(ContractError, match=re.escape("term time_left: the contract says 3")):
        FeatureBuilder(contract, record)


def test_builder_is_the_formula_of_the_contract(
    contract: PolicyContract, record: TickRecord
) -> None:
    out = np.zeros(11, dtype=np.float32)
    builder = FeatureBuilder(contract, record)
    builder.write(record, out)
    raw = [x for term in contract.terms for x in EXPECTED[term.name]]
    np.testing.assert_allclose(builder.raw, raw, atol=1e-12)
    scale, offset, mean, std = (
        np.concatenate([getattr(term, key) for term in contract.terms])
        for key in ("scale", "offset", "mean", "std")
    )
    np.testing.assert_allclose(out, ((raw * scale + offset) - mean) / std, rtol=1e-5, atol=1e-6)


numbers = st.floats(-1e3, 1e3, allow_nan=False)
positive = st.floats(1e-3, 1e3)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(numbers, positive, numbers, numbers, positive), min_size=1, max_size=8))
def test_normaliser_can_be_undone(rows: list[tuple[float, ...]]) -> None:
    raw, scale, offset, mean, std = (np.array(column) for column in zip(*rows, strict=True))
    term = TermSpec(
        name="x",
        group="joints",
        size=len(rows),
        unit="1",
        scale=tuple(scale.tolist()),
        offset=tuple(offset.tolist()),
        mean=tuple(mean.tolist()),
        std=tuple(std.tolist()),
    )
    out = np.zeros(len(rows), dtype=np.float32)
    Normaliser([term]).write(raw, out)
    undone = out.astype(np.float64) * std + mean - offset
    tolerance = 1e-6 * (np.abs(raw * scale) + np.abs(offset) + np.abs(mean))
    assert np.all(np.abs(undone - raw * scale) <= tolerance + 1e-30)
    np.testing.assert_array_equal(Normaliser([term]).rows(raw[np.newaxis])[0], out)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(-10, 10), min_size=8, max_size=8))
def test_fine_offset_is_limited_and_agrees_inside(values: list[float]) -> None:
    from runtime.messages import new_record

    record = new_record(Sizes(3, 4, 4, (GroupSize("task", 4),)))
    record.view["observation_task"][:] = values[:4]
    record.setpoint_measured[:] = values[4:]
    both = RawFeatures(["goal_offset", "goal_offset_fine"], "tool_delta", record).read(record)
    coarse, fine = both[:3], both[3:]
    assert np.all(np.abs(fine) <= 0.010)
    np.testing.assert_array_equal(fine, np.clip(coarse, -0.010, 0.010))


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_is_never_made_finite(bad: float, record: TickRecord) -> None:
    record.view["observation_task"][:] = bad
    names = ["goal_offset", "goal_yaw_error", "goal_position"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        values = RawFeatures(names, "tool_delta", record).read(record)
    assert not np.isfinite(values).any()
