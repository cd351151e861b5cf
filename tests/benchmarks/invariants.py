"""Whether anything gets past the envelope: `python -m tests.benchmarks.invariants`.

200 field episodes of the base, then 10 minutes of robot time with noise in the place of the base's
actions, then 3 minutes with noise in the place of the joint targets. The commands are judged by an
independent checker against limits written here again; one violation ends it with an error.
"""

import argparse
import dataclasses
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np

from runtime.config import BoxConfig
from runtime.faults import Fault
from runtime.layout import Codes, Floats, Ints
from runtime.messages import Mode
from runtime.motion import Motion
from runtime.operator_port import ScriptedPort
from runtime.wiring import Deployment, load_base, load_deployment
from tests.benchmarks.adversary import Attendant, HostilePolicy, HostileTrajectory
from tests.benchmarks.kit import (
    CONFIG_FILE,
    SERVO_HZ,
    ColumnSink,
    OutcomeCounter,
    Rows,
    Stuck,
    assemble,
    histogram,
    load_text,
)
from tests.runtime.invariant_checker import JointInvariants, Verdict, check

DT_S = 0.002
FIELD_EPISODES = 200
ASKED_S = 600.0
REFERENCE_S = 180.0
FAR = 1e3  # no guard stands there, in whatever unit
STEPS = 400  # long episodes: more of the time belongs to the adversary
COLUMNS = ["mode", "faults", "command_sent", "limited_by", "q_applied", "q", "dq", "tau", "epoch"]

# The manufacturer's data, typed off its control parameter specifications once more:
# position min and max (rad), speed (rad/s), acceleration (rad/s^2), jerk (rad/s^3)
MANUFACTURER = (
    JointInvariants(-2.8973, 2.8973, 2.175, 15.0, 7500.0),
    JointInvariants(-1.7628, 1.7628, 2.175, 7.5, 3750.0),
    JointInvariants(-2.8973, 2.8973, 2.175, 10.0, 5000.0),
    JointInvariants(-3.0718, -0.0698, 2.175, 12.5, 6250.0),
    JointInvariants(-2.8973, 2.8973, 2.61, 15.0, 7500.0),
    JointInvariants(-0.0175, 3.7525, 2.61, 20.0, 10000.0),
    JointInvariants(-2.8973, 2.8973, 2.61, 20.0, 10000.0),
)
# commands stay inside by the declared margin: 0.12 rad at both ends, half of everything else
COMMANDS = tuple(
    JointInvariants(j.q_min + 0.12, j.q_max - 0.12, 0.5 * j.v_max, 0.5 * j.a_max, 0.5 * j.j_max)
    for j in MANUFACTURER
)


@dataclasses.dataclass(frozen=True)
class Judgement:
    """What one stretch of robot time did. `outside`: samples of the simulated robot beyond the
    manufacturer's position or speed; `largest_*`: the largest share of those that it used."""

    name: str
    verdict: Verdict
    outside: int
    largest_position: float
    largest_speed: float
    robot_s: float
    attacked_s: float
    limited: float
    stops: int
    holds: int
    runs: int
    faults: Counter[str]
    rows: Rows
    wall_s: float
    robot_judged: bool

    @property
    def passed(self) -> bool:
        return not self.verdict.violations and not (self.robot_judged and self.outside)

    def text(self) -> str:
        shares = ", ".join(
            f"{what} {share:.4f}" for what, share in self.verdict.largest_share.items()
        )
        faults = ", ".join(f"{name} {count}" for name, count in self.faults.items())
        simulated = "judged" if self.robot_judged else "not judged: guards are out of the way"
        text = (
            f"{self.name}: {len(self.verdict.violations)} violations in {self.verdict.ticks} "
            f"commands ({self.robot_s:.0f} s of robot time, policy in charge {self.attacked_s:.0f} "
            f"s, {self.limited:.1%} of its ticks limited); {self.wall_s:.0f} s\n"
            f"  largest share of a limit used by commands: {shares}\n"
            f"  simulated ({simulated}): {self.outside} samples beyond the manufacturer's position "
            f"or speed; largest share of position {self.largest_position:.3f}, speed "
            f"{self.largest_speed:.3f}\n"
            f"  {self.stops} stops, {self.holds} holds, {self.runs} runs (a new one where the arm "
            f"could not get back by itself); faults raised: {faults or 'none'}"
        )
        return "\n".join([text, *(f"  {v}" for v in self.verdict.violations[:5])])

    def histograms(self) -> str:
        """Return how hard the simulated joints were moved; shown, not judged."""
        sent = self.rows["command_sent"][:, 0] > 0
        acceleration = np.diff(self.rows["dq"], axis=0) / DT_S
        jerk = np.diff(acceleration, axis=0) / DT_S
        return "\n".join(
            [
                "  simulated acceleration",
                histogram(acceleration[sent[1:]], "rad/s^2"),
                "  simulated jerk",
                histogram(jerk[sent[2:]], "rad/s^3"),
                "  simulated torque beyond gravity compensation",
                histogram(self.rows["tau"][sent], "N m"),
            ]
        )


