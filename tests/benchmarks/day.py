"""A day of work: `python -m tests.benchmarks.day`, 2000 episodes of real processes in lockstep.

The camera's calibration drifts, is bumped and put right again; learner, gate and recorder are
killed at random moments. The base alone runs the same episodes in this process. Prints success
over time beside the base's, the cumulated shortfall, every stage and return with its reason, and
each process's memory. Ends with an error unless the shortfall is never above 10 and negative at the
end, no process grows by more than a fifth after the first quarter, and the record replays.
"""

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path
from statistics import median

import msgspec
import numpy as np
from ruamel.yaml import YAML

from runtime.cli import latest_run
from runtime.events import EventKind
from runtime.gate_wire import Grant
from runtime.messages import Outcome, Phase, Stage
from runtime.records import Record, read_record
from runtime.tick import ControlTick
from runtime.wire import Rollback
from tests.benchmarks.kit import CONFIG_FILE, load_text
from tests.benchmarks.residual_kit import CountingSink, Study, Tally, study_deployment

EPISODES = 2000
SEED = 101
KILL_EVERY_S = (20.0, 90.0)
SHORTFALL_MAX = 10
GROWTH_MAX = 1.2
BLOCK = 100
ROLES = {
    "control": "runtime.control_process",
    "recorder": "runtime.recorder_process",
    "gate": "runtime.gate_process",
    "learner": "policies.learner_process",
}
KILLED = ("recorder", "gate", "learner")
_POLL_S = 1.0
_KIB = 1024


