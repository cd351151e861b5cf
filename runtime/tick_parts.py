"""What a tick watches with, worked out from the config: budgets, predicates, the measured arm."""

import math
from collections.abc import Sequence

from runtime.authority import Authority, authority_limits
from runtime.clock import seconds_to_ns
from runtime.config import Config
from runtime.episodes import Predicate
from runtime.force_filter import ForceFilter
from runtime.kinematics import Kinematics
from runtime.measured_arm import MeasuredArm
from runtime.messages import Outcome
from runtime.monitors import MonitorLimits
from runtime.residual_watch import ResidualWatch
from runtime.robot_spec import RobotSpec


def predicates(config: Config) -> list[Predicate]:
    """Return what ends an episode by itself."""
    return [
        Predicate(
            outcome=Outcome[said.outcome],
            group=said.group,
            index=said.index,
            above=-math.inf if said.above is None else said.above,
            below=math.inf if said.below is None else said.below,
            hold_ns=seconds_to_ns(said.hold_s),
        )
        for said in config.episode.predicates
    ]


def monitor_limits(
    config: Config, robot: RobotSpec, residual_bound: Sequence[float]
) -> MonitorLimits:
    """Return the budgets of ages, deadlines and inference. `residual_bound`: the contract's."""
    seen = config.observations
    return MonitorLimits(
        joints=robot.joints,
        groups_ns=(
            seconds_to_ns(seen.joints_max_age_s),
            *(seconds_to_ns(group.max_age_s) for group in seen.groups),
        ),
        link_lost_ns=seconds_to_ns(seen.link_lost_after_s),
        base_max_age_ns=seconds_to_ns(config.base.max_age_s),
        base_max_inference_ns=seconds_to_ns(config.base.max_inference_s),
        base_max_unfamiliarity=config.base.max_unfamiliarity,
        residual_bound=residual_bound,
        missed_per_s=config.deadlines.max_missed_per_s,
        servo_hz=config.control.servo_hz,
    )


def authority(config: Config, actions: int) -> Authority:
    """Return what rations the residual; without a `residual` block it never has authority."""
    residual = config.residual
    if residual is None:
        return Authority(actions, None)
    region = residual.region
    limits = authority_limits(
        region.low_m,
        region.high_m,
        region.edge_m,
        residual.authority_ramp_s,
        config.control.servo_hz,
    )
    return Authority(actions, limits)


def residual_watch(config: Config, residual_bound: Sequence[float]) -> ResidualWatch:
    """Return what gathers evidence against the residual; without one there is none.
    `residual_bound`: the contract's."""
    residual = config.residual
    return ResidualWatch(residual_bound, None if residual is None else residual.watch)


def measured_arm(config: Config, robot: RobotSpec, kinematics: Kinematics) -> MeasuredArm:
    """Return what works out speeds, torques and forces, with the config's force filter."""
    force = config.guards.contact_force
    felt = ForceFilter(force.group, force.cutoff_hz) if force else None
    return MeasuredArm(robot, kinematics, felt)
