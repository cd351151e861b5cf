"""The job over ZeroMQ in real time against the same job in process, on the same starts:
`python -m tests.benchmarks.peg_over_zmq`.

Base and a learnt residual (`--residual`: the folder of a lineage; without one it is learnt first,
in lockstep, for `--steps`) each work `--pairs` episodes behind the simulated hardware's socket, and
in this process in lockstep. The simulated person draws every episode from seed and number, so the
same reset target is the same start; episodes are paired by it. Reached when the lower end of the
95 % interval of the difference of success (wire less process) is above -5 points for both.

Lockstep waits for every command and every answer of the policy; on the wire an observation and a
command each take a transfer and up to a period, an action is one tick older, and a tick that the
machine does not run is lost. An episode that a hold cut off counts as not succeeded.
"""

import argparse
import hashlib
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import msgspec
import numpy as np

from policies.governor_record import Earned
from policies.lineage import Entry, Lineage, now_utc
from runtime.comparison import paired_interval
from runtime.gate_trust import EARNED
from runtime.interfaces import GateClient
from runtime.messages import Outcome, Phase, SignalKind
from runtime.snapshot import decode_snapshot, interface_hash
from runtime.summary import fault_rows, wilson
from runtime.wiring import load_base, load_deployment
from tests.benchmarks.kit import REPOSITORY, SERVO_HZ, ColumnSink, OutcomeCounter, load_text
from tests.benchmarks.residual_kit import DeployedGate, Study, study_deployment, train
from tests.benchmarks.wire_rig import attend, attendant_of, lateness
from tests.daemon_kit import assert_kept_invariants, daemon
from tests.hardware_kit import hardware, hardware_config

PAIRS = 200
SEED = 1234
TRAINING_SEED = 101
STEPS = 6000
LOWER_BOUND = -0.05
FIELD = "field"
# episodes more than pairs: some are cut off on one side before their start is known
_SPARE = 3
_COLUMNS = ("phase", "outcome", "signal_kind", "signal_target", "authority")
_LIMIT_S_EACH = 30.0

Start = tuple[float, ...]


@dataclass(frozen=True)
class Episode:
    """One ended episode: from which start, whether it succeeded, whether a hold cut it off, whether
    the residual had a part in it, and how long it ran."""

    start: Start
    success: bool
    aborted: bool
    own: bool
    seconds: float


@dataclass(frozen=True)
class Side:
    """One run of many episodes. `facts`: of the wire alone, in words."""

    episodes: list[Episode]
    facts: str = ""

    def by_start(self, *, own: bool) -> dict[Start, Episode]:
        """Return the episodes by start; with `own`, without those that were left to the base."""
        return {one.start: one for one in reversed(self.episodes) if one.own or not own}


@dataclass(frozen=True)
class Paired:
    """Wire against process over equal starts."""

    what: str
    pairs: int
    wire: int
    process: int
    aborted: int
    left: int
    difference: float
    low: float
    high: float
    seconds: tuple[float, float]
    facts: str

    @property
    def reached(self) -> bool:
        """Whether the wire is surely no worse than by what is allowed."""
        return self.low > LOWER_BOUND

    def text(self) -> str:
        """Return the rows of the table."""
        rates = [wilson(count, self.pairs) for count in (self.wire, self.process)]
        shown = [f"{r.share:.1%} ({r.low:.1%} to {r.high:.1%})" for r in rates]
        return (
            f"{self.what:8} over {self.pairs} pairs: wire {shown[0]}, process {shown[1]}; "
            f"difference {100 * self.difference:+.1f} points ({100 * self.low:+.1f} to "
            f"{100 * self.high:+.1f}): {'reached' if self.reached else 'NOT REACHED'}\n"
            f"         {self.aborted} cut off on the wire, {self.left} left to the base; each "
            f"{self.seconds[0]:.2f} s on the wire, {self.seconds[1]:.2f} s in process\n"
            f"         {self.facts}"
        )


