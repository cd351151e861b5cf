"""Where adversaries meet the envelope: envelope and simulated arm alone, without loop or guards.

A bout begins at rest, lasts so many ticks of demands and pushes, and ends with the kept stop. What
was commanded and what the arm did is judged by the two independent checkers.
"""

import dataclasses
import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import mujoco
import numpy as np

from runtime.envelope.envelope import Envelope
from runtime.envelope.geometry import Geometry
from runtime.geometry_spec import (
    BoxSpec,
    CapsuleSpec,
    GeometryConfig,
    KeepOut,
    PlaneSpec,
    SphereSpec,
)
from runtime.layout import Floats
from runtime.wiring import build_geometry, load_deployment
from sims.config import load_sim
from sims.device import CommandReceiver
from sims.plant import Plant
from tests.benchmarks.invariants import COMMANDS, DT_S, MANUFACTURER
from tests.benchmarks.kit import CONFIG_FILE, REPOSITORY, SERVO_HZ
from tests.runtime.geometry_checker import (
    WORLD,
    GeometryChecker,
    Region,
    Solid,
    box,
    capsule,
    plane,
    sphere,
)
from tests.runtime.invariant_checker import Violation, check

JOINTS = len(MANUFACTURER)
LOW = np.array([joint.q_min for joint in COMMANDS])
HIGH = np.array([joint.q_max for joint in COMMANDS])
HOME = np.array([0.0, -0.0201, 0.0, -2.3475, 0.0, 2.3274, 0.7854])
MJCF = REPOSITORY / "sims/robots/panda.xml"
AROUND_HOME_RAD = 1.2

_SPEED = np.array([joint.v_max for joint in MANUFACTURER])
_REAL_LOW = np.array([joint.q_min for joint in MANUFACTURER])
_REAL_HIGH = np.array([joint.q_max for joint in MANUFACTURER])
_MOVING_BODIES = (*(f"link{number}" for number in range(1, JOINTS + 1)), "tool")
_STOP_TICKS = 1500
_HALVINGS = 40
_COMMAND_VALID_NS = 20_000_000
_OUT_OF_SIGHT_M = (5.0, 5.0, -5.0)

# the cluttered scene, twice by hand: for the envelope and for the judge
MARGIN_M = 0.01
REGION = Region((0.2, -0.4, 0.0), (0.8, 0.4, 0.7))
VOLUMES: tuple[KeepOut, ...] = (
    PlaneSpec(shape="plane", name="table", point_m=(0.0, 0.0, 0.0), normal=(0.0, 0.0, 1.0)),
    SphereSpec(shape="sphere", name="ball", center_m=(0.42, 0.33, 0.4), radius_m=0.1),
    BoxSpec(
        shape="box",
        name="crate",
        center_m=(0.55, -0.33, 0.2),
        half_size_m=(0.1, 0.08, 0.2),
        yaw_rad=0.4,
    ),
    CapsuleSpec(
        shape="capsule",
        name="pole",
        from_m=(-0.35, -0.3, 0.6),
        to_m=(-0.35, 0.3, 0.7),
        radius_m=0.06,
    ),
)
SOLIDS: tuple[Solid, ...] = (
    plane("table", (0.0, 0.0, 0.0), (0.0, 0.0, 1.0)),
    sphere("ball", (0.42, 0.33, 0.4), 0.1),
    box("crate", (0.55, -0.33, 0.2), (0.1, 0.08, 0.2), 0.4),
    capsule("pole", WORLD, (-0.35, -0.3, 0.6), (-0.35, 0.3, 0.7), 0.06),
)

# what is asked next (rad), by somebody who sees the envelope
Demand = Callable[[Envelope], list[float]]


@dataclass(frozen=True)
class Scene:
    """A surrounding. Without `geometry` only joint limits act, and the whole range is open."""

    name: str
    geometry: Geometry | None
    checker: GeometryChecker | None


@dataclass(frozen=True)
class Disturbance:
    """What differs from the ideal drive: mass at the tool that nobody told, the share of torque
    that arrives, and the delay of every command."""

    payload_kg: float = 0.0
    gain: float = 1.0
    latency_s: float = 0.0


@dataclass(frozen=True)
class Push:
    """A constant force (base frame) on a point of a body (its frame) for `ticks` from `start`."""

    start: int
    ticks: int
    force_n: tuple[float, float, float]
    body: str
    point_m: tuple[float, float, float]


@dataclass(frozen=True)
class Bout:
    """What happened: `commands` [ticks + 1, joints] rad, the first one at rest; `q` and `dq`
    [ticks, joints], what the arm did; of those, `demanded` ticks before the stop at the end.
    `rested`: that one ended at rest. `raised`: the tick in which `admit` first raised, -1: none."""

    commands: Floats
    q: Floats
    dq: Floats
    demanded: int
    rested: bool
    raised: int


