"""What the safety case rests on: who plays which part, what is assumed, what hardware provides."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Assumption:
    """What an argument rests on, what covers a deviation, and what tells of one."""

    what: str
    covered_by: str
    noticed_by: str


# who plays which part of run-time assurance
ROLES = (
    (
        "untrusted, complex function",
        (
            "the base policy, the residual, and all that plans between them: `policies/`, "
            "`runtime/trajectory.py`, `runtime/setpoints.py`"
        ),
    ),
    (
        "decision module",
        (
            "the envelope (`runtime/envelope/`), which admits a command only if a stop remains "
            "after it; monitors and fault table decide what follows"
        ),
    ),
    (
        "safety controller",
        "the kept stop: plain numbers, computed and certified before they are needed",
    ),
    ("switch", "the certificate, without which no link accepts a command"),
)

ASSUMPTIONS = (
    Assumption(
        "The drive takes one command per nominal servo period dt. Velocity, acceleration and jerk "
        "are differences on that grid.",
        "A skipped deadline is never caught up: the reference moves on by one step, later. So the "
        "arm is slower for a moment, never faster; its acceleration in between is the drive's.",
        "DEADLINE_MISSED, DEADLINES_MISSED",
    ),
    Assumption(
        "The drive follows the reference to within the tracking margin.",
        "`tracking_margin` of the robot spec in joint space, `geometry.margin_m` in space.",
        "TRACKING_GUARD, JOINT_SPEED_GUARD",
    ),
    Assumption(
        "Latency delays the reference as a whole and does not change its shape.",
        "A constant delay leaves every finite difference as it is. Commands that answer too old an "
        "observation are dropped by the device, which then holds.",
        "JOINTS_STALE, LINK_LOST",
    ),
    Assumption(
        "The payload at the tool is at most `tool.payload_max_kg`.",
        "The torque estimate counts the worse of with and without. The invariants do not depend on "
        "payload; how well the drive follows does.",
        "TORQUE_GUARD, TRACKING_GUARD",
    ),
    Assumption(
        "The robot's model encloses the robot, tool and workpiece included, and the keep-out "
        "volumes enclose all that stands around it.",
        "`geometry.margin_m`, and shapes that are wrapped in capsules before they are compared.",
        "nothing: only people can check it",
    ),
    Assumption(
        "Memory, processor and the monotonic clock do what they say.",
        "Nothing here: that is what diverse, certified hardware is for.",
        "the device's watchdog, when commands stay away",
    ),
)

HARDWARE = (
    (
        "an emergency stop of stop category 0 or 1 (IEC 60204-1, ISO 13850) that removes torque "
        "without asking this computer;"
    ),
    (
        "drives whose torque-off and brakes are safety functions, reached from that emergency stop "
        "and from the protective stop of guards, scanners or enabling devices;"
    ),
    (
        "a watchdog in the device that holds, and after a while removes torque, when fresh "
        "commands stay away;"
    ),
    (
        "safety-rated limits of speed, force, power and space in the robot's own safety "
        "controller, wherever people can reach the arm (ISO 10218-1:2025);"
    ),
    (
        "their parameters from a risk assessment of the whole application (ISO 10218-2:2025, and "
        "the contact limits of ISO/TS 15066): the guards in config.yaml are not those parameters;"
    ),
    "safeguarding of the cell, and a place from which a person sees the arm before arming it.",
)
