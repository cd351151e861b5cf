"""The control loop: paces ticks, moves data between link, tick, policies and recorder.

Everything that can change a tick's outcome is gathered into TickInputs here and nowhere else.
Policies are asked after the write, in the slack of the period (thinking.py).
"""

import time
import traceback
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from runtime.events import Event, EventKind
from runtime.faults import Response
from runtime.gate_wire import Grant
from runtime.interfaces import (
    BasePolicy,
    BaseWorker,
    GateClient,
    Link,
    RecordSink,
    ResidualPolicy,
)
from runtime.messages import (
    SIGNAL_SLOTS,
    STAGES,
    Mode,
    Outcome,
    Phase,
    Request,
    Sizes,
    Stage,
    TaskSignal,
    TickRecord,
    new_inputs,
)
from runtime.modes import ARMED
from runtime.operator_port import Port
from runtime.realtime import Paces
from runtime.signal_slots import put_signals
from runtime.thinking import Thinking
from runtime.tick import ControlTick

_IDLE_WAIT_S = 0.05
_ENDING_LIMIT_S = 5.0
# two clocks read further apart than this say nothing about each other
_READING_MAX_NS = 1_000_000
_STAGE = {name: index for index, name in enumerate(STAGES)}


@dataclass(frozen=True)
class LoopParts:
    """What the loop connects. `pacer` is None in lockstep, where the link paces; `gate` where
    nothing is ever granted; `worker` where the base is asked in line."""

    tick: ControlTick
    link: Link
    base: BasePolicy
    residual: ResidualPolicy
    sink: RecordSink
    port: Port
    pacer: Paces | None
    gate: GateClient | None = None
    worker: BaseWorker | None = None


