"""The control process: the only one that may move the robot. `python -m runtime.control_process`.

Started by the supervisor; it loads no torch and waits for nothing but its next deadline.
"""

import argparse
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import NoReturn

from runtime.base_line import BaseLine
from runtime.base_worker import command as worker_command
from runtime.errors import ConfigError, StartRefused, TrimtabError
from runtime.events import Event, EventKind
from runtime.gate_client import GateConnection, gate_rules, lost_after_s
from runtime.interfaces import BasePolicy, Link, PacingLink
from runtime.lockfile import RobotLock
from runtime.loop import ControlLoop, EpisodesDone
from runtime.messages import Phase
from runtime.operator_port import OperatorPort
from runtime.orders import Orders
from runtime.preflight import require_own_packages
from runtime.realtime import (
    Pacer,
    Paces,
    RealtimeFacts,
    die_with_parent,
    enter_realtime,
    quiet_garbage_collector,
)
from runtime.record_format import RecorderPlace, RecordHeader
from runtime.recorder import RecorderClient
from runtime.robot_pacer import RobotPacer
from runtime.tick import ControlTick
from runtime.wiring import (
    Deployment,
    Surroundings,
    build_loop,
    build_tick,
    load_base,
    load_deployment,
    load_residual,
    open_link,
    record_header,
    save_picture,
)

_RECORDER_START_S = 10.0
_GATE_START_S = 90.0
_WORKER_START_S = 60.0
_NS_PER_US = 1000
_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_SUPERVISOR_DIED = signal.SIGUSR1
ENDED_BY_STOP = 7


def command(place: RecorderPlace, options: Sequence[str]) -> list[str]:
    """Return the command line of a control process for this place."""
    where = ["--run", place.run, "--folder", str(place.folder), "--sockets", str(place.sockets)]
    return [sys.executable, "-m", "runtime.control_process", *where, *options]


def _arguments(given: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="runtime.control_process", description=__doc__)
    parser.add_argument("--config", required=True, type=Path)
    parser.add_argument("--run", required=True)
    parser.add_argument("--folder", required=True, type=Path)
    parser.add_argument("--sockets", required=True, type=Path)
    parser.add_argument("--clock", required=True, choices=["lockstep", "realtime"])
    parser.add_argument("--field")
    parser.add_argument("--seed", type=int)
    parser.add_argument("--episodes", type=int)
    parser.add_argument("--steps", type=int)
    parser.add_argument("--gate", choices=["none", "deployed", "learning"], default="none")
    parser.add_argument("--picture", type=Path)
    parser.add_argument("--simulated-only", action="store_true")
    parser.add_argument("--parent", type=int, help="the supervisor's process number")
    parser.add_argument("--lock-fd", type=int, help="the robot's lock, held by the supervisor")
    return parser.parse_args(given)


def _pacer(deployment: Deployment, link: Link) -> Paces:
    """Return what paces real time; raises ConfigError where the robot cannot."""
    control = deployment.config.control
    period_ns = round(1e9 / control.servo_hz)
    if control.pacing == "robot":
        if not isinstance(link, PacingLink):
            raise ConfigError(
                f"control.pacing: robot, but a {type(link).__name__} cannot be waited for; "
                "allowed with it: clock"
            )
        return RobotPacer(link.wait, period_ns)
    return Pacer(period_ns, round(deployment.config.realtime.spin_us * _NS_PER_US))


def _start_worker(deployment: Deployment, base: BasePolicy) -> BaseLine:
    """Start the process that the base thinks in; it loads while the rest is composed.

    Its answers are waited for until three quarters of a period are over: what is left is for the
    residual, the gate's news and the pacer's spin.
    """
    slack_ns = round(0.75e9 / deployment.config.control.servo_hz)
    actions = len(base.contract.action.names)
    return BaseLine(worker_command(deployment.config_file), actions, slack_ns)


def _refuse_to_start(number: int, _: FrameType | None) -> NoReturn:
    raise StartRefused(f"stopped by {signal.Signals(number).name} before anything could move")


def _realtime_notes(facts: RealtimeFacts) -> list[str]:
    """Say what the operating system granted and what it refused; warn on stderr, too."""
    for warning in facts.warnings:
        sys.stderr.write(f"warning: {warning}\n")
    scheduler = f"SCHED_FIFO priority {facts.priority}" if facts.priority else "ordinary scheduling"
    core = "any core" if facts.cpu is None else f"core {facts.cpu}"
    memory = "locked" if facts.memory_locked else "not locked"
    awake = "may sleep" if facts.core_wake_us is None else f"wake in {facts.core_wake_us} us"
    granted = f"real time: {scheduler}, {core}, memory {memory}, cores {awake}"
    return [granted, *(f"warning: {warning}" for warning in facts.warnings)]


def _end_after(episodes: int | None, steps: int | None) -> Callable[[ControlTick], bool]:
    """Return what ends the run: so many episodes, or the episode in which so many policy steps
    are reached; None: neither."""
    if episodes is not None:
        return EpisodesDone(episodes)
    if steps is None:
        return lambda _: False

    def reached(tick: ControlTick) -> bool:
        record = tick.record
        return record.base_sequence.item() >= steps and record.phase.item() != Phase.RUNNING

    return reached


