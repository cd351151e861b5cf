"""The rows of the fault matrix: what is done, in which scene, and what must follow."""

import enum
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path

from policies.lineage import Entry as LineageEntry
from policies.lineage import Lineage, now_utc
from runtime.faults import Fault
from runtime.robot_codes import DropCode, MessageType
from runtime.snapshot import encode_snapshot
from runtime.wiring import load_base, load_deployment, sizes_for
from sims.robot_log import Joined, Stopped
from tests.benchmarks.executed import dropped_commands
from tests.benchmarks.matrix_injectors import (
    Injector,
    disk_full,
    flooded,
    frames,
    frozen,
    hogged,
    killed,
    replayed,
    second_commander,
    slow_worker,
    stopped_in_flight,
    switched,
    wire,
)
from tests.benchmarks.matrix_judge import AFTER_NS, Log, Trial, armed_again
from tests.benchmarks.matrix_rig import GATE, LEARNER, RECORDER, Rig, Scene
from tests.benchmarks.wire_damage import Hurt, HurtGroup, Way
from tests.daemon_kit import ROOT
from tests.learning_kit import EAGER, QUICK_LEARNER
from tests.snapshot_kit import SnapshotMaker

COMMAND, OBSERVATION = MessageType.COMMAND, MessageType.OBSERVATION
LATE_S, VERY_LATE_S = 0.03, 0.3
IN_FLIGHT = 50
# from a full disk: the recorder's flush, the second after which it counts as lost, and braking
HALTS_NS = 1_400_000_000


class Then(enum.Enum):
    """What must become of the arm: it goes on as if nothing was; it comes to rest; either, as the
    faults that are seen demand; or nobody can tell, because the robot is gone."""

    WORKS = "works"
    RESTS = "rests"
    EITHER = "either"
    GONE = "gone"


Check = Callable[[Log, Trial], list[str]]


@dataclass(frozen=True)
class Row:
    """`faults`: those that are judged; `needed`: one of them must be seen. `device`: the robot by
    itself must let go within its watchdog. `halts_ns`: nothing may be executed that moves after so
    long. `lasts_s`: how long the fault stays. `most`: trials with one set of processes. `check`:
    what else must hold."""

    name: str
    inject: Injector
    faults: tuple[Fault, ...] = ()
    then: Then = Then.RESTS
    scene: Scene = field(default_factory=Scene)
    needed: bool = True
    device: bool = False
    halts_ns: int | None = None
    lasts_s: float = 0.5
    most: int = 20
    check: Check | None = None


# -- what else must hold ------------------------------------------------------------------------


def _nothing_in_flight(log: Log, trial: Trial) -> list[str]:
    """After the stop at least so many commands arrived, and none was executed."""
    stop = next(
        (e for e in log.entries if isinstance(e, Stopped) and e.now_ns >= trial.begin_ns), None
    )
    if stop is None:
        return ["the robot heard no STOP"]
    since = log.entries[log.entries.index(stop) :]
    again = armed_again(log, stop.now_ns)
    end_ns = again.now_ns if again is not None else log.periods[-1].now_ns
    dropped = dropped_commands(since, stop.now_ns, end_ns)
    executed = [p for p in log.between(stop.now_ns, end_ns) if p.did in ("command", "coast")]
    said = [f"{len(executed)} were executed after the stop"] if executed else []
    if len(dropped) < IN_FLIGHT:
        said.append(f"only {len(dropped)} commands arrived after the stop, wanted {IN_FLIGHT}")
    return said


def _all_dropped(log: Log, trial: Trial) -> list[str]:
    """Of what was said again nothing had an effect: commands are counted, one by one."""
    codes = (DropCode.REPEATED, DropCode.STALE, DropCode.FOREIGN, DropCode.OLD_EPOCH)
    end_ns = trial.end_ns + AFTER_NS
    dropped = dropped_commands(log.entries, trial.begin_ns, end_ns)
    odd = [d for d in dropped if d.code not in codes]
    if not dropped:
        return ["none of them arrived"]
    return [f"dropped for another reason: {odd[0]}"] if odd else []


def _refused(log: Log, trial: Trial) -> list[str]:
    """The lease was refused and the stolen commands dropped as somebody else's."""
    joined = [
        e for e in log.entries
        if isinstance(e, Joined) and trial.begin_ns <= e.now_ns <= trial.end_ns
    ]  # fmt: skip
    granted = [e for e in joined if e.session and e.role == 1]
    refused = [e for e in joined if e.what.startswith("refused")]
    foreign = dropped_commands(log.entries, trial.begin_ns, trial.end_ns)
    said = ["a second commander got a lease"] if granted else []
    if not refused or not foreign or any(d.code != DropCode.FOREIGN for d in foreign):
        said.append(f"{len(refused)} refusals, {len(foreign)} foreign commands")
    return said


