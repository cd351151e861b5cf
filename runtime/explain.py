"""`trimtab explain`: from a record alone, what was wanted in one tick, what was applied, which
limit acted and how near each of the others was."""

import numpy as np

from runtime.events import EventKind
from runtime.explain_distance import BarrierModel
from runtime.explain_facts import Explanation, JointFact, PolicyFact, ToolFact
from runtime.explain_record import (
    ages,
    command_fact,
    distance_uses,
    fault_facts,
    guard_uses,
    index_of,
    joint_facts,
    joint_uses,
    mode_since,
    nearest_first,
)
from runtime.explain_reference import reference_before
from runtime.faults import Response
from runtime.messages import Limit, Mode, Outcome, Phase, Request, Stage
from runtime.records import Record
from runtime.replay import check_layout
from runtime.rerun import deployment_of
from runtime.wiring import MODEL_FILE, Deployment, build_geometry, load_base, sizes_for


def explain(record: Record, tick: int) -> Explanation:
    """Explain tick number `tick` of a record.

    Raises:
        RecordError: the tick is not in the record (the message says what is), its layout is not
            of this version, or its header does not carry config, robot and model.
    """
    index = index_of(record, tick)
    with deployment_of(record) as deployment:
        check_layout(record, sizes_for(deployment, load_base(deployment).contract))
        return _explain(record, index, deployment)


def _explain(record: Record, index: int, deployment: Deployment) -> Explanation:
    config, robot = deployment.config, deployment.robot
    row, header = record.ticks[index], record.header
    history = reference_before(record, index)
    joints = joint_facts(record, index, history)
    model = BarrierModel(header.files[MODEL_FILE], robot, config.geometry, config.guards.workspace)
    nearest = _nearest_barrier(int(row["nearest_barrier"][0]), deployment)
    distances = model.distances(row["q_applied"], row["q"])
    uses = [
        *joint_uses(joints, robot.command_limits()),
        *guard_uses(record, index, config, robot),
        *distance_uses(distances, nearest if _geometry_acted(joints) else ""),
    ]
    tick = int(row["tick"][0])
    return Explanation(
        run=header.run,
        tick=tick,
        time_s=float(row["now_ns"][0] - record.scalar("now_ns")[0]) * 1e-9,
        mode=Mode(int(row["mode"][0])).name,
        mode_since_tick=mode_since(record, index),
        response=Response(int(row["response"][0])).name,
        phase=Phase(int(row["phase"][0])).name,
        episode=int(row["episode"][0]),
        outcome=Outcome(int(row["outcome"][0])).name,
        request=Request(int(row["request"][0])).name,
        request_refused=bool(row["request_refused"][0]),
        command=command_fact(record, index),
        history=history.words,
        faults=fault_facts(record, index, config),
        policy=_policy_fact(row),
        tool=_tool_fact(row, model),
        joints=joints,
        nearest_barrier=nearest,
        clearance_m=float(row["clearance_m"][0]),
        distances=distances,
        uses=nearest_first(uses),
        ages=ages(record, index, config),
        notes=_notes(record, tick),
    )


def _geometry_acted(joints: list[JointFact]) -> bool:
    return any(Limit.GEOMETRY.name in joint.limited_by for joint in joints)


def _nearest_barrier(number: int, deployment: Deployment) -> str:
    """Return the name of the barrier that a tick recorded by number; "" for none."""
    if number < 0:
        return ""
    names = build_geometry(deployment).names
    return names[number] if number < len(names) else f"barrier {number}"


def _policy_fact(row: np.void) -> PolicyFact:
    return PolicyFact(
        base_action=row["base_action"].tolist(),
        residual_action=row["residual_action"].tolist(),
        residual_noise=row["residual_noise"].tolist(),
        residual_version=int(row["residual_version"][0]),
        stage=Stage(int(row["residual_stage"][0])).name,
        region_share=float(row["region_share"][0]),
        authority=row["authority"].tolist(),
        action=row["action"].tolist(),
        executed=row["action_executed"].tolist(),
        setpoint=row["setpoint"].tolist(),
        setpoint_measured=row["setpoint_measured"].tolist(),
        unfamiliarity=float(row["base_unfamiliarity"][0]),
    )


def _tool_fact(row: np.void, model: BarrierModel) -> ToolFact:
    desired = row["q_desired"]
    known = bool(row["command_sent"][0]) and bool(np.isfinite(desired).all())
    return ToolFact(
        measured_m=model.tool_m(row["q"]),
        desired_m=model.tool_m(desired) if known else None,
        applied_m=model.tool_m(row["q_applied"]),
    )


def _notes(record: Record, tick: int) -> list[str]:
    """Return what was written down in this tick: refusals, tracebacks, remarks of people."""
    return [
        event.text
        for event in record.events
        if event.tick == tick and event.kind is not EventKind.KEYFRAME
    ]
