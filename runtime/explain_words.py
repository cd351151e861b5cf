"""The explanation of a tick in sentences: who wanted what, what went out, what acted, how near."""

from collections.abc import Sequence
from typing import NamedTuple

from runtime.explain_facts import Explanation, FaultFact, PolicyFact, Use
from runtime.messages import Limit

_SHOWN = 8  # limits that are listed one by one; the rest is counted
_SAME_RAD = 1e-7
_SENT = {
    "SENT": "The command went to the robot",
    "KEPT_STOP": "The tick raised an error: the next step of the stop that the last good tick kept "
    "went to the robot",
    "NOT_SENT": "Nothing was commanded: the daemon did not lead the arm in this tick",
}
_ACTED = {
    Limit.FINITE.name: "was asked for something that is no number, so the whole arm took the kept "
    "stop's next step",
    Limit.POSITION.name: "could go no further: a stop from there would have ended past its range",
    Limit.VELOCITY.name: "could go no faster",
    Limit.ACCELERATION.name: "could change its speed no faster (acceleration)",
    Limit.JERK.name: "could change its acceleration no faster (jerk)",
}
_WHO = {
    "DISARMED": "nobody",
    "READY": "nobody",
    "HOMING": "the script (homing or a reset)",
    "BASE": "the base policy",
    "SHADOW": "the base policy, with the residual looking on",
    "ADAPTIVE": "base policy and residual",
    "HOLD": "the fallback: brake, then stand and give way",
    "STOPPED": "the fallback: brake, then stand and give way, until a person re-arms",
}


class Section(NamedTuple):
    """A heading and its sentences."""

    title: str
    lines: list[str]


def sentences(said: Explanation) -> list[Section]:
    """Return the explanation as sections of sentences."""
    return [
        Section(f"tick {said.tick}, {said.time_s:.3f} s", _situation(said)),
        Section("wanted", _wanted(said)),
        Section("applied", _applied(said)),
        Section("what acted", _what_acted(said)),
        Section("faults", _faults(said)),
        Section("how near the limits were", _how_near(said.uses)),
        Section("distances", _distances(said)),
        Section("ages", _ages(said)),
        *([Section("written down", said.notes)] if said.notes else []),
    ]


def _situation(said: Explanation) -> list[str]:
    episode = f"episode {said.episode} {said.phase.lower()}" if said.episode else "no episode yet"
    lines = [
        f"Mode {said.mode} since tick {said.mode_since_tick}; {episode}; response {said.response}."
    ]
    if said.outcome != "NONE":
        lines.append(f"The episode ended in this tick: {said.outcome}.")
    if said.request != "NONE":
        refused = ", and was refused" if said.request_refused else ""
        lines.append(f"An operator asked for {said.request}{refused}.")
    command = said.command
    lines.append(
        f"{_SENT[command.status]} (epoch {command.epoch}, sequence {command.sequence}, valid for "
        f"{1e3 * command.valid_for_s:g} ms, answers joint sample {command.answers_sequence})."
    )
    return lines


def _wanted(said: Explanation) -> list[str]:
    policy = said.policy
    lines = [
        f"In charge: {_WHO[said.mode]}.",
        f"Base action {_numbers(policy.base_action)}.",
        f"Residual {_numbers(policy.residual_action)} at authority {_numbers(policy.authority)}.",
        _residual(policy),
        f"Acting on {_numbers(policy.action)}.",
        f"The set-point's limits made {_numbers(policy.executed)} of it.",
        f"Set-point {_numbers(policy.setpoint)}, measured {_numbers(policy.setpoint_measured)}.",
        f"The observation's distance from training is {policy.unfamiliarity:.2f} (1: the edge).",
    ]
    if said.command.status == "KEPT_STOP":
        lines.append("What was asked of the envelope is not known: the tick did not get so far.")
    elif said.command.status == "NOT_SENT":
        lines.append("Nothing was asked of the envelope.")
    elif said.tool.desired_m is None:
        lines.append("What was asked of the envelope is no place: a number is not finite.")
    else:
        lines.append(f"Asked of the envelope: the tool at {_place(said.tool.desired_m)}.")
    return lines


def _residual(policy: PolicyFact) -> str:
    return (
        f"It is version {policy.residual_version} at stage {policy.stage}; noise in it "
        f"{_numbers(policy.residual_noise)}; the tool's place allows {policy.region_share:.2f}."
    )


