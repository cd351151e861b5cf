"""Task signals as a tick takes them: into a fixed number of slots of its inputs."""

from collections.abc import Sequence

from runtime.messages import SIGNAL_SLOTS, SignalKind, TaskSignal, TickInputs


def put_signals(inputs: TickInputs, signals: Sequence[TaskSignal]) -> None:
    """Write up to SIGNAL_SLOTS signals into `inputs`; the other slots become NONE."""
    # numpy takes thrice as long over an enum's member
    inputs.signal_kind.fill(int(SignalKind.NONE))
    width = len(inputs.signal_target) // SIGNAL_SLOTS
    for slot, signal in enumerate(signals[:SIGNAL_SLOTS]):
        inputs.signal_kind[slot] = signal.kind
        inputs.signal_source[slot] = signal.source
        inputs.signal_outcome[slot] = signal.outcome
        inputs.signal_has_target[slot] = bool(signal.target)
        if signal.target:
            inputs.signal_target[slot * width : (slot + 1) * width] = signal.target
