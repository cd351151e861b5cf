"""The process in which the base policy thinks in real time. `python -m runtime.base_worker`.

Started by control before its first deadline, at ordinary priority and beside control's core. It
moves nothing and holds nothing: hung, slow, crashed or killed, it costs the servo no tick.
"""

import argparse
import contextlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from runtime.base_line import join_line, serve
from runtime.companions import cpus_beside
from runtime.errors import TrimtabError
from runtime.messages import new_record
from runtime.realtime import quiet_garbage_collector
from runtime.wiring import load_base, load_deployment, sizes_for

_WARM_UP_QUESTIONS = 20


def command(config_file: Path) -> list[str]:
    """Return the command line of a worker of the calling process, less its line's number."""
    words = ["--config", str(config_file), "--parent", str(os.getpid()), "--line"]
    return [sys.executable, "-m", "runtime.base_worker", *words]


def main(given: Sequence[str] | None = None) -> int:
    """Load the base and answer until control is gone; a refusal is a sentence."""
    parser = argparse.ArgumentParser(prog="runtime.base_worker", description=__doc__)
    parser.add_argument("--config", required=True, type=Path)
    parser.add_argument("--parent", required=True, type=int)
    parser.add_argument("--line", required=True, type=int)
    options = parser.parse_args(sys.argv[1:] if given is None else given)
    try:
        line = join_line(options.line, options.parent)
        deployment = load_deployment(options.config)
        cpus = cpus_beside(deployment.config.realtime.cpu)
        if cpus:
            os.sched_setaffinity(0, cpus)
        base = load_base(deployment)
        record = new_record(sizes_for(deployment, base.contract))
        for _ in range(_WARM_UP_QUESTIONS):
            base.act(record, np.zeros(len(record.base_action)))
    except TrimtabError as error:
        sys.stderr.write(f"base policy's worker: {error}\n")
        return error.exit_code
    quiet_garbage_collector()
    # control that ended in the middle of an answer needs no traceback
    with line, contextlib.suppress(ConnectionError):
        serve(line, base, record)
    return 0


if __name__ == "__main__":
    sys.exit(main())