def _applied(said: Explanation) -> list[str]:
    lines = [f"Measured tool {_place(said.tool.measured_m)}."]
    if said.command.status == "NOT_SENT":
        return [*lines, "No command; the reference is the measured pose."]
    lines.append(f"Commanded tool {_place(said.tool.applied_m)}.")
    apart = [
        (abs(joint.applied_rad - joint.desired_rad), joint)
        for joint in said.joints
        if joint.desired_rad is not None and abs(joint.applied_rad - joint.desired_rad) > _SAME_RAD
    ]
    if said.command.status == "SENT" and not apart and said.tool.desired_m is not None:
        lines.append("Every joint was sent where it was asked to go.")
    for gap, joint in sorted(apart, key=lambda pair: -pair[0]):
        lines.append(
            f"{joint.joint} was asked to {joint.desired_rad:.5f} rad and sent to "
            f"{joint.applied_rad:.5f} rad: {1e3 * gap:.3g} mrad apart."
        )
    lines.append(f"Velocity, acceleration and jerk: {said.history}.")
    return lines


def _what_acted(said: Explanation) -> list[str]:
    aside = [joint.joint for joint in said.joints if Limit.GEOMETRY.name in joint.limited_by]
    lines = []
    if aside:
        barrier = said.nearest_barrier or "a barrier that the record does not name"
        lines.append(f"Geometry turned aside or braked {', '.join(aside)}: {barrier}.")
    lines += [
        f"{joint.joint} {_ACTED[name]}."
        for joint in said.joints
        for name in joint.limited_by
        if name in _ACTED
    ]
    return lines or ["No limit changed the command."]


def _faults(said: Explanation) -> list[str]:
    return [_fault(fault) for fault in said.faults] or ["No fault acted, none was seen."]


def _fault(fault: FaultFact) -> str:
    acts = f"acts since tick {fault.since_tick}" if fault.acts else "was seen but does not act"
    return f"{fault.name} ({fault.response}) {acts}: {fault.sentence} Here {fault.why}."


def _how_near(uses: Sequence[Use]) -> list[str]:
    known = [use for use in uses if use.used is not None]
    lines = [_use(use) for use in known[:_SHOWN]]
    rest = known[_SHOWN:]
    if rest:
        lines.append(f"{len(rest)} more limits, each used to {_share(rest[0])} at most.")
    unknown = [use.name for use in uses if use.used is None]
    if unknown:
        lines.append(f"Not known: {', '.join(unknown)}.")
    return lines


def _use(use: Use) -> str:
    acted = " (acted)" if use.acted else ""
    if use.kind == "geometry" and use.value is not None and use.low is not None:
        return (
            f"{_share(use):>6}  {use.name}{acted}: {1e3 * use.value:.1f} mm away, "
            f"{1e3 * use.low:g} mm is the margin"
        )
    parts = []
    if use.value is not None:
        parts.append(f"{use.value:.4g} {use.unit}")
    if use.kind == "position":
        parts.append(f"range {use.low:.4g} to {use.high:.4g}")
    elif use.high is not None:
        parts.append(f"limit {use.high:.4g}{'' if parts else ' ' + use.unit}")
    parts += [use.note] if use.note else []
    return f"{_share(use):>6}  {use.name}{acted}: {', '.join(parts)}"


def _share(use: Use) -> str:
    return "-" if use.used is None else f"{100 * use.used:.1f} %"


def _distances(said: Explanation) -> list[str]:
    lines = [
        f"{item.group}: {1e3 * item.commanded_m:.1f} mm at the commanded pose ({item.between}), "
        f"{1e3 * item.measured_m:.1f} mm at the measured one; margin {1e3 * item.margin_m:g} mm."
        for item in said.distances
    ]
    if said.nearest_barrier:
        lines.append(
            "What the envelope certified, for the whole kept stop and poses around it: at least "
            f"{1e3 * said.clearance_m:.1f} mm beyond the margin, least for {said.nearest_barrier}."
        )
    return lines


def _ages(said: Explanation) -> list[str]:
    return [
        f"{age.of}: there is none yet (budget {1e3 * age.budget_s:g} ms)."
        if age.age_s is None
        else f"{age.of}: {1e3 * age.age_s:.1f} ms of {1e3 * age.budget_s:g} ms"
        f"{', past its budget' if not (age.age_s <= age.budget_s) else ''}."
        for age in said.ages
    ]


def _numbers(values: Sequence[float]) -> str:
    return "[" + ", ".join(f"{value:.4g}" for value in values) + "]"


def _place(place_m: Sequence[float]) -> str:
    x, y, z = place_m
    return f"({x:.4f}, {y:.4f}, {z:.4f}) m in base"
