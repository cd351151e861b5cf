"""The control process: the only one that may move the robot. `python -m runtime.control_process`.

Started by the supervisor; it loads no torch and waits for nothing but its next deadline.
"""

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from runtime.errors import StartRefused, TrimtabError
from runtime.lockfile import RobotLock
from runtime.messages import Event, EventKind
from runtime.operator_port import OperatorPort
from runtime.preflight import require_own_packages
from runtime.realtime import Pacer, enter_realtime, quiet_garbage_collector
from runtime.record_format import RecorderPlace
from runtime.recorder import RecorderClient
from runtime.wiring import (
    Deployment,
    EpisodesDone,
    Surroundings,
    build_loop,
    load_base,
    load_deployment,
    open_link,
    record_header,
    save_picture,
    zero_residual,
)

_RECORDER_START_S = 10.0
_NS_PER_US = 1000
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
    parser.add_argument("--picture", type=Path)
    parser.add_argument("--simulated-only", action="store_true")
    return parser.parse_args(given)


def _pacer(deployment: Deployment) -> Pacer:
    period_ns = round(1e9 / deployment.config.control.servo_hz)
    return Pacer(period_ns, round(deployment.config.realtime.spin_us * _NS_PER_US))


def run(options: argparse.Namespace) -> int:
    """Compose and run the loop; return the exit code.

    Raises:
        TrimtabError: whatever refuses to start.
    """
    require_own_packages()
    deployment = load_deployment(options.config)
    lock = RobotLock(options.sockets, deployment.config.robot_id)
    base = load_base(deployment)
    lockstep = options.clock == "lockstep"
    link = open_link(
        deployment, base.contract, lockstep=lockstep, field=options.field, seed=options.seed
    )
    if options.simulated_only and not link.describe().simulated:
        raise StartRefused(
            "--arm: this link drives a real robot, which only its operator arms: leave --arm out "
            "and use `trimtab ask arm`"
        )
    place = RecorderPlace(options.run, options.folder, options.sockets)
    seeds = {} if options.seed is None else {"sim": options.seed}
    header = record_header(deployment, base.contract, place.run, options.clock, seeds)
    sink = RecorderClient(
        place, header, lockstep=lockstep, lost_after_s=deployment.config.recorder.lost_after_s
    )
    port = OperatorPort(place.sockets)
    try:
        sink.wait_ready(_RECORDER_START_S)
        never = options.episodes is None
        done = (lambda _: False) if never else EpisodesDone(options.episodes)
        pacer = None if lockstep else _pacer(deployment)
        surroundings = Surroundings(link, base, zero_residual(), sink, port, pacer)
        loop = build_loop(deployment, surroundings, done)
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: loop.end())
        if not lockstep:
            for warning in enter_realtime(deployment.config.realtime).warnings:
                sys.stderr.write(f"warning: {warning}\n")
                sink.event(Event(0, 0, EventKind.NOTE, warning))
        quiet_garbage_collector()
        planned = loop.run()
        if options.picture is not None:
            save_picture(link, options.picture)
    finally:
        sink.close()
        link.close()
        port.close()
    del lock
    failure = sink.totals.failure
    if failure:
        sys.stderr.write(f"error: the recorder failed: {failure}\n")
        return ENDED_BY_STOP
    return 0 if planned else ENDED_BY_STOP


def main(given: Sequence[str] | None = None) -> int:
    """Run the command line; a refusal is a sentence, not a traceback."""
    # deadlines come first: no library may start a pool of threads beside the loop
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    try:
        return run(_arguments(sys.argv[1:] if given is None else given))
    except TrimtabError as error:
        sys.stderr.write(f"error: {error}\n")
        return error.exit_code


if __name__ == "__main__":
    sys.exit(main())
