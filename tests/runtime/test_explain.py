"""A tick is explained from its record alone: what was wanted, applied, limited, and how near."""

import json
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from PIL import Image

from runtime.errors import RecordError
from runtime.explain import explain
from runtime.explain_distance import BarrierModel
from runtime.explain_facts import Explanation, Use
from runtime.explain_picture import save_picture
from runtime.explain_words import sentences
from runtime.geometry_spec import GeometryConfig
from runtime.messages import GUARDS, Limit, Mode, Request
from runtime.record_writer import RecordWriter, WriterLimits
from runtime.records import Record, read_record
from runtime.wiring import Deployment, load_deployment, record_header
from tests.daemon_kit import limits_of, trimtab, write_config
from tests.runtime.control_kit import ROOT, Rig, panda

LIMITS = WriterLimits(segment_bytes=10**9, segment_s=600.0, retention_bytes=10**9)
FLOOR_M, MARGIN_M = 0.22, 0.01
LOST = range(60, 63)


@dataclass(frozen=True)
class Run:
    """A record, where it lies, and the ticks of which the tests speak."""

    record: Record
    folder: Path
    first: int
    hold: int
    raised: int
    stopped: int

    def tick(self, condition: Callable[[Record], Any]) -> int:
        """Return the first tick for which `condition` holds."""
        return int(self.record.scalar("tick")[np.flatnonzero(condition(self.record))[0]])


def low_workspace(folder: Path) -> Deployment:
    """Return a deployment whose workspace ends 3 cm below the tool at home."""
    workspace = {"low_m": [0.2, -0.4, FLOOR_M], "high_m": [0.8, 0.4, 0.7]}
    changes = {"guards.workspace": workspace, "base.file": str(ROOT / "policies/bases/peg.onnx")}
    return load_deployment(write_config(folder, changes))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Down into the lowest wall; then NaN, an error in the tick, and a person's stop."""
    folder = tmp_path_factory.mktemp("explain")
    deployment = low_workspace(folder)
    rig = Rig(lambda _: np.array([0.0, 0.0, -1.0, 0.0]), deployment)
    first = int(rig.begin().tick[0])
    rig.run(200)
    rig.loop._inputs.base_action[1] = math.nan
    hold = int(rig.until_mode(Mode.HOLD, 5).tick[0])
    rig.run(60)
    step = rig.tick.step

    def broken(_: Any) -> Any:
        raise RuntimeError("planted")

    rig.tick.step = broken  # type: ignore[method-assign, assignment]
    raised = int(rig.run(1).tick[0])
    rig.tick.step = step  # type: ignore[method-assign]
    rig.run(20)
    rig.port.ask(Request.STOP)
    stopped = int(rig.run(2).tick[0])
    header = record_header(
        deployment, rig.base.contract, "run-1", "lockstep", rig.link.describe()
    )
    writer = RecordWriter(folder / "run", header, LIMITS)
    for index, row in enumerate(rig.sink.rows, start=1):
        if index not in LOST:
            writer.add_ticks(memoryview(row))
    for event in rig.sink.events:
        writer.add_event(event)
    writer.close()
    return Run(read_record(folder / "run"), folder / "run", first, hold, raised, stopped)


def words(said: Explanation) -> str:
    return "\n".join(line for section in sentences(said) for line in section.lines)


def use(said: Explanation, name: str) -> Use:
    (found,) = [each for each in said.uses if each.name == name]
    return found


def test_a_tick_is_explained_from_the_record_alone(run: Run) -> None:
    tick = run.first + 30
    said = explain(run.record, tick)
    assert (said.tick, said.mode, said.mode_since_tick) == (tick, "BASE", run.first)
    assert said.command.status == "SENT"
    assert said.policy.base_action == [0.0, 0.0, -1.0, 0.0]
    names = {each.name for each in said.uses}
    for joint in run.record.header.joints:
        for kind in ("position", "velocity", "acceleration", "jerk"):
            assert f"{joint} {kind}" in names
    assert {f"{guard.replace('_', ' ')} guard" for guard in GUARDS} <= names
    assert {"workspace z low", "keep-out table", "the arm itself"} <= names
    shares = [each.used for each in said.uses if each.used is not None]
    assert shares == sorted(shares, reverse=True)
    assert "In charge: the base policy" in words(said)
    assert "No limit changed the command." in words(said)


