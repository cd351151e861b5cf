"""Contact force before and after: stiff and unfiltered, against what config.yaml simulates.

    python -m tests.benchmarks.contact_force [--episodes 30]

The expert works in the field while its action is disturbed (noise .5 in action units) and its
truth is wrong by up to 4 mm, so that it lands on lip and chamfers, presses and slides. `stiff` is
the contact of the throw-away study in kind: the stiffest that the physics step allows, and the
wrist's raw reading. Prints histograms of the force on the tool (N, tared), the contact normal
force, the penetration, and what a servo period of simulation costs.
"""

import argparse
import sys
import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from policies.residual import ZeroResidual
from runtime.layout import Floats
from runtime.loop import ControlLoop, LoopParts
from runtime.messages import Outcome, Phase, TickRecord
from runtime.operator_port import ScriptedPort
from runtime.wiring import build_tick, load_deployment, sizes_for
from sims.expert import ScriptedExpert
from sims.link import LockstepLink
from sims.plant import Plant, Pose
from tests.sims.kit import CONFIG_FILE, MemorySink, config_with, interface, make_plant, robot_spec

EDGES_N = (0, 1, 10, 20, 40, 80, 120, 200, 400, 800, 1600, 3200)
STIFF: dict[str, Any] = {
    "contact": {"time_constant_s": 0.002, "impedance_min": 0.99, "impedance_max": 0.999}
}
NOISE = 0.5
WRONG_M = 0.004


@dataclass
class Seen:
    """One value a servo tick in which an episode runs."""

    force_n: list[float] = field(default_factory=list)
    raw_n: list[float] = field(default_factory=list)
    normal_n: list[float] = field(default_factory=list)
    penetration_m: list[float] = field(default_factory=list)
    write_s: list[float] = field(default_factory=list)
    outcomes: list[Outcome] = field(default_factory=list)


class WrongExpert(ScriptedExpert):
    """The expert, wrong about the hole by a distance and direction drawn once an episode."""

    def act(self, record: TickRecord, out: Floats) -> None:
        plant = self._plant
        rng = np.random.default_rng((9, int(record.episode[0])))
        angle, distance_m = rng.uniform(0, 2 * np.pi), rng.choice([0.0, 0.5, 1.0]) * WRONG_M
        true = plant.hole
        plant._hole = Pose(
            true.x_m + distance_m * np.cos(angle),
            true.y_m + distance_m * np.sin(angle),
            true.z_m,
            true.yaw_rad,
        )
        super().act(record, out)
        plant._hole = true


class WatchedPlantLink(LockstepLink):
    """A lockstep link that notes forces after each write and how long the write took."""

    def __init__(self, plant: Plant, seen: Seen) -> None:
        super().__init__(plant, robot_spec(), 4.0)
        self._seen = seen

    def write(self, certified: Any) -> None:
        begin = time.perf_counter()
        super().write(certified)
        self._seen.write_s.append(time.perf_counter() - begin)


def run(changes: dict[str, Any], episodes: int) -> Seen:
    seen = Seen()
    plant = make_plant(config_with(**changes), field="field", seed=77)
    link = WatchedPlantLink(plant, seen)
    deployment = load_deployment(CONFIG_FILE, base_to_come=True)
    contract = interface(deployment)
    expert = WrongExpert(plant, contract, seed=77, noise_std=(0.0, NOISE))
    tick = build_tick(deployment, contract)
    parts = LoopParts(tick, link, expert, ZeroResidual(), MemorySink(), ScriptedPort(), None)
    loop = ControlLoop(parts, sizes_for(deployment, contract), 500, is_done=lambda: False)
    while len(seen.outcomes) < episodes:
        record = loop.tick_once()
        if record.outcome[0]:
            seen.outcomes.append(Outcome(int(record.outcome[0])))
        if record.phase[0] == Phase.RUNNING:
            seen.force_n.append(float(np.linalg.norm(plant.force)))
            seen.raw_n.append(float(np.linalg.norm(plant.wrist.unfiltered)))
            seen.normal_n.append(plant.contact_force_n())
            seen.penetration_m.append(plant.penetration_m())
    return seen


def show(name: str, values: list[float]) -> str:
    counts, _ = np.histogram(values, bins=[*EDGES_N, np.inf])
    shares = " ".join(f"{100 * count / len(values):7.3f}" for count in counts)
    p99, p999, top = np.percentile(values, [99, 99.9, 100])
    return f"{name:<34} {shares}   p99 {p99:6.1f}  p99.9 {p999:6.1f}  max {top:7.1f} N"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--episodes", type=int, default=30)
    episodes = parser.parse_args().episodes
    lines = [
        "share of servo ticks (%) with a force of at least ... N",
        f"{'':<34} " + " ".join(f"{edge:7d}" for edge in EDGES_N),
    ]
    notes = []
    for name, changes in (("before (stiff)", STIFF), ("after (config.yaml)", {})):
        seen = run(changes, episodes)
        lines.append(show(f"{name}: raw wrist", seen.raw_n))
        lines.append(show(f"{name}: filtered wrist", seen.force_n))
        lines.append(show(f"{name}: contact", seen.normal_n))
        write_us = np.array(seen.write_s) * 1e6
        notes.append(
            f"{name}: {len(seen.force_n)} ticks, "
            f"{seen.outcomes.count(Outcome.SUCCESS)}/{episodes} inserted, penetration max "
            f"{1e3 * max(seen.penetration_m):.2f} mm; a servo period costs mean "
            f"{write_us.mean():.1f} us, p50 {np.median(write_us):.1f} us, "
            f"p99 {np.percentile(write_us, 99):.1f} us"
        )
    sys.stdout.write("\n".join([*lines, *notes, ""]))


if __name__ == "__main__":
    main()
