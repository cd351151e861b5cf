"""Hostile frames on the real sockets while the arm works: `python -m tests.benchmarks.socket_fuzz`.

For `--seconds` strangers and a guest with a session of its own send mutated frames to the robot
(some in the daemon's name and session, some in several parts, some empty), a man in the middle
injects mutated frames of the living session into the daemon's line (rogue_device.py), and others
send garbage to its operator port and to the gate. Reached when nobody died, episodes went on
succeeding, the robot executed no command but the daemon's and kept every invariant, nothing grew,
and what was malformed was counted. Table, and JSON in `--out`.
"""

import argparse
import json
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import TypeVar

from runtime.clock import seconds_to_ns
from runtime.config import load_config, load_robot
from runtime.messages import Mode, Outcome
from runtime.record_format import RecorderPlace, socket_folder
from runtime.records import Record
from runtime.robot_codes import DropCode, Role
from runtime.robot_hashes import contract_hash, robot_hash
from sims.robot_log import Joined
from tests.benchmarks.hostile_clients import (
    Garbage,
    Guest,
    Hostile,
    gate_garbage,
    operator_garbage,
)
from tests.benchmarks.kit import REPOSITORY, load_text
from tests.benchmarks.wire_rig import (
    GROWTH_MAX,
    Attendant,
    Growth,
    Lateness,
    ProcessWatch,
    attend,
    attendant_of,
    await_mode,
    lateness,
    outcomes_between,
    processes_of,
)
from tests.daemon_kit import ROOT, Daemon, assert_kept_invariants, daemon
from tests.executed_judge import Executed, judge
from tests.hardware_kit import Hardware, hardware, hardware_config

SECONDS = 60.0
TURN_S = 0.02
LOOK_S = 0.5
DRAIN_S = 2.0
# frames a second
STRANGER_HZ, LARGE_HZ, GUEST_HZ, ROGUE_HZ, GARBAGE_HZ = 400.0, 20.0, 400.0, 400.0, 50.0
ANSWERED_SHARE = 0.99
THIRDS = 3

Client = TypeVar("Client", Hostile, Guest, Garbage)


@dataclass(frozen=True)
class Fuzzed:
    """What was sent, and what came of it. `clients`: counts by sender; `rogue`: the man in the
    middle's; `malformed`: (sent by those whose connection held, by the others, counted by the
    robot); `told`: how many frames the daemon said it could not read; `answered`: (garbage to the
    operator port, refusals); `successes`: by third of the time."""

    clients: dict[str, dict[str, int]]
    rogue: dict[str, int]
    malformed: tuple[int, int, int]
    told: int
    answered: tuple[int, int]
    died: list[str]
    outcomes: dict[str, int]
    successes: list[int]
    rearms: int
    executed: Executed
    late: Lateness
    growth: list[Growth]

    def failures(self) -> list[str]:
        """Return what falls short."""
        held, cut, counted = self.malformed
        sent, answered = self.answered
        rogue = self.rogue["malformed"]
        wanted = {
            f"died or came anew: {', '.join(self.died)}": not self.died,
            f"successes by third of the time: {self.successes}": all(self.successes),
            "the robot did what it must never": self.executed.faultless,
            f"malformed: {held} to {held + cut} sent, {counted} counted": (
                held <= counted <= held + cut
            ),
            f"malformed: {rogue} injected, {self.told} told by the daemon": (
                len(str(rogue)) >= len(str(self.told)) >= len(str(rogue)) - 1 and self.told > 0
            ),
            f"operator port: {sent} sent, {answered} refused": answered >= ANSWERED_SHARE * sent,
        }
        wanted |= {
            f"{one.role} grew by {one.ratio:.3f}": one.ratio <= GROWTH_MAX for one in self.growth
        }
        return [words for words, reached in wanted.items() if not reached]

    def text(self) -> str:
        """Return the table."""
        held, cut, counted = self.malformed
        sent, answered = self.answered
        of_robot = f"{held} (and {cut} on connections that were cut), counted {counted}"
        of_daemon = f"{self.rogue['malformed']}, last told {self.told}"
        lines = [
            *(f"  {name:<28} {counts}" for name, counts in self.clients.items()),
            f"  {'man in the middle':<28} {self.rogue}",
            f"malformed: to the robot {of_robot}; to the daemon {of_daemon}",
            f"to the operator port {sent}, refused {answered}",
            f"episodes {self.outcomes}, by third {self.successes}, re-armed {self.rearms} times",
            self.executed.text(),
            self.late.text(),
            *(one.line() for one in self.growth),
        ]
        return "\n".join(lines)


