"""How fast does it learn beside a running loop? `python -m tests.benchmarks.learner_beside`.

Real processes at 500 Hz in real time, the committed recipe (five critics, LayerNorm) as it is and
compiled in the background; niced, off the loop's core, asked for more updates than it can make.
Counted from its own progress in the record, over wall time. UTD 4 at 20 Hz asks for 80 a second;
ends with an error unless compiled it makes three times as many.
"""

import argparse
import os
import signal
import sys
import time
from contextlib import ExitStack

import msgspec

from runtime.events import EventKind
from runtime.gate_wire import Progress
from runtime.operator_port import operator_client
from runtime.records import read_record
from tests.benchmarks.kit import load_text
from tests.benchmarks.residual_isolation import BEAT_S, ON, START_S, Scene, arm, beat_until

WANTED_PER_S = 3 * 4 * 20
ASKED_PER_STEP = 200
COMPILE = ("off", "background")
# until the compiled update has taken over
WARM_UP_S = 30.0
SECONDS = 30.0


def measure(compiled: str, seconds: float, cpu: int, priority: int) -> tuple[float, float]:
    """Return updates a second, and over how many seconds they were counted."""
    with ExitStack() as stack:
        agent = {"updates_per_step": ASKED_PER_STEP, "compile": compiled}
        scene = Scene(stack, ON, cpu, priority, agent)
        client = stack.enter_context(operator_client(scene.place.sockets))
        arm(scene, client)
        beat_until(scene, client, scene.is_ready, START_S)
        end_s = time.monotonic() + WARM_UP_S + seconds
        while time.monotonic() < end_s:
            client.heartbeat()
            client.receive()
            time.sleep(BEAT_S)
        scene.control.send_signal(signal.SIGTERM)
        scene.control.wait(START_S)
        scene.recorder.wait(START_S)
        record = read_record(scene.place.folder)
    told = [
        (event.now_ns * 1e-9, msgspec.json.decode(event.text, type=Progress).updates)
        for event in record.events
        if event.kind is EventKind.PROGRESS
    ]
    late = [one for one in told if one[0] >= told[-1][0] - seconds]
    elapsed_s = late[-1][0] - late[0][0]
    return (late[-1][1] - late[0][1]) / elapsed_s, elapsed_s


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=SECONDS)
    parser.add_argument("--cpu", type=int, default=max(os.sched_getaffinity(0)))
    parser.add_argument("--priority", type=int, default=50)
    options = parser.parse_args()
    for compiled in COMPILE:
        rate, elapsed_s = measure(compiled, options.seconds, options.cpu, options.priority)
        reached = rate >= WANTED_PER_S
        print(
            f"compile {compiled}: {rate:.0f} updates a second over {elapsed_s:.0f} s, wanted "
            f"{WANTED_PER_S}: {'reached' if reached else 'NOT REACHED'}",
            flush=True,
        )
    print(load_text())
    return 0 if reached else 1


if __name__ == "__main__":
    sys.exit(main())
