"""A gate that a test holds in its hands, and a rig whose residual listens to it."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import msgspec

from policies.residual import LearnedResidual
from runtime.events import Event, EventKind
from runtime.gate_wire import Grant
from runtime.interfaces import GateHealth, ResidualPolicy
from runtime.layout import Floats
from runtime.messages import Stage, TickRecord, new_record
from runtime.modes import ACTIVE
from runtime.residual_spec import RegionConfig
from runtime.wiring import Deployment, sizes_for
from tests.runtime.control_kit import BEGIN, Base, Rig, panda, still
from tests.snapshot_kit import SnapshotMaker

EVERYWHERE = RegionConfig(low_m=(-9.0, -9.0, -9.0), high_m=(9.0, 9.0, 9.0), edge_m=0.0)


class HandGate:
    """GateClient whose grant and health a test sets; `offers` go to the residual one a tick."""

    def __init__(self, actions: int = 4) -> None:
        self.grant = Grant(Stage.OBSERVE, [0.0] * actions)
        self.said = GateHealth()
        self.offers: list[bytes] = []
        self.answers: list[str] = []
        self.calls = 0

    def allow(self, stage: Stage, share: float = 1.0) -> None:
        """Grant a stage, and the same authority to every action; only EXPLORE is disturbed."""
        noise_share = float(stage is Stage.EXPLORE)
        authority = [share] * len(self.grant.authority)
        self.grant = msgspec.structs.replace(
            self.grant, stage=stage, authority=authority, noise_share=noise_share
        )

    def health(self) -> GateHealth:
        """Return what the test set."""
        return self.said

    def after(self, record: TickRecord, residual: ResidualPolicy) -> Sequence[Event]:
        """Hand over the next offer; the record keeps what went live."""
        self.calls += 1
        if not self.offers:
            return ()
        data = self.offers.pop(0)
        self.answers.append(residual.offer(data))
        if self.answers[-1]:
            return ()
        tick, now_ns = record.tick.item(), record.now_ns.item()
        return (Event(tick, now_ns, EventKind.SNAPSHOT, f"version {residual.version}", data),)

    def close(self) -> None:
        """Nothing to close."""


def with_residual(deployment: Deployment | None = None, **keys: Any) -> Deployment:
    """Return the deployment with keys of the residual's config replaced; by default it has
    authority everywhere."""
    chosen = deployment or panda()
    config = chosen.config
    assert config.residual is not None
    residual = config.residual.model_copy(update={"region": EVERYWHERE, **keys})
    return replace(chosen, config=config.model_copy(update={"residual": residual}))


def explored(**keys: Any) -> Deployment:
    """Return a deployment whose exploration has keys replaced."""
    config = panda().config.residual
    assert config is not None
    return with_residual(exploration=config.exploration.model_copy(update=keys))


class LearningRig(Rig):
    """A rig with a learned residual and a gate in the test's hand."""

    def __init__(
        self,
        answer: Callable[[TickRecord], Floats] = still,
        deployment: Deployment | None = None,
        *,
        seed: int = 1,
        residual: ResidualPolicy | None = None,
        residual_type: type[LearnedResidual] = LearnedResidual,
        **keys: Any,
    ) -> None:
        chosen = deployment or with_residual()
        base = keys.pop("base", None) or Base(answer)
        config = chosen.config.residual
        assert config is not None
        sizes = sizes_for(chosen, base.contract)
        self.gate = HandGate(sizes.action)
        self.learned = residual_type(base.contract, config, new_record(sizes), seed)
        self.maker = SnapshotMaker(base.contract, config, sizes)
        super().__init__(
            answer,
            chosen,
            base=base,
            residual=residual or self.learned,
            gate=self.gate,
            **keys,
        )

    def offer(self, version: int = 1, parent: int = 0, **changes: Any) -> str:
        """Offer a snapshot made by hand and run the tick that takes it; return the answer."""
        self.gate.offers.append(self.maker.offer(version, parent, **changes))
        self.run(1)
        return self.gate.answers[-1]

    def begin_episode(self) -> TickRecord:
        """Begin an episode where the arm stands; run until the policy is in charge."""
        self.port.signal(BEGIN)
        return self.until(lambda record: record.mode.item() in ACTIVE, 5)
