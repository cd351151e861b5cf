"""Whose evidence it is, from real files: a snapshot goes on with what it has earned only where
hash, base, contract, robot and field are those it was earned with."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec
import onnx
import pytest

from policies.governor_record import Earned
from policies.lineage import Entry, Lineage, now_utc
from runtime.gate_process import compose_governor, home_of
from runtime.gate_trust import EARNED, Home, earned_before
from runtime.gate_wire import Grant
from runtime.interfaces import BasePolicy, LinkDescription
from runtime.messages import Stage
from runtime.record_format import RecordHeader
from runtime.snapshot import Snapshot, SnapshotParity, encode_snapshot, sealed
from runtime.wiring import Deployment, load_base, load_deployment, record_header
from tests.daemon_kit import ROOT, write_config

BASE = ROOT / "policies" / "bases" / "peg.onnx"
ROBOT, FIELD, RUN = "test-home", "bench", "test-home-1"
OWN, MEASURED = (38, 40), (21, 42)
LIVE = 7


@dataclass(frozen=True)
class Start:
    """A start of the gate: what it is given."""

    deployment: Deployment
    base: BasePolicy
    header: RecordHeader
    lineage: Lineage

    def home(self) -> Home:
        return home_of(self.deployment, self.base, self.header, self.lineage)

    def granted(self) -> Grant:
        """Return what the gate grants first, made as its process makes it."""
        kept = self.lineage.last_good()
        governor = compose_governor(
            self.deployment,
            self.base,
            earned_before(self.home(), kept),
            learner=False,
            shadow_only=False,
        )
        if kept is not None:
            governor.hear_live(kept.snapshot.version)
        return governor.grant(0.0, 0.0, learner_lost=False)


def deployed(folder: Path, changes: Mapping[str, object] | None = None) -> Deployment:
    named = {"robot_id": ROBOT, "base.file": str(BASE), **(changes or {})}
    return load_deployment(write_config(folder, named))


def header_of(deployment: Deployment, base: BasePolicy, field: str | None) -> RecordHeader:
    facts = {} if field is None else {"field": field}
    robot = deployment.robot
    link = LinkDescription(
        robot.name, robot.joint_names, deployment.group_sizes(), True, True, facts=facts
    )
    return record_header(deployment, base.contract, RUN, "lockstep", link)


def promote(lineage: Lineage, version: int, scale: float = 1.0) -> str:
    """Let a snapshot pass; return its digest."""
    parity = SnapshotParity([], [], [])
    bare = Snapshot(version, 0, "c", [], [], [], [], [], 0, 0, 0, 0.0, scale, parity)
    snapshot = sealed(bare)
    lineage.keep(snapshot, encode_snapshot(snapshot))
    lineage.add(Entry("verdict", now_utc(), "run", version, digest=snapshot.digest, passed=True))
    return snapshot.digest


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> tuple[Deployment, BasePolicy]:
    deployment = deployed(tmp_path_factory.mktemp("plain"))
    return deployment, load_base(deployment)


@pytest.fixture
def start(plain: tuple[Deployment, BasePolicy], tmp_path: Path) -> Start:
    """A start where the live snapshot has earned its authority before."""
    deployment, base = plain
    lineage = Lineage(tmp_path / "lineage")
    digest = promote(lineage, LIVE)
    here = Start(deployment, base, header_of(deployment, base, FIELD), lineage)
    home = here.home()
    earned = Earned(home.place, home.interface, digest, LIVE, OWN, MEASURED, 0.01, 0.02)
    (lineage.folder / EARNED).write_bytes(msgspec.json.encode(earned))
    return here


def test_where_nothing_changed_it_goes_on_with_its_record(start: Start) -> None:
    grant = start.granted()
    assert (grant.stage, set(grant.authority)) == (Stage.ADAPTIVE, {1.0})
    assert (grant.references.own, grant.references.base) == (OWN, MEASURED)
    assert (grant.references.base_limited, grant.references.base_pressed) == (0.01, 0.02)


def test_it_goes_on_in_another_run_too(start: Start) -> None:
    later = replace(start, header=msgspec.structs.replace(start.header, run="test-home-2"))
    assert later.granted().stage is Stage.ADAPTIVE


def _another_hash(start: Start, folder: Path) -> Start:
    promote(start.lineage, LIVE, scale=0.5)
    return start


def _a_newer_one(start: Start, folder: Path) -> Start:
    promote(start.lineage, LIVE + 1)
    return start


def _another_base(start: Start, folder: Path) -> Start:
    """The same contract and what it computes, in another file."""
    model = onnx.load(BASE)
    model.producer_version = "another"
    onnx.save(model, folder / "base.onnx")
    changed = deployed(folder, {"base.file": "base.onnx"})
    base = load_base(changed)
    assert base.contract == start.base.contract
    return replace(start, deployment=changed, base=base)


class _Recontracted:
    """A base with another contract."""

    def __init__(self, base: BasePolicy) -> None:
        action = base.contract.action
        wider = tuple(2.0 * bound for bound in action.residual_bound)
        self.contract = base.contract.model_copy(
            update={"action": action.model_copy(update={"residual_bound": wider})}
        )


def _another_contract(start: Start, folder: Path) -> Start:
    return replace(start, base=_Recontracted(start.base))  # type: ignore[arg-type]


def _other_terms(start: Start, folder: Path) -> Start:
    residual = start.deployment.config.residual
    assert residual is not None
    fewer = residual.model_copy(update={"terms": residual.terms[:-1]})
    config = start.deployment.config.model_copy(update={"residual": fewer})
    return replace(start, deployment=replace(start.deployment, config=config))


def _another_robot(start: Start, folder: Path) -> Start:
    return replace(start, deployment=deployed(folder, {"robot_id": "test-home-b"}))


def _another_field(start: Start, folder: Path) -> Start:
    return replace(start, header=header_of(start.deployment, start.base, "bench-2"))


def _no_field(start: Start, folder: Path) -> Start:
    return replace(start, header=header_of(start.deployment, start.base, None))


def _undone(start: Start, folder: Path) -> Start:
    start.lineage.add(Entry("rollback", now_utc(), "run", 0, parent=LIVE))
    return start


CHANGES: tuple[Callable[[Start, Path], Start], ...] = (
    _another_hash,
    _a_newer_one,
    _another_base,
    _another_contract,
    _other_terms,
    _another_robot,
    _another_field,
    _no_field,
    _undone,
)


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__.strip("_"))
def test_where_one_thing_differs_it_begins_with_nothing(
    change: Callable[[Start, Path], Start], start: Start, tmp_path: Path
) -> None:
    assert start.granted().stage is Stage.ADAPTIVE
    grant = change(start, tmp_path).granted()
    assert (grant.stage, set(grant.authority)) == (Stage.OBSERVE, {0.0})
    assert grant.references.own == grant.references.base == (0, 0)
    assert grant.trial == 1


def test_without_what_was_earned_a_known_snapshot_begins_with_nothing(start: Start) -> None:
    (start.lineage.folder / EARNED).unlink()
    grant = start.granted()
    assert (grant.stage, set(grant.authority)) == (Stage.OBSERVE, {0.0})
