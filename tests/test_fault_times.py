"""A short run of tests/benchmarks/fault_times.py: every fault once, and its promise kept."""

import pytest

from runtime.faults import ROWS, Fault
from tests.benchmarks.fault_evidence import EVIDENCE
from tests.benchmarks.fault_times import Bench, measured

# two generators of trajectories that lie, or two late pacers, cannot share a loop
PAIRS = (
    (Fault.ENVELOPE_LIMITED, Fault.DEADLINE_MISSED),
    (Fault.TICK_RAISED, Fault.DEADLINES_MISSED),
)
LIMITED = (Fault.RESIDUAL_LIMITED,)
REST = tuple(fault for fault in Fault if fault not in PAIRS[0] + PAIRS[1] + LIMITED)


def test_every_fault_has_evidence_of_its_own() -> None:
    assert set(EVIDENCE) == set(Fault)


@pytest.mark.parametrize(
    "faults", [REST, *PAIRS, LIMITED], ids=["most", "pair", "other pair", "limited"]
)
def test_the_safe_action_comes_within_debounce_and_a_tick(faults: tuple[Fault, ...]) -> None:
    bench = Bench(faults, seed=2)
    times = [measured(bench, ROWS[fault], 1) for fault in faults]
    assert [t for t in times if max(t.ticks) > t.allowed] == []
