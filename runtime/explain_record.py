"""Reads one tick out of a record: facts and how near each limit was, for `trimtab explain`.

Everything here is worked out again from the record and the config and robot spec in its header;
nothing is taken from the code that decided.
"""

from collections.abc import Sequence

import numpy as np

from runtime.config import Config
from runtime.errors import RecordError
from runtime.explain_facts import OWN, Age, CommandFact, Distance, FaultFact, JointFact, Use
from runtime.explain_reference import History
from runtime.faults import Fault, Row, tighten
from runtime.force_filter import ForceFilter
from runtime.messages import GUARDS, Limit
from runtime.records import Record
from runtime.robot_spec import JointLimits, RobotSpec

_NS_PER_S = 1e9
_BARRIER_NEAR_M = 0.1
_GUARD_UNITS = {
    "tool_speed": ("tool_speed_m_s", "m/s"),
    "elbow_speed": ("elbow_speed_m_s", "m/s"),
    "contact_force": ("contact_force_n", "N"),
}


def index_of(record: Record, tick: int) -> int:
    """Return where tick number `tick` is in the record.

    Raises:
        RecordError: it is not there; the message says what is.
    """
    ticks = record.scalar("tick")
    if not len(ticks):
        raise RecordError(f"tick {tick}: the record holds no tick")
    found = int(np.searchsorted(ticks, tick))
    if found < len(ticks) and int(ticks[found]) == tick:
        return found
    first, last = int(ticks[0]), int(ticks[-1])
    for gap in record.gaps:
        if gap.after < tick <= gap.after + gap.count:
            raise RecordError(
                f"tick {tick} is missing from the record: {gap.count} ticks after {gap.after} were "
                f"dropped or lost, so nobody can say what happened in it; the nearest that are "
                f"there are {gap.after} and {gap.after + gap.count + 1}"
            )
    raise RecordError(f"tick {tick} is not in the record; it holds ticks {first} to {last}")


def command_fact(record: Record, index: int) -> CommandFact:
    """Return what went to the robot in a tick."""
    row = record.ticks[index]
    status = "NOT_SENT"
    if row["command_sent"][0]:
        status = "KEPT_STOP" if row["step_raised"][0] else "SENT"
    return CommandFact(
        status=status,
        epoch=int(row["epoch"][0]),
        sequence=int(row["command_sequence"][0]),
        valid_for_s=float(row["valid_for_ns"][0]) / _NS_PER_S,
        answers_sequence=int(row["group_sequence"][0]),
    )


def fault_facts(record: Record, index: int, config: Config) -> list[FaultFact]:
    """Return the faults that act or were seen in a tick, the gravest first."""
    row = record.ticks[index]
    acting, seen = int(row["faults"][0]), int(row["faults_seen"][0])
    found = []
    for entry in tighten(config.faults):
        bit = 1 << entry.fault
        if (acting | seen) & bit:
            acts, visible = bool(acting & bit), bool(seen & bit)
            found.append(
                FaultFact(
                    name=entry.fault.name,
                    response=entry.response.name,
                    sentence=entry.sentence,
                    acts=acts,
                    seen=visible,
                    since_tick=_since(record, index, entry.fault) if acts else None,
                    why=_why(entry, acts, visible),
                )
            )
    return sorted(found, key=lambda fact: (not fact.acts, -_gravity(fact, config)))


def _gravity(fact: FaultFact, config: Config) -> int:
    return {row.fault.name: int(row.response) for row in tighten(config.faults)}[fact.name]


def _since(record: Record, index: int, fault: Fault) -> int:
    active = record.scalar("faults")[: index + 1] >> int(fault) & 1
    quiet = np.flatnonzero(active == 0)
    first = int(quiet[-1]) + 1 if len(quiet) else 0
    return int(record.scalar("tick")[first])


def _why(row: Row, acts: bool, seen: bool) -> str:
    if acts and seen:
        return "its condition holds"
    if acts:
        ends = {
            "AFTER_DWELL": f"its condition is gone, but not yet for {row.dwell_s:g} s",
            "ON_REARM": "its condition is gone; a person must re-arm",
            "NEVER": "it ends with the run",
        }
        return ends.get(row.clear.name, "its condition was true a moment ago")
    return f"its condition holds, but not yet for {row.debounce_ticks} ticks in a row"


def mode_since(record: Record, index: int) -> int:
    """Return the first tick of the record from which the mode has been what it is."""
    modes = record.scalar("mode")[: index + 1]
    other = np.flatnonzero(modes != modes[-1])
    return int(record.scalar("tick")[int(other[-1]) + 1 if len(other) else 0])


