"""What the envelope costs a servo tick: `python -m tests.benchmarks.envelope_cost`.

In the loop: admit and certify within real lockstep ticks of the committed robot, between the
simulation's physics and all else that a tick does. The same demands once more: in a tight loop, and
by turns with the same constraints in mink and in cbfpy (cost_peers) on the same states.
Ends with an error unless the medians in the loop are at most 60 us with joint limits only and
250 us with ten volumes close around a pressing arm.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from runtime.faults import Fault
from runtime.wiring import Deployment, load_deployment
from tests.benchmarks.cost_loop import (
    NEAR_M,
    Demand,
    JointsOnly,
    LoopCosts,
    Stopwatch,
    Timed,
    Times,
    fresh_envelope,
    run_loop,
    run_tight,
    volumes_near,
)
from tests.benchmarks.cost_peers import CbfPeer, MinkPeer, Missing, Peer
from tests.benchmarks.cost_scenes import surrounded
from tests.benchmarks.kit import CONFIG_FILE, load_text, quantile, spread

TICKS = 10_000
SLICES = 5
PEER_EVERY = 10  # ticks
JOINTS_MAX_US = 60.0
CLOSE_MAX_US = 250.0


@dataclass(frozen=True)
class Scene:
    """A surrounding and a demand. `goal_us`: of the median in the loop; 0 for none."""

    name: str
    envelope: type[Timed]
    demand: Demand
    close: bool
    goal_us: float = 0.0


SCENES = (
    Scene("joint limits only, honest policy", JointsOnly, "honest", False, JOINTS_MAX_US),
    Scene("joint limits only, pressing in steps", JointsOnly, "steps", close=False),
    Scene("committed config, honest policy", Timed, "honest", close=False),
    Scene("committed config, pressing in steps", Timed, "steps", close=False),
    Scene("ten volumes close, planned motion into them", Timed, "planned", close=True),
    Scene("ten volumes close, pressing in steps", Timed, "steps", close=True, goal_us=CLOSE_MAX_US),
)


def line(name: str, times: Times) -> str:
    took = times.took_us
    medians = [float(np.median(part)) for part in np.array_split(took, SLICES)]
    alone = quantile(took[~times.disturbed], 0.99)
    return (
        f"  {name:42}{np.median(took):8.1f}{np.quantile(took, 0.99):9.1f}{alone:9.1f}"
        f"{np.mean(times.disturbed):7.1%}   {spread(medians)}"
    )


def measure(scene: Scene, ticks: int) -> float:
    """Run one scene and print it; return the median in the loop (us)."""
    deployment = load_deployment(CONFIG_FILE)
    if scene.demand != "honest":
        deployment = surrounded(deployment, close=scene.close)
    costs = run_loop(deployment, scene.envelope, ticks, scene.demand)
    tight = run_tight(fresh_envelope(deployment, scene.envelope), costs)
    near = volumes_near(fresh_envelope(deployment, scene.envelope), costs)
    faults = ", ".join(fault.name for fault in Fault if costs.faults >> fault & 1)
    print(
        f"{scene.name}: {costs.limited_share:.0%} of ticks limited, {costs.geometry_share:.0%} by "
        f"geometry; {near:g} barriers within {NEAR_M} m, least room "
        f"{1e3 * costs.clearance_m.min():.2f} mm; faults: {faults or 'none'}"
    )
    print(line("envelope, in the loop", costs.envelope))
    print(line("(whole step of that tick)", Times(costs.step_us, costs.envelope.disturbed)))
    print(line("envelope, tight loop", tight))
    for name, times in by_turns(deployment, scene, costs).items():
        print(line(name, times), flush=True)
    return float(np.median(costs.envelope.took_us))


def by_turns(deployment: Deployment, scene: Scene, costs: LoopCosts) -> dict[str, Times]:
    """Time envelope and peers by turns on the demands of `costs`; peers every PEER_EVERY ticks."""
    envelope = fresh_envelope(deployment, scene.envelope)
    envelope.restore(costs.state)
    peers = available(deployment, geometry=scene.envelope is Timed)
    own: list[tuple[int, bool]] = []
    took: list[list[tuple[int, bool]]] = [[] for _ in peers]
    watch = Stopwatch()
    for tick, desired in enumerate(costs.asked):
        reading = envelope.again(tick, desired)
        if tick % PEER_EVERY or desired is None:
            continue
        own.append(reading)
        asked = np.array(desired)
        for peer, readings in zip(peers, took, strict=True):
            watch.reset()
            watch.start()
            peer.step(costs.q[tick], asked)
            watch.stop()
            readings.append((watch.spent_ns, watch.disturbed))
    timings = {"envelope, by turns with": Times.of(own)}
    for peer, readings in zip(peers, took, strict=True):
        unsolved = f", {peer.failed} unsolved" if peer.failed else ""
        timings[f"{peer.name}, {peer.rows} rows{unsolved}"] = Times.of(readings)
    return timings


def available(deployment: Deployment, *, geometry: bool) -> Sequence[Peer]:
    """Return the peers that are installed, warmed up; say which are not."""
    home = np.array([joint.home_rad for joint in deployment.robot.joints])
    peers: list[Peer] = []
    for kind in (MinkPeer, CbfPeer):
        try:
            peer: Peer = kind(deployment, geometry=geometry)
        except Missing as missing:
            print(f"  not compared: {missing}")
            continue
        for _ in range(50):
            peer.step(home, home)
        peers.append(peer)
    return peers


def run(ticks: int) -> bool:
    """Measure and print every scene; say whether the goals are reached."""
    print("alone: p99 of ticks in which no other thread took the core; not: share of the others")
    print(f"{'us a tick':44}{'median':>8}{'p99':>9}{'alone':>9}{'not':>7}   median [of slices]")
    failures = []
    for scene in SCENES:
        median = measure(scene, ticks)
        if scene.goal_us and not (median <= scene.goal_us):
            failures.append(f"{scene.name}: {median:.1f} us, wanted at most {scene.goal_us:g}")
    print(f"{'; '.join(failures) or 'reached'}; {load_text()}")
    return not failures


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ticks", type=int, default=TICKS)
    return 0 if run(parser.parse_args().ticks) else 1


if __name__ == "__main__":
    sys.exit(main())