def _armed_by_another(log: Log, trial: Trial) -> list[str]:
    """Whoever comes after the dead daemon arms anew, in a session of its own."""
    again = armed_again(log, trial.begin_ns)
    if again is None:
        return ["nobody armed the robot again"]
    before = log.between(trial.begin_ns - 50_000_000, trial.begin_ns)
    after = log.between(again.now_ns, again.now_ns + 50_000_000)
    same = {p.session for p in before} & {p.session for p in after}
    return ["the new daemon went on in the old one's session"] if same else []


# -- scenes ---------------------------------------------------------------------------------------

_LEARNT: Mapping[str, object] = {
    **EAGER,
    "base.file": str(ROOT / "policies" / "bases" / "peg.onnx"),
    "gate.simulation_field": None,
    "gate.replay_s": 0.5,
    "gate.lineage": "lineage",
    # enough to be seen, too little to lead an arm anywhere
    "residual.authority_ramp_s": 50.0,
}
DEPLOYED = Scene(("--residual",), _LEARNT, episode_s=1.0, authority=True)
LEARNING = Scene(
    ("--learn",), {**_LEARNT, **QUICK_LEARNER}, episode_s=1.0, authority=True
)


def prepare(config: Path, scene: Scene) -> None:
    """Let a snapshot have passed in an earlier run, where the scene deploys one."""
    if "--residual" not in scene.words:
        return
    deployment = load_deployment(config)
    contract, residual = load_base(deployment).contract, deployment.config.residual
    assert residual is not None
    maker = SnapshotMaker(contract, residual, sizes_for(deployment, contract))
    lineage = Lineage(config.parent / "lineage")
    snapshot = maker.make(1, 0, seed=1, push=0.05)
    lineage.keep(snapshot, encode_snapshot(snapshot))
    passed = LineageEntry(
        "verdict", now_utc(), "before", 1, digest=snapshot.digest, passed=True
    )
    lineage.add(passed)


# -- the rows -------------------------------------------------------------------------------------


def _of(module: str) -> Callable[[Rig], Sequence[int]]:
    return lambda rig: [rig.child(module)]


def _control(rig: Rig) -> Sequence[int]:
    return [rig.control()]


def _worker(rig: Rig) -> Sequence[int]:
    return [rig.worker()]


def _whole_daemon(rig: Rig) -> Sequence[int]:
    return [rig.daemon.process.pid, rig.control()]


_STALE = (Fault.JOINTS_STALE,)
_LATE = (*_STALE, Fault.LINK_LOST, Fault.DEVICE_LET_GO)
_GROUPS = ("joints", "force", "task")
_GAP = (Fault.SEQUENCE_GAP,)


def _links() -> list[Row]:
    def cut(*, robot: bool, client: bool) -> Injector:
        none = Hurt(Way.CUT)
        return wire(none if robot else None, none if client else None)

    return [
        Row("link_cut_to_robot", cut(robot=True, client=False), _LATE, device=True, lasts_s=0.8),
        Row("link_cut_to_client", cut(robot=False, client=True), _LATE, device=True, lasts_s=0.8),
        Row("link_cut_both", cut(robot=True, client=True), _LATE, device=True, lasts_s=0.8),
        Row("bridge_killed", killed(lambda rig: [rig.bridge.pid]), _LATE, Then.GONE),
        Row("commands_lost", frames(Way.CUT, COMMAND, to_robot=True),
            (Fault.DEVICE_LET_GO,), device=True),
        Row("commands_late", frames(Way.DELAY, COMMAND, to_robot=True, delay_s=LATE_S),
            (Fault.DEVICE_LET_GO,), device=True),
        Row("commands_half_lost", frames(Way.HALF, COMMAND, to_robot=True), then=Then.WORKS),
        Row("commands_doubled", frames(Way.DOUBLE, COMMAND, to_robot=True), then=Then.WORKS,
            check=_all_dropped),
        Row("commands_swapped", frames(Way.SWAP, COMMAND, to_robot=True), then=Then.WORKS,
            check=_all_dropped),
    ]  # fmt: skip


def _observations() -> list[Row]:
    def seen(way: Way, delay_s: float = 0.0) -> Injector:
        return frames(way, OBSERVATION, to_robot=False, delay_s=delay_s)

    return [
        Row("observations_held", seen(Way.HOLD), _LATE, device=True),
        Row("observations_late", seen(Way.DELAY, LATE_S), _STALE),
        Row("observations_half_lost", seen(Way.HALF), _GAP, Then.WORKS),
        Row("observations_doubled", seen(Way.DOUBLE), then=Then.WORKS),
        Row("observations_swapped", seen(Way.SWAP), _GAP, Then.WORKS),
    ]


