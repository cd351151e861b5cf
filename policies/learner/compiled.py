"""The same update as one compiled program: traced through autograd once, then built by inductor.

Needs a C++ compiler; where there is none, learning goes on uncompiled and says so.
"""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from policies.learner.batch import Draws, LearnerState

UpdateStep = Callable[[LearnerState, Tensor, Draws, Tensor], None]
# one thread: learning has one core. No cache that unpickles; built code is cached by its content.
_OPTIONS: dict[str, bool | int] = {
    "cpp.threads": 1,
    "compile_threads": 1,
    "fx_graph_cache": False,
    # calls between the kernels in C++ as well: a quarter of the time otherwise
    "cpp_wrapper": True,
}
_DRAWS = len(Draws._fields)


@dataclass(frozen=True)
class Example:
    """Arguments of the shapes that will come."""

    state: LearnerState
    packed: Tensor
    draws: Draws
    rates: Tensor


def build(step: UpdateStep, example: Example) -> UpdateStep:
    """Return `step` compiled for the example's shapes; takes a core for half a minute.

    The example's tensors are changed.
    """
    # imported only when wanted, and not public: a torch without them leaves the step as it is
    from torch._inductor import compile as compile_graph
    from torch.fx.experimental.proxy_tensor import make_fx

    def flat(packed: Tensor, rates: Tensor, *rest: Tensor) -> tuple[()]:
        step(LearnerState(*rest[_DRAWS:]), packed, Draws(*rest[:_DRAWS]), rates)
        return ()

    given = [example.packed, example.rates, *example.draws, *example.state]
    graph = make_fx(flat)(*given)
    for node in graph.graph.nodes:
        # every node was traced under a mode of its own; inductor works them out again, under one
        node.meta.pop("val", None)
    with torch.no_grad():
        run = compile_graph(graph, list(given), options=_OPTIONS)

    def compiled(state: LearnerState, packed: Tensor, draws: Draws, rates: Tensor) -> None:
        with torch.no_grad():
            run(packed, rates, *draws, *state)

    return compiled


class CompiledStep:
    """A step that is replaced by its compiled self: before its first call, or as soon as a thread
    has built it. `seconds` says how long that took, `failure` why it was given up.
    """

    def __init__(self, step: UpdateStep) -> None:
        self._step = step
        self.ready = False
        self.seconds = 0.0
        self.failure: str | None = None

    def __call__(self, state: LearnerState, packed: Tensor, draws: Draws, rates: Tensor) -> None:
        """Take one step, by whichever way there is now."""
        self._step(state, packed, draws, rates)

    def compile(self, example: Example) -> None:
        """Build now; on failure the step stays as it is."""
        begin = time.monotonic()
        try:
            self._step = build(self._step, example)
            self.ready = True
        except Exception as error:
            # whatever a compiler raises, learning goes on
            self.failure = f"{type(error).__name__}: {error}"
        self.seconds = time.monotonic() - begin


def compile_in_background(steps: Sequence[CompiledStep], example: Callable[[], Example]) -> None:
    """Build all, one after the other, in a thread; steps go on meanwhile."""

    def work() -> None:
        for step in steps:
            step.compile(example())

    threading.Thread(target=work, name="compile", daemon=True).start()
