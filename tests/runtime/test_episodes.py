"""Every signal in every phase and mode, time-outs to the tick, predicates, resets of both kinds."""

from collections.abc import Sequence

import pytest

from runtime.episodes import EpisodeDecision, EpisodeManager, Predicate
from runtime.messages import (
    GroupSize,
    Mode,
    Outcome,
    Phase,
    SignalKind,
    SignalSource,
    Sizes,
    TaskSignal,
    TickInputs,
    new_inputs,
)
from runtime.signal_slots import put_signals

SIZES = Sizes(joints=2, action=3, setpoint=3, groups=(GroupSize("force", 2),))
STEPS, PER_STEP = 3, 4
SETTLE_S = 0.01
TICK_NS = 2_000_000

BEGIN = TaskSignal(SignalKind.EPISODE_BEGIN, SignalSource.OPERATOR)
RESET = TaskSignal(SignalKind.RESET_BEGIN, SignalSource.DRIVER, target=(1.0, 2.0, 3.0))
RESET_HOME = TaskSignal(SignalKind.RESET_BEGIN, SignalSource.DRIVER)
RESET_END = TaskSignal(SignalKind.RESET_END, SignalSource.OPERATOR)
SUCCESS = TaskSignal(SignalKind.OUTCOME, SignalSource.DRIVER, Outcome.SUCCESS)
FAILURE = TaskSignal(SignalKind.OUTCOME, SignalSource.OPERATOR, Outcome.FAILURE)


class Table:
    """A manager on a table top: time goes on by a tick with every update."""

    def __init__(self, *predicates: Predicate, by_person: bool = False) -> None:
        self.manager = EpisodeManager(STEPS, PER_STEP, SETTLE_S, predicates, by_person=by_person)
        self.inputs: TickInputs = new_inputs(SIZES)
        self.force: list[float] | None = [0.0, 0.0]
        self.mode = Mode.HOMING

    @property
    def phase(self) -> Phase:
        return self.manager.state.phase

    def stands_in(self, phase: Phase) -> bool:
        return self.phase is phase

    def tick(self, *signals: TaskSignal) -> EpisodeDecision:
        self.inputs.now_ns[0] += TICK_NS
        put_signals(self.inputs, signals)
        groups: dict[str, Sequence[float]] = {} if self.force is None else {"force": self.force}
        decision = self.manager.update(self.inputs, groups, self.mode)
        running = self.manager.running
        if self.mode in (Mode.HOMING, Mode.BASE):
            self.mode = Mode.BASE if running else Mode.HOMING
        return decision

    def stand(self, ticks: int, *, at_rest: bool = True, moving: bool = False) -> None:
        for _ in range(ticks):
            self.tick()
            self.manager.stood(at_rest, moving, int(self.inputs.now_ns[0]))

    def put_into(self, phase: Phase) -> "Table":
        if phase is Phase.RUNNING:
            self.tick(BEGIN)
        elif phase is not Phase.WAITING:
            self.tick(RESET)
            if phase is Phase.READY:
                self.manager.state.phase = Phase.READY
        assert self.phase is phase
        return self


# phase -> signal -> phase afterwards, while the arm is armed and nothing holds it
SCRIPTED = {
    Phase.WAITING: "RUNNING WAITING RESETTING WAITING",
    Phase.RESETTING: "RESETTING RESETTING RESETTING RESETTING",
    Phase.READY: "RUNNING READY RESETTING READY",
    Phase.RUNNING: "RUNNING WAITING RUNNING RUNNING",
}
BY_PERSON = {**SCRIPTED, Phase.RESETTING: "RESETTING RESETTING RESETTING READY"}


@pytest.mark.parametrize("by_person", [False, True])
@pytest.mark.parametrize("phase", list(Phase))
def test_every_signal_in_every_phase(phase: Phase, by_person: bool) -> None:
    expected = (BY_PERSON if by_person else SCRIPTED)[phase].split()
    for signal, name in zip((BEGIN, SUCCESS, RESET, RESET_END), expected, strict=True):
        table = Table(by_person=by_person).put_into(phase)
        decision = table.tick(signal)
        assert table.phase.name == name, signal.kind
        ended = phase is Phase.RUNNING and signal is SUCCESS
        assert decision.outcome is (Outcome.SUCCESS if ended else Outcome.NONE)


