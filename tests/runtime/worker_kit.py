"""The real loop in real time on the simulated Panda, its base in a process of its own."""

import os
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

from runtime.base_line import BaseLine
from runtime.base_worker import command as worker_command
from runtime.errors import StartRefused
from runtime.interfaces import BasePolicy
from runtime.operator_port import ScriptedPort
from runtime.realtime import Pacer
from runtime.wiring import (
    Deployment,
    Surroundings,
    build_loop,
    open_link,
    sizes_for,
    zero_residual,
)
from tests.runtime.control_kit import ROOT, Base, ListSink, Rig, changed, panda, still

PERIOD_NS = 2_000_000
SLACK_NS = 1_500_000
START_LIMIT_S = 60.0
_GROUPS = panda().config.observations.groups
# a machine that others use, too, takes the core away now and then: that is not what is judged
LENIENT = changed(
    panda(),
    control={"command_valid_s": 0.5},
    deadlines={"max_missed_per_s": 500},
    observations={
        "joints_max_age_s": 0.5,
        "link_lost_after_s": 2.0,
        "groups": tuple(group.model_copy(update={"max_age_s": 0.5}) for group in _GROUPS),
    },
)
LONG = changed(LENIENT, episode={"steps": 100_000})


def strange(how: str, after: int) -> list[str]:
    """Return the command line of a worker that misbehaves so after that many answers."""
    module = "tests.runtime.strange_worker"
    return [sys.executable, "-m", module, how, str(after), str(os.getpid())]


def committed() -> list[str]:
    """Return the command line of the worker with the committed base."""
    return worker_command(ROOT / "config.yaml")


class RealRig(Rig):
    """A Rig in real time. `base` is what control knows of the worker's: its contract."""

    def __init__(
        self,
        command: Sequence[str],
        base: BasePolicy | None = None,
        deployment: Deployment = LONG,
    ) -> None:
        self.deployment = deployment
        self.base = base or Base(still)
        contract = self.base.contract
        self.worker = BaseLine(command, len(contract.action.names), SLACK_NS)
        self.link = open_link(deployment, contract, lockstep=False, field="nominal", seed=1)
        self.port, self.sink, self.done = ScriptedPort(), ListSink(), False
        surroundings = Surroundings(
            self.link,
            self.base,
            zero_residual(),
            self.sink,
            self.port,
            Pacer(PERIOD_NS, 100_000),
            worker=self.worker,
        )
        self.loop = build_loop(deployment, surroundings, lambda _: self.done)
        self.tick = self.loop._parts.tick
        self.sizes = sizes_for(deployment, contract)
        try:
            self.worker.wait_ready(contract, self.tick.record, START_LIMIT_S)
        except StartRefused:
            self.close()
            raise

    def close(self) -> None:
        self.worker.close()


def answers(rows: Any) -> np.ndarray[Any, Any]:
    """Return the rows whose inputs first hold an answer."""
    return np.flatnonzero(np.diff(rows["base_sequence"][:, 0])) + 1
