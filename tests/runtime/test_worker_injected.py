"""The injectors of the base's faults act on a worker, too: same fault, same response."""

import pytest

from runtime.faults import ROWS, Fault, Response
from runtime.messages import Mode
from sims.injection import INJECTORS
from tests.runtime.control_kit import assert_judged_clean
from tests.runtime.worker_kit import RealRig, strange

OF_THE_BASE = (
    Fault.BASE_NOT_FINITE,
    Fault.BASE_STALE,
    Fault.BASE_FAILED,
    Fault.INFERENCE_SLOW,
    Fault.OBSERVATION_UNFAMILIAR,
)
RESPONSES = {row.fault: row.response for row in ROWS}


@pytest.mark.parametrize("fault", OF_THE_BASE, ids=lambda fault: fault.name)
def test_an_injected_fault_of_the_base_acts_in_a_worker(fault: Fault) -> None:
    injector = INJECTORS[fault]()
    running = RealRig(strange("never", 0))
    running.loop._parts = injector.attach(running.loop._parts)
    worker = running.loop._parts.worker
    assert worker is not None
    try:
        running.begin()
        running.until(lambda record: record.base_sequence.item() == 3)
        assert injector.acted == 0
        injector.active = True
        record = running.until(lambda record: bool(record.faults.item() >> fault & 1), 500)
        assert injector.acted > 0
        assert record.response[0] >= RESPONSES[fault]
        if RESPONSES[fault] is Response.HOLD:
            assert record.mode[0] == Mode.HOLD
        # what was frozen thaws, and what was late is taken
        injector.active = False
        sequence = record.base_sequence.item()
        if fault is not Fault.BASE_FAILED:
            running.until(lambda record: record.base_sequence.item() > sequence + 1, 1000)
        assert_judged_clean(running)
    finally:
        worker.close()