@pytest.mark.parametrize("mode", [Mode.DISARMED, Mode.READY, Mode.HOLD, Mode.STOPPED])
@pytest.mark.parametrize("signal", [BEGIN, RESET, RESET_END, SUCCESS])
def test_nothing_begins_while_the_arm_is_not_armed_or_is_held(
    mode: Mode, signal: TaskSignal
) -> None:
    table = Table()
    table.mode = mode
    decision = table.tick(signal)
    assert table.stands_in(Phase.WAITING)
    assert decision == EpisodeDecision()


def test_a_reset_that_a_hold_interrupts_is_not_taken_for_done() -> None:
    table = Table().put_into(Phase.RESETTING)
    table.tick(BEGIN)
    table.mode = Mode.HOLD
    table.stand(20)
    assert table.stands_in(Phase.WAITING)
    table.mode = Mode.HOMING
    table.stand(20)
    assert table.stands_in(Phase.WAITING)
    assert table.manager.state.episode == 0


def test_time_out_comes_exactly_after_steps_times_ticks() -> None:
    table = Table()
    assert table.tick(BEGIN).began
    due = [table.manager.step_due]
    for _ in range(STEPS * PER_STEP - 1):
        assert table.tick() == EpisodeDecision()
        due.append(table.manager.step_due)
    decision = table.tick()
    assert (decision.outcome, decision.source) == (Outcome.TIMEOUT, SignalSource.MANAGER)
    assert table.stands_in(Phase.WAITING)
    assert [i for i, is_due in enumerate(due) if is_due] == [0, PER_STEP, 2 * PER_STEP]
    assert not table.manager.step_due


def test_time_left_falls_with_the_steps_that_were_taken() -> None:
    table = Table().put_into(Phase.RUNNING)
    left = []
    for step in range(STEPS + 2):
        table.manager.state.step = step
        left.append(table.manager.time_left)
    assert left == pytest.approx([1.0, 2 / 3, 1 / 3, 0.0, 0.0])
    table.tick(SUCCESS)
    assert table.manager.time_left == 1.0


def test_a_held_episode_times_out_all_the_same() -> None:
    table = Table().put_into(Phase.RUNNING)
    table.mode = Mode.HOLD
    outcomes = [table.tick().outcome for _ in range(STEPS * PER_STEP)]
    assert outcomes == [Outcome.NONE] * (STEPS * PER_STEP - 1) + [Outcome.TIMEOUT]


@pytest.mark.parametrize("mode", [Mode.STOPPED, Mode.DISARMED, Mode.READY])
def test_an_episode_ends_without_verdict_when_the_arm_is_stopped(mode: Mode) -> None:
    table = Table().put_into(Phase.RUNNING)
    table.mode = mode
    decision = table.tick()
    assert (decision.outcome, decision.source) == (Outcome.ABORT, SignalSource.MANAGER)


def test_the_first_of_contradictory_outcomes_counts_and_late_ones_do_not() -> None:
    table = Table().put_into(Phase.RUNNING)
    decision = table.tick(SUCCESS, FAILURE, SUCCESS)
    assert (decision.outcome, decision.source) == (Outcome.SUCCESS, SignalSource.DRIVER)
    assert table.tick(FAILURE) == EpisodeDecision()
    table.tick(BEGIN)
    table.tick(BEGIN)
    assert table.manager.state.episode == 2


def test_an_outcome_in_the_tick_of_the_time_out_wins_over_it() -> None:
    table = Table().put_into(Phase.RUNNING)
    for _ in range(STEPS * PER_STEP - 1):
        table.tick()
    assert table.tick(SUCCESS).outcome is Outcome.SUCCESS


def test_an_outcome_that_does_not_say_which_is_unknown_not_lost() -> None:
    table = Table().put_into(Phase.RUNNING)
    silent = TaskSignal(SignalKind.OUTCOME, SignalSource.MARK)
    decision = table.tick(silent)
    assert (decision.outcome, decision.source) == (Outcome.UNKNOWN, SignalSource.MARK)


