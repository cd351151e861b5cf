"""What the residual may do, and what its snapshots must pass: plain, checked data; no files."""

from typing import Annotated

from pydantic import Field, model_validator

from runtime.geometry_spec import Metres, Vector3
from runtime.governor_spec import WatchConfig
from runtime.robot_spec import Name, NotNegative, Positive, Share, StrictModel

Count = Annotated[int, Field(ge=1)]


class RegionConfig(StrictModel):
    """Box of measured tool positions, base frame, in which the residual has authority.

    A bound on a relative action limits a rate; this limits the place. `edge_m`: over this width
    inside the box authority falls to zero, so that crossing its border is no step.
    """

    low_m: Vector3
    high_m: Vector3
    edge_m: Annotated[Metres, Field(ge=0.0)]

    @model_validator(mode="after")
    def _not_empty(self) -> "RegionConfig":
        for low, high in zip(self.low_m, self.high_m, strict=True):
            if not (high - low > 2.0 * self.edge_m):
                raise ValueError(
                    f"region from {self.low_m} to {self.high_m} with edge_m {self.edge_m}: no "
                    "place has full authority; make it wider than two edges on every axis"
                )
        return self


class ExplorationConfig(StrictModel):
    """Bounded noise on the gated actor, and how it grows into use.

    Noise is drawn at every policy step, in units of the residual's bound: at most `noise_max`,
    with the actor's own spread, or `prefill_noise_std` while version 0 acts. `noise_correlation`:
    with that of the step before; what is not correlated averages out in an arm that follows
    softly, and explores little (coloured noise: Eberhard et al. 2023). Whether the residual
    takes part at all is drawn once a segment of `segment_steps` policy steps, or once an episode
    if that is 0; in EXPLORE with probability min(episodes so far / `horizon_episodes`, 1) (Policy
    Decorator, arXiv 2412.13630). `clean_share`: share of episodes without noise. The gate grants
    shares on top: so many episodes are the base's alone, and of the others no more are disturbed
    (gate_wire.Grant). `budget_steps`: policy steps with noise in a run; after them there is none.
    """

    noise_max: Annotated[Share, Field()]
    prefill_noise_std: NotNegative
    noise_correlation: Annotated[float, Field(ge=0.0, lt=1.0, allow_inf_nan=False)]
    clean_share: Annotated[float, Field(ge=0.0, le=1.0, allow_inf_nan=False)]
    segment_steps: Annotated[int, Field(ge=0)]
    horizon_episodes: Annotated[int, Field(ge=0)]
    budget_steps: Annotated[int, Field(ge=0)]


class ResidualConfig(StrictModel):
    """The residual on the control side. Its bound per action is in the base's contract.

    `terms`: what it sees beside the base's action. `authority_ramp_s`: from 0 to 1 no faster.
    `max_weight_norm`: largest 2-norm of any layer's weights in a snapshot. `max_action_change`:
    largest root mean square difference, in units of the bound, between the actions of an offered
    snapshot and the one now live, over the last `recent_steps` observations.
    `max_snapshot_bytes`: larger snapshots are refused unread; it bounds the time that one may cost
    the control loop (about 30 kB: two hidden layers of 64).
    """

    terms: Annotated[tuple[Name, ...], Field(min_length=1)]
    region: RegionConfig
    authority_ramp_s: Positive
    max_weight_norm: Positive
    max_action_change: Positive
    recent_steps: Count
    max_snapshot_bytes: Count
    exploration: ExplorationConfig
    watch: WatchConfig


class GateConfig(StrictModel):
    """What a candidate must pass before the robot may use it.

    `replay_s`: how much of the last recorded motion is replayed with it. `lost_after_s`: without
    a beat for this long control counts the gate as lost, and the gate the learner.
    `simulation_link` (module:function, as the config's `link`), `simulation_field` and
    `simulation_episodes`: the check in a nominal simulation before the first promotion; a field of
    null: none. `lineage`: folder of the promoted snapshots and all verdicts.
    `lockstep_lag_steps`: in lockstep the robot waits for a learner that is more policy steps
    behind, and a candidate made at step m acts once m plus this have been taken.
    """

    replay_s: Positive
    lost_after_s: Positive
    simulation_link: Name
    simulation_field: Name | None
    simulation_episodes: Annotated[int, Field(ge=0)]
    lineage: Name
    lockstep_lag_steps: Annotated[int, Field(ge=3)]