def episodes_of(rows: Any) -> list[Episode]:
    """Return the ended episodes of a run (structured array [ticks] with _COLUMNS), in order."""
    running = rows["phase"][:, 0] == Phase.RUNNING
    outcomes = rows["outcome"][:, 0]
    resets = rows["signal_kind"] == SignalKind.RESET_BEGIN
    acted = rows["authority"].any(axis=1) & running
    size = rows["signal_target"].shape[1] // resets.shape[1]
    found: list[Episode] = []
    start: Start = ()
    since = 0
    for tick in np.flatnonzero(outcomes.astype(bool) | resets.any(axis=1)).tolist():
        # a verdict is of the episode before the reset that comes with it
        outcome = Outcome(int(outcomes[tick]))
        if outcome is not Outcome.NONE and start:
            part = slice(since, tick + 1)
            found.append(
                Episode(
                    start,
                    outcome is Outcome.SUCCESS,
                    outcome is Outcome.ABORT,
                    bool(acted[part].any()),
                    float(running[part].sum()) / SERVO_HZ,
                )
            )
            start = ()
        for slot in np.flatnonzero(resets[tick]).tolist():
            start = tuple(rows["signal_target"][tick, slot * size : (slot + 1) * size].tolist())
            since = tick
    return found


def in_process(episodes: int, seed: int, snapshot: bytes) -> Side:
    """Run the job in this process, in lockstep; `snapshot`: of the residual, none: the base."""
    study = Study(study_deployment(), FIELD, TRAINING_SEED)
    base = study.base()
    actions = len(base.contract.action.names)
    gate: GateClient | None = DeployedGate(snapshot, actions) if snapshot else None
    sink = ColumnSink(_COLUMNS)
    study.run(base, sink, gate, seed, OutcomeCounter(episodes))
    return Side(episodes_of(sink.rows()))


def over_zmq(folder: Path, episodes: int, seed: int, snapshot: bytes, before: list[Side]) -> Side:
    """Run the job behind the hardware's socket, in real time; `before`: what base and residual did
    in process, which the gate takes for what they have earned."""
    folder.mkdir()
    shares = {"governor.base_share": 0.0, "governor.base_share_known": 0.0}
    config = hardware_config(folder, {"gate.lineage": str(folder / "lineage"), **shares})
    words: list[object] = ["--clock", "realtime", "--arm", "--episodes", episodes]
    if snapshot:
        deploy(config, snapshot, before)
        words.append("--residual")
    place = ("--field", FIELD, "--seed", str(seed), "--log", "/dev/null")
    with (
        hardware(config, None, *place),
        daemon(config, *words) as robot,
        attendant_of(robot) as attendant,
    ):
        attend(robot, 60.0 + _LIMIT_S_EACH * episodes, attendant, lambda: None)
        said = robot.end()
        record = robot.record()
    if said.code:
        print(f"the daemon ended with {said.code}")
    assert_kept_invariants(record)
    late = lateness(record, 0, len(record))
    grave = [f"{row.fault} {row.times}" for row in fault_rows(record) if row.response != "WARN"]
    facts = f"{late.text()}; re-armed {attendant.rearms}; faults {', '.join(grave) or 'none'}"
    return Side(episodes_of(record.ticks), facts)


def deploy(config: Path, snapshot: bytes, before: list[Side]) -> None:
    """Make a lineage of one snapshot, which has earned its authority in this place.

    Its evidence is what it did in process; where, is said as runtime/gate_process.home_of does.
    """
    deployment = load_deployment(config)
    residual, base = deployment.config.residual, load_base(deployment)
    assert residual is not None
    learnt = decode_snapshot(snapshot)
    lineage = Lineage(config.parent / "lineage")
    lineage.keep(learnt, snapshot)
    lineage.add(
        Entry("verdict", now_utc(), "in lockstep", learnt.version, 0, learnt.digest, passed=True)
    )
    weights = hashlib.sha256(deployment.base_file.read_bytes()).hexdigest()
    counts = [(sum(e.success for e in side.episodes), len(side.episodes)) for side in before]
    earned = Earned(
        place=f"{deployment.config.robot_id}/",
        interface=f"{interface_hash(base.contract, residual)}/{weights}",
        digest=learnt.digest,
        version=learnt.version,
        own=counts[1],
        base=counts[0],
        base_limited=1.0,
        base_pressed=1.0,
    )
    (lineage.folder / EARNED).write_bytes(msgspec.json.encode(earned))