def judge(
    name: str, runs: Sequence[Rows], wall_s: float, *, robot_judged: bool = True
) -> Judgement:
    """Judge the records of some runs; each begins with the robot at rest."""
    rows = np.concatenate(runs)
    commands, starts, lasting = [], [], 0
    for run in runs:
        some, their_starts = _commands(run)
        commands.append(some)
        starts += [lasting + start for start in their_starts]
        lasting += len(some)
    position, speed = _use_of_range(rows["q"]), np.abs(rows["dq"]) / [j.v_max for j in MANUFACTURER]
    acting = rows["mode"][:, 0] == Mode.BASE
    mode = rows["mode"][:, 0]
    return Judgement(
        name=name,
        verdict=check(np.concatenate(commands), DT_S, COMMANDS, starts),
        outside=int(np.sum(~((position <= 1.0) & (speed <= 1.0)).all(axis=1))),
        largest_position=float(position.max()),
        largest_speed=float(speed.max()),
        robot_s=len(rows) / SERVO_HZ,
        attacked_s=float(np.sum(acting)) / SERVO_HZ,
        limited=float(np.mean(rows["limited_by"][acting].any(axis=1))),
        stops=_entries(mode, Mode.STOPPED),
        holds=_entries(mode, Mode.HOLD),
        runs=len(runs),
        faults=_raised(rows["faults"][:, 0]),
        rows=rows,
        wall_s=wall_s,
        robot_judged=robot_judged,
    )


def _commands(rows: Rows) -> tuple[Floats, list[int]]:
    """Return what was sent, and where new references begin: after ticks without a command.

    A new reference rests where the robot is measured; that pose becomes a row before it, so that
    its very first step is judged too. A new epoch alone begins nothing new.
    """
    sent = np.concatenate([[False], rows["command_sent"][:, 0] > 0])
    begins = np.flatnonzero(sent[1:] & ~sent[:-1])
    kept = np.flatnonzero(sent[1:])
    where = np.searchsorted(kept, begins)
    commands = np.insert(rows["q_applied"][kept], where, rows["q"][begins], axis=0)
    return commands, [int(at) + count for count, at in enumerate(where)]


def _use_of_range(q: Floats) -> Floats:
    low = np.array([j.q_min for j in MANUFACTURER])
    high = np.array([j.q_max for j in MANUFACTURER])
    use: Floats = np.abs(q - (low + high) / 2) / ((high - low) / 2)
    return use


def _entries(mode: Codes, wanted: Mode) -> int:
    return int(np.sum((mode[1:] == wanted) & (mode[:-1] != wanted)))


