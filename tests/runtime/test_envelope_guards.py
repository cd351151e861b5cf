"""Guards: boundary values, and that nothing not finite passes."""

import math
from dataclasses import dataclass, field

import pytest

from runtime.config import BoxConfig, GuardsConfig
from runtime.envelope.guards import GuardMargins, Guards
from runtime.messages import GUARDS
from runtime.robot_spec import JointSpec, RobotSpec, ToolSpec, TrackingMargin


def joint(name: str, torque_max_nm: float) -> JointSpec:
    return JointSpec(
        name=name,
        position_min_rad=-2.0,
        position_max_rad=2.0,
        velocity_max_rad_s=2.0,
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
    joints=(joint("a", 80.0), joint("b", 10.0)),
    tracking_margin=TrackingMargin(
        position_rad=0.02, velocity_share=0.95, acceleration_share=0.95, jerk_share=0.95
    ),
    tool=ToolSpec(mjcf="two.xml", site="tool"),
    rest_speed_max_rad_s=0.02,
)
CONFIG = GuardsConfig(
    torque_share=0.5,
    tracking_error_rad=0.25,
    tool_speed_m_s=2.0,
    workspace=BoxConfig(low_m=(0.0, -1.0, 0.0), high_m=(1.0, 1.0, 4.0)),
)


@dataclass
class Seen:
    """A measurement at which every guard is far."""

    tau: list[float] = field(default_factory=lambda: [0.0, 0.0])
    commanded: list[float] = field(default_factory=lambda: [0.5, -0.5])
    q: list[float] = field(default_factory=lambda: [0.5, -0.5])
    speed: float = 0.0
    place: list[float] = field(default_factory=lambda: [0.5, 0.0, 2.0])


def margins(seen: Seen) -> GuardMargins:
    return Guards(SPEC, CONFIG).margins(seen.tau, seen.commanded, seen.q, seen.speed, seen.place)


def test_the_margins_stand_in_the_order_of_the_record() -> None:
    assert GuardMargins._fields == GUARDS
    assert margins(Seen()) == (1.0, 1.0, 1.0, 1.0)


@pytest.mark.parametrize(
    ("seen", "index", "margin"),
    [
        (Seen(tau=[40.0, 0.0]), 0, 0.0),
        (Seen(tau=[0.0, -5.0]), 0, 0.0),
        (Seen(tau=[20.0, 4.0]), 0, 0.2),
        (Seen(tau=[-60.0, 0.0]), 0, -0.5),
        (Seen(q=[0.25, -0.5]), 1, 0.0),
        (Seen(q=[0.5, 0.0]), 1, -1.0),
        (Seen(q=[0.5, -0.375]), 1, 0.5),
        (Seen(speed=1.0), 2, 0.5),
        (Seen(speed=2.0), 2, 0.0),
        (Seen(speed=3.0), 2, -0.5),
        (Seen(place=[0.0, 0.0, 2.0]), 3, 0.0),
        (Seen(place=[0.5, 1.0, 2.0]), 3, 0.0),
        (Seen(place=[0.5, 0.0, 5.0]), 3, -0.5),
        (Seen(place=[0.5, -1.5, 2.0]), 3, -0.5),
        (Seen(place=[0.75, 0.0, 1.0]), 3, 0.5),
    ],
)
def test_each_margin_counts_down_to_its_guard(seen: Seen, index: int, margin: float) -> None:
    result = margins(seen)
    assert result[index] == pytest.approx(margin, abs=1e-12)
    assert [m for i, m in enumerate(result) if i != index] == [1.0, 1.0, 1.0]


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_is_past_its_guard(bad: float) -> None:
    for index, seen in enumerate(
        (
            Seen(tau=[0.0, bad]),
            Seen(q=[bad, -0.5]),
            Seen(speed=bad),
            Seen(place=[0.5, bad, 2.0]),
        )
    ):
        assert margins(seen)[index] == -math.inf
    # NaN first: a bare min() would skip it
    assert margins(Seen(tau=[bad, 1.0])).torque == -math.inf
    # inf - inf is NaN
    assert margins(Seen(commanded=[math.inf, 0.0], q=[math.inf, 0.0])).tracking == -math.inf


def test_a_wrong_number_of_joints_is_an_error() -> None:
    with pytest.raises(ValueError, match="zip"):
        margins(Seen(tau=[0.0]))
    with pytest.raises(ValueError, match="zip"):
        margins(Seen(q=[0.0]))
    with pytest.raises(ValueError, match="zip"):
        margins(Seen(place=[0.0, 0.0]))