def test_the_use_of_every_limit_is_worked_out_again(run: Run) -> None:
    """Against the numbers of the independent checker, from positions alone."""
    tick = run.first + 30
    index = int(np.searchsorted(run.record.scalar("tick"), tick))
    q = run.record.column("q_applied")[index - 3 : index + 1]
    v = np.diff(q, axis=0) * 500.0
    a = np.diff(v, axis=0) * 500.0
    j = np.diff(a, axis=0) * 500.0
    said = explain(run.record, tick)
    for number, (joint, limit) in enumerate(
        zip(run.record.header.joints, limits_of(run.record), strict=True)
    ):
        middle = 0.5 * (limit.q_min + limit.q_max)
        half = 0.5 * (limit.q_max - limit.q_min)
        expected = {
            "position": abs(q[-1, number] - middle) / half,
            "velocity": abs(v[-1, number]) / limit.v_max,
            "acceleration": abs(a[-1, number]) / limit.a_max,
            "jerk": abs(j[-1, number]) / limit.j_max,
        }
        for kind, share in expected.items():
            assert use(said, f"{joint} {kind}").used == pytest.approx(share, abs=1e-9)
    shown = [
        (joint.velocity_rad_s, joint.acceleration_rad_s2, joint.jerk_rad_s3)
        for joint in said.joints
    ]
    expected_moves = np.array([v[-1], a[-1], j[-1]]).T
    np.testing.assert_allclose(np.array(shown, float), expected_moves, rtol=1e-9, atol=1e-9)
    for number, guard in enumerate(GUARDS):
        margin = float(run.record.column("guard_margin")[index, number])
        found = use(said, f"{guard.replace('_', ' ')} guard").used
        assert found == pytest.approx(1.0 - margin)


def test_a_barrier_that_acted_is_named_with_its_distance(run: Run) -> None:
    tick = run.tick(lambda r: (r.column("limited_by") & Limit.GEOMETRY).any(axis=1))
    said = explain(run.record, tick)
    assert "workspace z low" in said.nearest_barrier
    wall = use(said, "workspace z low")
    assert wall.acted
    assert wall.value == pytest.approx(said.tool.applied_m[2] - FLOOR_M)
    assert MARGIN_M <= (wall.value or 0.0) < 2 * MARGIN_M
    assert [each.name for each in said.uses if each.acted and each.kind == "geometry"] == [
        "workspace z low"
    ]
    assert "Geometry turned aside or braked" in words(said)
    assert "tool | workspace z low" in words(said)


def test_a_fault_is_told_with_its_sentence_and_since_when(run: Run) -> None:
    said = explain(run.record, run.hold + 3)
    (fault,) = [each for each in said.faults if each.name == "BASE_NOT_FINITE"]
    assert fault.acts
    assert fault.since_tick == run.hold
    assert "The base policy asked for NaN or infinity." in words(said)
    assert said.mode == "HOLD"
    assert "the fallback" in words(said)
    stopped = explain(run.record, run.stopped)
    (stop,) = [each for each in stopped.faults if each.name == "OPERATOR_STOP"]
    assert not stop.seen and "a person must re-arm" in stop.why


def test_a_request_and_the_end_of_an_episode_are_told(run: Run) -> None:
    asked = explain(run.record, run.tick(lambda r: r.scalar("request") == Request.STOP))
    assert asked.request == "STOP"
    assert "An operator asked for STOP." in words(asked)
    ended = explain(run.record, run.tick(lambda r: r.scalar("outcome") != 0))
    assert f"The episode ended in this tick: {ended.outcome}." in words(ended)
    refused = msgspec.structs.replace(asked, request_refused=True)
    assert "asked for STOP, and was refused." in words(refused)


