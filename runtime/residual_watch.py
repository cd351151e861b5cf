"""What speaks against the residual, tick by tick: success, limits, force, saturation, the critic.

Pure. All evidence is about one trial and forgotten when `residual_trial` rises. Success is judged
at the end of episodes in which the residual had a part; shares are of its policy steps, each step
with all ticks up to the next. What its inputs say is believed as it comes: NaN is too much.
"""

from collections.abc import Sequence

import msgspec

from runtime.change_detector import ChangeDetector, DetectorState, Reference
from runtime.clock import seconds_to_ns
from runtime.faults import GUARDS, Fault
from runtime.governor_spec import WatchConfig
from runtime.messages import Mode, Outcome, TickInputs, TickRecord

# an action beyond this share of its bound is at it; a tanh never quite arrives
_AT_BOUND = 0.95
# a share is judged once so much of its memory was seen
_SEEN = 0.25
# what was withheld is given back below this share of the limit
_GIVEN_BACK = 0.5

_COUNTED = (Outcome.SUCCESS, Outcome.FAILURE, Outcome.TIMEOUT)
_NOBODY = Reference(0, 0)


class WatchState(msgspec.Struct):
    """The evidence of one trial, and what is known of the running episode and policy step.

    `sequence`: of the last base action seen. `acts`: the residual has had a part in this episode.
    `guarded`: and since then a guard took over.
    `in_step`: a policy step of it runs; `limited`, `pressed`: the envelope acted in it, it pressed.
    `asked`: policy steps whose answer was judged; `steps`: those that moved something.
    `raised`: conditions that stay until the trial is over, a bit each.
    """

    saturated: list[float]
    withheld: list[bool]
    own: DetectorState
    base: DetectorState
    trial: int
    sequence: int
    acts: bool = False
    guarded: bool = False
    in_step: bool = False
    limited: bool = False
    pressed: bool = False
    asked: int = 0
    steps: int = 0
    limited_share: float = 0.0
    pressed_share: float = 0.0
    raised: int = 0


