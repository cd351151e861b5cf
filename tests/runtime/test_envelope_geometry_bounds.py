"""The bounds that geometry rests on, against brute force; and that brute force finds bad ones."""

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from runtime.envelope import anchors as anchors_file
from runtime.envelope import cover as cover_file
from runtime.envelope import geometry as geometry_file
from runtime.envelope.anchors import Anchoring, Anchors, Bounds, Extents, Seen, extents
from runtime.envelope.barriers import barriers
from runtime.envelope.bodies import Arm
from runtime.envelope.cover import Cover
from runtime.geometry_spec import BoxSpec, CapsuleSpec, GeometryConfig, KeepOut, SphereSpec
from tests.runtime.geometry_kit import MARGIN_M, TABLE, Judge, Machine, panda, planar

SEED = 5
TOLERANCE_M = 1e-9
Array = NDArray[np.float64]
Box = tuple[Array, Array]


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


def most_a_cover_promised_too_much(which: Machine, cases: int) -> float:
    """Return by how much, at most, a cover promises more room than a pose in it leaves, m."""
    rng = np.random.default_rng(SEED)
    geometry = which.geometry()
    judge = Judge(which, geometry.names)
    worst, home, share = -np.inf, np.array(which.home), np.ones(len(which.home))
    for _ in range(cases):
        geometry.settle((home + rng.uniform(-0.3, 0.3) * share).tolist())
        low = home + rng.uniform(-0.4, 0.4, len(home))
        high = low + rng.uniform(0.0, 0.1, len(home))
        boxes = extents(np.stack([low] * 3), np.stack([high] * 3))
        geometry.cover_anew(boxes, rng.normal(0.0, 1.0, len(home)))
        cover = geometry.cover
        far = [name for row, name in enumerate(geometry.names) if row not in cover.near]
        for at in (*rng.choice([0.0, 1.0], (8, len(home))), rng.random(len(home))):
            q = np.array(cover.low) + at * (np.array(cover.high) - np.array(cover.low))
            found = judge.distances(q.tolist())
            left = min(found[name] for name in far) - MARGIN_M
            worst = max(worst, cover.room_m - left)
    return worst


def test_no_cover_promises_more_than_there_is() -> None:
    assert most_a_cover_promised_too_much(panda(), cases=12) <= TOLERANCE_M


def test_brute_force_finds_a_cover_that_is_wider_than_was_judged(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = cover_file.made

    def wider(narrow: Box, widest: Box, room: Array) -> Cover:
        cover, (low, high) = made(narrow, widest, room), widest
        low, high = 2.0 * low - narrow[0], 2.0 * high - narrow[1]
        return cover._replace(low=low.tolist(), high=high.tolist())

    monkeypatch.setattr(geometry_file, "made", wider)
    assert most_a_cover_promised_too_much(panda(), cases=12) > 1e-3


# -- planted holes: what the soundness test above is worth -------------------------------------


_see = Bounds.see


def flipped(self: Bounds, boxes: Extents) -> Seen:
    seen = _see(self, boxes)
    sides = self._anchors.sides * np.repeat([-1.0, 1.0], len(seen.columns) // 2)
    return seen._replace(line=sides @ seen.columns + self._anchors.offset[:, :, None])


def no_width(self: Bounds, boxes: Extents) -> Seen:
    seen = _see(self, boxes)
    joints = len(seen.columns) // 2
    slope = self._anchors.sides[:, :, :joints]
    line = slope @ seen.columns[:joints] + self._anchors.offset[:, :, None]
    return seen._replace(line=line)


def straight(self: Bounds, away: Array) -> Array:
    return np.zeros(away.shape[:-1])


@pytest.mark.parametrize(
    ("name", "hole"),
    [
        ("see", flipped),
        ("see", no_width),
        ("_bend", straight),
    ],
)
def test_brute_force_finds_planted_holes(
    name: str, hole: Callable[..., object], monkeypatch: pytest.MonkeyPatch
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