def _enter_realtime(deployment: Deployment, sink: RecorderClient, link: Link) -> None:
    for note in _realtime_notes(enter_realtime(deployment.config.realtime)):
        sink.event(Event(0, link.clock.now_ns(), EventKind.NOTE, note))


def _let_signals_end(loop: ControlLoop, port: OperatorPort, gate: GateConnection | None) -> None:
    """Make SIGINT and SIGTERM an orderly stop, and the supervisor's death a fault."""

    def end() -> None:
        loop.end()
        if gate is not None:
            gate.stop_waiting()

    for number in _SIGNALS:
        signal.signal(number, lambda *_: end())
    signal.signal(_SUPERVISOR_DIED, lambda *_: port.lose_supervisor())


def _end_of(loop: ControlLoop, planned: bool, failure: str) -> int:
    """Say how the run ended, and return the exit code."""
    if planned and not failure:
        return 0
    why = "the supervisor is gone" if loop.supervisor_lost else "a stop was asked for"
    why = f"the recorder failed: {failure}" if failure else why
    rest = "the robot is at rest" if loop.at_rest else "the robot is NOT seen at rest: look at it"
    sys.stderr.write(f"stopped: {why}; {rest}\n")
    return ENDED_BY_STOP


def _connect_people_and_gate(
    options: argparse.Namespace, deployment: Deployment, place: RecorderPlace, header: RecordHeader
) -> tuple[OperatorPort, GateConnection | None]:
    """Return where people speak, and the line to the gate: None where the base runs alone.

    Raises:
        ConfigError: there shall be a gate, and the config has no rules for one.
    """
    learned, lockstep = options.gate != "none", options.clock == "lockstep"
    orders = Orders(residual=learned)
    rules = gate_rules(deployment.config) if learned else None
    port = OperatorPort(place.sockets, header.setpoint, orders)
    if rules is None:
        return port, None
    waits = lockstep and options.gate == "learning"
    gate = GateConnection(
        place,
        header.action,
        lost_after_s=lost_after_s(rules, lockstep=lockstep),
        lag_steps=rules.lockstep_lag_steps if waits else None,
        orders=orders,
    )
    return port, gate


def _save_picture(link: Link, path: Path) -> None:
    """A run is as good without its picture."""
    try:
        save_picture(link, path)
    except TrimtabError as error:
        sys.stderr.write(f"warning: {error}\n")


def run(options: argparse.Namespace) -> int:
    """Compose and run the loop; return the exit code.

    Raises:
        TrimtabError: whatever refuses to start.
    """
    require_own_packages()
    deployment = load_deployment(options.config)
    lock = RobotLock(options.sockets, deployment.config.robot_id, options.lock_fd)
    base = load_base(deployment)
    # what cannot be composed refuses here, before a record begins
    tick = build_tick(deployment, base.contract)
    lockstep = options.clock == "lockstep"
    link = open_link(
        deployment, base.contract, lockstep=lockstep, field=options.field, seed=options.seed
    )
    if options.simulated_only and not link.describe().simulated:
        raise StartRefused(
            "--arm: this link drives a real robot, which only its operator arms: leave --arm out "
            "and use `trimtab ask arm`"
        )
    # the seed that a simulation was given is the exploration's, too
    residual = load_residual(deployment, base.contract, link.describe().seeds.get("sim"))
    place = RecorderPlace(options.run, options.folder, options.sockets)
    header = record_header(deployment, base.contract, place.run, options.clock, link.describe())
    sink = RecorderClient(
        place, header, lockstep=lockstep, lost_after_s=deployment.config.recorder.lost_after_s
    )
    port, gate = _connect_people_and_gate(options, deployment, place, header)
    worker = None if lockstep else _start_worker(deployment, base)
    try:
        sink.wait_ready(_RECORDER_START_S)
        done = _end_after(options.episodes, options.steps)
        pacer = None if lockstep else _pacer(deployment, link)
        epoch = int(time.time())
        surroundings = Surroundings(link, base, residual, sink, port, pacer, epoch, gate, worker)
        loop = build_loop(deployment, surroundings, done, tick)
        if worker is not None:
            worker.wait_ready(base.contract, tick.record, _WORKER_START_S)
        if gate is not None and lockstep:
            gate.wait_ready(_GATE_START_S)
        _let_signals_end(loop, port, gate)
        if not lockstep:
            _enter_realtime(deployment, sink, link)
        quiet_garbage_collector()
        planned = loop.run()
        if planned and options.picture is not None:
            _save_picture(link, options.picture)
        return _end_of(loop, planned, sink.totals.failure)
    finally:
        for one in (sink, link, port, gate, worker, lock):
            if one is not None:
                one.close()


def main(given: Sequence[str] | None = None) -> int:
    """Run the command line; a refusal is a sentence, not a traceback."""
    # deadlines come first: no library may start a pool of threads beside the loop
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    for number in _SIGNALS:
        signal.signal(number, _refuse_to_start)
    try:
        options = _arguments(sys.argv[1:] if given is None else given)
        if options.parent is not None:
            die_with_parent(options.parent, _SUPERVISOR_DIED)
        return run(options)
    except TrimtabError as error:
        sys.stderr.write(f"error: {error}\n")
        return error.exit_code


if __name__ == "__main__":
    sys.exit(main())
