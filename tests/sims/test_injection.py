"""Every fault of the table can be injected, is seen, and gets its row's response."""

import pytest

from runtime.faults import ROWS, Fault, Response
from runtime.loop import LoopParts
from runtime.messages import Mode, Phase, TickRecord
from runtime.wiring import load_deployment
from sims.injection import INJECTORS
from tests.sims.kit import CONFIG_FILE, PegLoop, with_short_memory

RESPONSES = {row.fault: row.response for row in ROWS}
# seen while the reset or the hand-over runs, not while the policy acts
BEFORE_EPISODE = {Fault.START_REFUSED}


def running(record: TickRecord) -> bool:
    return bool(record.phase[0] == Phase.RUNNING and record.episode_step[0] >= 2)


def test_every_fault_has_one_row_and_one_injector() -> None:
    assert set(INJECTORS) == set(Fault) == set(RESPONSES)


@pytest.mark.parametrize("fault", list(Fault), ids=lambda fault: fault.name)
def test_injected_fault_acts(fault: Fault) -> None:
    injector = INJECTORS[fault]()
    deployment = with_short_memory(load_deployment(CONFIG_FILE, base_to_come=True))
    peg = PegLoop(attach=injector.attach, deployment=deployment)
    if fault not in BEFORE_EPISODE:
        peg.run_until(running, 5000)
    assert injector.acted == 0
    injector.active = True
    record = peg.run_until(lambda record: bool(int(record.faults[0]) >> fault & 1), 5000)
    assert injector.acted > 0
    response = RESPONSES[fault]
    assert record.response[0] >= response
    injector.active = False
    if response is Response.STOP:
        assert record.mode[0] == Mode.STOPPED
        peg.run_until(lambda _: peg.loop.at_rest, 1500)
    elif response is Response.HOLD:
        assert record.mode[0] in (Mode.HOLD, Mode.STOPPED)
    else:
        peg.run_until(lambda record: record.mode[0] in (Mode.BASE, Mode.HOMING), 1000)


def test_injector_does_nothing_while_off() -> None:
    injectors = [injector() for injector in INJECTORS.values()]

    def attach(parts: LoopParts) -> LoopParts:
        for injector in injectors:
            parts = injector.attach(parts)
        return parts

    peg = PegLoop(attach=attach, keep=True)
    plain = PegLoop(keep=True)
    for _ in range(1500):
        peg.step()
        plain.step()
    assert peg.sink.records == plain.sink.records
    assert all(injector.acted == 0 for injector in injectors)