def test_outcome_and_next_reset_may_come_in_one_tick() -> None:
    table = Table().put_into(Phase.RUNNING)
    decision = table.tick(SUCCESS, RESET)
    assert decision.outcome is Outcome.SUCCESS
    assert decision.reset_target == (1.0, 2.0, 3.0)
    assert table.stands_in(Phase.RESETTING)


def test_the_next_episode_never_begins_in_the_tick_that_ends_one() -> None:
    table = Table().put_into(Phase.RUNNING)
    decision = table.tick(SUCCESS, BEGIN)
    assert decision.outcome is Outcome.SUCCESS
    assert not decision.began
    assert table.stands_in(Phase.WAITING)


def test_a_scripted_reset_is_ready_once_the_arm_has_stood_for_the_settle_time() -> None:
    table = Table()
    assert table.tick(RESET_HOME).reset_target == ()
    table.stand(10, moving=True)
    table.stand(10, at_rest=False)
    table.stand(5)  # the first of them starts the clock: 4 ticks of 2 ms are 8 ms
    assert table.stands_in(Phase.RESETTING)
    table.stand(1, moving=True)
    table.stand(5)
    assert table.stands_in(Phase.RESETTING)
    table.stand(1)
    assert table.stands_in(Phase.READY)


def test_an_episode_begun_during_the_reset_begins_after_it() -> None:
    table = Table().put_into(Phase.RESETTING)
    assert not table.tick(BEGIN).began
    table.stand(6)
    assert table.stands_in(Phase.READY)
    assert table.tick().began
    assert table.stands_in(Phase.RUNNING)


def test_a_persons_reset_moves_nothing_and_waits_for_their_word() -> None:
    table = Table(by_person=True)
    assert table.tick(RESET).reset_target is None
    table.stand(100)
    assert table.stands_in(Phase.RESETTING)
    table.tick(RESET_END)
    assert table.stands_in(Phase.READY)


def predicate(hold_ticks: int = 0, *, above: float = 5.0, index: int = 1) -> Predicate:
    return Predicate(Outcome.FAILURE, "force", index, above, float("inf"), hold_ticks * TICK_NS)


def test_a_predicate_without_hold_speaks_at_once_and_only_past_its_limit() -> None:
    table = Table(predicate()).put_into(Phase.RUNNING)
    table.force = [99.0, 5.0]
    assert table.tick().outcome is Outcome.NONE
    table.force = [0.0, 5.0000001]
    decision = table.tick()
    assert (decision.outcome, decision.source) == (Outcome.FAILURE, SignalSource.PREDICATE)


def test_a_predicate_must_hold_without_a_break() -> None:
    table = Table(predicate(hold_ticks=3)).put_into(Phase.RUNNING)
    seen = []
    for value in (6.0, 6.0, 6.0, 4.0, 6.0, 6.0, 6.0, 6.0):
        table.force = [0.0, value]
        seen.append(table.tick().outcome)
    assert seen == [Outcome.NONE] * 7 + [Outcome.FAILURE]


def test_a_predicate_does_not_hold_on_a_stale_group() -> None:
    table = Table(predicate(hold_ticks=2)).put_into(Phase.RUNNING)
    table.force = [0.0, 6.0]
    table.tick()
    table.tick()
    table.force = None
    assert table.tick().outcome is Outcome.NONE
    table.force = [0.0, 6.0]
    assert [table.tick().outcome for _ in range(3)] == [Outcome.NONE] * 2 + [Outcome.FAILURE]


def test_a_predicate_forgets_the_last_episode_and_says_nothing_between() -> None:
    table = Table(predicate(hold_ticks=3))
    table.force = [0.0, 6.0]
    for _ in range(10):
        assert table.tick().outcome is Outcome.NONE
    table.tick(BEGIN)
    assert [table.tick().outcome for _ in range(3)] == [Outcome.NONE] * 2 + [Outcome.FAILURE]