@dataclass(frozen=True)
class Result:
    """The verdict on a bout. `speed`: largest share of the manufacturer's; `position_rad`: least
    distance from the ends of the manufacturer's range, negative outside; `outside`: ticks beyond
    either; `clearance_m`: least distance beyond the margin, inf in the open."""

    violations: tuple[Violation, ...]
    speed: float
    position_rad: float
    outside: int
    clearance_m: float

    @property
    def first(self) -> int:
        """The row of the first violation."""
        return min(violation.tick for violation in self.violations)


class Arena:
    """Envelope, arm and judges. `make_envelope` may put something weaker in the place of the first.

    Raises:
        ConfigError: the committed config or robot cannot be read.
    """

    def __init__(self, make_envelope: Callable[..., Envelope] = Envelope) -> None:
        self._deployment = load_deployment(CONFIG_FILE, base_to_come=True)
        self._limits = self._deployment.robot.command_limits()
        self._make_envelope = make_envelope
        self.pushable = _pushable(self.plant(Disturbance()).model)
        self.open = Scene("open", None, None)
        cluttered = self._deployment.config.model_copy(
            update={
                "geometry": GeometryConfig(
                    margin_m=MARGIN_M, self_collision=True, keep_out=VOLUMES
                )
            }
        )
        self.cluttered = Scene(
            "cluttered",
            build_geometry(dataclasses.replace(self._deployment, config=cluttered)),
            GeometryChecker(MJCF, SOLIDS, REGION, MARGIN_M),
        )

    @functools.cache  # noqa: B019 - an arena lives as long as its run
    def plant(self, disturbance: Disturbance) -> Plant:
        """Return the simulated arm under a disturbance, the peg's block out of reach."""
        sim = load_sim(self._deployment.config, "nominal")
        field = sim.field_block("nominal").model_copy(
            update={
                "payload_kg": disturbance.payload_kg,
                "actuator_gain": disturbance.gain,
                "action_latency_s": disturbance.latency_s,
            }
        )
        sim = sim.model_copy(update={"fields": {"nominal": field}})
        plant = Plant(MJCF, self._deployment.robot, sim, SERVO_HZ)
        plant.data.mocap_pos[:] = _OUT_OF_SIGHT_M
        return plant

    def envelope(self, scene: Scene) -> Envelope:
        """Return a fresh envelope for a scene."""
        return self._make_envelope(self._limits, DT_S, scene.geometry)

    def start(self, scene: Scene, rng: np.random.Generator, room_m: float = 0.0) -> Floats:
        """Return a pose [joints], rad, at which a bout may begin; see `may_begin`."""
        if scene.geometry is None:
            return rng.uniform(LOW, HIGH)
        while True:
            q = np.clip(HOME + rng.uniform(-1, 1, JOINTS) * AROUND_HOME_RAD, LOW, HIGH)
            if self.may_begin(scene, q, room_m):
                return q

    def may_begin(self, scene: Scene, q: Floats, room_m: float = 0.0) -> bool:
        """True if nothing is nearer than the margin and `room_m` at q: recovery is judged
        elsewhere."""
        allowed_m = MARGIN_M + room_m
        return scene.geometry is None or not scene.geometry.nearer_than(allowed_m, q.tolist())

    def towards(self, scene: Scene, q: Floats, room_m: float) -> Floats:
        """Return the pose [joints], rad, on the way from home to `q`, inside the ranges, at which
        a barrier is hardly further than the margin and `room_m`; `q` if none is as near there."""
        end = np.clip(q, LOW, HIGH)
        if self.may_begin(scene, end, room_m):
            return end
        near, far = HOME, end
        for _ in range(_HALVINGS):
            middle = 0.5 * (near + far)
            if self.may_begin(scene, middle, room_m):
                near = middle
            else:
                far = middle
        return near

    def play(
        self,
        scene: Scene,
        start: Floats,
        demand: Demand,
        ticks: int,
        disturbance: Disturbance,
        pushes: Sequence[Push] = (),
        watch: Callable[[Envelope], None] | None = None,
    ) -> Bout:
        """Play one bout; `watch` sees the envelope at the start and after every demanded tick."""
        envelope, plant = self.envelope(scene), self.plant(disturbance)
        envelope.rest_at(start.tolist())
        _put(plant, start, disturbance.latency_s)
        commands, q, dq, raised = [start.tolist()], [], [], -1
        if watch is not None:
            watch(envelope)
        for tick in range(ticks + _STOP_TICKS):
            if tick < ticks:
                raised = _admit(envelope, demand(envelope), tick, raised)
            elif envelope.at_rest:
                break
            else:
                envelope.brake()
            _push(plant, pushes, tick)
            certificate = envelope.certify(0, tick, 0, plant.now_ns, _COMMAND_VALID_NS)
            plant.step(certificate.command)
            commands.append(list(certificate.command.q))
            q.append(plant.q.copy())
            dq.append(plant.dq.copy())
            if watch is not None and tick < ticks:
                watch(envelope)
        _push(plant, pushes, -1)
        return Bout(np.array(commands), np.array(q), np.array(dq), ticks, envelope.at_rest, raised)