class Attack:
    """All who molest one daemon and its robot from this process."""

    def __init__(
        self, stack: ExitStack, config: Path, back: str, robot: Daemon, bridge: Hardware
    ) -> None:
        self._stack = stack
        read = load_config(config)
        spec = load_robot(read, config)
        groups = [(group.name, group.size) for group in read.observations.groups]
        period_ns = seconds_to_ns(1.0 / read.control.servo_hz)
        hashes = (robot_hash(spec), contract_hash(spec.joint_names, groups, period_ns))
        place = RecorderPlace("", config.parent, socket_folder(robot.robot_id))
        self.stranger = self._own(Hostile(back, 1))
        self.large = self._own(Hostile(back, 2, large=True))
        self.guest = self._own(Guest(back, 3, hashes, commander(bridge)))
        operator = f"ipc://{place.sockets}/operator"
        self.operator = self._own(operator_garbage(operator, 4))
        self.as_control = self._own(gate_garbage(place.gate_endpoint, 5, learner=False))
        self.as_learner = self._own(gate_garbage(place.learner_endpoint, 6, learner=True))
        self._due: dict[str, float] = {}

    def turn(self) -> None:
        """Send what is due."""
        for who, rate_hz in (
            (self.stranger, STRANGER_HZ),
            (self.large, LARGE_HZ),
            (self.guest, GUEST_HZ),
            (self.operator, GARBAGE_HZ),
            (self.as_control, GARBAGE_HZ),
            (self.as_learner, GARBAGE_HZ),
        ):
            who.work(self._count(str(id(who)), rate_hz))

    def drain(self) -> None:
        """Send nothing more; wait until what was sent is counted, and said."""
        end_s = time.monotonic() + DRAIN_S
        while time.monotonic() < end_s:
            for who in (self.stranger, self.large, self.guest):
                who.take()
            self.operator.work(0)
            time.sleep(TURN_S)

    def counted(self) -> int:
        """Return how many frames the robot has called malformed so far."""
        status = self.guest.status
        return 0 if status is None else status.counts[DropCode.MALFORMED - 1]

    def counts(self) -> dict[str, dict[str, int]]:
        """Return what was sent, by sender."""
        robot = {"strangers": self.stranger, "large frames": self.large, "guest": self.guest}
        daemon = {"operator": self.operator, "gate": self.as_control, "learner": self.as_learner}
        return {
            **{f"to the robot: {name}": dict(one.counts) for name, one in robot.items()},
            **{f"to {name}'s socket": {"sent": one.sent} for name, one in daemon.items()},
        }

    def _count(self, who: str, rate_hz: float) -> int:
        """Return how many frames are due: what was missed for long is not caught up."""
        now_s = time.monotonic()
        due = rate_hz * min(now_s - self._due.get(who, now_s), 5 * TURN_S)
        whole = int(due)
        # what is left over is due next time
        self._due[who] = now_s - (due - whole) / rate_hz
        return whole

    def _own(self, who: Client) -> Client:
        self._stack.callback(who.close)
        return who


def commander(bridge: Hardware) -> int:
    """Return the session that holds the robot's lease."""
    joined = [one for one in bridge.entries() if isinstance(one, Joined)]
    return [one.session for one in joined if one.role == Role.COMMANDER and one.session][-1]


@contextmanager
def in_the_middle(front: str, back: str) -> Iterator["subprocess.Popen[str]"]:
    """Yield a man in the middle, who injects from SIGUSR1 on."""
    words = [sys.executable, "-m", "tests.benchmarks.rogue_device", front, back, str(ROGUE_HZ), "0"]
    with subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "in the middle\n"
            yield process
        finally:
            process.kill()


