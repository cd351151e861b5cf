"""Warming up leaves no trace in the tick, and goes through everything that moves a robot."""

from pathlib import Path

from runtime.messages import Mode, TickInputs, TickRecord
from runtime.warm_up import warm_up
from runtime.wiring import build_tick, load_base, load_deployment, sizes_for

CONFIG = Path(__file__).resolve().parents[2] / "config.yaml"


def test_the_tick_is_put_back_and_was_everywhere() -> None:
    deployment = load_deployment(CONFIG)
    contract = load_base(deployment).contract
    tick = build_tick(deployment, contract)
    before = tick.save()
    seen: set[int] = set()
    original = tick.step

    def watched(inputs: TickInputs) -> TickRecord:
        record = original(inputs)
        seen.add(int(record.mode[0]))
        return record

    tick.step = watched  # type: ignore[method-assign]
    warm_up(tick, sizes_for(deployment, contract), deployment.robot)
    assert tick.save() == before
    assert {Mode.READY, Mode.HOMING, Mode.BASE, Mode.STOPPED} <= seen
