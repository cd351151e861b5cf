"""What a record says about one tick, as plain data: `trimtab explain` puts it into words."""

import msgspec

# the group of all distances between parts of the arm
OWN = "the arm itself"


class FaultFact(msgspec.Struct, frozen=True):
    """One fault of the tick. `acts`: it decides now; `seen`: its condition was true in this tick.

    `since_tick`: the first tick of the record from which it has acted without a break.
    """

    name: str
    response: str
    sentence: str
    acts: bool
    seen: bool
    since_tick: int | None
    why: str


class JointFact(msgspec.Struct, frozen=True):
    """One joint: measured, asked for and commanded position (rad), and what limited it."""

    joint: str
    measured_rad: float
    desired_rad: float | None
    applied_rad: float
    velocity_rad_s: float
    acceleration_rad_s2: float
    jerk_rad_s3: float | None
    margin: float
    limited_by: list[str]


class Use(msgspec.Struct, frozen=True):
    """How near one limit was. `used`: the share of it that is used, 1 at the limit, above 1 past
    it, None where the record does not say. `value`, `low`, `high` carry `unit`; a distance counts
    as used from 10 cm before its margin on."""

    kind: str
    name: str
    of: str
    value: float | None
    low: float | None
    high: float | None
    unit: str
    used: float | None
    acted: bool
    note: str = ""


class Distance(msgspec.Struct, frozen=True):
    """How far the arm is from one named barrier, by exact geometry.

    `commanded_m`: at the commanded pose, what the invariant is about; `measured_m`: at the
    measured one. `between`: the two nearest shapes at the commanded pose.
    """

    group: str
    between: str
    commanded_m: float
    measured_m: float
    margin_m: float


class ToolFact(msgspec.Struct, frozen=True):
    """The tool site in base, m: measured, at the joint positions asked for, and commanded."""

    measured_m: list[float]
    desired_m: list[float] | None
    applied_m: list[float]


class Age(msgspec.Struct, frozen=True):
    """How old something was that the tick used, against its budget; None: there was none."""

    of: str
    age_s: float | None
    budget_s: float


class CommandFact(msgspec.Struct, frozen=True):
    """What went to the robot. `status`: SENT, KEPT_STOP (the tick raised; the next step of the
    stop kept by the last good tick went out) or NOT_SENT."""

    status: str
    epoch: int
    sequence: int
    valid_for_s: float
    answers_sequence: int


class PolicyFact(msgspec.Struct, frozen=True):
    """What the policies asked for, and what came of it. `executed`: the action that is left after
    the contract's limits and the set-point's reach."""

    base_action: list[float]
    residual_action: list[float]
    residual_noise: list[float]
    residual_version: int
    stage: str
    region_share: float
    authority: list[float]
    action: list[float]
    executed: list[float]
    setpoint: list[float]
    setpoint_measured: list[float]
    unfamiliarity: float


class Explanation(msgspec.Struct, frozen=True):
    """Everything that is said about one tick; `uses` nearest limit first."""

    run: str
    tick: int
    time_s: float
    mode: str
    mode_since_tick: int
    response: str
    phase: str
    episode: int
    outcome: str
    request: str
    request_refused: bool
    command: CommandFact
    history: str
    faults: list[FaultFact]
    policy: PolicyFact
    tool: ToolFact
    joints: list[JointFact]
    nearest_barrier: str
    clearance_m: float
    distances: list[Distance]
    uses: list[Use]
    ages: list[Age]
    notes: list[str]
