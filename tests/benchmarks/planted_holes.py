"""Whether the adversaries find holes: `python -m tests.benchmarks.planted_holes [--ticks N]`.

The same campaign as in adversaries.py against envelopes with one hole each: a check removed, a sign
flipped, a braking distance of v^2/2a, and the like for geometry. Prints after how many demanded
ticks the independent checkers saw the first violation, and which. Ends with an error if one is not
found, or if the envelope without a hole has a violation in as many ticks as the longest search.
"""

import argparse
import math
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any
from unittest.mock import patch

import msgspec
import numpy as np

from runtime.envelope import envelope as envelope_file
from runtime.envelope.anchors import Anchoring
from runtime.envelope.choice import Choice
from runtime.envelope.joint import JointAdmission, Reference
from runtime.envelope.stop import JointStop, StopPlan
from runtime.layout import Floats
from runtime.messages import Limit
from tests.benchmarks.adversaries import SEED, TICKS
from tests.benchmarks.adversary_arena import Arena
from tests.benchmarks.adversary_campaign import Campaign, Played, first_violation

Hole = Callable[[], AbstractContextManager[Any]]
References = tuple[Reference, ...]


def _stop_blind_to(limit: Limit) -> Hole:
    """The stop that would follow is not judged by one limit."""
    broken = JointAdmission._broken

    def blind(self: JointAdmission, last: Reference, plan: StopPlan) -> int:
        return broken(self, last, plan) & ~int(limit)

    return lambda: patch.object(JointAdmission, "_broken", blind)


@contextmanager
def _blind_to_velocity() -> Iterator[None]:
    def ceiling(self: JointAdmission, a_last: float, _: float) -> tuple[float, int]:
        return min((a_last + self._h, int(Limit.JERK)), (self._a_max, int(Limit.ACCELERATION)))

    with _stop_blind_to(Limit.VELOCITY)(), patch.object(JointAdmission, "_ceiling", ceiling):
        yield


def _unlimited(attribute: str) -> Hole:
    """One limit of the step itself is infinite."""
    init = JointAdmission.__init__

    def careless(self: JointAdmission, *arguments: Any) -> None:
        init(self, *arguments)
        setattr(self, attribute, math.inf)

    return lambda: patch.object(JointAdmission, "__init__", careless)


def _plans_by(change: Callable[[JointStop, StopPlan], StopPlan]) -> Hole:
    """The stop is planned wrongly."""
    plan = JointStop.plan

    def wrong(self: JointStop, q: float, v: float, a: float) -> StopPlan:
        return change(self, plan(self, q, v, a))

    return lambda: patch.object(JointStop, "plan", wrong)


def _v_squared(stop: JointStop, plan: StopPlan) -> StopPlan:
    length = plan.v * abs(plan.v) / (2.0 * stop.acceleration_max_rad_s2)
    low, high = min(plan.q, plan.q + length), max(plan.q, plan.q + length)
    return msgspec.structs.replace(plan, q_low=low, q_high=high)


def _wrong_way(_: JointStop, plan: StopPlan) -> StopPlan:
    return msgspec.structs.replace(plan, a_next=-plan.a_next)


@contextmanager
def _trusts_every_number() -> Iterator[None]:
    class _Math:
        @staticmethod
        def isfinite(_: float) -> bool:
            return True

    with patch.object(envelope_file, "math", _Math):
        yield


@contextmanager
def _gradient_flipped() -> Iterator[None]:
    slope = Anchoring._slope

    def flipped(self: Anchoring, ends: Floats, normal: Floats) -> Floats:
        return -slope(self, ends, normal)

    with patch.object(Anchoring, "_slope", flipped):
        yield


@contextmanager
def _straight_only() -> Iterator[None]:
    init = Anchoring.__init__

    def careless(self: Anchoring, *arguments: Any) -> None:
        init(self, *arguments)
        self.levers = np.zeros_like(self.levers)

    with patch.object(Anchoring, "__init__", careless):
        yield


@contextmanager
def _sees_only_the_next_pose() -> Iterator[None]:
    of, look = Choice.of, Choice.look

    def flat(references: References) -> References:
        return tuple(msgspec.structs.replace(at, q_low=at.q, q_high=at.q) for at in references)

    def short_of(self: Choice, last: References, wish: References) -> References:
        return of(self, flat(last), flat(wish))

    def short_look(self: Choice, last: References) -> None:
        look(self, flat(last))

    with patch.multiple(Choice, of=short_of, look=short_look):
        yield


HOLES: dict[str, Hole] = {
    "finite check removed": _trusts_every_number,
    "velocity check removed": _blind_to_velocity,
    "velocity of the stop unseen": _stop_blind_to(Limit.VELOCITY),
    "position of the stop unseen": _stop_blind_to(Limit.POSITION),
    "acceleration check removed": _unlimited("_a_max"),
    "jerk check removed": _unlimited("_h"),
    "sign of the stop flipped": _plans_by(_wrong_way),
    "braking distance v^2/2a": _plans_by(_v_squared),
    "geometry: gradient flipped": _gradient_flipped,
    "geometry: no second order": _straight_only,
    "geometry: next pose only": _sees_only_the_next_pose,
}


def search(hole: Hole, ticks: int, seed: int) -> tuple[int, Played] | None:
    """Return after how many ticks of the campaign a hole is found, and in which bout."""
    with hole(), np.errstate(all="ignore"):
        return first_violation(Campaign(Arena(), ticks, seed))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ticks", type=int, default=TICKS)
    parser.add_argument("--seed", type=int, default=SEED)
    options = parser.parse_args()
    missed, longest = [], 0
    for name, hole in HOLES.items():
        found = search(hole, options.ticks, options.seed)
        if found is None:
            missed.append(name)
            print(f"{name:30} NOT FOUND in {options.ticks} ticks", flush=True)
            continue
        after, played = found
        longest = max(longest, after)
        what = played.result.violations[0].what
        print(
            f"{name:30} after {after:7d} ticks by {played.kind} ({played.scene.name}): {what}",
            flush=True,
        )
    intact = first_violation(Campaign(Arena(), longest, options.seed))
    print(f"no hole{'':23} {'FOUND' if intact else 'none'} in {longest} ticks")
    return 1 if missed or intact else 0


if __name__ == "__main__":
    sys.exit(main())
