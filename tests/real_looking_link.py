"""A link to the simulation that says it drives a real robot."""

from dataclasses import replace
from pathlib import Path

from runtime.config import Config
from runtime.interfaces import LinkDescription
from runtime.robot_spec import RobotSpec
from sims import link as simulated


class RealLookingLink(simulated.LockstepLink):
    """Refuses nothing and moves nothing but the simulation."""

    def describe(self) -> LinkDescription:
        return replace(super().describe(), simulated=False)


def open_link(
    config: Config,
    config_file: Path,
    robot: RobotSpec,
    episode_s: float,
    *,
    lockstep: bool,
    field: str | None,
    seed: int | None,
) -> RealLookingLink:
    plain = simulated.open_link(
        config, config_file, robot, episode_s, lockstep=lockstep, field=field, seed=seed
    )
    return RealLookingLink(plain.plant, robot, episode_s)