def _groups() -> list[Row]:
    not_finite = (Fault.OBSERVATION_NOT_FINITE,)
    rows = []
    for index, way in product(range(len(_GROUPS)), Way):
        stale = (Fault.GROUP_STALE,) if index else _STALE
        late_s = (LATE_S, LATE_S, VERY_LATE_S)[index]
        wanted = {
            Way.NAN: (not_finite, Then.RESTS),
            Way.INF: (not_finite, Then.RESTS),
            Way.CUT: (stale, Then.RESTS),
            Way.DELAY: (stale, Then.RESTS),
            Way.HALF: (_GAP, Then.WORKS),
            Way.SWAP: (_GAP, Then.WORKS),
            Way.DOUBLE: ((), Then.WORKS),
        }.get(way)
        if wanted is not None:
            hurt = HurtGroup(way, index, late_s)
            names = {Way.CUT: "frozen", Way.DELAY: "late", Way.HALF: "half_lost"}
            name = f"{_GROUPS[index]}_{names.get(way, way.value)}"
            rows.append(Row(name, wire(group=hurt), *wanted, lasts_s=0.7))
    return rows


def _daemon() -> list[Row]:
    late = (*_STALE, Fault.DEVICE_LET_GO, Fault.DEADLINES_MISSED)
    core = {"realtime.cpu": max(os.sched_getaffinity(0))}
    base, residual = (Fault.BASE_NOT_FINITE,), (Fault.RESIDUAL_NOT_FINITE,)
    return [
        Row("base_nan", switched, base, scene=Scene(fault="base_nan")),
        Row("base_inf", switched, base, scene=Scene(fault="base_inf")),
        Row("residual_nan", switched, residual, Then.WORKS, Scene(fault="residual_nan")),
        Row("residual_inf", switched, residual, Then.WORKS, Scene(fault="residual_inf")),
        Row("base_hung", frozen(_worker), (Fault.BASE_STALE,), lasts_s=0.8),
        Row("base_slow", slow_worker, (Fault.INFERENCE_SLOW,), Then.WORKS, lasts_s=0.1),
        Row("base_killed", killed(_worker), (Fault.BASE_FAILED,)),
        Row("daemon_killed", killed(_control), device=True, check=_armed_by_another),
        Row("daemon_restarted", killed(_whole_daemon, again=True), device=True,
            check=_armed_by_another),
        Row("daemon_stopped", frozen(_control), late, device=True, lasts_s=0.9),
        Row("machine_paused", frozen(Rig.everybody, resumed=1.0), late, device=True),
        Row("wall_clock_stepped", switched, (Fault.WALL_CLOCK_STEPPED,), Then.WORKS,
            Scene(fault="clock_step")),
        Row("overload", hogged, late, scene=Scene(changes=core), device=True, lasts_s=1.0),
    ]  # fmt: skip


def _beside() -> list[Row]:
    gate, learner = (Fault.GATE_LOST,), (Fault.LEARNER_LOST,)
    works = Then.WORKS
    flood_gate = flooded(lambda rig: rig.place().gate_endpoint)
    flood_learner = flooded(lambda rig: rig.place().learner_endpoint)
    return [
        Row("gate_killed", killed(_of(GATE)), gate, works, DEPLOYED, lasts_s=1.6, most=4),
        Row("gate_frozen", frozen(_of(GATE)), gate, works, DEPLOYED, lasts_s=1.6),
        Row("gate_flooded", flood_gate, gate, works, DEPLOYED, needed=False, lasts_s=1.0),
        Row("learner_killed", killed(_of(LEARNER)), learner, works, LEARNING, lasts_s=1.6, most=4),
        Row("learner_frozen", frozen(_of(LEARNER)), learner, works, LEARNING, lasts_s=1.6),
        Row("learner_flooded", flood_learner, (*learner, *gate), works, LEARNING, needed=False,
            lasts_s=1.0),
        Row("recorder_killed", killed(_of(RECORDER)), (Fault.RECORDER_LOST,), Then.EITHER,
            needed=False, lasts_s=2.5, most=4),
        Row("recorder_frozen", frozen(_of(RECORDER)), (Fault.RECORDER_LOST,), lasts_s=1.8),
        Row("disk_full", disk_full, halts_ns=HALTS_NS, lasts_s=2.0),
    ]  # fmt: skip


def _strangers() -> list[Row]:
    return [
        Row("second_commander", second_commander, then=Then.WORKS, check=_refused, lasts_s=0.2),
        Row("commands_replayed", replayed(conversation=False), then=Then.WORKS,
            check=_all_dropped, lasts_s=0.2),
        Row("conversation_replayed", replayed(conversation=True), then=Then.WORKS,
            check=_all_dropped, lasts_s=0.2),
        Row("stop_in_flight", stopped_in_flight, (Fault.DEVICE_STOPPED,), device=True,
            check=_nothing_in_flight, lasts_s=0.4),
    ]  # fmt: skip


ROWS: dict[str, Row] = {
    row.name: row
    for row in (*_links(), *_observations(), *_groups(), *_daemon(), *_beside(), *_strangers())
}
