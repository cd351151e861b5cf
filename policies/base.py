"""The frozen base policy behind ONNX Runtime."""

import math
from pathlib import Path

import numpy as np
import onnxruntime as ort

from policies.contract_io import (
    INPUT_NAME,
    OUTPUT_NAME,
    PARITY_TOLERANCE,
    check_network,
    open_session,
    read_contract,
    read_model_bytes,
    replay_parity,
)
from policies.familiarity import Familiarity
from policies.features import FeatureBuilder
from runtime.errors import ContractError
from runtime.layout import Floats
from runtime.messages import TickRecord
from runtime.policy_contract import PolicyContract

_WARM_UP_RUNS = 50


class OnnxBasePolicy:
    """A base policy file, checked against itself and warmed up.

    Buffers are bound to the session once; `act` writes into one and reads from the other.
    """

    def __init__(self, session: ort.InferenceSession, contract: PolicyContract) -> None:
        self._contract = contract
        self._input = np.zeros((1, contract.feature_count), dtype=np.float32)
        self._output = np.zeros((1, len(contract.action.names)), dtype=np.float32)
        self._row = self._input[0]
        self._result = self._output[0]
        self._builder: FeatureBuilder | None = None
        self._familiar = Familiarity(contract.statistics)
        self.unfamiliarity = 0.0
        self._run = session.run_with_iobinding
        self._binding = session.io_binding()
        self._binding.bind_cpu_input(INPUT_NAME, self._input)
        self._binding.bind_output(
            OUTPUT_NAME, "cpu", 0, np.float32, self._output.shape, self._output.ctypes.data
        )
        for _ in range(_WARM_UP_RUNS):
            self._run(self._binding)

    @classmethod
    def load(cls, file: Path) -> "OnnxBasePolicy":
        """Open a policy file, check its network against its contract and replay its parity.

        Raises:
            ContractError: the file is unreadable, corrupt, contradicts itself, or its network
                does not give what the training framework gave.
        """
        source = str(file)
        session = open_session(read_model_bytes(file), source)
        contract = read_contract(session, source)
        check_network(session, contract, source)
        parity = replay_parity(session, contract)
        if not parity.passed:
            raise ContractError(
                f"{source}: the network differs from its parity vectors by "
                f"{parity.max_abs_difference}; allowed is {PARITY_TOLERANCE}. Weights or "
                "normaliser are not those that were exported: copy or train the file again"
            )
        return cls(session, contract)

    @property
    def contract(self) -> PolicyContract:
        """The contract that the file carries."""
        return self._contract

    def bind(self, record: TickRecord) -> None:
        """Bind the features to a record before the loop starts, so that the first `act` is as
        cheap as the next.

        Raises:
            ContractError: a term cannot be read from such a record.
        """
        self._builder = FeatureBuilder(self._contract, record)

    def act(self, record: TickRecord, out: Floats) -> None:
        """Write the network's answer (shape [action], action units) for `record` into `out`.

        Features that are not finite give NaN: tanh would make a plausible action of infinity.
        The limits of the contract's action are the tick's to apply, after the residual.
        """
        if self._builder is None:
            self.bind(record)
            assert self._builder is not None
        with np.errstate(all="ignore"):
            self._builder.write(record, self._row)
            finite = math.isfinite(self._row.dot(self._row))
            self.unfamiliarity = self._familiar.distance(self._builder.raw)
        if not finite:
            out[:] = np.nan
            return
        self._run(self._binding)
        out[:] = self._result
