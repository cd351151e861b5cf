"""What the envelope costs a servo tick: `python -m tests.benchmarks.envelope_cost`.

Seven joints at 500 Hz, admit and certify together, each kind of demand for 10 000 ticks.
"""

import gc
import math
import random
import time
from collections.abc import Callable

from runtime.envelope.envelope import Envelope
from runtime.robot_spec import JointLimits

DT_S = 0.002
TICKS = 10_000
JOINTS = 7
RANGE_RAD = 2.5

Demand = Callable[[int], list[float]]


def make_envelope() -> Envelope:
    limits = JointLimits(
        name="joint",
        position_min_rad=-RANGE_RAD,
        position_max_rad=RANGE_RAD,
        velocity_max_rad_s=2.0,
        acceleration_max_rad_s2=10.0,
        jerk_max_rad_s3=5000.0,
    )
    envelope = Envelope((limits,) * JOINTS, DT_S)
    envelope.rest_at([0.0] * JOINTS)
    return envelope


def smooth(tick: int) -> list[float]:
    t = tick * DT_S
    return [0.5 * (1.0 - math.cos(math.pi * t)) * (1.0 - math.exp(-t))] * JOINTS


def noise(tick: int) -> list[float]:
    rng = random.Random(tick)
    return [rng.uniform(-3.0, 3.0) for _ in range(JOINTS)]


def beyond_both_ends(tick: int) -> list[float]:
    return [3.0 if (tick // 1000) % 2 else -3.0] * JOINTS


def percentiles_us(demand: Demand) -> tuple[float, float, float]:
    """Return median and p99 of a tick in microseconds, and the share of ticks that were limited."""
    envelope = make_envelope()
    asked = [demand(tick) for tick in range(TICKS)]
    took_ns, limited = [], 0
    gc.collect()
    gc.disable()
    for tick, desired in enumerate(asked):
        begin = time.perf_counter_ns()
        envelope.admit(desired)
        envelope.certify(0, tick, 0, 0, 1)
        took_ns.append(time.perf_counter_ns() - begin)
        limited += any(envelope.limited_by)
    gc.enable()
    took_ns.sort()
    return took_ns[TICKS // 2] / 1e3, took_ns[TICKS * 99 // 100] / 1e3, limited / TICKS


def main() -> None:
    print(f"envelope, {JOINTS} joints, admit + certify    median us    p99 us    ticks limited")
    for name, demand in (
        ("silent (smooth motion)", smooth),
        ("limited (white noise)", noise),
        ("limited (end to end)", beyond_both_ends),
    ):
        median, p99, limited = percentiles_us(demand)
        print(f"{name:36} {median:12.1f} {p99:9.1f} {limited:16.1%}")


if __name__ == "__main__":
    main()
