"""A control process of the tests: starts a recorder, records ticks for ever, says what is acked.

Usage: python tests/runtime/recording_child.py FOLDER; a line per 100 ticks: pids, made, acked.
"""

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from runtime.recorder import RecorderClient
from tests.runtime.recording_kit import (
    make_config,
    make_header,
    make_place,
    send_ticks,
    start_recorder,
)


def main() -> None:
    config = make_config()
    place = make_place(Path(sys.argv[1]), "killed")
    process = start_recorder(place, config)
    client = RecorderClient(place, make_header(place.run), lockstep=False, lost_after_s=0.5)
    client.wait_ready(10.0)
    tick = 1
    while True:
        send_ticks(client, tick, 10)
        tick += 10
        totals = client.totals
        print(process.pid, totals.made, totals.acknowledged, flush=True)
        time.sleep(0.01)


if __name__ == "__main__":
    main()