def judge(bout: Bout, scene: Scene) -> Result:
    """Judge one bout by numbers typed a second time."""
    with np.errstate(invalid="ignore", over="ignore"):
        found = list(check(bout.commands, DT_S, COMMANDS).violations)
        clearance_m = math.inf
        if scene.checker is not None:
            geometry = scene.checker.check(bout.commands)
            found += geometry.violations
            clearance_m = geometry.least_m
    if not bout.rested:
        found.append(Violation(len(bout.q), -1, "the stop never rests", math.nan, 0.0))
    if bout.raised >= 0:
        found.append(Violation(bout.raised, -1, "admit raised an error", math.nan, 0.0))
    speed = np.abs(bout.dq) / _SPEED
    room = np.minimum(bout.q - _REAL_LOW, _REAL_HIGH - bout.q)
    inside = (speed <= 1.0).all(axis=1) & (room >= 0.0).all(axis=1)
    return Result(
        tuple(found), float(speed.max()), float(room.min()), int((~inside).sum()), clearance_m
    )


def random_pushes(
    rng: np.random.Generator,
    pushable: Sequence[tuple[str, Floats, Floats]],
    ticks: int,
    force_n: float,
    push_ticks: int,
) -> list[Push]:
    """Return pushes in any direction on points of any shape, one after the other with pauses."""
    pushes, start = [], int(rng.integers(push_ticks))
    while start < ticks:
        pushes.append(
            push_at(
                pushable[int(rng.integers(len(pushable)))],
                rng.normal(size=3),
                rng.uniform(-1, 1, 3),
                force_n,
                start,
                push_ticks,
            )
        )
        start += push_ticks + int(rng.integers(2 * push_ticks))
    return pushes


def push_at(
    shape: tuple[str, Floats, Floats],
    direction: Floats,
    place: Floats,
    force_n: float,
    start: int,
    ticks: int,
) -> Push:
    """Return a push on a shape (body, centre and half sizes there); `place` in [-1, 1]^3."""
    body, center, half = shape
    force = force_n * direction / max(float(np.linalg.norm(direction)), 1e-9)
    x, y, z = (center + half * place).tolist()
    return Push(start, ticks, (float(force[0]), float(force[1]), float(force[2])), body, (x, y, z))


def _pushable(model: mujoco.MjModel) -> list[tuple[str, Floats, Floats]]:
    """Return body, centre and half extents (m, the body's frame) of every shape that moves."""
    shapes = []
    for geom in range(model.ngeom):
        body = str(model.body(int(model.geom_bodyid[geom])).name)
        if body not in _MOVING_BODIES:
            continue
        turn = np.zeros(9)
        mujoco.mju_quat2Mat(turn, model.geom_quat[geom])
        half = np.abs(turn.reshape(3, 3)) @ model.geom_aabb[geom, 3:]
        shapes.append((body, model.geom_pos[geom].copy(), half))
    return shapes


def _put(plant: Plant, q: Floats, latency_s: float) -> None:
    mujoco.mj_resetData(plant.model, plant.data)
    plant.data.mocap_pos[:] = _OUT_OF_SIGHT_M
    plant.data.qpos[:] = q
    plant.data.ctrl[:] = q
    mujoco.mj_forward(plant.model, plant.data)
    plant.device = CommandReceiver(q, plant.period_ns, latency_s)


def _push(plant: Plant, pushes: Sequence[Push], tick: int) -> None:
    """Begin and end pushes; tick -1 ends all."""
    for push in pushes:
        if tick == push.start:
            plant.push(push.force_n, push.body, push.point_m)
        elif tick in (push.start + push.ticks, -1):
            plant.push((0.0, 0.0, 0.0), push.body, push.point_m)



def _admit(envelope: Envelope, asked: list[float], tick: int, raised: int) -> int:
    """Ask for a command, brake if that raises as the control tick does; return when it first did.

    No number may make an envelope raise: the tick would survive it, the judge does not forgive it.
    """
    try:
        envelope.admit(asked)
    except (ArithmeticError, ValueError):
        envelope.emergency()
        return raised if raised >= 0 else tick
    return raised