def paired(what: str, wire: Side, process: Side, pairs: int, *, own: bool) -> Paired:
    """Compare the first `pairs` starts that both had."""
    ours, theirs = wire.by_start(own=own), process.by_start(own=False)
    both = [(ours[start], theirs[start]) for start in theirs if start in ours][:pairs]
    worse = sum(there.success and not here.success for here, there in both)
    better = sum(here.success and not there.success for here, there in both)
    low, high = paired_interval(better, worse, len(both))
    return Paired(
        what=what,
        pairs=len(both),
        wire=sum(here.success for here, _ in both),
        process=sum(there.success for _, there in both),
        aborted=sum(here.aborted for here, _ in both),
        left=len(wire.episodes) - len(ours) if own else 0,
        difference=(better - worse) / max(1, len(both)),
        low=low,
        high=high,
        seconds=(fmean(h.seconds for h, _ in both), fmean(t.seconds for _, t in both)),
        facts=wire.facts,
    )


def learnt_snapshot(lineage: Path | None, steps: int) -> bytes:
    """Return the snapshot of a lineage, or learn one."""
    if lineage is not None:
        kept = Lineage(lineage).last_good()
        if kept is None:
            raise SystemExit(f"{lineage}: no snapshot there has passed the gate")
        return kept.data
    begun_s = time.monotonic()
    run = train(Study(study_deployment(), FIELD, TRAINING_SEED), steps)
    print(
        f"learnt for {steps} steps in {time.monotonic() - begun_s:.0f} s: "
        f"{run.tally.share:.1%} of {len(run.tally.outcomes)} episodes meanwhile",
        flush=True,
    )
    return run.gate.live


def compare(pairs: int, seed: int, snapshot: bytes, folder: Path) -> list[Paired]:
    """Run all four sides."""
    episodes = pairs + _SPARE
    found: list[Paired] = []
    sides: list[Side] = []
    for what, weights in (("base", b""), ("residual", snapshot)):
        sides.append(in_process(episodes, seed, weights))
        wire = over_zmq(folder / what, episodes, seed, weights, sides)
        found.append(paired(what, wire, sides[-1], pairs, own=bool(weights)))
        print(found[-1].text(), flush=True)
    return found


def failures(found: Sequence[Paired], pairs: int) -> list[str]:
    """Return what falls short."""
    short = [f"{one.what}: {one.pairs} pairs of {pairs}" for one in found if one.pairs < pairs]
    return [*short, *(f"{one.what}: {100 * one.low:+.1f}" for one in found if not one.reached)]


def main() -> int:
    """Compare; 1 if anything falls short."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=PAIRS)
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--residual", type=Path, help="a lineage; none: one is learnt first")
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--out", type=Path, default=REPOSITORY / "out/peg_over_zmq.json")
    asked = parser.parse_args()
    snapshot = learnt_snapshot(asked.residual, asked.steps)
    with tempfile.TemporaryDirectory(prefix="peg") as name:
        found = compare(asked.pairs, asked.seed, snapshot, Path(name))
    missing = failures(found, asked.pairs)
    asked.out.parent.mkdir(parents=True, exist_ok=True)
    table = {"failures": missing, "compared": [asdict(one) for one in found]}
    asked.out.write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")
    print("; ".join([*(missing or ["reached"]), load_text()]))
    return bool(missing)


if __name__ == "__main__":
    sys.exit(main())
