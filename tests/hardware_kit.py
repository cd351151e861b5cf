"""Simulated hardware in a process of its own, and a config for a daemon that drives it."""

import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ruamel.yaml import YAML

from sims.robot_log import Entry, read_log
from tests.daemon_kit import ROOT, write_config

# watchdogs at their most patient: these machines stall; and real-time where that is granted
BRIDGE: Mapping[str, object] = {
    "watchdog_s": 0.1,
    "lease_s": 2.0,
    "realtime": {
        "priority": 40,
        "lock_memory": True,
        "require": False,
        "spin_us": 0.0,
        "core_wake_us": 0,
    },
}
OVER_ZMQ = {"link": "runtime.zmq_link:open_link", "zmq": {}}


@dataclass
class Hardware:
    """A running bridge. `log`: what it executed, as it grows."""

    process: "subprocess.Popen[str]"
    log: Path

    def entries(self) -> list[Entry]:
        """Return what it executed so far."""
        return read_log(self.log.read_text(encoding="utf-8"))

    def end(self) -> None:
        """End it, and wait until its log is whole."""
        self.process.terminate()
        self.process.wait(20)


def hardware_config(folder: Path, changes: Mapping[str, object] | None = None) -> Path:
    """Write the repository's config for a robot over ZeroMQ, with `changes`."""
    return write_config(folder, {**OVER_ZMQ, **(changes or {})})


@contextmanager
def hardware(
    config: Path,
    changes: Mapping[str, object] | None = None,
    *options: str,
    prefix: Sequence[str] = (),
) -> Iterator[Hardware]:
    """Yield the simulated robot of a config, in real time and at the config's endpoint. `prefix`:
    words before its command, such as those that start it in another network."""
    file, log = config.with_name("bridge.yaml"), config.with_name("executed.jsonl")
    with file.open("w", encoding="utf-8") as stream:
        YAML().dump({**BRIDGE, **(changes or {})}, stream)
    words = ["--config", str(config), "--bridge", str(file), "--log", str(log), *options]
    command = [*prefix, sys.executable, "-m", "sims.bridge_process", *words]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    with process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline().startswith("robot at ")
            yield Hardware(process, log)
        finally:
            process.kill()