def joint_facts(record: Record, index: int, history: History) -> list[JointFact]:
    """Return where each joint was, was asked to go and was sent."""
    row = record.ticks[index]
    following = bool(row["command_sent"][0])
    facts = []
    for joint, name in enumerate(record.header.joints):
        limited = Limit(int(row["limited_by"][joint]))
        facts.append(
            JointFact(
                joint=name,
                measured_rad=float(row["q"][joint]),
                desired_rad=_finite(row["q_desired"][joint]) if following else None,
                applied_rad=float(row["q_applied"][joint]),
                velocity_rad_s=float(history.velocity_rad_s[joint]),
                acceleration_rad_s2=float(history.acceleration_rad_s2[joint]),
                jerk_rad_s3=_finite(history.jerk_rad_s3[joint]),
                margin=float(row["margin"][joint]),
                limited_by=[limit.name or "" for limit in Limit if limit and limit in limited],
            )
        )
    return facts


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def joint_uses(
    facts: Sequence[JointFact], limits: Sequence[JointLimits]
) -> list[Use]:
    """Return how much of position, velocity, acceleration and jerk each joint's command used."""
    uses = []
    for fact, limit in zip(facts, limits, strict=True):
        low, high = limit.position_min_rad, limit.position_max_rad
        half = 0.5 * (high - low)
        place = abs(fact.applied_rad - 0.5 * (low + high)) / half
        uses.append(
            Use("position", f"{fact.joint} position", fact.joint, fact.applied_rad, low, high,
                "rad", place, Limit.POSITION.name in fact.limited_by)
        )  # fmt: skip
        moves = (
            (Limit.VELOCITY, fact.velocity_rad_s, limit.velocity_max_rad_s, "rad/s"),
            (Limit.ACCELERATION, fact.acceleration_rad_s2, limit.acceleration_max_rad_s2,
             "rad/s^2"),
            (Limit.JERK, fact.jerk_rad_s3, limit.jerk_max_rad_s3, "rad/s^3"),
        )  # fmt: skip
        for which, value, most, unit in moves:
            used = None if value is None else abs(value) / most
            kind = str(which.name)
            uses.append(
                Use(kind.lower(), f"{fact.joint} {kind.lower()}", fact.joint, value, -most, most,
                    unit, used, kind in fact.limited_by)
            )  # fmt: skip
    return uses


def guard_uses(record: Record, index: int, config: Config, robot: RobotSpec) -> list[Use]:
    """Return how much of each guard was used, by the margins that the tick recorded."""
    row = record.ticks[index]
    active = {fault.name for fault in Fault if int(row["faults"][0]) >> fault & 1}
    limits, force = _guard_limits(config), config.guards.contact_force
    uses = []
    for number, guard in enumerate(GUARDS):
        margin = float(row["guard_margin"][number])
        most, unit = limits[guard]
        field = _GUARD_UNITS.get(guard, ("", ""))[0]
        used = 1.0 - margin if np.isfinite(margin) else None
        value = float(row[field][0]) if field else None
        if guard == "tracking" and used is not None and most is not None:
            value = used * most
        note = "" if most is not None else "this robot feels no force: the config says null"
        if guard == "torque":
            note = _worst_torque(row, robot)
        elif guard == "contact_force" and force is not None:
            delay_s = ForceFilter(force.group, force.cutoff_hz).delay_s
            note = f"filtered, {1e3 * delay_s:.1f} ms behind a force that grows steadily"
        uses.append(
            Use("guard", f"{guard.replace('_', ' ')} guard", guard, value, None, most, unit, used,
                f"{guard.upper()}_GUARD" in active, note)
        )  # fmt: skip
    return uses


def _guard_limits(config: Config) -> dict[str, tuple[float | None, str]]:
    guards = config.guards
    force = guards.contact_force
    return {
        "torque": (guards.torque_share, "of the drive's torque"),
        "tracking": (guards.tracking_error_rad, "rad"),
        "joint_speed": (guards.joint_speed_share, "of the manufacturer's speed"),
        "tool_speed": (guards.tool_speed_m_s, "m/s"),
        "elbow_speed": (guards.elbow_speed_m_s, "m/s"),
        "workspace": (1.0, "of the half width"),
        "contact_force": (None if force is None else force.max_n, "N"),
    }


def _worst_torque(row: np.void, robot: RobotSpec) -> str:
    shares = [
        abs(float(tau)) / joint.torque_max_nm
        for tau, joint in zip(row["tau_estimate"], robot.joints, strict=True)
    ]
    worst = int(np.argmax(shares))
    tau = float(row["tau_estimate"][worst])
    joint = robot.joints[worst]
    return f"most on {joint.name}: {tau:.1f} of {joint.torque_max_nm:g} N m"


def distance_uses(distances: Sequence[Distance], acted: str) -> list[Use]:
    """Return each barrier as a limit: used from 10 cm before its margin on.

    `acted`: the name of the barrier that changed the command ("shape | other shape"); "" for none.
    """
    obstacle = acted.rpartition(" | ")[2]
    groups = {distance.group for distance in distances}
    which = obstacle if obstacle in groups or not obstacle else OWN
    return [
        Use(
            kind="geometry",
            name=distance.group,
            of=distance.between,
            value=distance.commanded_m,
            low=distance.margin_m,
            high=None,
            unit="m",
            used=max(0.0, 1.0 - (distance.commanded_m - distance.margin_m) / _BARRIER_NEAR_M),
            acted=distance.group == which,
        )
        for distance in distances
    ]


def nearest_first(uses: Sequence[Use]) -> list[Use]:
    """Return the limits sorted by nearness; those of which nothing is known come last."""
    return sorted(uses, key=lambda use: -1.0 if use.used is None else use.used, reverse=True)


def ages(record: Record, index: int, config: Config) -> list[Age]:
    """Return how old each observation group and the base action were, against their budgets."""
    row = record.ticks[index]
    now_ns = int(row["now_ns"][0])
    seen = config.observations
    budgets = [("joints", seen.joints_max_age_s)]
    budgets += [(group.name, group.max_age_s) for group in seen.groups]
    found = []
    for number, (name, budget_s) in enumerate(budgets):
        has = int(row["group_sequence"][number]) > 0
        age_s = (now_ns - int(row["group_received_ns"][number])) / _NS_PER_S
        found.append(Age(f"observation {name}", age_s if has else None, budget_s))
    has = int(row["base_sequence"][0]) > 0
    age_s = (now_ns - int(row["base_observed_ns"][0])) / _NS_PER_S
    found.append(Age("base action", age_s if has else None, config.base.max_age_s))
    return found