def course(episodes: int) -> list[dict[str, object]]:
    """Return what happens to the camera: drift, a bump, and somebody who puts it right."""
    bumped, righted = episodes // 2, 3 * episodes // 4
    points = (
        (0, (0.0, 0.0, 0.0), 0.0),
        (episodes // 3, (0.0008, 0.0008, 0.0), 0.0),
        (bumped - 1, (0.0008, 0.0008, 0.0), 0.0),
        (bumped, (-0.0040, 0.0030, 0.0), -0.05),
        (righted - 1, (-0.0045, 0.0030, 0.0), -0.05),
        (righted, (0.0, 0.0, 0.0), 0.0),
        (episodes, (0.0, -0.0006, 0.0), 0.02),
    )
    return [
        {"episode": episode, "bias_m": list(bias), "bias_yaw_rad": yaw}
        for episode, bias, yaw in points
    ]


@dataclass
class Watched:
    """What was seen of the processes: resident memory (MiB) by role, in order, and the kills."""

    memory_mib: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    kills: list[str] = field(default_factory=list)

    def growth(self) -> dict[str, float]:
        """Return for each role its memory at the end over that after the first quarter."""
        found = {}
        for role, sizes in self.memory_mib.items():
            part = max(1, len(sizes) // 10)
            quarter = len(sizes) // 4
            found[role] = median(sizes[-part:]) / median(sizes[quarter : quarter + part])
        return found


def our_processes(folder: Path) -> Iterator[tuple[str, int]]:
    """Yield role and number of each process that works in a folder."""
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            words = (entry / "cmdline").read_bytes().decode(errors="replace")
        except OSError:
            continue  # it has ended meanwhile
        if str(folder) not in words:
            continue
        for role, module in ROLES.items():
            if module in words:
                yield role, int(entry.name)


def resident_mib(number: int) -> float:
    """Return the resident memory of a process; 0 when it is gone."""
    try:
        text = Path(f"/proc/{number}/status").read_text(encoding="ascii")
    except OSError:
        return 0.0
    lines = [line for line in text.splitlines() if line.startswith("VmRSS")]
    return float(lines[0].split()[1]) / _KIB if lines else 0.0


def write_config(folder: Path, episodes: int) -> Path:
    """Write the committed config for a day that keeps all its records."""
    yaml = YAML()
    data = yaml.load(CONFIG_FILE)
    data["robot_id"] = "day-benchmark"
    data["base"]["file"] = str(CONFIG_FILE.parent / data["base"]["file"])
    data["recorder"].update({"folder": str(folder / "records"), "retention_mb": 20_000.0})
    data["gate"]["lineage"] = str(folder / "lineage")
    data["sim"]["fields"]["field"]["calibration_course"] = course(episodes)
    path = folder / CONFIG_FILE.name
    yaml.dump(data, path)
    return path


def work(folder: Path, episodes: int, seed: int) -> Watched:
    """Run the day, and kill at random."""
    config = write_config(folder, episodes)
    words = [sys.executable, "-m", "runtime.cli", "run", "--learn", "--arm", "--json"]
    words += ["--config", str(config), "--episodes", str(episodes), "--seed", str(seed)]
    rng, watched = np.random.default_rng(seed), Watched()
    due_s = time.monotonic() + float(rng.uniform(*KILL_EVERY_S))
    environment = {**os.environ, "PYTHONPATH": str(CONFIG_FILE.parent)}
    with subprocess.Popen(words, cwd=folder, env=environment, stdout=subprocess.DEVNULL) as run:
        while run.poll() is None:
            running = dict(our_processes(folder))
            for role, number in running.items():
                watched.memory_mib[role].append(resident_mib(number))
            if time.monotonic() > due_s:
                role = str(rng.choice(KILLED))
                if role in running:
                    os.kill(running[role], signal.SIGKILL)
                    watched.kills.append(role)
                due_s = time.monotonic() + float(rng.uniform(*KILL_EVERY_S))
            time.sleep(_POLL_S)
    if run.returncode:
        raise SystemExit(f"the run ended with {run.returncode}; its own words are above")
    return watched


def outcomes_of(record: Record) -> list[bool]:
    """Return whether each episode succeeded, without those that were aborted."""
    said = record.scalar("outcome")
    ended = said[(said != Outcome.NONE) & (said != Outcome.ABORT)]
    return [bool(one == Outcome.SUCCESS) for one in ended]


def base_alone(episodes: int, count: int, seed: int) -> list[bool]:
    """Return what the base does with the same episodes."""
    changes = {"sim.fields.field.calibration_course": course(episodes)}
    study, tally = Study(study_deployment(changes), "field", seed), Tally()

    def done(tick: ControlTick) -> bool:
        return len(tally.outcomes) >= count and tick.record.phase.item() != Phase.RUNNING

    study.run(study.base(), CountingSink(tally), None, seed, done)
    return [ok for _, ok in tally.outcomes][:count]


def turns(record: Record) -> Iterator[str]:
    """Yield every change of stage and every return, with its reason."""
    ticks, episode = record.scalar("tick"), record.scalar("episode")
    stage = None
    for event in record.events:
        at = int(episode[min(int(np.searchsorted(ticks, event.tick)), len(ticks) - 1)])
        if event.kind is EventKind.ROLLBACK:
            back = msgspec.json.decode(event.text, type=Rollback)
            yield f"episode {at}: back to {back.version} from {back.undone}: {back.why}"
        elif event.kind is EventKind.GRANT:
            grant = msgspec.json.decode(event.text, type=Grant)
            if grant.stage is not stage:
                stage = grant.stage
                yield f"episode {at}: {Stage(stage).name}, trial {grant.trial}: {grant.why}"


def replays(record_folder: Path) -> bool:
    """Return whether every command of the record comes out again."""
    words = [sys.executable, "-m", "runtime.cli", "replay", str(record_folder)]
    return subprocess.run([*words, "--strength", "envelope"], check=False).returncode == 0


def blocks(ours: Sequence[bool], alone: Sequence[bool]) -> Iterator[str]:
    """Yield success per block of episodes, ours and the base's."""
    for at in range(0, len(ours), BLOCK):
        both = [np.mean(list(side[at : at + BLOCK])) for side in (ours, alone)]
        last = min(at + BLOCK, len(ours))
        yield f"episodes {at + 1:4}-{last:4}: {both[0]:.0%}, base {both[1]:.0%}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--episodes", type=int, default=EPISODES)
    parser.add_argument("--seed", type=int, default=SEED)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        watched = work(folder, options.episodes, options.seed)
        path = latest_run(folder / "records")
        record = read_record(path)
        ours = outcomes_of(record)
        alone = base_alone(options.episodes, len(ours), options.seed)
        pairs = zip(ours, alone, strict=True)
        shortfall = list(accumulate((base - ok for ok, base in pairs), initial=0))
        print("\n".join([*blocks(ours, alone), *turns(record)]))
        growth = watched.growth()
        exact = replays(path)
    sizes = ", ".join(f"{role} {ratio:.2f}" for role, ratio in growth.items())
    print(
        f"shortfall at most {max(shortfall)}, {shortfall[-1]} at the end; killed "
        f"{', '.join(f'{role} {watched.kills.count(role)}' for role in KILLED)} times; memory "
        f"at the end over that after a quarter: {sizes}; replay {'exact' if exact else 'DIFFERS'}"
    )
    paid = max(shortfall) <= SHORTFALL_MAX and shortfall[-1] < 0
    reached = paid and exact and all(ratio <= GROWTH_MAX for ratio in growth.values())
    print(f"{'reached' if reached else 'NOT REACHED'}; {load_text()}")
    return 0 if reached else 1


if __name__ == "__main__":
    sys.exit(main())
