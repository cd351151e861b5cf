"""What every Link promises, asked of every link that there is."""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from runtime.envelope.certificate import ENVELOPE_SEAL, Certificate
from runtime.errors import LinkError
from runtime.interfaces import BasePolicy, Link
from runtime.layout import Floats
from runtime.messages import Command, SignalKind, TaskSignal, TickInputs, new_inputs
from runtime.wiring import (
    Deployment,
    check_link,
    load_base,
    load_deployment,
    open_link,
    sizes_for,
)
from sims.faulty import FaultyLink, Switch

ROOT = Path(__file__).resolve().parents[2]
VALID_NS = 40_000_000
AWAY_RAD = 0.05
STILL_RAD = 0.01


@cache
def deployed(config: str) -> tuple[Deployment, BasePolicy]:
    deployment = load_deployment(ROOT / config)
    return deployment, load_base(deployment)


class Bench:
    """One link, and a hand that commands it for a while."""

    def __init__(self, config: str, lockstep: bool, wrap: Callable[[Link], Link]) -> None:
        self.deployment, base = deployed(config)
        self.lockstep = lockstep
        self.sizes = sizes_for(self.deployment, base.contract)
        self.link = wrap(open_link(self.deployment, base.contract, lockstep=lockstep, seed=1))
        self.inputs: TickInputs = new_inputs(self.sizes)
        self.period_s = 1.0 / self.deployment.config.control.servo_hz
        self.sequence = 0
        self.heard: list[TaskSignal] = []
        self.read()

    def read(self) -> Floats:
        """Read the link; return the joint positions (rad)."""
        self.link.read(self.inputs)
        return self.inputs.q.astype(np.float64)

    def certificate(
        self,
        q: Sequence[float],
        epoch: int = 1,
        sequence: int | None = None,
        age_ns: int = 0,
        valid_ns: int = VALID_NS,
    ) -> Certificate:
        """Forge a certificate that answers the newest observation, `age_ns` ago."""
        self.sequence += 1
        stamp_ns = int(self.inputs.group_device_stamp_ns[0]) - age_ns
        number = self.sequence if sequence is None else sequence
        answers = int(self.inputs.group_sequence[0])
        dq = [0.0] * self.sizes.joints
        command = Command(epoch, number, answers, stamp_ns, valid_ns, list(q), dq)
        return Certificate(command, ENVELOPE_SEAL)

    def go_on(self, seconds: float, make: Callable[[], Certificate | None]) -> Floats:
        """Tick for a while, sending what `make` gives; return where the joints are (rad)."""
        for _ in range(math.ceil(seconds / self.period_s)):
            self.link.write(make())
            self.heard.extend(self.link.signals())
            if not self.lockstep:
                time.sleep(self.period_s)
            q = self.read()
        return q

    def hold(self, q: Sequence[float], seconds: float, epoch: int = 1) -> Floats:
        """Command joint positions for a while."""
        return self.go_on(seconds, lambda: self.certificate(q, epoch))


def faulty_but_off(link: Link) -> Link:
    return FaultyLink(link, Switch())


def as_it_is(link: Link) -> Link:
    return link


LINKS = {
    "peg lockstep": ("config.yaml", True, as_it_is),
    "peg realtime": ("config.yaml", False, as_it_is),
    "peg faulty, switched off": ("config.yaml", True, faulty_but_off),
    "planar lockstep": ("tests/planar/config.yaml", True, as_it_is),
    "planar realtime": ("tests/planar/config.yaml", False, as_it_is),
}


@pytest.fixture(params=LINKS)
def bench(request: pytest.FixtureRequest) -> Iterator[Bench]:
    bench = Bench(*LINKS[request.param])
    yield bench
    bench.link.close()


def test_it_says_what_stands_behind_it(bench: Bench) -> None:
    said = bench.link.describe()
    check_link(bench.deployment, bench.link)
    assert said.lockstep == bench.lockstep
    assert said.simulated


