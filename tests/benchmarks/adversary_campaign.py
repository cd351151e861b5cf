"""Which adversary plays when: the same campaign for the benchmark, its small test and the holes.

Every kind has a share of the ticks. The first ones differ in what they ask, and meet all allowed
disturbances at once; the last ones meet one disturbance at its stated extreme.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from runtime.envelope.envelope import Envelope
from runtime.layout import Floats
from tests.benchmarks.adversary_arena import (
    HIGH,
    JOINTS,
    LOW,
    Arena,
    Bout,
    Demand,
    Disturbance,
    Push,
    Result,
    Scene,
    judge,
    random_pushes,
)
from tests.benchmarks.adversary_demands import STREAMS, Levels
from tests.benchmarks.adversary_near import APPROACH_FROM_M, Lean, lean, near_trainer
from tests.benchmarks.adversary_smooth import SmoothDemand
from tests.benchmarks.adversary_trained import (
    PUSH_TICKS,
    Attack,
    Trainer,
    attack,
    swing_trainer,
)

BOUT_TICKS = 600
PUSH_N = 30.0
PAYLOAD_KG = 0.6  # 1.5 times what the robot spec declares
GAINS = (0.85, 1.15)
LATENCY_S = 0.05
ALL_AT_ONCE = tuple(
    Disturbance(payload_kg, gain, latency_s)
    for payload_kg in (0.0, PAYLOAD_KG)
    for gain in GAINS
    for latency_s in (0.0, LATENCY_S)
)
# an approach is nearness that is not owed to where a bout begins
APPROACH = "approach"
SWINGS, NEAR = ("speed", "position"), ("clearance", APPROACH)
OBJECTIVES = SWINGS + NEAR
# what is tried in turn: nearness is learned in half as many bouts
TURNS = (*SWINGS, APPROACH, *SWINGS, "clearance")
TRAINED, NOISE, SMOOTH = "trained", "noise", "smooth"

_ASKERS = ("nan", "inf", "huge", "sign flips", "squares", "walks")
_ALONE: dict[str, tuple[Disturbance, ...]] = {
    "push": (Disturbance(),),
    "payload": (Disturbance(payload_kg=PAYLOAD_KG),),
    "gain": tuple(Disturbance(gain=gain) for gain in GAINS),
    "latency": (Disturbance(latency_s=LATENCY_S),),
}
# the trained one needs ticks to learn, and is compared with noise at equal ticks
WEIGHTS = {
    **dict.fromkeys(_ASKERS, 1.0),
    **dict.fromkeys(_ALONE, 1.0),
    SMOOTH: 1.0,
    TRAINED: 4.0,
    NOISE: 4.0,
}
_OVERSHOOT = 1.2


@dataclass(frozen=True)
class Played:
    """One bout, judged. `objective`: for what the trained adversary, and noise beside it, played
    it; else empty."""

    kind: str
    scene: Scene
    objective: str
    bout: Bout
    result: Result


@dataclass
class Campaign:
    """Draws bouts until `ticks` have been demanded; the same seed draws the same bouts."""

    arena: Arena
    ticks: int
    seed: int
    trainers: dict[str, Trainer] = field(init=False)

    def __post_init__(self) -> None:
        self._rng = np.random.default_rng(self.seed)
        learns = iter(np.random.default_rng(self.seed).spawn(len(OBJECTIVES)))
        self.trainers = {
            name: swing_trainer(next(learns), anywhere=name == "position") for name in SWINGS
        } | {name: near_trainer(next(learns)) for name in NEAR}
        # one stream a kind goes on through all its bouts, so that the sweep covers everything
        self._levels: dict[str, Levels] = {
            kind: STREAMS[kind if kind in STREAMS else "swings"](self._rng, JOINTS)
            for kind in WEIGHTS
            if kind not in (TRAINED, SMOOTH)
        }
        self._bouts = dict.fromkeys(WEIGHTS, 0)

    def play(self) -> Iterator[Played]:
        """Yield bout after bout; always one of the kind that is furthest behind its share."""
        left = self.ticks
        while left > 0:
            kind = min(WEIGHTS, key=lambda name: self._bouts[name] / WEIGHTS[name])
            number = self._bouts[kind]
            self._bouts[kind] += 1
            yield self._trained(number) if kind == TRAINED else self._drawn(kind, number)
            left -= BOUT_TICKS

    def _trained(self, number: int) -> Played:
        objective = TURNS[number % len(TURNS)]
        scene, trainer = self._scene(objective), self.trainers[objective]
        plan: Attack | Lean
        if objective in NEAR:
            plan = lean(trainer.ask(), self.arena, scene, approach=objective == APPROACH)
            disturbance, pushes = self._disturbed(ALL_AT_ONCE), self._pushes()
        else:
            plan = self.read(trainer.ask())
            disturbance, pushes = plan.disturbance, plan.pushes
        bout = self.arena.play(
            scene, plan.start, plan.demand(), BOUT_TICKS, disturbance, pushes
        )
        result = judge(bout, scene)
        trainer.tell(reward(objective, result))
        return Played(TRAINED, scene, objective, bout, result)

    def _drawn(self, kind: str, number: int) -> Played:
        rng = self._rng
        # noise meets every scene, and begins from afar, as often as the trained adversary does
        objective = TURNS[number % len(TURNS)] if kind == NOISE else ""
        scene = (
            self._scene(objective)
            if kind == NOISE
            else (self.arena.open, self.arena.cluttered)[number % 2]
        )
        disturbance = self._disturbed(_ALONE.get(kind, ALL_AT_ONCE))
        pushes = self._pushes() if kind == "push" or kind not in _ALONE else []
        start = self.arena.start(scene, rng, APPROACH_FROM_M if objective == APPROACH else 0.0)
        demand = SmoothDemand(rng) if kind == SMOOTH else demand_of(self._levels[kind])
        bout = self.arena.play(scene, start, demand, BOUT_TICKS, disturbance, pushes)
        return Played(kind, scene, objective, bout, judge(bout, scene))

    def _disturbed(self, by: tuple[Disturbance, ...]) -> Disturbance:
        return by[int(self._rng.integers(len(by)))]

    def _pushes(self) -> list[Push]:
        return random_pushes(self._rng, self.arena.pushable, BOUT_TICKS, PUSH_N, PUSH_TICKS)

    def read(self, values: Floats) -> Attack:
        """Return the attack that the trained adversary's parameters mean."""
        return attack(values, BOUT_TICKS, self.arena.pushable, ALL_AT_ONCE, PUSH_N)

    def _scene(self, objective: str) -> Scene:
        return self.arena.cluttered if objective in NEAR else self.arena.open


def reward(objective: str, result: Result) -> float:
    """Return what a bout is worth to an objective; a violation is worth more than anything."""
    if result.violations:
        return 10.0
    if objective == "speed":
        return result.speed
    return -result.position_rad if objective == "position" else -result.clearance_m


def demand_of(levels: Levels) -> Demand:
    """Return the demand that a stream of levels means, rad."""
    middle, half = 0.5 * (LOW + HIGH), 0.5 * (HIGH - LOW)

    def ask(_: Envelope) -> list[float]:
        asked: list[float] = (middle + _OVERSHOOT * half * next(levels)).tolist()
        return asked

    return ask


def first_violation(campaign: Campaign) -> tuple[int, Played] | None:
    """Return after how many ticks of a campaign the first violation comes, and its bout."""
    before = 0
    for played in campaign.play():
        if played.result.violations:
            return before + min(played.result.first, played.bout.demanded), played
        before += played.bout.demanded
    return None

