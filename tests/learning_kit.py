"""What the tests of the learning processes share: a recorded run that is played into a recorder
again, and either end of the gate's sockets in the test's own hands."""

import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import zmq

from runtime.companions import gate_command, learner_command
from runtime.gate_line import Line
from runtime.gate_wire import Candidate, FromLearner, Progress, from_learner
from runtime.messages import TickRecord
from runtime.record_format import RecorderPlace
from runtime.recorder import RecorderClient
from tests.policies.gate_kit import Worked
from tests.runtime.recording_kit import ROOT, make_config, start_recorder

START_S = 60.0
# a learner that learns something within seconds; nobody asks how well
QUICK_LEARNER: dict[str, object] = {
    "learner.prefill_steps": 20,
    "learner.prefill_successes": 0,
    "learner.prefill_most_steps": 20,
    "learner.update_every_steps": 5,
    "learner.candidate_every_steps": 10,
    "learner.agent": {
        "hidden": [16],
        "critics": 2,
        "batch": 32,
        "updates_per_step": 10,
        "warm_up_updates": 50,
    },
}
# with so little time the base fails about every other time, and does no harm: once it was seen to
# succeed and to fail, the residual may try
EAGER: dict[str, object] = {
    "sim.field": "nominal",
    "sim.seed": 4,
    "episode.steps": 20,
    "governor.observe_episodes": 1,
    "governor.base_share": 0.0,
    "governor.base_share_known": 0.0,
    "governor.loss_budget": 100.0,
    "governor.earn_episodes": 5,
    "governor.shadow_episodes": 0,
    "governor.dwell_episodes": 1,
}
# what was learnt within seconds has next to no authority: it leads no arm into a guard by chance
GENTLE: dict[str, object] = {"residual.authority_ramp_s": 1000.0}


@contextmanager
def process(command: list[str]) -> Iterator["subprocess.Popen[bytes]"]:
    """Yield a running process of ours; it is gone afterwards."""
    running = subprocess.Popen(command, cwd=ROOT)
    try:
        yield running
    finally:
        if running.poll() is None:
            running.kill()
        running.wait()


def learner_process(place: RecorderPlace, lineage: Path) -> Any:
    return process(learner_command(place, lineage))


def gate_process(place: RecorderPlace, lineage: Path, *, learner: bool = True) -> Any:
    return process(gate_command(place, lineage, learner=learner))


class Player:
    """Plays a recorded run into a real recorder, as the control process would."""

    def __init__(self, place: RecorderPlace, worked: Worked) -> None:
        config = make_config()
        self._recorder = start_recorder(place, config)
        self._worked = worked
        self._next = 0
        self._events = list(worked.sink.events)
        self.client = RecorderClient(place, worked.header, lockstep=True, lost_after_s=5.0)
        self.client.wait_ready(START_S)
        assert worked.sink.layout is not None
        self._layout = worked.sink.layout
        self.ticks = len(worked.sink.raw) // self._layout.size_bytes

    def play(self, until: int | None = None) -> None:
        """Hand over the ticks up to a place, with the events that came with them."""
        size, raw = self._layout.size_bytes, memoryview(self._worked.sink.raw)
        record = TickRecord(self._layout, bytearray(size))
        for index in range(self._next, min(until or self.ticks, self.ticks)):
            record.raw[:] = raw[index * size : (index + 1) * size]
            self.client.record(record)
            while self._events and self._events[0].tick <= record.tick.item():
                self.client.event(self._events.pop(0))
            self._next = index + 1

    def close(self) -> None:
        self.client.close()
        self._recorder.communicate(timeout=10.0)


@contextmanager
def player(place: RecorderPlace, worked: Worked) -> Iterator[Player]:
    playing = Player(place, worked)
    try:
        yield playing
    finally:
        playing.close()


class GateEnd:
    """The gate's end of the learner's line: keeps what the learner said."""

    def __init__(self, place: RecorderPlace) -> None:
        self._context = zmq.Context()
        self.line: Line[FromLearner] = Line(self._context, place.learner_endpoint, from_learner)
        self.candidates: list[Candidate] = []
        self.progress = Progress(0, 0)
        self.texts: list[str] = []

    def listen_until(self, condition: Callable[[], bool], timeout_s: float = START_S) -> None:
        deadline_s = time.monotonic() + timeout_s
        while not condition():
            assert time.monotonic() < deadline_s, (self.progress, len(self.candidates), self.texts)
            self.line.socket.poll(20)
            for message in self.line.received(100):
                if isinstance(message, Candidate):
                    self.candidates.append(message)
                elif isinstance(message, Progress):
                    self.progress = message
                    if message.text:
                        self.texts.append(message.text)

    def close(self) -> None:
        self.line.close()
        self._context.term()


@contextmanager
def gate_end(place: RecorderPlace) -> Iterator[GateEnd]:
    end = GateEnd(place)
    try:
        yield end
    finally:
        end.close()
