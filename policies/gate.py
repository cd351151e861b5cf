"""The gate's judgement: whether a candidate may reach the robot, with a reason for each refusal.

Pure: what it is told of the robot comes in as recorded ticks; sockets, files and the simulation are
somebody else's.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from policies import gate_checks as checks
from policies.gate_checks import Layers
from policies.gate_replay import CandidateReplay, no_more
from policies.gate_window import Observation, RecentPast, Stretch
from runtime.errors import SnapshotError
from runtime.gate_wire import Verdict
from runtime.policy_contract import PolicyInterface
from runtime.residual_spec import ResidualConfig
from runtime.snapshot import Snapshot, decode_snapshot, interface_hash, matrices

Simulate = Callable[[Snapshot], str]


@dataclass(frozen=True)
class GateSettings:
    """What candidates are judged against. `replay_ticks`: how much recorded motion is replayed."""

    contract: PolicyInterface
    residual: ResidualConfig
    replay_ticks: int


@dataclass(frozen=True)
class Evidence:
    """What the robot did lately: observations to compare actions on, and ticks to replay."""

    seen: Sequence[Observation]
    stretch: Stretch | None


@dataclass(frozen=True)
class Judged:
    """A verdict, and the snapshot where it could be read."""

    verdict: Verdict
    snapshot: Snapshot | None


class Gate:
    """Judges candidates against the snapshot that is live. `simulate`: the check before the first
    promotion, which returns a reason or nothing; None: there is none. `features`: how many raw
    features the residual sees."""

    def __init__(
        self,
        settings: GateSettings,
        features: int,
        replay: CandidateReplay,
        simulate: Simulate | None,
    ) -> None:
        self._settings = settings
        self._features = features
        self._replay = replay
        self._simulate = simulate
        self._interface = interface_hash(settings.contract, settings.residual)
        self._live: Snapshot | None = None

    @property
    def live(self) -> Snapshot | None:
        """The snapshot that candidates are compared with; None: version 0, which is zero."""
        return self._live

    def promote(self, snapshot: Snapshot | None) -> None:
        """From now on compare with this one."""
        self._live = snapshot

    def evidence(self, past: RecentPast, steps: int) -> Evidence:
        """Return what a candidate that was made at policy step `steps` is judged on."""
        settings = self._settings
        return Evidence(
            past.recent(steps, settings.residual.recent_steps),
            past.stretch(steps, settings.replay_ticks),
        )

    def judge(self, data: bytes, evidence: Evidence, objection: str = "") -> Judged:
        """Judge an encoded candidate on the evidence up to the step that it was made at.
        `objection`: why none can be promoted now, whatever it is like."""
        most = self._settings.residual.max_snapshot_bytes
        if len(data) > most:
            return _unreadable(f"{len(data)} bytes; residual.max_snapshot_bytes is {most}")
        try:
            snapshot = decode_snapshot(data)
            layers = matrices(snapshot)
        except SnapshotError as error:
            return _unreadable(str(error))
        reasons = [objection] if objection else self._cheap(snapshot, layers, evidence)
        if not reasons:
            # what takes seconds is asked only of those that nothing else speaks against
            reasons = self._costly(snapshot, evidence)
        return Judged(
            Verdict(
                version=snapshot.version,
                parent=snapshot.parent,
                digest=snapshot.digest,
                passed=not reasons,
                reasons=reasons,
                steps=snapshot.steps,
            ),
            snapshot,
        )

    def _cheap(self, snapshot: Snapshot, layers: Layers, evidence: Evidence) -> list[str]:
        residual = self._settings.residual
        actions = len(self._settings.contract.action.names)
        named = {
            "contract": checks.identity(snapshot, self._interface, self._features, actions),
            "version": checks.successor(snapshot, self._live.version if self._live else 0),
            "finite": checks.finite(snapshot, layers),
            "norm": checks.norm(layers, residual.max_weight_norm),
            "update guard": checks.update_guard(snapshot),
        }
        if not named["contract"]:
            named["parity"] = checks.parity(snapshot, layers)
            named["action change"] = self._change(snapshot, layers, evidence.seen)
        return [f"{name}: {reason}" for name, reason in named.items() if reason]

    def _change(self, snapshot: Snapshot, layers: Layers, seen: Sequence[Observation]) -> str:
        if not seen:
            nothing = np.zeros((0, 1), np.float32)
            return checks.change(nothing, nothing, 0.0)
        features = np.array([one.features for one in seen])
        base = np.array([one.base for one in seen])
        ours = checks.mean_actions(snapshot, layers, features, base)
        live = np.zeros_like(ours)
        if self._live is not None:
            live = checks.mean_actions(self._live, matrices(self._live), features, base)
        return checks.change(ours, live, self._settings.residual.max_action_change)

    def _costly(self, snapshot: Snapshot, evidence: Evidence) -> list[str]:
        if evidence.stretch is None:
            return ["replay: no recorded motion to replay yet; offer it again later"]
        reason = self._replayed(snapshot, evidence.stretch)
        if reason:
            return [f"replay: {reason}"]
        if self._live is None and self._simulate is not None:
            reason = self._simulate(snapshot)
        return [f"simulation: {reason}"] if reason else []

    def _replayed(self, snapshot: Snapshot, stretch: Stretch) -> str:
        live = self._replay.interventions(self._live, stretch)
        return no_more(self._replay.interventions(snapshot, stretch), live)


def _unreadable(reason: str) -> Judged:
    verdict = Verdict(0, 0, "", passed=False, reasons=[f"format: {reason}"], steps=0)
    return Judged(verdict, None)
