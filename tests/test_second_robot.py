"""The planar arm of tests/planar: another robot, task, action kind and rates, no line of runtime/.

Real processes throughout: supervisor, control, recorder, operator.
"""

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from policies.base import OnnxBasePolicy
from policies.demonstrations import DemonstrationSpec
from runtime.config import parse, read_yaml
from runtime.messages import Mode, Phase
from runtime.records import Record
from tests.planar.kit import REST_RAD_S, Daemon, end_of, verdict
from tests.planar.train import COMMAND, FOLDER

EPISODES = 6
STOPPED_BY_REQUEST = 7


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    daemon = Daemon(tmp_path_factory.mktemp("planar"), f"planar-test-{os.getpid()}")
    yield daemon
    daemon.close()


@pytest.fixture(scope="module")
def finished(daemon: Daemon) -> tuple[Any, Path]:
    """A whole run in lockstep: what it printed, and its record."""
    numbers = daemon.json("run", "--arm", "--episodes", str(EPISODES))
    return numbers, max(daemon.records.iterdir())


def test_config_spec_policy_and_link_fit(daemon: Daemon) -> None:
    facts = daemon.json("check-config")
    assert facts["robot"] == "planar, 3 joints"
    assert facts["base"].startswith("reach, 50 Hz")
    assert facts["servo"] == "250 Hz"


def test_the_committed_base_is_what_its_spec_and_command_make() -> None:
    contract = OnnxBasePolicy.load(FOLDER / "reach.onnx").contract
    spec = parse(DemonstrationSpec, read_yaml(FOLDER / "reach.yaml"), "reach.yaml")
    assert [(term.name, term.size) for term in contract.terms] == [
        (term.name, term.size) for term in spec.terms
    ]
    assert (contract.action, contract.rate_hz) == (spec.action, spec.rate_hz)
    assert contract.action.kind == "joint_target"
    assert contract.provenance.command == COMMAND
    assert (FOLDER / "reach.onnx").stat().st_size < 20_000


def test_the_base_reaches_its_goals(finished: tuple[Any, Path], daemon: Daemon) -> None:
    record = daemon.record()
    header = record.header
    assert (header.joints, header.action) == (["shoulder", "elbow", "wrist"], 3)
    assert (header.setpoint, header.servo_hz) == (3, 250.0)
    outcomes = record.scalar("outcome")
    assert np.count_nonzero(outcomes) == EPISODES
    # one that misses its goal by a hair is no reason for a red test
    assert np.count_nonzero(outcomes == 1) >= EPISODES - 1
    assert not record.scalar("faults").any()


def test_commands_keep_the_limits_and_the_envelope_is_silent(
    finished: tuple[Any, Path], daemon: Daemon
) -> None:
    record = daemon.record()
    judged = verdict(record)
    assert judged.violations == ()
    assert judged.ticks > 1000
    assert judged.largest_share["velocity"] > 0.2
    assert not record.column("limited_by").any()


def test_the_run_replays_bit_for_bit_at_both_strengths(
    finished: tuple[Any, Path], daemon: Daemon
) -> None:
    _, folder = finished
    envelope, policy = daemon.json("replay", str(folder))
    assert (envelope["strength"], policy["strength"]) == ("envelope", "policy")
    for result in (envelope, policy):
        assert result["same_machine"]
        assert result["different"] == result["skipped"] == 0
    assert envelope["ticks"] == len(daemon.record())
    assert policy["actions"] > EPISODES


def ends_at_rest(record: Record) -> bool:
    """True when, in the last tenth of a second, neither reference nor arm moved."""
    last = slice(len(record) - 25, None)
    q = record.column("q_applied")[last]
    still = np.abs(record.column("dq")[-1]).max() <= REST_RAD_S
    return bool(still and np.abs(np.diff(q, axis=0)).max() == 0.0)


def test_ctrl_c_leaves_the_arm_at_rest(daemon: Daemon) -> None:
    with daemon.running("--arm") as process:
        daemon.wait_for(process, lambda status: status.episode >= 2)
        process.send_signal(signal.SIGINT)
        code, _, _ = end_of(process)
    record = daemon.record()
    assert code == STOPPED_BY_REQUEST
    assert record.scalar("mode")[-1] == Mode.STOPPED
    assert np.abs(record.column("dq")[-1]).max() <= REST_RAD_S
    assert not record.column("dq_applied")[-1].any()
    assert not record.gaps
    assert verdict(record).violations == ()


def test_an_operator_stops_the_arm_in_real_time(daemon: Daemon) -> None:
    with daemon.running("--arm", "--clock", "realtime") as process:
        daemon.wait_for(process, lambda status: status.phase == Phase.RESETTING.name)
        code, out, errors = daemon.call("ask", "stop")
        assert code == 0, errors
        assert "accepted" in out
        daemon.wait_for(process, lambda status: status.mode == Mode.STOPPED.name)
        process.send_signal(signal.SIGINT)
        end_of(process)
    record = daemon.record()
    mode = record.scalar("mode")
    first = int(np.argmax(mode == Mode.STOPPED))
    assert (mode[first:] == Mode.STOPPED).all()
    assert ends_at_rest(record)
    # what is sent after a stop is of a new epoch, so the device drops whatever came before
    epoch = record.scalar("epoch")
    assert epoch[first] == epoch[first - 1] + 1
    assert verdict(record).violations == ()
