"""From a record to the network's input: raw terms side by side, then the contract's normaliser."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from policies.terms import ActionKind, Term, sizes_of, term_named
from runtime.errors import ContractError
from runtime.layout import Floats
from runtime.messages import Sizes, TickRecord
from runtime.policy_contract import PolicyContract, TermSpec

Float32s = NDArray[np.float32]


class Normaliser:
    """((raw * scale + offset) - mean) / std of TermSpec, folded into one gain and one bias."""

    def __init__(self, terms: Sequence[TermSpec]) -> None:
        scale, offset, mean, std = (
            np.array([number for term in terms for number in getattr(term, key)], dtype=np.float64)
            for key in ("scale", "offset", "mean", "std")
        )
        self._gain: Floats = scale / std
        self._bias: Floats = (offset - mean) / std
        self._product: Floats = np.empty(len(scale))

    def write(self, raw: Floats, out: Float32s) -> None:
        """Normalise one raw vector (shape [features]) into `out` without allocating."""
        np.multiply(raw, self._gain, out=self._product)
        np.add(self._product, self._bias, out=out, casting="same_kind")

    def rows(self, raw: Floats) -> Float32s:
        """Return raw rows (shape [rows, features]) normalised by the very code of `write`."""
        out = np.empty(raw.shape, dtype=np.float32)
        for source, target in zip(raw, out, strict=True):
            self.write(source, target)
        return out


class RawFeatures:
    """The raw values of some terms, in order, read from a record.

    Views are bound once for a record object; a loop reuses one record, so the hot path only
    copies. `values` is the buffer that `read` fills, shape [features], float64.

    Raises:
        ContractError: a term is unknown, has no meaning for the action kind, or lacks its group.
    """

    def __init__(self, names: Sequence[str], kind: ActionKind, record: TickRecord) -> None:
        self._classes = [term_named(name, kind) for name in names]
        self._kind: ActionKind = kind
        self._sizes = sizes_of(record)
        widths = [term.size(self._sizes) for term in self._classes]
        ends = np.cumsum([0, *widths])
        self.values: Floats = np.zeros(int(ends[-1]))
        self._slices = [self.values[start:end] for start, end in pairwise(ends)]
        self._bind(record)

    @property
    def sizes(self) -> Sizes:
        """The sizes of the records that this was made for."""
        return self._sizes

    def _bind(self, record: TickRecord) -> None:
        if (found := sizes_of(record)) != self._sizes:
            raise ContractError(f"the record has sizes {found}; features expect {self._sizes}")
        terms: list[Term] = [term(record.view, self._kind) for term in self._classes]
        self._record = record
        self._writers = [
            (term.write, piece) for term, piece in zip(terms, self._slices, strict=True)
        ]

    def read(self, record: TickRecord) -> Floats:
        """Return `values`, filled from `record`; the next call overwrites them."""
        if record is not self._record:
            self._bind(record)
        for write, piece in self._writers:
            write(piece)
        return self.values


class FeatureBuilder:
    """Builds the network input that a contract describes.

    Raises:
        ContractError: a term is unknown, impossible here, or of another size than it says.
    """

    def __init__(self, contract: PolicyContract, record: TickRecord) -> None:
        sizes = sizes_of(record)
        for term in contract.terms:
            actual = term_named(term.name, contract.action.kind).size(sizes)
            if actual != term.size:
                raise ContractError(
                    f"term {term.name}: the contract says {term.size} numbers, the record has "
                    f"{actual}"
                )
        names = [term.name for term in contract.terms]
        self._raw = RawFeatures(names, contract.action.kind, record)
        self._normaliser = Normaliser(contract.terms)

    @property
    def raw(self) -> Floats:
        """The raw values of the last `write`, shape [features]."""
        return self._raw.values

    def write(self, record: TickRecord, out: Float32s) -> None:
        """Write the network input for `record` (shape [features]) into `out`."""
        self._normaliser.write(self._raw.read(record), out)
