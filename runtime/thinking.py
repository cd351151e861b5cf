"""Between two ticks: the policies are asked about a record, and their answer becomes inputs.

In lockstep the base is asked in line. In real time a worker is (see base_line), because a call into
an inference library may hang, crash or hold the interpreter: the servo goes on with the action that
it has, which grows old. The residual is small, and swapped between two ticks: it stays here, and is
asked about the very record that the base answered.
"""

import traceback
from typing import Protocol

from runtime.clock import NS_PER_S
from runtime.events import EventKind
from runtime.gate_wire import Grant
from runtime.interfaces import (
    BaseAnswer,
    BasePolicy,
    BaseWorker,
    Link,
    ResidualAnswer,
    ResidualPolicy,
)
from runtime.messages import Sizes, TickInputs, TickRecord, new_record

_SAY_AFTER_NS = NS_PER_S


class Minds(Protocol):
    """Who is asked; `link` has the clock. `worker`: None where the base is asked in line."""

    @property
    def base(self) -> BasePolicy:
        """The base, asked in line."""
        ...

    @property
    def residual(self) -> ResidualPolicy:
        """The residual."""
        ...

    @property
    def worker(self) -> BaseWorker | None:
        """Where the base thinks beside the loop."""
        ...

    @property
    def link(self) -> Link:
        """The link."""
        ...


class Thinking:
    """Asks the policies and fills `inputs`. `words`: what the record should hold of it; whoever
    reads them takes them away."""

    def __init__(self, inputs: TickInputs, sizes: Sizes) -> None:
        self._inputs = inputs
        self.words: list[tuple[EventKind, str]] = []
        zeros = inputs.residual_action.copy()
        self.answer = ResidualAnswer(action=zeros, noise=zeros.copy())
        self._base_out = inputs.base_action.copy()
        self._asked = new_record(sizes)
        self._hang_said = False
        self.outstanding = False

    def in_line(self, minds: Minds, record: TickRecord, grant: Grant) -> None:
        """Ask base and residual about this record now; the answer enters the next tick."""
        inputs, clock = self._inputs, minds.link.clock
        inputs.base_failed[0] = False
        begin_ns = clock.now_ns()
        try:
            minds.base.act(record, self._base_out)
        except Exception:
            inputs.base_failed[0] = True
            self.words.append((EventKind.TRACEBACK, traceback.format_exc()))
        self._ask_residual(minds.residual, record, grant)
        inputs.base_inference_ns[0] = clock.now_ns() - begin_ns
        self._put(record, minds.base.unfamiliarity)

    def beside(
        self,
        minds: Minds,
        worker: BaseWorker,
        record: TickRecord,
        grant: Grant,
        woke_ns: int,
    ) -> None:
        """Ask the worker if the policy is due, and take what it has answered by now.

        Waits for an answer in the slack of the asking tick alone (`woke_ns`: when it was due); one
        that is late is taken after a later tick's write. Until then nothing else is asked.
        """
        if self.outstanding:
            self._take(minds, worker.look(), grant)
            self._say_hang(worker, record)
        if record.policy_due[0] and not self.outstanding:
            self._asked.raw[:] = record.raw
            worker.ask(record)
            self.outstanding, self._hang_said = True, False
            self._take(minds, worker.look(woke_ns), grant)

    def _take(self, minds: Minds, answer: BaseAnswer | None, grant: Grant) -> None:
        """Take over a worker's answer, and ask the residual about the same record."""
        if answer is None:
            return
        self.outstanding = False
        inputs, clock = self._inputs, minds.link.clock
        begin_ns = clock.now_ns()
        inputs.base_failed[0] = bool(answer.failure)
        if answer.failure:
            kind = EventKind.NOTE if answer.lost else EventKind.TRACEBACK
            self.words.append((kind, answer.failure))
        self._base_out[:] = answer.action
        self._ask_residual(minds.residual, self._asked, grant)
        inputs.base_inference_ns[0] = answer.inference_ns + clock.now_ns() - begin_ns
        self._put(self._asked, answer.unfamiliarity)

    def _say_hang(self, worker: BaseWorker, record: TickRecord) -> None:
        """Say once why the base's action stays old."""
        waited_ns = record.now_ns.item() - self._asked.now_ns.item()
        if self.outstanding and not self._hang_said and waited_ns > _SAY_AFTER_NS:
            self._hang_said = True
            said = (
                f"the base policy has not answered for {waited_ns / NS_PER_S:.1f} s: its worker "
                f"(process {worker.pid}) hangs or gets no processor; it is asked nothing else "
                "until it answers; stop the daemon and look for the cause"
            )
            self.words.append((EventKind.NOTE, said))

    def _put(self, asked: TickRecord, unfamiliarity: float) -> None:
        inputs = self._inputs
        inputs.base_unfamiliarity[0] = unfamiliarity
        inputs.base_action[:] = self._base_out
        inputs.base_sequence[0] += 1
        inputs.base_observed_ns[0] = asked.now_ns[0]

    def _ask_residual(self, residual: ResidualPolicy, record: TickRecord, grant: Grant) -> None:
        """Ask the residual about this record and what the base made of it."""
        inputs, answer = self._inputs, self.answer
        inputs.residual_failed[0] = False
        try:
            residual.act(record, self._base_out, grant, answer)
        except Exception:
            answer.action[:], answer.noise[:], answer.takes_part = 0.0, 0.0, False
            inputs.residual_failed[0] = True
            self.words.append((EventKind.TRACEBACK, traceback.format_exc()))
        inputs.residual_action[:] = answer.action
        inputs.residual_noise[:] = answer.noise
        inputs.residual_takes_part[0] = answer.takes_part
        inputs.residual_version[0] = residual.version