class ResidualWatch:
    """Watches a residual whose answer is at most `bound` (action units); without `limits` (a config
    without residual) there is nothing to watch.

    Two detectors of falling success keep the promise of `false_alarm_episodes` together: each of
    them alarms half as often.
    """

    def __init__(self, bound: Sequence[float], limits: WatchConfig | None) -> None:
        self._limits = limits
        self._edge = [_AT_BOUND * most for most in bound]
        self._nothing = [0.0] * len(self._edge)
        distance = 2.0 * limits.false_alarm_episodes if limits else 1.0
        self._detectors = ChangeDetector(distance), ChangeDetector(distance)
        self._weights_age_max_ns = seconds_to_ns(limits.weights_age_max_s) if limits else 0
        self._begin(trial=0, sequence=0)

    def save(self) -> WatchState:
        """Return everything it remembers."""
        return self._state

    def restore(self, state: WatchState) -> None:
        """Take up a state that `save` returned."""
        self._state = state
        self._detectors[0].state, self._detectors[1].state = state.own, state.base
        self._withholds = any(state.withheld)
        self._weigh()

    def conditions(self, inputs: TickInputs) -> int:
        """Return what holds against the residual in this tick, as bits of faults.Fault."""
        limits, state = self._limits, self._state
        if limits is None:
            return 0
        trial = inputs.residual_trial.item()
        if trial != state.trial:
            self._begin(trial, state.sequence)
            state = self._state
        found = state.raised
        if self._withholds:
            found |= 1 << Fault.RESIDUAL_SATURATED
        if not (inputs.critic_gap.item() <= limits.critic_gap_max):
            found |= 1 << Fault.CRITIC_MISJUDGES
        if not (inputs.update_ratio.item() <= limits.update_ratio_max):
            found |= 1 << Fault.UPDATE_GUARD_PASSED
        if not (inputs.weights_age_ns.item() <= self._weights_age_max_ns):
            found |= 1 << Fault.WEIGHTS_STALE
        if inputs.residual_held.item():
            found |= 1 << Fault.RESIDUAL_HELD
        return found

    def allowed(self, granted: list[float]) -> list[float]:
        """Return the granted authority without that of the actions that are withheld."""
        if not self._withholds:
            return granted
        return [
            0.0 if away else share
            for away, share in zip(self._state.withheld, granted, strict=True)
        ]

    def see(
        self,
        record: TickRecord,
        mode: Mode,
        outcome: Outcome,
        authority: Sequence[float],
        level: Sequence[float],
        limited: bool,
        force_n: float,
    ) -> None:
        """Take in what a tick came to, and write the evidence into its record when it has changed.

        `mode`, `outcome`: after it. `authority`: what the sum was made with; `level`: without the
        part that the tool's place takes away. `limited`: the envelope acted. `force_n`: contact.
        """
        limits, state = self._limits, self._state
        if limits is None:
            return
        sequence = record.base_sequence.item()
        if mode is Mode.ADAPTIVE:
            if sequence != state.sequence:
                self._end_step(record, limits)
                if record.residual_takes_part.item():
                    self._judge_answer(record, limits)
                    state.acts = state.acts or any(authority)
                    state.in_step = any(level)
            if limited:
                state.limited = True
            if not (force_n <= limits.pressed_n):
                state.pressed = True
        else:
            self._end_step(record, limits)
            state.guarded = state.guarded or (state.acts and bool(record.faults.item() & GUARDS))
        state.sequence = sequence
        if outcome is not Outcome.NONE:
            self._end_episode(record, outcome)
        if self._news:
            self._write(record)

    # -- success ------------------------------------------------------------------------------

    def _end_episode(self, record: TickRecord, outcome: Outcome) -> None:
        state, (own, base) = self._state, self._detectors
        acted, guarded = state.acts, state.guarded
        state.acts = state.guarded = False
        if not acted or outcome not in _COUNTED:
            return
        # what came of an episode that a guard had to save is not to the residual's credit
        success = outcome is Outcome.SUCCESS and not guarded
        if own.update(success, _reference(record.own_reference.tolist())):
            state.raised |= 1 << Fault.SUCCESS_FELL
        if base.update(success, _reference(record.base_reference.tolist())):
            state.raised |= 1 << Fault.SUCCESS_BELOW_BASE
        self._weigh()

    # -- shares -------------------------------------------------------------------------------

    def _judge_answer(self, record: TickRecord, limits: WatchConfig) -> None:
        """Look which actions are at their bound, noise apart; withhold or give them back."""
        state, part = self._state, 1.0 / limits.memory_steps
        state.asked += 1
        judged = state.asked >= _SEEN * limits.memory_steps
        asked = zip(record.residual_action.tolist(), record.residual_noise.tolist(), strict=True)
        for i, ((action, noise), edge) in enumerate(zip(asked, self._edge, strict=True)):
            at_bound = not (abs(action - noise) <= edge)
            share = state.saturated[i] + part * (at_bound - state.saturated[i])
            state.saturated[i] = share
            if state.withheld[i]:
                state.withheld[i] = not (share < _GIVEN_BACK * limits.saturated_share_max)
            else:
                state.withheld[i] = judged and not (share <= limits.saturated_share_max)
        self._withholds = any(state.withheld)
        self._news = True

    def _end_step(self, record: TickRecord, limits: WatchConfig) -> None:
        """Count the policy step that ends here, if one of the residual's did; open none."""
        state = self._state
        if state.in_step:
            part = 1.0 / limits.memory_steps
            state.steps += 1
            state.limited_share += part * (state.limited - state.limited_share)
            state.pressed_share += part * (state.pressed - state.pressed_share)
            if state.steps >= _SEEN * limits.memory_steps:
                self._judge_shares(record, limits)
            self._news = True
        state.in_step = state.limited = state.pressed = False

    def _judge_shares(self, record: TickRecord, limits: WatchConfig) -> None:
        state = self._state
        most = limits.limited_ratio * _share(record.base_limited_share.item())
        if not (state.limited_share <= most + limits.limited_allowance):
            state.raised |= 1 << Fault.RESIDUAL_LIMITED
        most = limits.pressed_ratio * _share(record.base_pressed_share.item())
        if not (state.pressed_share <= most + limits.pressed_allowance):
            state.raised |= 1 << Fault.RESIDUAL_PRESSES

    # -- memory -------------------------------------------------------------------------------

    def _begin(self, trial: int, sequence: int) -> None:
        """Forget all that was seen; a new trial begins."""
        own, base = self._detectors
        own.reset()
        base.reset()
        none = [False] * len(self._nothing)
        self._state = WatchState(self._nothing.copy(), none, own.state, base.state, trial, sequence)
        self._withholds = False
        self._weigh()

    def _weigh(self) -> None:
        """Work out how near the alarms are; it takes logarithms, so not in every step."""
        self._evidence = [detector.evidence for detector in self._detectors]
        self._news = True

    def _write(self, record: TickRecord) -> None:
        state = self._state
        record.success_evidence[:] = self._evidence
        record.saturated_share[:] = state.saturated
        record.limited_share[0] = state.limited_share
        record.pressed_share[0] = state.pressed_share
        self._news = False


def _reference(counts: Sequence[int]) -> Reference:
    """Return what success is compared with; counts that cannot be compare with nothing."""
    successes, episodes = counts
    try:
        return Reference(successes, episodes)
    except ValueError:
        return _NOBODY


def _share(value: float) -> float:
    """Return the base's share; what is none counts as 0, which allows the least."""
    return value if 0.0 <= value <= 1.0 else 0.0