class ControlLoop:
    """Runs ticks until it is told to end, and ends only with the robot at rest."""

    def __init__(
        self, parts: LoopParts, sizes: Sizes, keyframe_ticks: int, is_done: Callable[[], bool]
    ) -> None:
        self._parts = parts
        self._inputs = new_inputs(sizes)
        self._keyframe_ticks = keyframe_ticks
        self._is_done = is_done
        self._ending: Request = Request.NONE
        self._ending_since_s = 0.0
        zeros = self._inputs.residual_action.tolist()
        self._nothing = self._grant = Grant(Stage.OBSERVE, zeros)
        self._gate_let_go = False
        self._thinking = Thinking(self._inputs, sizes)
        self._woke_ns = 0
        self._keyframe_due = True
        self._raised: Exception | None = None
        self._signals: deque[TaskSignal] = deque()
        self._epoch = parts.tick.state.epoch
        self._idle = False
        self._supervisor_lost = False
        self._lockstep = parts.pacer is None
        self._simulated_time = parts.link.describe().lockstep

    def end(self) -> None:
        """Ask for a stop and leave the loop once the robot is at rest. Safe in signal handlers."""
        self._ending = Request.STOP

    @property
    def at_rest(self) -> bool:
        """True when reference and measured robot stood still in the last tick."""
        return self._parts.tick.at_rest

    @property
    def supervisor_lost(self) -> bool:
        """True when the loop ended without its supervisor."""
        return self._supervisor_lost

    def run(self) -> bool:
        """Tick until the end; True when it ended as planned rather than by a stop."""
        self._keyframe()
        while not self._finished():
            if self._idle and self._lockstep and not self._parts.port.wait(_IDLE_WAIT_S):
                # nobody asks for anything: simulated time stands still where nothing moves
                continue
            self.tick_once()
        self._supervisor_lost = self._parts.port.supervisor_lost
        self._parts.sink.close()
        return self._ending is Request.DISARM and not self.supervisor_lost

    def tick_once(self) -> TickRecord:
        """Run one tick from pacing to policy."""
        inputs, parts = self._inputs, self._parts
        stage_ns = inputs.stage_ns
        lateness_ns = self._pace()
        begin = time.perf_counter_ns()
        self._woke_ns = time.monotonic_ns() - lateness_ns
        self._see_wall_clock()
        parts.link.read(inputs)
        self._gather()
        read = time.perf_counter_ns()
        record = self._step()
        stepped = time.perf_counter_ns()
        if record.epoch.item() != self._epoch:
            self._begin_epoch(record)
        parts.link.write(parts.tick.certificate)
        written = time.perf_counter_ns()
        self._hand_over(record)
        recorded = time.perf_counter_ns()
        if record.policy_due[0] or self._thinking.outstanding:
            self._think(record)
        if parts.gate is not None and not self._gate_let_go:
            self._listen(parts.gate, record)
            if self._lockstep:
                # it may have waited for long: the supervisor beat meanwhile, and was not heard
                parts.port.poll()
        stage_ns[_STAGE["lateness"]] = lateness_ns
        stage_ns[_STAGE["read"]] = read - begin
        stage_ns[_STAGE["step"]] = stepped - read
        stage_ns[_STAGE["write"]] = written - stepped
        stage_ns[_STAGE["record"]] = recorded - written
        stage_ns[_STAGE["policy"]] = time.perf_counter_ns() - recorded
        return record

    # -- before the step ----------------------------------------------------------------------

    def _pace(self) -> int:
        if self._parts.pacer is None:
            return 0
        wake = self._parts.pacer.wait()
        self._inputs.missed_ticks[0] = wake.missed
        return wake.lateness_ns

    def _see_wall_clock(self) -> None:
        """Note how far the computer's time of day is from the clock that all is timed by."""
        offset_ns = self._inputs.wall_offset_ns
        if self._simulated_time:
            offset_ns[0] = 0
            return
        before_ns = time.monotonic_ns()
        wall_ns = time.time_ns()
        if time.monotonic_ns() - before_ns <= _READING_MAX_NS:
            offset_ns[0] = wall_ns - before_ns

    def _gather(self) -> None:
        """Bring what people, drivers and children say into the inputs."""
        inputs, parts = self._inputs, self._parts
        inputs.tick[0] += 1
        inputs.now_ns[0] = parts.link.clock.now_ns()
        # all else that preflight asks was proven before there was a loop; see wiring.py
        inputs.preflight_ok[0] = all(inputs.group_sequence.tolist())
        port = parts.port
        port.poll()
        put_signals(inputs, self._next_signals())
        inputs.request[0] = self._request()
        inputs.supervisor_lost[0] = port.supervisor_lost
        health = parts.sink.health()
        if health.dropped > inputs.records_dropped.item():
            self._keyframe_due = True
        inputs.records_dropped[0] = health.dropped
        inputs.recorder_lost[0] = health.lost
        if parts.gate is not None and not self._gate_let_go:
            self._hear(parts.gate)

    def _hear(self, gate: GateClient) -> None:
        """Bring what the gate grants, and how it and the learner fare, into the inputs."""
        inputs, health = self._inputs, gate.health()
        inputs.gate_lost[0] = health.gate_lost
        inputs.learner_lost[0] = health.learner_lost
        inputs.weights_age_ns[0] = health.weights_age_ns
        inputs.residual_held[0] = health.held
        inputs.snapshots_refused[0] = self._parts.residual.refused
        if gate.grant is not self._grant:
            self._take(gate.grant)

    def _take(self, grant: Grant) -> None:
        self._grant = grant
        inputs, said = self._inputs, grant.references
        inputs.residual_stage[0] = grant.stage
        inputs.authority_granted[:] = grant.authority
        inputs.residual_trial[0] = grant.trial
        inputs.own_reference[:] = said.own
        inputs.base_reference[:] = said.base
        inputs.base_limited_share[0] = said.base_limited
        inputs.base_pressed_share[0] = said.base_pressed
        inputs.critic_gap[0] = said.critic_gap
        inputs.update_ratio[0] = said.update_ratio

    def _next_signals(self) -> list[TaskSignal]:
        """Return as many signals as a tick takes; the others wait for the next."""
        waiting = self._signals
        waiting.extend(self._parts.link.signals())
        if len(waiting) < SIGNAL_SLOTS:
            waiting.extend(self._parts.port.signals())
        if self._ending is not Request.NONE:
            # who wants to end begins nothing new: the arm stays where it is
            waiting.clear()
        if not waiting:
            return []
        return [waiting.popleft() for _ in range(min(len(waiting), SIGNAL_SLOTS))]

    def _request(self) -> Request:
        mode = self._parts.tick.state.mode
        if self._ending is Request.STOP:
            return Request.STOP if mode is not Mode.STOPPED else Request.NONE
        if self._ending is Request.DISARM:
            return Request.DISARM if self._stands() else Request.NONE
        # the first tick makes the daemon ready; an operator who was quicker waits for that
        return self._parts.port.request() if self._inputs.tick.item() > 1 else Request.NONE

    def _begin_epoch(self, record: TickRecord) -> None:
        """Let the robot know when it is taken hold of: by a person's arming, which begins with
        homing, and again after a hold in which it let go. Either begins an epoch."""
        self._epoch = record.epoch.item()
        if self._parts.tick.state.mode in (Mode.HOMING, Mode.HOLD):
            self._parts.link.arm(self._epoch)

    # -- the step -----------------------------------------------------------------------------

    def _step(self) -> TickRecord:
        inputs, tick = self._inputs, self._parts.tick
        try:
            record = tick.step(inputs)
            inputs.tick_raised[0] = False
        except Exception as error:
            # whatever broke, the robot still gets the certified next step of its stop, and gets
            # it before anybody writes down why
            record = tick.emergency(inputs)
            inputs.tick_raised[0] = True
            self._raised = error
        return record

    def _hand_over(self, record: TickRecord) -> None:
        sink, tick = self._parts.sink, self._parts.tick
        sink.record(record)
        if self._raised is not None:
            self._event(EventKind.TRACEBACK, "".join(traceback.format_exception(self._raised)))
            self._raised = None
            self._keyframe_due = True
        if record.request.item():
            refused, words = bool(record.request_refused[0]), "; ".join(tick.notes)
            self._parts.port.answer(refused, tick.state.mode, words, at_rest=tick.at_rest)
        for note in (*tick.notes, *self._parts.link.news()):
            self._event(EventKind.NOTE, note)
        count = record.tick.item()
        for event in self._parts.port.events(count, record.now_ns.item()):
            sink.event(event)
        if self._keyframe_due or count % self._keyframe_ticks == 0:
            self._keyframe()
        mode = tick.state.mode
        latched = record.response.item() == Response.STOP
        stopped = mode is Mode.STOPPED or latched
        waits = mode is Mode.READY or (stopped and tick.at_rest)
        idle = waits and self._ending is Request.NONE
        if idle and not self._idle:
            # nothing comes for a while: the event takes along what the sink still gathers
            self._keyframe()
        self._idle = idle
        if self._ending is Request.NONE and self._is_done():
            self._ending = Request.DISARM

    def _think(self, record: TickRecord) -> None:
        """Ask the policies, in line or beside the loop; the answer enters the next tick's inputs,
        or that of a later one."""
        parts, thinking = self._parts, self._thinking
        if parts.worker is None:
            thinking.in_line(parts, record, self._grant)
        else:
            thinking.beside(parts, parts.worker, record, self._grant, self._woke_ns)
        while thinking.words:
            self._event(*thinking.words.pop(0))

    def _listen(self, gate: GateClient, record: TickRecord) -> None:
        """Let the gate's client do its work; one that raises is let go, with all that it granted:
        what learns never ends the loop."""
        try:
            events = gate.after(record, self._parts.residual)
        except Exception:
            self._event(EventKind.TRACEBACK, traceback.format_exc())
            self._gate_let_go = True
            self._take(self._nothing)
            self._inputs.gate_lost[0] = True
            return
        for event in events:
            self._parts.sink.event(event)

    def _keyframe(self) -> None:
        self._event(EventKind.KEYFRAME, data=self._parts.tick.save())
        self._keyframe_due = False

    def _event(self, kind: EventKind, text: str = "", data: bytes = b"") -> None:
        inputs = self._inputs
        self._parts.sink.event(Event(int(inputs.tick[0]), int(inputs.now_ns[0]), kind, text, data))

    # -- the end ------------------------------------------------------------------------------

    def _stands(self) -> bool:
        tick = self._parts.tick
        return tick.record.phase[0] != Phase.RUNNING and tick.at_rest

    def _finished(self) -> bool:
        """True once the end was asked for and nothing moves any more, or after a time limit."""
        if self._ending is Request.NONE and not self._parts.port.supervisor_lost:
            return False
        tick = self._parts.tick
        if tick.state.mode not in ARMED and tick.at_rest:
            return True
        now_s = time.monotonic()
        self._ending_since_s = self._ending_since_s or now_s
        late = now_s - self._ending_since_s > _ENDING_LIMIT_S
        if late and self._ending is Request.DISARM:
            # whoever does not come to rest by itself is stopped
            self._ending, self._ending_since_s = Request.STOP, now_s
            return False
        return late


class EpisodesDone:
    """Says when `count` episodes have ended; aborted ones do not count."""

    def __init__(self, count: int) -> None:
        self._left = count

    def __call__(self, tick: ControlTick) -> bool:
        """Look at the record of the last step."""
        record = tick.record
        # items: comparing a number of numpy's with an enum's takes microseconds
        if record.outcome.item() not in (Outcome.NONE, Outcome.ABORT):
            self._left -= 1
        return self._left <= 0 and record.phase.item() != Phase.RUNNING