def test_the_first_read_delivers_every_group(bench: Bench) -> None:
    inputs, joints = bench.inputs, bench.deployment.robot.joints
    measured, now_ns = bench.read(), bench.link.clock.now_ns()
    for joint, q in zip(joints, measured, strict=True):
        assert joint.position_min_rad <= q <= joint.position_max_rad
    assert (inputs.group_sequence > 0).all()
    assert (inputs.group_received_ns <= now_ns).all()
    assert now_ns - inputs.link_received_ns[0] < 100_000_000
    for group in bench.sizes.groups:
        assert np.isfinite(inputs.view[f"observation_{group.name}"]).all()


def test_without_news_the_sample_stays(bench: Bench) -> None:
    before = bytes(bench.inputs.raw)
    sequence = bench.inputs.group_sequence.copy()
    bench.read()
    if bench.lockstep or (bench.inputs.group_sequence == sequence).all():
        assert bytes(bench.inputs.raw) == before


def test_samples_are_counted_and_stamped_while_nobody_commands(bench: Bench) -> None:
    periods = 10
    inputs, clock = bench.inputs, bench.link.clock
    sequence, stamp = int(inputs.group_sequence[0]), int(inputs.group_device_stamp_ns[0])
    begin_ns = clock.now_ns()
    bench.go_on(periods * bench.period_s, lambda: None)
    samples = int(inputs.group_sequence[0]) - sequence
    device_ns = int(inputs.group_device_stamp_ns[0]) - stamp
    assert clock.now_ns() > begin_ns
    assert samples > 0
    assert device_ns > 0
    if bench.lockstep:
        period_ns = round(bench.period_s * 1e9)
        assert samples == periods
        assert device_ns == clock.now_ns() - begin_ns == periods * period_ns
        assert inputs.group_received_ns[0] == clock.now_ns()


def test_only_a_certificate_is_a_command(bench: Bench) -> None:
    class Pretender:
        command = Command(9, 9, 9, 0, VALID_NS, bench.read().tolist(), [])

    with pytest.raises(LinkError, match=r"Pretender.*certificate"):
        bench.link.write(Pretender())


def test_a_command_moves_the_robot(bench: Bench) -> None:
    start = bench.read()
    ended = bench.hold((start + AWAY_RAD).tolist(), seconds=0.4)
    assert np.abs(ended - start - AWAY_RAD).max() < AWAY_RAD / 2


SPOILT: dict[str, Callable[[Bench, list[float]], Certificate]] = {
    "older epoch": lambda bench, q: bench.certificate(q, epoch=1),
    "older sequence": lambda bench, q: bench.certificate(q, epoch=2, sequence=0),
    "observation too old": lambda bench, q: bench.certificate(q, epoch=2, age_ns=10 * VALID_NS),
    "not finite": lambda bench, q: bench.certificate([math.nan, *q[1:]], epoch=2),
    "one joint too many": lambda bench, q: bench.certificate([*q, 0.0], epoch=2),
}


@pytest.mark.parametrize("how", SPOILT)
def test_what_must_not_be_executed_is_dropped(bench: Bench, how: str) -> None:
    start = bench.read()
    bench.hold(start.tolist(), seconds=0.05, epoch=2)
    away = (start + AWAY_RAD).tolist()
    ended = bench.go_on(0.2, lambda: SPOILT[how](bench, away))
    assert np.abs(ended - start).max() < STILL_RAD


def test_it_holds_by_itself_when_commands_stay_away(bench: Bench) -> None:
    start = bench.read()
    bench.hold(start.tolist(), seconds=0.05)
    ended = bench.go_on(0.2, lambda: None)
    assert np.abs(ended - start).max() < STILL_RAD
    assert np.abs(bench.inputs.dq).max() < 0.05


def test_episodes_are_asked_for_once_somebody_drives(bench: Bench) -> None:
    start = bench.read()
    bench.go_on(0.3, lambda: None)
    assert not bench.heard
    bench.hold(start.tolist(), seconds=0.4)
    assert [signal.kind for signal in bench.heard] == [SignalKind.RESET_BEGIN]
    assert len(bench.heard[0].target) == bench.sizes.setpoint
    assert all(map(math.isfinite, bench.heard[0].target))


def test_closing_twice_is_closing(bench: Bench) -> None:
    bench.link.close()
    bench.link.close()
    with pytest.raises(LinkError, match="closed"):
        bench.link.write(None)
