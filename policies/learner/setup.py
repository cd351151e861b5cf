"""What a trainer is made for: the run that it learns from, and how."""

import json
from dataclasses import dataclass

from policies.learner.trainer_settings import TrainerSettings
from runtime.config import Config, parse, parse_yaml
from runtime.errors import LearnerError
from runtime.messages import Sizes
from runtime.policy_contract import PolicyContract
from runtime.record_format import RecordHeader
from runtime.residual_spec import GateConfig, ResidualConfig


@dataclass(frozen=True)
class Setup:
    """What a trainer is made for; `of` reads it from a record's header.

    Raises:
        LearnerError: between two bouts of learning the robot would wait for the learner.
    """

    sizes: Sizes
    contract: PolicyContract
    residual: ResidualConfig
    gate: GateConfig
    settings: TrainerSettings

    def __post_init__(self) -> None:
        every, lag = self.settings.update_every_steps, self.gate.lockstep_lag_steps
        if not (every < lag):
            raise LearnerError(
                f"learner.update_every_steps {every} is not below gate.lockstep_lag_steps {lag}: "
                "in lockstep the robot would wait for a learner that waits for the robot; make it "
                "less"
            )

    @classmethod
    def of(cls, header: RecordHeader) -> "Setup":
        """Return the setup of the run that a header describes.

        Raises:
            ConfigError: its config or contract cannot be used.
            LearnerError: the run has no residual or no gate.
        """
        config = parse(
            Config, parse_yaml(header.config, "the record's config"), "the record's config"
        )
        if config.residual is None or config.gate is None:
            raise LearnerError(
                "the record's config lacks the block `residual` or `gate`, so there is nothing to "
                "learn; add both and record again"
            )
        contract = parse(PolicyContract, json.loads(header.contract), "the record's contract")
        settings = parse(TrainerSettings, config.learner or {}, "learner")
        return cls(header.sizes(), contract, config.residual, config.gate, settings)