def fuzz(folder: Path, seconds: float) -> Fuzzed:
    """Let a daemon and its robot work for `seconds` among hostile clients."""
    config = hardware_config(folder, {"gate.lineage": str(folder / "lineage")})
    sockets = socket_folder(load_config(config).robot_id)
    sockets.mkdir(mode=0o700, parents=True, exist_ok=True)
    front, back = f"ipc://{sockets}/front", f"ipc://{sockets}/back"
    text = config.read_text(encoding="utf-8").replace("zmq: {}", f"zmq: {{endpoint: '{front}'}}")
    config.write_text(text, encoding="utf-8")
    run = ("--clock", "realtime", "--arm", "--residual")
    with (
        hardware(config, None, "--field", "nominal", "--endpoint", back) as bridge,
        in_the_middle(front, back) as rogue,
        daemon(config, *run) as robot,
        attendant_of(robot) as attendant,
        ExitStack() as stack,
    ):
        await_mode(robot, attendant, Mode.BASE)
        watch = ProcessWatch()
        attack = Attack(stack, config, back, robot, bridge)
        attack.drain()
        before, begin_ns = attack.counted(), time.monotonic_ns()
        rogue.send_signal(signal.SIGUSR1)
        attend(robot, seconds, attendant, _turns(attack, watch, robot, bridge), TURN_S)
        end_ns = time.monotonic_ns()
        rogue.send_signal(signal.SIGTERM)
        attack.drain()
        found = json.loads(rogue.communicate(timeout=20.0)[0])
        died = _died(watch, robot, bridge)
        robot.signal(signal.SIGTERM)
        robot.end()
        bridge.end()
        record = robot.record()
        assert_kept_invariants(record)
        return _told(attack, before, found, died, record, (begin_ns, end_ns), attendant, watch,
                     judge(bridge.entries(), record))  # fmt: skip


def _turns(
    attack: Attack, watch: ProcessWatch, robot: Daemon, bridge: Hardware
) -> Callable[[], None]:
    due_s = 0.0

    def turn() -> None:
        nonlocal due_s
        attack.turn()
        if time.monotonic() >= due_s:
            due_s = time.monotonic() + LOOK_S
            watch.look(processes_of(robot, bridge.process.pid))

    return turn


def _died(watch: ProcessWatch, robot: Daemon, bridge: Hardware) -> list[str]:
    """Return who is gone, or another one than at first."""
    running = processes_of(robot, bridge.process.pid)
    gone = [role for role in watch.numbers if role not in running]
    ended = ["the robot"] * (bridge.process.poll() is not None)
    return [*watch.restarted, *gone, *ended]


def _told(
    attack: Attack,
    before: int,
    rogue: dict[str, int],
    died: list[str],
    record: Record,
    between_ns: tuple[int, int],
    attendant: Attendant,
    watch: ProcessWatch,
    executed: Executed,
) -> Fuzzed:
    begin_ns, end_ns = between_ns
    now_ns = record.scalar("now_ns")
    first, last = now_ns.searchsorted(begin_ns), now_ns.searchsorted(end_ns)
    third_ns = (end_ns - begin_ns) // THIRDS
    thirds = [begin_ns + part * third_ns for part in range(THIRDS + 1)]
    by_third = [outcomes_between(record, *pair) for pair in pairwise(thirds)]
    held = attack.stranger.counts["malformed"] + attack.guest.counts["malformed"]
    told = [e.text for e in record.events if "frames of the robot could not be read" in e.text]
    return Fuzzed(
        clients=attack.counts(),
        rogue=rogue,
        malformed=(held, attack.large.counts["malformed"], attack.counted() - before),
        told=max((int(text.split()[0]) for text in told), default=0),
        answered=(attack.operator.sent, attack.operator.answered),
        died=died,
        outcomes=outcomes_between(record, begin_ns, end_ns),
        successes=[one.get(Outcome.SUCCESS.name, 0) for one in by_third],
        rearms=attendant.rearms,
        executed=executed,
        late=lateness(record, int(first), int(last)),
        growth=watch.rows(),
    )


def main() -> int:
    """Fuzz; 1 if anything falls short."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=SECONDS)
    parser.add_argument("--out", type=Path, default=REPOSITORY / "out/socket_fuzz.json")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="fuzz") as name:
        found = fuzz(Path(name), asked.seconds)
    print(found.text())
    failures = found.failures()
    asked.out.parent.mkdir(parents=True, exist_ok=True)
    table = {"seconds": asked.seconds, "failures": failures, **asdict(found)}
    asked.out.write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")
    print("; ".join([*failures, load_text()]) if failures else f"reached; {load_text()}")
    return bool(failures)


if __name__ == "__main__":
    sys.exit(main())