def test_what_is_no_place_is_said_to_be_none(run: Run) -> None:
    """A desired position that is not finite: of the whole pose nothing can be said."""
    said = explain(run.record, run.first + 30)
    tool = msgspec.structs.replace(said.tool, desired_m=None)
    joint = msgspec.structs.replace(said.joints[0], limited_by=["FINITE", "JERK"])
    nowhere = msgspec.structs.replace(said, tool=tool, joints=[joint, *said.joints[1:]])
    assert "is no place: a number is not finite" in words(nowhere)
    assert f"{joint.joint} was asked for something that is no number" in words(nowhere)
    assert f"{joint.joint} could change its acceleration no faster (jerk)." in words(nowhere)


def test_ticks_without_a_command_and_the_first_with_one(run: Run) -> None:
    silent = explain(run.record, 1)
    assert silent.command.status == "NOT_SENT"
    assert all(joint.velocity_rad_s == 0.0 for joint in silent.joints)
    assert all(joint.desired_rad is None for joint in silent.joints)
    assert "Nothing was commanded" in words(silent)
    assert "base action: there is none yet" in words(silent)
    begins = run.tick(lambda r: r.scalar("command_sent") != 0)
    index = int(np.searchsorted(run.record.scalar("tick"), begins))
    moved = run.record.column("q_applied")[index] - run.record.column("q")[index]
    assert moved.any()
    first = explain(run.record, begins)
    assert [joint.velocity_rad_s for joint in first.joints] == pytest.approx(moved * 500.0)
    assert "began at rest with this very command" in words(first)
    assert "began at rest, 2 ticks before" in words(explain(run.record, begins + 2))
    assert "the three before it" in words(explain(run.record, begins + 3))


def test_after_a_gap_only_what_the_tick_recorded_is_known(run: Run) -> None:
    after = LOST.stop
    said = explain(run.record, after)
    assert use(said, f"{run.record.header.joints[0]} jerk").used is None
    assert "the ticks before are missing" in words(said)
    assert "Not known: " in words(said)
    index = int(np.searchsorted(run.record.scalar("tick"), after))
    recorded = run.record.column("dq_applied")[index]
    assert [joint.velocity_rad_s for joint in said.joints] == recorded.tolist()
    assert use(explain(run.record, after + 3), said.joints[0].joint + " jerk").used is not None


def test_a_tick_that_raised_says_so(run: Run) -> None:
    said = explain(run.record, run.raised)
    assert said.command.status == "KEPT_STOP"
    assert "The tick raised an error" in words(said)
    assert "planted" in words(said)


@pytest.mark.parametrize(
    ("tick", "message"),
    [
        (LOST.start + 1, "missing from the record: 3 ticks after 59"),
        (0, "it holds ticks 1 to"),
        (10**6, "it holds ticks 1 to"),
    ],
)
def test_a_tick_that_is_not_there(tick: int, message: str, run: Run) -> None:
    with pytest.raises(RecordError, match=message):
        explain(run.record, tick)


def test_an_empty_record_holds_no_tick(run: Run) -> None:
    empty = replace(run.record, ticks=run.record.ticks[:0], _columns={})
    with pytest.raises(RecordError, match="holds no tick"):
        explain(empty, 1)


def test_the_command_says_it_and_draws_it(run: Run, tmp_path: Path) -> None:
    picture = tmp_path / "deep" / "tick.png"
    tick = str(run.hold)
    said = trimtab("explain", run.folder, "--tick", tick, "--out", picture)
    assert said.code == 0, said
    assert "BASE_NOT_FINITE" in said.out
    with Image.open(picture) as image:
        assert image.format == "PNG"
        assert min(image.size) > 500
        assert len(image.convert("RGB").getcolors(1 << 20) or []) > 100
    said = trimtab("explain", run.folder, "--tick", tick, "--out", picture, "--json")
    data = json.loads(said.out)
    assert data["tick"] == run.hold
    assert data["picture"] == str(picture)
    assert data["command"]["status"] == "SENT"
    assert data["sentences"]["faults"]


