"""Guards: boundary values, and that nothing not finite passes."""

import math
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.config import BoxConfig, ContactForceConfig, GuardsConfig
from runtime.envelope.guards import GUARD_FAULTS, REGISTRY, WORKSPACE, Guards, Measured, Workspace
from runtime.faults import ROWS, Fault
from runtime.messages import GUARDS
from runtime.robot_spec import JointSpec, RobotSpec, ToolSpec, TrackingMargin
from tests.runtime.envelope_kit import answer


def joint(name: str, torque_max_nm: float, velocity_max_rad_s: float) -> JointSpec:
    return JointSpec(
        name=name,
        position_min_rad=-2.0,
        position_max_rad=2.0,
        velocity_max_rad_s=velocity_max_rad_s,
        acceleration_max_rad_s2=10.0,
        jerk_max_rad_s3=1000.0,
        torque_max_nm=torque_max_nm,
        holding_torque_max_nm=5.0,
        stiffness_nm_rad=100.0,
        damping_nm_s_rad=1.0,
        home_rad=0.0,
    )


SPEC = RobotSpec(
    name="two",
    joints=(joint("a", 80.0, 2.0), joint("b", 10.0, 4.0)),
    tracking_margin=TrackingMargin(
        position_rad=0.02, velocity_share=0.95, acceleration_share=0.95, jerk_share=0.95
    ),
    tool=ToolSpec(mjcf="two.xml", site="tool", elbow_site="elbow", payload_max_kg=0.0),
    rest_speed_max_rad_s=0.02,
)
CONFIG = GuardsConfig(
    torque_share=0.5,
    tracking_error_rad=0.25,
    joint_speed_share=0.5,
    tool_speed_m_s=2.0,
    elbow_speed_m_s=0.5,
    workspace=BoxConfig(low_m=(0.0, -1.0, 0.0), high_m=(1.0, 1.0, 4.0)),
    contact_force=ContactForceConfig(group="force", max_n=50.0, cutoff_hz=20.0),
)


def far(**changes: Any) -> Measured:
    """Return a measurement at which every guard is far, but for `changes`."""
    seen = Measured([0.5, -0.5], [0.5, -0.5], [0.0, 0.0], [0.0, 0.0], [0.0, 0.0], [0.5, 0.0, 2.0])
    for key, value in changes.items():
        assert hasattr(seen, key)
        setattr(seen, key, value)
    return seen


def margins(seen: Measured, config: GuardsConfig = CONFIG) -> dict[str, float]:
    return dict(zip(GUARDS, Guards(SPEC, config).margins(seen), strict=True))


def test_registry_record_rows_and_config_know_the_same_guards() -> None:
    assert tuple(guard.key for guard in REGISTRY) == GUARDS
    rows = {row.fault for row in ROWS}
    assert set(GUARD_FAULTS) <= rows and len(set(GUARD_FAULTS)) == len(GUARDS)
    assert {fault.name for fault in GUARD_FAULTS} == {
        fault.name for fault in Fault if fault.name.endswith("_GUARD")
    }
    # a setting names its guard, and then its unit
    settings = [next(k for k in GUARDS if f.startswith(k)) for f in GuardsConfig.model_fields]
    assert sorted(settings) == sorted(GUARDS)
    assert REGISTRY[WORKSPACE] is Workspace and GUARDS[WORKSPACE] == "workspace"


def test_far_from_everything_every_margin_is_one() -> None:
    assert set(answer(margins, far()).values()) == {1.0}


BOUNDARIES: list[tuple[str, str, Callable[[float], Any], float]] = [
    ("torque", "motor_nm", lambda x: [x, 0.0], 40.0),
    ("torque", "motor_nm", lambda x: [0.0, -x], 5.0),
    ("tracking", "q", lambda x: [0.5 - x, -0.5], 0.25),
    ("tracking", "q_commanded", lambda x: [0.5, -0.5 - x], 0.25),
    ("joint_speed", "dq", lambda x: [-x, 0.0], 1.0),
    ("joint_speed", "dq", lambda x: [0.9, x], 2.0),
    ("tool_speed", "tool_speed_m_s", lambda x: x, 2.0),
    ("elbow_speed", "elbow_speed_m_s", lambda x: x, 0.5),
    ("workspace", "tool_position_in_base_m", lambda x: [0.5 + x, 0.0, 2.0], 0.5),
    ("workspace", "tool_position_in_base_m", lambda x: [0.5, -x, 2.0], 1.0),
    ("workspace", "tool_position_in_base_m", lambda x: [0.5, 0.0, 2.0 + x], 2.0),
    ("contact_force", "contact_force_n", lambda x: x, 50.0),
]


@pytest.mark.parametrize(("guard", "field", "value", "limit"), BOUNDARIES)
def test_a_margin_is_one_minus_the_share_that_is_used(
    guard: str, field: str, value: Callable[[float], Any], limit: float
) -> None:
    found = margins(far(**{field: value(limit)}))
    assert found[guard] == pytest.approx(0.0, abs=1e-12)
    assert margins(far(**{field: value(limit * (1.0 + 1e-9))}))[guard] < 0.0
    assert margins(far(**{field: value(limit * (1.0 - 1e-9))}))[guard] > 0.0
    assert margins(far(**{field: value(limit * 1.5)}))[guard] == pytest.approx(-0.5)
    # every guard looks at its own measurement only
    assert {left for name, left in found.items() if name != guard} == {1.0}


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize(("guard", "field", "value", "limit"), BOUNDARIES)
def test_what_is_not_finite_is_past_its_guard(
    guard: str, field: str, value: Callable[[float], Any], limit: float, bad: float
) -> None:
    assert margins(far(**{field: value(bad)}))[guard] == -math.inf


def test_a_nan_before_a_number_is_not_skipped() -> None:
    # a bare min() would skip it
    assert margins(far(motor_nm=[math.nan, 1.0]))["torque"] == -math.inf
    # inf - inf is NaN
    assert margins(far(q=[math.inf, 0.0], q_commanded=[math.inf, 0.0]))["tracking"] == -math.inf


@given(st.floats(0.0, 1e300))
def test_a_robot_that_feels_no_force_is_far_from_its_guard(force_n: float) -> None:
    deaf = CONFIG.model_copy(update={"contact_force": None})
    assert margins(far(contact_force_n=force_n), deaf)["contact_force"] == 1.0


def test_the_drives_alone_are_not_what_the_torque_guard_judges() -> None:
    assert margins(far(drive_nm=[1e9, 1e9]))["torque"] == 1.0


@pytest.mark.parametrize("field", ["motor_nm", "q", "q_commanded", "dq"])
def test_a_wrong_number_of_joints_is_an_error(field: str) -> None:
    with pytest.raises(ValueError, match="zip"):
        margins(far(**{field: [0.0]}))


def test_a_wrong_number_of_coordinates_is_an_error() -> None:
    with pytest.raises(ValueError, match="zip"):
        margins(far(tool_position_in_base_m=[0.0, 0.0]))


def test_a_speed_or_force_is_judged_by_its_size() -> None:
    keys = ("tool_speed", "elbow_speed", "contact_force")
    ahead = margins(far(tool_speed_m_s=0.1, elbow_speed_m_s=0.1, contact_force_n=0.1))
    back = margins(far(tool_speed_m_s=-0.1, elbow_speed_m_s=-0.1, contact_force_n=-0.1))
    assert [ahead[key] for key in keys] == [back[key] for key in keys]
