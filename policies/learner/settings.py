"""How to learn: every number that the learner's algorithms take from the config, and its source."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from runtime.robot_spec import NotNegative, Positive, Share, StrictModel

Count = Annotated[int, Field(ge=1)]
NotNegativeCount = Annotated[int, Field(ge=0)]
BelowOne = Annotated[float, Field(ge=0, lt=1, allow_inf_nan=False)]
Finite = Annotated[float, Field(allow_inf_nan=False)]


class ForceCostSettings(StrictModel):
    """A price on pressing: cost * clip((force - free_n) / range_n, 0, 1) a step.

    It is switched on by success: its scale is clip((s - from_success) / ramp, 0, 1), s the share of
    the last `episodes` whose outcome is known that succeeded, and only ever rises. All defaults
    from the reference study on the dip (.05, 40 N, 80 N, 20 episodes, .6, .3).
    """

    cost: NotNegative = 0.05
    free_n: NotNegative = 40.0
    range_n: Positive = 80.0
    episodes: Count = 20
    from_success: BelowOne = 0.6
    ramp: Positive = 0.3


class CalQlSettings(StrictModel):
    """Calibrated conservative critic (Cal-QL, arXiv 2303.05479).

    `weight`: of the conservative term; 5 and 1 in the authors' code. `candidates`: actions of each
    of the three kinds per state, 10 in the authors' code. `calibrated` False is plain CQL, kept
    for the comparison. `online`: whether it stays on after the warm-up, as in the paper.
    """

    weight: Positive = 1.0
    candidates: Count = 10
    calibrated: bool = True
    online: bool = True


class UpdateGuardSettings(StrictModel):
    """How far an update may move the actor from its own average (TD3-C after arXiv 2303.17396).

    `epsilon`: largest mean squared distance, per action dimension, in units of the bound; 3e-4
    worked on our toy. `rate`: step of the dual variable, in 1 per epsilon. `discard_factor`: a step
    beyond this many epsilon is undone. `rows`: recent robot observations it is measured on.
    """

    epsilon: Positive = 3e-4
    rate: Positive = 0.1
    discard_factor: Annotated[float, Field(gt=1, allow_inf_nan=False)] = 10.0
    rows: Count = 256


class LearnerSettings(StrictModel):
    """The learning algorithm. Bound, discount and rewards are the contract's, not the learner's.

    algorithm: SAC by default, TD3 half the cost and less steady (reference task).
    hidden: units per hidden layer of actor and critics; 2x64 (reference task).
    layer_norm: of the critics' hidden layers (RLPD, arXiv 2302.02948; reference task).
    critics, target_critics: five, targets from the least of a random two (REDQ, arXiv 2101.05982;
        reference study on the dip).
    actor_std_weight: the actor climbs mean - this * std of the critics (.5, study on the dip); with
        two critics 1 is their minimum, as in SAC.
    n_step: of the returns (3, ResFiT arXiv 2509.19301; reference task).
    batch: 256 (reference task). updates_per_step: gradient steps per policy step (3: 99 % after
        6000 steps where 2 gave 97 %, three development seeds; the study on the dip had 2).
        learning_rate: 3e-4 for all networks (reference task; 1e-3 collapsed).
    target_rate, ema_rate: of target critics (.005, SAC) and of the averaged actor, which is the
        only candidate for promotion (.005; TD3's target actor).
    actor_delay: critic steps per actor step (1; TD3: 2).
    initial_log_std: of the actor (-1.6; -1.25 in the study on the dip, for a bound of .4 where ours
        is .6). target_entropy_per_action: -1 (SAC).
    initial_temperature: of SAC; .02 because returns lie in [0, 1].
    action_cost: times |u|^2, in the actor's loss (.01; the study on the dip had .02, which weighs
        more where a set-point is reached over two policy steps).
    target_low, target_high: targets are clipped to them (-1 and 1: returns in [0, 1], less the
        force cost; study on the dip).
    warm_up_updates: critic steps before the actor's first that bootstrap on the base action (1000,
        study on the dip; WSRL arXiv 2412.07762).
    prefill_steps: policy steps in the replay before any update (600, study on the dip).
    offline_share: of each batch that comes from the base's own logs; null draws from all alike
        (.5 is RLPD's and Cal-QL's; slower on the reference task).
    target_noise, target_noise_clip: TD3's smoothing, units of the bound (.2, .5, TD3).
    behaviour_cloning: TD3+BC's weight of Q (2.5, arXiv 2106.06860); null is off. TD3 only.
    capacity: policy steps kept (50 000: 40 minutes at 20 Hz).
    compile: whether the update is compiled: `off`; `background`, which learns as is until the
        compiled one is ready; `first`, which waits for it (lockstep: one path, the same numbers).
    """

    algorithm: Literal["sac", "td3"] = "sac"
    hidden: Annotated[tuple[Count, ...], Field(min_length=1)] = (64, 64)
    layer_norm: bool = True
    critics: Count = 5
    target_critics: Count = 2
    actor_std_weight: NotNegative = 0.5
    n_step: Count = 3
    batch: Count = 256
    updates_per_step: Positive = 3.0
    learning_rate: Positive = 3e-4
    target_rate: Share = 0.005
    ema_rate: Share = 0.005
    actor_delay: Count = 1
    initial_log_std: Annotated[float, Field(ge=-5, le=1, allow_inf_nan=False)] = -1.6
    target_entropy_per_action: Finite = -1.0
    initial_temperature: Positive = 0.02
    action_cost: NotNegative = 0.01
    target_low: Finite = -1.0
    target_high: Finite = 1.0
    warm_up_updates: NotNegativeCount = 1000
    prefill_steps: NotNegativeCount = 600
    offline_share: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] | None = None
    target_noise: NotNegative = 0.2
    target_noise_clip: NotNegative = 0.5
    behaviour_cloning: Positive | None = None
    capacity: Count = 50_000
    compile: Literal["off", "background", "first"] = "off"
    seed: NotNegativeCount = 0
    force_cost: ForceCostSettings | None = ForceCostSettings()
    cal_ql: CalQlSettings | None = None
    update_guard: UpdateGuardSettings | None = None

    @model_validator(mode="after")
    def _consistent(self) -> "LearnerSettings":
        if not (self.target_critics <= self.critics):
            raise ValueError(
                f"target_critics {self.target_critics}; allowed: at most critics {self.critics}"
            )
        if not (self.target_low < self.target_high):
            raise ValueError(
                f"target_low {self.target_low} is not below target_high {self.target_high}"
            )
        if self.behaviour_cloning is not None and self.algorithm != "td3":
            raise ValueError(
                "behaviour_cloning is a part of TD3+BC; set algorithm: td3, or remove it"
            )
        if self.cal_ql is not None and self.algorithm != "sac":
            raise ValueError(
                "cal_ql needs a policy with a density; set algorithm: sac, or remove it"
            )
        return self
