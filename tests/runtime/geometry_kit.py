"""Two robots, a crowded scene, and envelopes and oracles for them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from runtime.config import load_config, load_robot, resolve
from runtime.envelope.barriers import Workspace
from runtime.envelope.envelope import Envelope
from runtime.envelope.geometry import Geometry
from runtime.geometry_spec import (
    BoxSpec,
    CapsuleSpec,
    GeometryConfig,
    KeepOut,
    PlaneSpec,
    SphereSpec,
)
from runtime.robot_spec import JointLimits
from tests.runtime.invariant_checker import JointInvariants
from tests.runtime.shape_oracle import Oracle, Robot

ROOT = Path(__file__).parents[2]
MARGIN_M = 0.01

TABLE = PlaneSpec(shape="plane", name="table", point_m=(0.0, 0.0, 0.0), normal=(0.0, 0.0, 1.0))
CROWD: tuple[KeepOut, ...] = (
    TABLE,
    BoxSpec(
        shape="box",
        name="crate",
        center_m=(0.6, 0.35, 0.15),
        half_size_m=(0.1, 0.1, 0.15),
        yaw_rad=0.3,
    ),
    SphereSpec(shape="sphere", name="ball", center_m=(0.4, -0.4, 0.4), radius_m=0.12),
    CapsuleSpec(
        shape="capsule", name="post", from_m=(0.75, 0.0, 0.0), to_m=(0.75, 0.0, 0.5), radius_m=0.05
    ),
)
TIP = "peg | keep-out table"
OPEN = Workspace((-2.0, -2.0, -2.0), (2.0, 2.0, 2.0))


@dataclass(frozen=True)
class Machine:
    """A robot as its config describes it."""

    mjcf: Path
    site: str
    limits: tuple[JointLimits, ...]
    home: list[float]
    workspace: Workspace
    dt_s: float

    @property
    def low(self) -> NDArray[np.float64]:
        return np.array([limit.position_min_rad for limit in self.limits])

    @property
    def high(self) -> NDArray[np.float64]:
        return np.array([limit.position_max_rad for limit in self.limits])

    def geometry(
        self,
        keep_out: tuple[KeepOut, ...] = CROWD,
        *,
        own: bool = True,
        workspace: Workspace | None = None,
    ) -> Geometry:
        config = GeometryConfig(margin_m=MARGIN_M, self_collision=own, keep_out=keep_out)
        box = workspace or self.workspace
        return Geometry.load(str(self.mjcf), self.site, self.limits, self.home, config, box)

    def envelope(self, geometry: Geometry | None) -> Envelope:
        envelope = Envelope(self.limits, self.dt_s, geometry)
        envelope.rest_at(self.home)
        return envelope

    def oracle(self, keep_out: tuple[KeepOut, ...] = CROWD) -> Oracle:
        robot = Robot(self.mjcf, [limit.name for limit in self.limits])
        return Oracle(robot, keep_out)


@cache
def machine(config_file: str) -> Machine:
    path = ROOT / config_file
    config = load_config(path)
    robot = load_robot(config, path)
    box = config.guards.workspace
    return Machine(
        mjcf=resolve(robot.tool.mjcf, path),
        site=robot.tool.site,
        limits=robot.command_limits(),
        home=[joint.home_rad for joint in robot.joints],
        workspace=Workspace(box.low_m, box.high_m),
        dt_s=1.0 / config.control.servo_hz,
    )


def panda() -> Machine:
    return machine("config.yaml")


def planar() -> Machine:
    return machine("tests/planar/config.yaml")


def invariants(which: Machine) -> list[JointInvariants]:
    return [
        JointInvariants(
            limit.position_min_rad,
            limit.position_max_rad,
            limit.velocity_max_rad_s,
            limit.acceleration_max_rad_s2,
            limit.jerk_max_rad_s3,
        )
        for limit in which.limits
    ]


def moved(robot: Machine, **by: float) -> list[float]:
    """Return home with some joints, by number, turned."""
    return [q + by.get(f"joint{index + 1}", 0.0) for index, q in enumerate(robot.home)]


class Judge:
    """The smallest distance that the oracle finds among an envelope's barriers, and its name."""

    def __init__(
        self, which: Machine, names: Sequence[str], keep_out: tuple[KeepOut, ...] = CROWD
    ) -> None:
        self._which = which
        self._names = set(names)
        self._oracle = which.oracle(keep_out)
        self._pairs = {
            (outer, inner)
            for outer, inner in (name.split(" | ") for name in names)
            if not inner.startswith(("keep-out", "workspace"))
        }

    def distances(self, q: list[float]) -> dict[str, float]:
        found = self._oracle.to_volumes(q, self._names)
        if self._pairs:
            found |= self._oracle.between(q, self._pairs)
        tool = self._oracle.robot.site(self._which.site, q)
        box = self._which.workspace
        for axis, letter in enumerate("xyz"):
            found[f"tool | workspace {letter} low"] = float(tool[axis] - box.low_m[axis])
            found[f"tool | workspace {letter} high"] = float(box.high_m[axis] - tool[axis])
        return {name: distance for name, distance in found.items() if name in self._names}

    def nearest(self, q: list[float]) -> tuple[float, str]:
        found = self.distances(q)
        name = min(found, key=found.__getitem__)
        return found[name], name


def glide(envelope: Envelope, target: Sequence[float], ticks: int) -> Iterator[list[float]]:
    """Ask for a smooth way to `target` and then for the target; yield the commands."""
    start = np.array(envelope.q)
    for tick in range(ticks):
        share = 0.5 - 0.5 * np.cos(np.pi * min(1.0, 2.0 * tick / ticks))
        yield step(envelope, start + share * (np.array(target) - start))


def step(envelope: Envelope, desired: list[float] | NDArray[np.float64] | None) -> list[float]:
    """Advance one tick, None brakes; return the certified command."""
    if desired is None:
        envelope.brake()
    else:
        envelope.admit(desired)
    return list(envelope.certify(1, 1, 0, 0, 1).command.q)