def _raised(faults: Ints) -> Counter[str]:
    """Count how often each fault became active."""
    rising = faults[1:] & ~faults[:-1]
    counts = {fault.name: int(np.sum(rising >> fault & 1)) for fault in Fault}
    return Counter({name: count for name, count in counts.items() if count})


def run_base(episodes: int, seed: int) -> Judgement:
    """Judge the honest base in the field."""
    begin, sink = time.monotonic(), ColumnSink(COLUMNS)
    assemble("field", seed, sink, OutcomeCounter(episodes)).loop.run()
    return judge(f"base, {episodes} field episodes", [sink.rows()], time.monotonic() - begin)


def run_hostile(seconds: float, seed: int, *, reference: bool) -> Judgement:
    """Judge noise for `seconds` in which the policy is in charge.

    It takes the place of the base's actions, or with `reference` that of the joint targets; there
    the guards are out of the way, which would end every attack within a few ticks.
    """
    begin = time.monotonic()
    deployment = _patient(load_deployment(CONFIG_FILE), guarded=not reference)
    honest = load_base(deployment)
    left = round(seconds * SERVO_HZ)
    runs: list[Rows] = []
    while left > 0:
        sink, port = ColumnSink(COLUMNS), ScriptedPort()
        attendant = Attendant(port, left)
        hostile = HostilePolicy(honest, seed)
        assembly = assemble(
            "field", seed, sink, attendant, deployment=deployment, base=hostile, port=port
        )
        if reference:
            attendant.lead(_between(deployment, assembly.tick.motion, seed))
        assembly.loop.run()
        if not attendant.attacked:
            raise Stuck(f"run {len(runs)}, seed {seed}: the policy was never in charge")
        runs.append(sink.rows())
        left -= attendant.attacked
        seed += 1
    place = "joint targets, without guards" if reference else "actions"
    wall_s = time.monotonic() - begin
    return judge(f"noise for {place}", runs, wall_s, robot_judged=not reference)


def _patient(deployment: Deployment, *, guarded: bool) -> Deployment:
    """Return the deployment with long episodes, and guards as configured or unreachable."""
    config = deployment.config
    update: dict[str, object] = {"episode": config.episode.model_copy(update={"steps": STEPS})}
    if not guarded:
        everywhere = BoxConfig.model_construct(low_m=(-FAR,) * 3, high_m=(FAR,) * 3)
        far = {"torque_share": FAR, "tracking_error_rad": FAR, "tool_speed_m_s": FAR}
        update["guards"] = config.guards.model_copy(update={**far, "workspace": everywhere})
    return dataclasses.replace(deployment, config=config.model_copy(update=update))


def _between(deployment: Deployment, motion: Motion, seed: int) -> HostileTrajectory:
    """Put a hostile trajectory in the place of the honest one."""
    limits, share = deployment.robot.command_limits(), deployment.config.control.motion_share
    trajectory = HostileTrajectory(limits, DT_S, share, seed)
    motion.parts = dataclasses.replace(motion.parts, trajectory=trajectory)
    return trajectory


def _judgements(options: argparse.Namespace) -> Iterator[Judgement]:
    yield run_base(options.episodes, options.seed)
    yield run_hostile(options.asked_s, options.seed, reference=False)
    yield run_hostile(options.reference_s, options.seed, reference=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--episodes", type=int, default=FIELD_EPISODES)
    parser.add_argument("--asked-s", type=float, default=ASKED_S)
    parser.add_argument("--reference-s", type=float, default=REFERENCE_S)
    parser.add_argument("--seed", type=int, default=2001)
    parser.add_argument("--no-histograms", action="store_true")
    options = parser.parse_args()
    passed = True
    for judgement in _judgements(options):
        passed = passed and judgement.passed
        print(judgement.text(), flush=True)
        if not options.no_histograms:
            print(judgement.histograms(), flush=True)
    print(f"{'reached' if passed else 'NOT REACHED'}; {load_text()}")
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
