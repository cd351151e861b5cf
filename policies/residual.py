"""The residual on the control side: version 0, which asks for nothing, and what was learned.

No torch: the network runs in numpy, on buffers that exist before the first deadline.
"""

import math
from collections.abc import Callable
from itertools import pairwise

import numpy as np

from policies import gate_checks
from policies.exploration import Exploration, limited
from policies.features import RawFeatures
from policies.gate_checks import Layers
from runtime.errors import SnapshotError
from runtime.gate_wire import Grant
from runtime.interfaces import ResidualAnswer
from runtime.layout import Floats
from runtime.messages import Mode, Stage, TickRecord
from runtime.policy_contract import PolicyInterface
from runtime.residual_spec import ResidualConfig
from runtime.snapshot import (
    Float32s,
    Snapshot,
    decode_snapshot,
    forward,
    interface_hash,
    matrices,
)

_ADAPTIVE = int(Mode.ADAPTIVE)
_ACTING = (Stage.EXPLORE, Stage.ADAPTIVE)
_ZERO = np.float32(0.0)


class ZeroResidual:
    """Version 0: asks for exactly nothing."""

    def __init__(self) -> None:
        self.refused = 0

    @property
    def version(self) -> int:
        """The snapshot's version, 0."""
        return 0

    def act(
        self, record: TickRecord, base_action: Floats, grant: Grant, out: ResidualAnswer
    ) -> None:
        """Write zeros into `out`."""
        _ask_nothing(out)

    def offer(self, data: bytes) -> str:
        """Refuse: a config without a residual runs the base alone."""
        self.refused += 1
        return "the config has no block `residual`: the base runs alone"

    def go_back(self, data: bytes) -> str:
        """Version 0 is live already; anything else is refused, as in `offer`."""
        return self.offer(data) if data else ""


class Network:
    """One snapshot's forward pass for one observation at a time, without allocating.

    Each layer's bias is a last column of its weights, and each input ends in a 1: in a control
    loop's cold caches the number of calls is what costs.
    """

    def __init__(self, snapshot: Snapshot, layers: Layers) -> None:
        self.version = snapshot.version
        self.layers = layers
        self._mean: Floats = np.array(snapshot.mean)
        self._std: Floats = np.array(snapshot.std)
        self._centred: Floats = np.zeros(len(self._mean))
        sizes = [layers[0][0].shape[1], *(len(bias) for _, bias in layers)]
        values = [np.ones(size + 1, dtype=np.float32) for size in sizes]
        self._features = values[0][: len(self._mean)]
        self._base = values[0][len(self._mean) : -1]
        whole = [np.column_stack(layer) for layer in layers]
        steps = [
            (w, value, out[:-1]) for w, (value, out) in zip(whole, pairwise(values), strict=True)
        ]
        self._hidden, self._last = steps[:-1], steps[-1]
        actions = sizes[-1] // 2
        self.latent: Float32s = values[-1][:actions]
        self.log_spread: Float32s = values[-1][actions:-1]

    def run(self, features: Floats, base: Floats) -> None:
        """Set `latent` (the mean before tanh) and `log_spread`, [action] each, for raw features and
        the base's action."""
        np.subtract(features, self._mean, out=self._centred)
        np.divide(self._centred, self._std, out=self._features, casting="same_kind")
        self._base[:] = base
        for weights, value, out in self._hidden:
            np.dot(weights, value, out=out)
            np.maximum(out, _ZERO, out=out)
        weights, value, out = self._last
        np.dot(weights, value, out=out)

    def rows(self, features: Floats, base: Floats) -> Float32s:
        """Return mean actions [rows, action] in units of the bound."""
        normal = (features - self._mean) / self._std
        stacked = np.concatenate((normal, base), axis=1).astype(np.float32)
        return forward(self.layers, stacked)[0]