def test_a_picture_that_cannot_be_written_says_so(run: Run, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    said = explain(run.record, 1)
    with pytest.raises(RecordError, match="picture cannot be written"):
        save_picture(said, run.record, tmp_path / "file" / "tick.png")


def test_a_record_without_its_files_is_refused(run: Run) -> None:
    bare = replace(run.record, header=msgspec.structs.replace(run.record.header, files={}))
    with pytest.raises(RecordError, match="header lacks"):
        explain(bare, run.first)


# -- distances ----------------------------------------------------------------------------------

ARM = """
<mujoco>
  <compiler angle="radian"/>
  <worldbody>
    <body name="upper"><joint name="a" axis="0 0 1"/>
      <geom name="upper" type="capsule" fromto="0 0 .5 1 0 .5" size=".05"/>
      <body name="lower" pos="1 0 .5"><joint name="b" axis="0 0 1"/>
        <geom type="capsule" fromto=".1 0 0 1 0 0" size=".05"/>
        <body name="hand" pos="1 0 0"><joint name="c" axis="0 0 1"/>
          <geom name="ball" type="sphere" size=".1"/><site name="tip" pos=".1 0 0"/>
        </body>
      </body>
    </body>
  </worldbody>
</mujoco>
"""
VOLUMES = [
    {"shape": "plane", "name": "floor", "point_m": [0, 0, 0.1], "normal": [0, 0, 1]},
    {"shape": "sphere", "name": "lamp", "center_m": [2.0, 1.0, 0.5], "radius_m": 0.2},
    {"shape": "capsule", "name": "post", "from_m": [3, 0, 0], "to_m": [3, 0, 1], "radius_m": 0.1},
    {"shape": "box", "name": "crate", "center_m": [0, -1, 0.5], "half_size_m": [0.5, 0.2, 0.1],
     "yaw_rad": math.pi / 2},
]  # fmt: skip


def model_of(xml: str) -> BarrierModel:
    robot = panda().robot
    joints = tuple(
        joint.model_copy(update={"name": name})
        for joint, name in zip(robot.joints, "abc", strict=False)
    )
    tool = robot.tool.model_copy(update={"site": "tip"})
    spec = robot.model_copy(update={"joints": joints, "tool": tool})
    geometry = GeometryConfig.model_validate(
        {"margin_m": 0.02, "self_collision": True, "keep_out": VOLUMES}, strict=False
    )
    return BarrierModel(xml, spec, geometry, panda().config.guards.workspace)


def test_distances_are_those_of_a_ruler() -> None:
    straight = np.zeros(3)
    found = {
        each.group: each for each in model_of(ARM).distances(straight, np.array([0.0, math.pi, 0]))
    }
    expected = {
        # tool at (2.1, 0, .5); the workspace of the config is x .2 to .8, y -.4 to .4, z 0 to .7
        "workspace x low": 1.9,
        "workspace x high": -1.3,
        "workspace y high": 0.4,
        "workspace z low": 0.5,
        "keep-out floor": 0.3,
        "keep-out lamp": 1.0 - 0.2 - 0.1,
        "keep-out post": 1.0 - 0.1 - 0.1,
        # turned by a quarter, the crate reaches from y -1.5 to -0.5 and from x -0.2 to 0.2
        "keep-out crate": 0.5 - 0.05,
        # neighbours do not count, so the ball against the upper arm
        "the arm itself": 1.0 - 0.05 - 0.1,
    }
    for group, distance_m in expected.items():
        assert found[group].commanded_m == pytest.approx(distance_m, abs=1e-6), group
        assert found[group].margin_m == 0.02
    assert found["the arm itself"].between == "upper and ball"
    assert found["keep-out floor"].between in ("ball", "a shape of lower")
    # folded back, the ball lies in the shoulder
    assert found["the arm itself"].measured_m == pytest.approx(-0.15, abs=1e-6)


def test_excluded_pairs_do_not_count() -> None:
    excluded = ARM.replace(
        "</mujoco>", '<contact><exclude body1="upper" body2="hand"/></contact></mujoco>'
    )
    groups = [each.group for each in model_of(excluded).distances(np.zeros(3), np.zeros(3))]
    assert "the arm itself" not in groups


@pytest.mark.parametrize(
    "harm", [('<joint name="c"', '<joint name="d"'), ("tip", "top"), ("</mujoco>", "")]
)
def test_a_model_that_cannot_be_used(harm: tuple[str, str]) -> None:
    with pytest.raises(RecordError, match="model in the record cannot be used"):
        model_of(ARM.replace(*harm))
