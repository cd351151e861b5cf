"""What every BasePolicy promises, asked of every policy that there is.

Each one first drives its own robot through the ordinary loop; the records that it answered there
are what it is asked about again.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from policies.base import OnnxBasePolicy
from policies.demonstrations import DemonstrationSpec
from runtime.config import parse, read_yaml
from runtime.demonstrate import expert_interface
from runtime.interfaces import BasePolicy, Link
from runtime.layout import Floats
from runtime.messages import TickRecord, new_record
from runtime.operator_port import ScriptedPort
from runtime.policy_contract import PolicyInterface
from runtime.wiring import (
    Deployment,
    Surroundings,
    build_loop,
    load_deployment,
    open_link,
    sizes_for,
    zero_residual,
)
from sims.expert import ScriptedExpert
from sims.faulty import FaultyBase, Switch
from sims.link import SimulatedLink
from tests.planar.reacher import ScriptedReacher
from tests.planar.train import NoRecord

ROOT = Path(__file__).resolve().parents[2]
ANSWERS = 12
PEG = ("config.yaml", "policies/bases/peg.yaml")
PLANAR = ("tests/planar/config.yaml", "tests/planar/reach.yaml")


@dataclass(frozen=True)
class Case:
    """A policy after its run: the records that it answered, and the answers."""

    deployment: Deployment
    policy: BasePolicy
    records: tuple[TickRecord, ...]
    answers: tuple[Floats, ...]


class Listening:
    """Passes on to a policy and keeps copies of what it was asked and answered."""

    def __init__(self, policy: BasePolicy, make_record: Callable[[], TickRecord]) -> None:
        self._policy = policy
        self._make_record = make_record
        self.records: list[TickRecord] = []
        self.answers: list[Floats] = []

    @property
    def contract(self) -> PolicyInterface:
        return self._policy.contract

    @property
    def unfamiliarity(self) -> float:
        return self._policy.unfamiliarity

    def act(self, record: TickRecord, out: Floats) -> None:
        copy = self._make_record()
        copy.raw[:] = record.raw
        self._policy.act(record, out)
        self.records.append(copy)
        self.answers.append(out.copy())


def onnx(deployment: Deployment, link: Link, interface: PolicyInterface) -> BasePolicy:
    return OnnxBasePolicy.load(deployment.base_file)


def expert(deployment: Deployment, link: Link, interface: PolicyInterface) -> BasePolicy:
    assert isinstance(link, SimulatedLink)
    return ScriptedExpert(link.plant, interface)


def reacher(deployment: Deployment, link: Link, interface: PolicyInterface) -> BasePolicy:
    return ScriptedReacher(interface)


def faulty_but_off(deployment: Deployment, link: Link, interface: PolicyInterface) -> BasePolicy:
    def damage(out: Floats) -> None:
        out[:] = np.nan

    return FaultyBase(onnx(deployment, link, interface), Switch(), damage)


Maker = Callable[[Deployment, Link, PolicyInterface], BasePolicy]
POLICIES: dict[str, tuple[tuple[str, str], Maker]] = {
    "peg onnx": (PEG, onnx),
    "peg expert": (PEG, expert),
    "peg faulty, switched off": (PEG, faulty_but_off),
    "planar onnx": (PLANAR, onnx),
    "planar reacher": (PLANAR, reacher),
}


@cache
def driven(name: str) -> Case:
    """Let a policy drive until it gave ANSWERS answers."""
    (config, spec_file), make = POLICIES[name]
    deployment = load_deployment(ROOT / config)
    spec = parse(DemonstrationSpec, read_yaml(ROOT / spec_file), spec_file)
    interface = expert_interface(deployment, spec)
    link = open_link(deployment, interface, lockstep=True, seed=2)
    policy = make(deployment, link, interface)
    sizes = sizes_for(deployment, policy.contract)
    listening = Listening(policy, lambda: new_record(sizes))
    port = ScriptedPort()
    surroundings = Surroundings(link, listening, zero_residual(), NoRecord(), port, None)
    build_loop(deployment, surroundings, lambda _: len(listening.answers) >= ANSWERS).run()
    return Case(deployment, policy, tuple(listening.records), tuple(listening.answers))


@pytest.fixture(params=POLICIES)
def case(request: pytest.FixtureRequest) -> Case:
    return driven(request.param)


def fresh(case: Case) -> Floats:
    """Return an output that nobody has written into."""
    return np.full(len(case.policy.contract.action.names), np.nan)


def test_its_contract_is_about_this_robot(case: Case) -> None:
    contract, robot = case.policy.contract, case.deployment.robot
    assert contract.robot == robot.name
    assert contract.joint_names == robot.joint_names
    ratio = case.deployment.config.control.servo_hz / contract.rate_hz
    assert ratio == round(ratio)


def test_it_drives_the_loop(case: Case) -> None:
    assert len(case.answers) >= ANSWERS
    assert any(np.abs(answer).max() > 0 for answer in case.answers)


def test_it_writes_every_number_inside_the_contract_limits(case: Case) -> None:
    action = case.policy.contract.action
    for record in case.records:
        out = fresh(case)
        case.policy.act(record, out)
        assert np.isfinite(out).all()
        assert (out >= action.low).all()
        assert (out <= action.high).all()


def test_it_leaves_the_record_alone(case: Case) -> None:
    record = case.records[0]
    before = bytes(record.raw)
    case.policy.act(record, fresh(case))
    assert bytes(record.raw) == before


def test_the_same_record_gets_the_same_answer_to_the_bit(case: Case) -> None:
    """Also from another object, and after other records: replay relies on it."""
    first, second = fresh(case), fresh(case)
    case.policy.act(case.records[0], first)
    for record in case.records:
        case.policy.act(record, second)
    copy = TickRecord(case.records[0].layout, bytearray(len(case.records[0].raw)))
    copy.raw[:] = case.records[0].raw
    case.policy.act(copy, second)
    assert first.tobytes() == second.tobytes()


def test_asked_again_it_says_what_it_said_while_driving(case: Case) -> None:
    for record, answer in zip(case.records, case.answers, strict=True):
        out = fresh(case)
        case.policy.act(record, out)
        assert out.tobytes() == answer.tobytes()
