"""A small run to learn from, and what a trainer says of it."""

import json
from collections.abc import Sequence
from typing import Any

from policies.experience import Rows
from policies.learner.settings import LearnerSettings
from policies.learner.setup import Setup
from policies.learner.trainer import Trainer
from policies.learner.trainer_settings import TrainerSettings
from runtime.events import Event
from runtime.gate_wire import Candidate, Progress
from runtime.messages import Outcome
from runtime.policy_contract import PolicyContract
from runtime.residual_spec import GateConfig, ResidualConfig
from tests.policies.record_script import SIZES, Script

RESIDUAL = {
    "terms": ["goal_offset", "previous_action", "time_left"],
    "region": {"low_m": [0, -1, 0], "high_m": [1, 1, 1], "edge_m": 0.01},
    "authority_ramp_s": 0.5,
    "max_weight_norm": 50.0,
    "max_action_change": 0.5,
    "recent_steps": 20,
    "max_snapshot_bytes": 100000,
    "watch": {
        "false_alarm_episodes": 500.0,
        "memory_steps": 200,
        "limited_ratio": 3.0,
        "limited_allowance": 0.05,
        "pressed_n": 80.0,
        "pressed_ratio": 1.5,
        "pressed_allowance": 0.05,
        "saturated_share_max": 0.8,
        "critic_gap_max": 0.3,
        "update_ratio_max": 3.0,
        "weights_age_max_s": 600.0,
    },
    "exploration": {
        "noise_max": 0.6,
        "prefill_noise_std": 0.3,
        "noise_correlation": 0.0,
        "clean_share": 0.5,
        "segment_steps": 0,
        "horizon_episodes": 0,
        "budget_steps": 100,
    },
}
GATE = {
    "replay_s": 1.0,
    "lost_after_s": 1.0,
    "lockstep_lag_steps": 20,
    "simulation_link": "sims.link:open_link",
    "simulation_field": None,
    "simulation_episodes": 0,
    "lineage": "lineage",
}
SETTINGS = TrainerSettings(
    update_every_steps=5,
    candidate_every_steps=10,
    prefill_steps=12,
    prefill_successes=2,
    prefill_most_steps=40,
    agent=LearnerSettings(hidden=(8, 8), batch=8, warm_up_updates=30, critics=2, seed=3),
)


def new_setup(honest: dict[str, Any]) -> Setup:
    """Return the setup of a small run; `honest` is a base's contract."""
    contract = PolicyContract.model_validate_json(json.dumps(honest), strict=True)
    residual = ResidualConfig.model_validate_json(json.dumps(RESIDUAL), strict=True)
    gate = GateConfig.model_validate_json(json.dumps(GATE), strict=True)
    return Setup(SIZES, contract, residual, gate, SETTINGS)


def run(
    trainer: Trainer, rows: Rows, size: int = 0, events: Sequence[Event] = ()
) -> list[Progress | Candidate]:
    """Feed rows in batches of `size` ticks, each with the events among or just after them."""
    step = size or max(1, len(rows))
    said: list[Progress | Candidate] = []
    for at in range(0, len(rows), step):
        batch = rows[at : at + step]
        first, last = batch["tick"][0, 0], batch["tick"][-1, 0]
        said += trainer.feed(batch, [one for one in events if first <= one.tick <= last])
    return said


def episodes(count: int, steps: int = 6) -> Rows:
    script = Script()
    for number in range(count):
        script.run(steps, Outcome.SUCCESS if number % 2 else Outcome.TIMEOUT)
        script.row()
    return script.rows()
