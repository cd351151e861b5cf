"""How the residual earns its authority: the numbers that the governor decides by. Plain data."""

from typing import Annotated

from pydantic import Field, model_validator

from runtime.robot_spec import NotNegative, Positive, StrictModel

Count = Annotated[int, Field(ge=1)]
Part = Annotated[float, Field(ge=0.0, le=1.0, allow_inf_nan=False)]


class GovernorConfig(StrictModel):
    """Stages of trust (OBSERVE, WARM, EXPLORE, SHADOW, ADAPTIVE) and what moves between them.

    `observe_episodes`: of the base alone at first; one of which all or none succeeded by
    `observe_most_episodes` is left alone, or refused. `base_share`: of the later episodes, so many
    are the base's, to go on measuring it, and `base_share_known` once it was measured in
    `base_known_episodes`. `loss_budget`: how many episodes the residual may have lost against the
    base, net, before only `careful_share` of the episodes are its own. `earn_episodes`: over so
    many of its episodes in a row it must be surely better than the base, and press no more.
    `shadow_episodes`: then it is computed for so many and moves nothing. `noise_share`,
    `adaptive_noise_share`: share of its episodes with noise in EXPLORE and ADAPTIVE.
    `dwell_episodes`: of the base alone, after it was taken away. `rollbacks_max`: so many without
    having earned authority in between, and it stays away until a person says `resume`.
    """

    observe_episodes: Count
    observe_most_episodes: Count
    base_share: Part
    base_share_known: Part
    base_known_episodes: Count
    loss_budget: Positive
    careful_share: Part
    earn_episodes: Annotated[int, Field(ge=5)]
    shadow_episodes: Annotated[int, Field(ge=0)]
    noise_share: Part
    adaptive_noise_share: Part
    dwell_episodes: Count
    rollbacks_max: Annotated[int, Field(ge=0)]

    @model_validator(mode="after")
    def _consistent(self) -> "GovernorConfig":
        if not (self.observe_episodes <= self.observe_most_episodes):
            raise ValueError(
                f"observe_episodes {self.observe_episodes} above observe_most_episodes "
                f"{self.observe_most_episodes}; allowed: at most that"
            )
        return self


class WatchConfig(StrictModel):
    """What takes the residual away within the tick; every limit is needed, none has a default.

    `false_alarm_episodes`: mean number of healthy episodes between two false alarms of falling
    success. Shares are of the residual's own policy steps, exponentially weighted over
    `memory_steps`: those in which the envelope acted are too many above `limited_ratio` times the
    base's share plus `limited_allowance`, and those with more than `pressed_n` of contact force
    above `pressed_ratio` times the base's plus `pressed_allowance`. `saturated_share_max`: of the
    steps in which one action is at its bound (more than 95 % of it); only that action is withheld.
    `critic_gap_max`: how much more return than achieved the critic may surely promise, in units of
    the success reward. `update_ratio_max`: how far the update guard's constraint may be passed.
    `weights_age_max_s`: of running episodes, while it learns, without a new snapshot.
    """

    false_alarm_episodes: Annotated[float, Field(ge=1.0, le=1e8)]
    memory_steps: Count
    limited_ratio: Positive
    limited_allowance: Part
    pressed_n: Positive
    pressed_ratio: Positive
    pressed_allowance: Part
    saturated_share_max: Part
    critic_gap_max: NotNegative
    update_ratio_max: Positive
    weights_age_max_s: Positive