class LearnedResidual:
    """Runs the live snapshot (version 0 before the first), bounded by itself.

    `record`: any of the loop's layout. `seed`: of the exploration; None takes one from the
    operating system. An observation that is not finite is answered with exactly nothing: whoever
    delivered it has a fault of its own.

    Raises:
        ContractError: one of the config's terms cannot be read from such a record.
    """

    def __init__(
        self,
        contract: PolicyInterface,
        config: ResidualConfig,
        record: TickRecord,
        seed: int | None = None,
    ) -> None:
        self._config = config
        self._interface = interface_hash(contract, config)
        self._bound: Floats = np.array(contract.action.residual_bound)
        self._exploration = Exploration(config.exploration, len(self._bound), seed)
        self._mean: Floats = np.zeros(len(self._bound))
        self._features = RawFeatures(config.terms, contract.action.kind, record)
        size = len(self._features.values)
        self._recent_features: Floats = np.zeros((config.recent_steps, size))
        self._recent_base: Floats = np.zeros((config.recent_steps, len(self._bound)))
        self._seen = 0
        self._live: Network | None = None
        self._known: set[int] = set()
        self.refused = 0

    @property
    def version(self) -> int:
        """The live snapshot's version; 0 is the zero residual."""
        return 0 if self._live is None else self._live.version

    @property
    def explored_steps(self) -> int:
        """Policy steps with noise so far; they count towards the exploration budget."""
        return self._exploration.steps

    def act(
        self, record: TickRecord, base_action: Floats, grant: Grant, out: ResidualAnswer
    ) -> None:
        """Write the residual's answer for `record` into `out`: at most the contract's bound."""
        with np.errstate(all="ignore"):
            features = self._features.read(record)
            if not math.isfinite(features.dot(features) + base_action.dot(base_action)):
                _ask_nothing(out)
                return
            self._remember(features, base_action)
            self._answer(record, features, base_action, grant, out)

    def offer(self, data: bytes) -> str:
        """Judge an encoded snapshot; it is live when this returns an empty sentence."""
        return self._make_live(data, self._judge)

    def go_back(self, data: bytes) -> str:
        """Make an earlier snapshot live again, or version 0 (`data` is empty); return why not.

        It passes control's own checks but two: nothing has authority now, so its actions may change
        by any amount, and it need not be newer. What is offered later must be newer than it again.
        """
        if not data:
            self._live = None
            return ""
        return self._make_live(data, self._judge_earlier)

    # -- acting -------------------------------------------------------------------------------

    def _remember(self, features: Floats, base: Floats) -> None:
        """Keep the observation for the next offer; the oldest one makes room."""
        place = self._seen % self._config.recent_steps
        self._recent_features[place] = features
        self._recent_base[place] = base
        self._seen += 1

    def _answer(
        self,
        record: TickRecord,
        features: Floats,
        base: Floats,
        grant: Grant,
        out: ResidualAnswer,
    ) -> None:
        live, exploration, mean = self._live, self._exploration, self._mean
        if live is None:
            mean[:] = 0.0
        else:
            live.run(features, base)
            np.tanh(live.latent, out=mean)
        out.takes_part = True
        # what cannot reach the robot is neither drawn nor counted
        if grant.stage in _ACTING and record.mode.item() == _ADAPTIVE:
            exploration.look(record, grant)
            if not exploration.takes_part:
                _ask_nothing(out)
                return
            if exploration.noisy:
                self._disturb(live, out)
                return
        out.noise[:] = 0.0
        np.multiply(mean, self._bound, out=out.action)

    def _disturb(self, live: Network | None, out: ResidualAnswer) -> None:
        """Write mean and noise into `out`: the noise and their sum stay inside the bound."""
        most, mean = self._config.exploration.noise_max, self._mean
        latent, spread = (None, None) if live is None else (live.latent, live.log_spread)
        drawn = self._exploration.disturbed(latent, spread)
        np.subtract(drawn, mean, out=out.noise)
        limited(out.noise, -most, most, out.noise)
        np.add(mean, out.noise, out=out.noise)
        # both are inside already; the sum of two roundings shall be, too
        limited(out.noise, -1.0, 1.0, out.noise)
        np.multiply(out.noise, self._bound, out=out.action)
        np.subtract(out.noise, mean, out=out.noise)
        out.noise *= self._bound

    # -- judging ------------------------------------------------------------------------------

    def _make_live(self, data: bytes, judge: Callable[[bytes], tuple[Network | None, str]]) -> str:
        try:
            with np.errstate(all="ignore"):
                network, reason = judge(data)
        except SnapshotError as error:
            network, reason = None, str(error)
        except Exception as error:  # nothing that arrives here may end the loop
            network, reason = None, f"it cannot be judged: {type(error).__name__}: {error}"
        if network is None:
            self.refused += 1
            return reason
        self._live = network
        return ""

    def _judge(self, data: bytes) -> tuple[Network | None, str]:
        """Return the network to run, or why there is none."""
        snapshot, reason = self._read(data)
        if snapshot is None:
            return None, reason
        reason = gate_checks.successor(snapshot, self.version) or self._foreign(snapshot)
        network, reason = (None, reason) if reason else self._sound(snapshot)
        if network is None:
            return None, reason
        reason = self._changes_too_much(network)
        return (None, reason) if reason else (network, "")

    def _judge_earlier(self, data: bytes) -> tuple[Network | None, str]:
        """Return the network to go back to, or why not."""
        snapshot, reason = self._read(data)
        if snapshot is None:
            return None, reason
        reason = gate_checks.descent(snapshot)
        network, reason = (None, reason) if reason else self._sound(snapshot)
        if network is not None:
            # its children are ours, also where an earlier run had it
            self._known.update((0, snapshot.parent, snapshot.version))
        return network, reason

    def _read(self, data: bytes) -> tuple[Snapshot | None, str]:
        """Return the snapshot that `data` is, if it is made for this interface."""
        most = self._config.max_snapshot_bytes
        if not (len(data) <= most):
            return None, (
                f"{len(data)} bytes; control takes {most} (residual.max_snapshot_bytes): train a "
                "smaller network, or allow more where the loop has the time"
            )
        snapshot = decode_snapshot(data)
        size = self._recent_features.shape[1]
        reason = gate_checks.identity(snapshot, self._interface, size, len(self._bound))
        return (None, reason) if reason else (snapshot, "")

    def _sound(self, snapshot: Snapshot) -> tuple[Network | None, str]:
        """Return the network to run, if its numbers can be."""
        layers = matrices(snapshot)
        reason = (
            gate_checks.finite(snapshot, layers)
            or gate_checks.norm(layers, self._config.max_weight_norm)
            or gate_checks.parity(snapshot, layers)
        )
        return (None, reason) if reason else (Network(snapshot, layers), "")

    def _foreign(self, snapshot: Snapshot) -> str:
        """A child has a parent that was offered in this run; the first may come from an earlier."""
        if not self._known:
            self._known = {0, snapshot.parent}
        if snapshot.parent in self._known:
            self._known.add(snapshot.version)
            return ""
        known = ", ".join(map(str, sorted(self._known)))
        return f"its parent {snapshot.parent} was never offered here; known: {known}"

    def _changes_too_much(self, network: Network) -> str:
        """Compare with what is live on the last observations; before the first there are none."""
        count = min(self._seen, self._config.recent_steps)
        if not count:
            return ""
        features, base = self._recent_features[:count], self._recent_base[:count]
        live = self._live
        before: Float32s = (
            np.zeros((count, len(self._bound)), dtype=np.float32)
            if live is None
            else live.rows(features, base)
        )
        return gate_checks.change(
            network.rows(features, base), before, self._config.max_action_change
        )


def _ask_nothing(out: ResidualAnswer) -> None:
    out.action[:] = 0.0
    out.noise[:] = 0.0
    out.takes_part = False
