"""The cheap checks of a snapshot: each returns one sentence that says why not, or nothing.

Limits are written as `not (x <= limit)`, so that a NaN is refused too.
"""

import numpy as np

from runtime.layout import Floats
from runtime.snapshot import (
    FORMAT_VERSION,
    Float32s,
    Snapshot,
    SnapshotParity,
    digest_of,
    forward,
)

Layers = list[tuple[Float32s, Float32s]]

# numpy and the trainer's framework sum in another order: single precision, tanh outputs
PARITY_TOLERANCE = 1e-4
_PARITY_ROWS_MAX = 1024


def finite(snapshot: Snapshot, layers: Layers) -> str:
    """Every number is finite, and every standard deviation positive."""
    named: dict[str, Floats | Float32s] = {
        name: np.array(getattr(snapshot, name))
        for name in ("mean", "std", "low", "high", "constraint", "constraint_max")
    }
    for number, (weights, bias) in enumerate(layers):
        named[f"weights of layer {number}"], named[f"bias of layer {number}"] = weights, bias
    for name, values in named.items():
        if not np.isfinite(values).all():
            count = int(np.count_nonzero(~np.isfinite(values)))
            return f"{name}: {count} of {values.size} numbers are not finite"
    if not (min(snapshot.std, default=1.0) > 0.0):
        return f"std: {min(snapshot.std)} is not positive, so its feature cannot be normalised"
    return ""


def norm(layers: Layers, norm_max: float) -> str:
    """No layer's weights have a 2-norm (of all its numbers) above `norm_max`."""
    for number, (weights, bias) in enumerate(layers):
        with np.errstate(over="ignore"):
            size = float(np.sqrt(np.sum(np.square(weights, dtype=np.float64))))
            offset = float(np.sqrt(np.sum(np.square(bias, dtype=np.float64))))
        if not (max(size, offset) <= norm_max):
            return (
                f"layer {number}: norm of weights {size:.4g}, of bias {offset:.4g}; allowed "
                f"{norm_max:g} (residual.max_weight_norm)"
            )
    return ""


def identity(snapshot: Snapshot, contract: str, features: int, actions: int) -> str:
    """Format, digest, the interface that it was made for, and sizes that fit it."""
    if snapshot.format_version != FORMAT_VERSION:
        return f"format {snapshot.format_version}; this version reads format {FORMAT_VERSION}"
    if snapshot.digest != digest_of(snapshot):
        return f"its digest {snapshot.digest[:12]} is not that of its content: it was changed"
    if snapshot.contract != contract:
        return (
            f"made for interface {snapshot.contract[:12]}, here is {contract[:12]}: another base "
            "policy or other observation terms"
        )
    vectors = {name: len(getattr(snapshot, name)) for name in ("mean", "std", "low", "high")}
    odd = [f"{name} has {length}" for name, length in vectors.items() if length != features]
    if odd:
        return f"{', '.join(odd)} numbers for {features} features"
    if not snapshot.layers:
        return "it has no layers"
    ends = (snapshot.layers[0].inputs, snapshot.layers[-1].outputs)
    wanted = (features + actions, 2 * actions)
    if ends != wanted:
        return f"{ends[0]} inputs and {ends[1]} outputs; {wanted[0]} and {wanted[1]} are needed"
    return ""


def successor(snapshot: Snapshot, live_version: int) -> str:
    """It is newer than what is live, and younger than its parent."""
    if not (snapshot.version > live_version):
        return f"version {snapshot.version} is not newer than {live_version}, which is live"
    return descent(snapshot)


def descent(snapshot: Snapshot) -> str:
    """It is younger than its parent; version 0 is nobody's child."""
    if not (0 <= snapshot.parent < snapshot.version):
        return f"version {snapshot.version} cannot be a child of {snapshot.parent}"
    return ""


def parity(snapshot: Snapshot, layers: Layers) -> str:
    """Our forward pass gives what the trainer's framework gave for its own vectors."""
    vectors = snapshot.parity
    if not _is_table(vectors, len(snapshot.mean), snapshot.layers[-1].outputs // 2):
        return f"its parity vectors are missing, of other sizes, or above {_PARITY_ROWS_MAX} rows"
    ours = mean_actions(snapshot, layers, np.array(vectors.features), np.array(vectors.base))
    gap = float(np.max(np.abs(ours - np.array(vectors.actions))))
    if not (gap <= PARITY_TOLERANCE):
        return (
            f"actions differ from those of the framework that trained it by {gap:.3g} of the "
            f"bound; allowed {PARITY_TOLERANCE:g}"
        )
    return ""


def change(ours: Float32s, live: Float32s, change_max: float) -> str:
    """Mean actions [rows, d] on recent observations are near those of what is live."""
    if not len(ours):
        return "no recent observation to compare its actions on; offer it again later"
    size = float(np.sqrt(np.mean(np.square(ours - live, dtype=np.float64))))
    if not (size <= change_max):
        return (
            f"actions on the last {len(ours)} observations change by {size:.3g} of the bound "
            f"(root mean square); allowed {change_max:g} (residual.max_action_change)"
        )
    return ""


def update_guard(snapshot: Snapshot) -> str:
    """The learner's own constraint on the rate of change was kept."""
    if not (snapshot.constraint <= snapshot.constraint_max):
        return (
            f"the update guard measured a change of {snapshot.constraint:.3g}; it allows "
            f"{snapshot.constraint_max:.3g}"
        )
    return ""


def mean_actions(snapshot: Snapshot, layers: Layers, features: Floats, base: Floats) -> Float32s:
    """Return mean actions [rows, d] in units of the bound for raw features [rows, n] and base
    actions [rows, d]."""
    with np.errstate(all="ignore"):
        normal = (features - np.array(snapshot.mean)) / np.array(snapshot.std)
        rows = np.concatenate((normal, base), axis=1).astype(np.float32)
        return forward(layers, rows)[0]


def _is_table(vectors: SnapshotParity, features: int, actions: int) -> bool:
    """Return whether the vectors are rows of the right sizes: at least one and not too many."""
    rows = len(vectors.features)
    if not (1 <= rows <= _PARITY_ROWS_MAX):
        return False
    wanted = ((vectors.features, features), (vectors.base, actions), (vectors.actions, actions))
    return all(
        len(table) == rows and all(len(row) == width for row in table) for table, width in wanted
    )
