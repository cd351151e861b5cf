"""The bounds that geometry rests on, against brute force; and that brute force finds bad ones."""

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from runtime.envelope import anchors as anchors_file
from runtime.envelope.anchors import Anchoring, Anchors, Bounds, Extents
from runtime.envelope.barriers import barriers
from runtime.envelope.bodies import Arm
from runtime.geometry_spec import BoxSpec, CapsuleSpec, GeometryConfig, KeepOut, SphereSpec
from tests.runtime.geometry_kit import MARGIN_M, TABLE, Judge, Machine, panda, planar

SEED = 5
TOLERANCE_M = 1e-9
Array = NDArray[np.float64]


def random_volumes(rng: np.random.Generator) -> tuple[KeepOut, ...]:
    def somewhere() -> tuple[float, float, float]:
        x, y, z = rng.uniform([-0.8, -0.8, 0.0], [0.8, 0.8, 1.0]).tolist()
        return (x, y, z)

    def size() -> float:
        return float(rng.uniform(0.02, 0.3))

    return (
        TABLE,
        BoxSpec(
            shape="box",
            name="box",
            center_m=somewhere(),
            half_size_m=(size(), size(), size()),
            yaw_rad=float(rng.uniform(-3.0, 3.0)),
        ),
        SphereSpec(shape="sphere", name="sphere", center_m=somewhere(), radius_m=size()),
        CapsuleSpec(
            shape="capsule", name="capsule", from_m=somewhere(), to_m=somewhere(), radius_m=size()
        ),
    )


class Case:
    """A robot among random volumes, its barriers, and the judge of its distances."""

    def __init__(self, which: Machine, rng: np.random.Generator, *, own: bool) -> None:
        volumes = random_volumes(rng)
        config = GeometryConfig(margin_m=MARGIN_M, self_collision=own, keep_out=volumes)
        self.arm = Arm(str(which.mjcf), which.site, which.limits)
        found = barriers(self.arm, config, which.workspace)
        self.names = [barrier.name for barrier in found]
        self.anchoring = Anchoring(self.arm, found)
        self.rows = np.arange(len(found))
        self._judge = Judge(which, self.names, volumes)

    def anchors(self, q: Array) -> Anchors:
        return self.anchoring.at(q, self.rows, np.full(len(self.rows), 0.5), 8)

    def bounds(self, anchors: Anchors) -> Bounds:
        return Bounds(anchors, self.anchoring.levers, self.arm.deeper)

    def distances(self, q: Array) -> Array:
        found = self._judge.distances(q.tolist())
        return np.array([found[name] for name in self.names])


def most_promised_too_much(which: Machine, *, own: bool, cases: int, poses: int) -> float:
    """Return by how much, at most, a bound over a random box exceeds a distance inside it, m."""
    rng = np.random.default_rng(SEED)
    worst = -np.inf
    for _ in range(cases):
        case = Case(which, rng, own=own)
        anchor = rng.uniform(which.low, which.high)
        half = rng.uniform(0.0, 1.0, len(anchor)) ** 3 * rng.choice([0.02, 0.2, 0.8])
        middle = anchor + rng.uniform(-1.0, 1.0, len(anchor)) * rng.choice([0.0, 0.1, 0.4])
        bound = case.bounds(case.anchors(anchor)).over(Extents(middle[None], half[None]))[:, 0]
        corners = rng.choice([-1.0, 1.0], (poses, len(anchor)))
        inside = rng.uniform(-1.0, 1.0, (poses, len(anchor)))
        for share in (*corners, *inside):
            worst = max(worst, float((bound - case.distances(middle + share * half)).max()))
    return worst


@pytest.mark.parametrize(("which", "own"), [(panda, True), (planar, False)])
def test_no_bound_promises_more_than_there_is(which: Callable[[], Machine], own: bool) -> None:
    assert most_promised_too_much(which(), own=own, cases=12, poses=6) <= TOLERANCE_M


def test_a_bound_at_its_own_pose_is_the_distance() -> None:
    """Of capsules exactly, for which the enclosure is the shape itself."""
    rng = np.random.default_rng(SEED)
    which = panda()
    case = Case(which, rng, own=True)
    exact = np.array(
        [
            not any(word in name for word in ("peg |", "axle", "collar", "link7", "holder"))
            for name in case.names
        ]
    )
    for _ in range(20):
        q = rng.uniform(which.low, which.high)
        point = Extents(q[None], np.zeros((1, len(q))))
        bound = case.bounds(case.anchors(q)).over(point)[:, 0]
        distance = case.distances(q)
        # the oracle's points lie 1 cm apart, and it says 0 inside boxes
        apart = exact & (distance > 0.05)
        assert apart.sum() > 50
        np.testing.assert_allclose(bound[apart], distance[apart], atol=2e-3)


def test_slopes_are_the_derivatives_of_the_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of bounds with fixed normals, as a slope takes them to be."""
    fixed = np.array([0.48, -0.6, 0.64])

    def parting(ends: Array, half: Array, share: Array, rounds: int) -> tuple[Array, Array]:
        return np.tile(fixed, (len(ends), 1)), share

    monkeypatch.setattr(anchors_file, "parting", parting)
    rng = np.random.default_rng(SEED)
    for which, own in ((panda(), True), (planar(), False)):
        case = Case(which, rng, own=own)
        q = rng.uniform(which.low, which.high)
        here = case.anchors(q)
        slope = here.sides[:, :, : len(q)]
        at_here = here.offset + slope @ q
        for joint in range(len(q)):
            there = q.copy()
            there[joint] += 1e-6
            after = case.anchors(there)
            change = (after.offset + after.sides[:, :, : len(q)] @ there - at_here) / 1e-6
            np.testing.assert_allclose(change, slope[:, :, joint], atol=1e-5)


# -- planted holes: what the soundness test above is worth -------------------------------------


def flipped(self: Bounds, columns: Array) -> Array:
    sides = self._anchors.sides * np.repeat([-1.0, 1.0], len(columns) // 2)
    least: Array = sides @ columns + self._anchors.offset[:, :, None]
    return least


def no_width(self: Bounds, columns: Array) -> Array:
    joints = len(columns) // 2
    slope = self._anchors.sides[:, :, :joints]
    least: Array = slope @ columns[:joints] + self._anchors.offset[:, :, None]
    return least


def straight(self: Bounds, away: Array) -> Array:
    return np.zeros(away.shape[:-1])


@pytest.mark.parametrize(
    ("name", "hole"),
    [
        ("_linear", flipped),
        ("_linear", no_width),
        ("_bend", straight),
    ],
)
def test_brute_force_finds_planted_holes(
    name: str, hole: Callable[..., Array], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Bounds, name, hole)
    assert most_promised_too_much(panda(), own=True, cases=6, poses=6) > 1e-3


def test_brute_force_finds_a_radius_too_small(monkeypatch: pytest.MonkeyPatch) -> None:
    parts = anchors_file._parts

    def thin(numbers: Array) -> tuple[Array, ...]:
        *rest, radii = parts(numbers)
        return (*rest, radii - 0.005)

    monkeypatch.setattr(anchors_file, "_parts", thin)
    rng = np.random.default_rng(SEED)
    which = panda()
    case = Case(which, rng, own=True)
    q = np.array(which.home)
    bound = case.bounds(case.anchors(q)).over(Extents(q[None], np.zeros((1, 7))))[:, 0]
    assert float((bound - case.distances(q)).max()) > 4e-3
