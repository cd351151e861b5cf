"""What each tick watches, at the boundary values, in a layout of no particular robot."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from runtime.envelope.guards import WORKSPACE
from runtime.faults import Fault
from runtime.messages import GUARDS, GroupSize, Request, Sizes, TickInputs, new_inputs
from runtime.monitors import WALL_STEP_NS, MonitorLimits, Monitors, all_finite
from runtime.policy_contract import StartEnvelope

SIZES = Sizes(joints=3, action=2, setpoint=3, groups=(GroupSize("force", 2), GroupSize("task", 1)))


@dataclass(frozen=True)
class Joint:
    """A joint as the plausibility monitor knows it: rad and rad/s."""

    name: str
    position_min_rad: float = -1.0
    position_max_rad: float = 2.0
    velocity_max_rad_s: float = 0.5


LIMITS = MonitorLimits(
    joints=[Joint("a"), Joint("b"), Joint("c")],
    groups_ns=(10, 20, 30),
    link_lost_ns=100,
    base_max_age_ns=50,
    base_max_inference_ns=5,
    base_max_unfamiliarity=3.0,
    residual_bound=(0.5, 0.5),
    missed_per_s=4,
    servo_hz=8.0,
)
NOW = 1000


def healthy() -> TickInputs:
    inputs = new_inputs(SIZES)
    inputs.now_ns[0] = NOW
    inputs.group_sequence[:] = 7
    inputs.group_received_ns[:] = NOW
    inputs.link_received_ns[0] = NOW
    return inputs


def seen(mask: int) -> set[str]:
    return {fault.name for fault in Fault if mask >> fault & 1}


def look(change: Callable[[TickInputs], Any]) -> set[str]:
    inputs = healthy()
    change(inputs)
    return seen(Monitors(SIZES, LIMITS).look(inputs))


def test_a_healthy_tick_has_no_condition() -> None:
    assert look(lambda _: None) == set()


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize(
    ("field", "index"),
    [(f, i) for f in ("q", "dq", "tau") for i in range(3)]
    + [("observation_force", 0), ("observation_force", 1), ("observation_task", 0)],
)
def test_a_value_that_is_not_finite_is_seen_wherever_it_is(
    field: str, index: int, value: float
) -> None:
    monitors, inputs = Monitors(SIZES, LIMITS), healthy()
    inputs.q[:] = 0.5
    inputs.view["observation_force"][:] = 2.0
    inputs.view["observation_task"][:] = 3.0
    assert monitors.look(inputs) == 0
    kept = (list(monitors.state.q), dict(monitors.state.groups))
    inputs.view[field][index] = value
    assert seen(monitors.look(inputs)) == {"OBSERVATION_NOT_FINITE"}
    # whoever needs a number gets the last finite one
    assert (list(monitors.state.q), dict(monitors.state.groups)) == kept


@pytest.mark.parametrize(
    ("index", "budget", "fault"),
    [(0, 10, "JOINTS_STALE"), (1, 20, "GROUP_STALE"), (2, 30, "GROUP_STALE")],
)
def test_each_group_has_its_own_age_budget_and_is_named(
    index: int, budget: int, fault: str
) -> None:
    monitors, inputs = Monitors(SIZES, LIMITS), healthy()
    inputs.group_received_ns[index] = NOW - budget
    assert monitors.look(inputs) == 0
    assert monitors.stale_groups == 0
    inputs.group_received_ns[index] = NOW - budget - 1
    assert seen(monitors.look(inputs)) == {fault}
    assert monitors.stale_groups == 1 << index
    assert [said.split()[1] for said in monitors.news] == [SIZES.group_names[index]]
    monitors.look(inputs)
    assert monitors.news == [], "said once, when it becomes stale"
    names = ["force", "task"]
    assert list(monitors.fresh_groups) == [n for n in names if n != ["", *names][index]]


def test_a_group_that_never_came_is_stale() -> None:
    def no_task(inputs: TickInputs) -> None:
        inputs.group_sequence[2] = 0

    assert look(no_task) == {"GROUP_STALE"}


def test_all_stale_groups_are_named_together() -> None:
    monitors, inputs = Monitors(SIZES, LIMITS), healthy()
    inputs.group_received_ns[:] = 0
    assert seen(monitors.look(inputs)) == {"JOINTS_STALE", "GROUP_STALE"}
    assert monitors.stale_groups == 0b111


@pytest.mark.parametrize(("age", "lost"), [(100, False), (101, True)])
def test_the_link_is_lost_past_its_budget(age: int, lost: bool) -> None:
    def silent(inputs: TickInputs) -> None:
        inputs.link_received_ns[0] = NOW - age

    assert look(silent) == ({"LINK_LOST"} if lost else set())


@pytest.mark.parametrize(
    ("first", "second", "gap"),
    [(7, 7, False), (7, 8, False), (7, 9, True), (7, 3, True), (0, 5, False)],
)
def test_sequence_gaps(first: int, second: int, gap: bool) -> None:
    monitors, inputs = Monitors(SIZES, LIMITS), healthy()
    inputs.group_sequence[1] = first
    monitors.look(inputs)
    inputs.group_sequence[1] = second
    assert ("SEQUENCE_GAP" in seen(monitors.look(inputs))) is gap
    # a gap is told once
    assert "SEQUENCE_GAP" not in seen(monitors.look(inputs))


def test_deadlines_fill_a_bucket_that_leaks_at_the_allowed_rate() -> None:
    monitors, inputs = Monitors(SIZES, LIMITS), healthy()

    def miss(count: int) -> set[str]:
        inputs.missed_ticks[0] = count
        return seen(monitors.look(inputs))

    assert miss(4) == {"DEADLINE_MISSED"}
    # half a miss leaks out per tick: 4 - 0.5 + 1 is too many
    assert miss(1) == {"DEADLINE_MISSED", "DEADLINES_MISSED"}
    assert miss(0) == set()
    assert monitors.state.missed_level == 4.0
    assert miss(1) == {"DEADLINE_MISSED", "DEADLINES_MISSED"}
    for _ in range(20):
        miss(0)
    assert monitors.state.missed_level == 0.0


def test_what_surrounds_the_tick_has_a_condition_each() -> None:
    def lost(inputs: TickInputs) -> None:
        inputs.recorder_lost[0] = inputs.supervisor_lost[0] = inputs.tick_raised[0] = True
        inputs.request[0] = Request.STOP
        inputs.records_dropped[0] = 3

    every = {"RECORDER_LOST", "SUPERVISOR_LOST", "TICK_RAISED", "OPERATOR_STOP", "RECORD_DROPPED"}
    assert look(lost) == every


def test_a_drop_counts_once() -> None:
    monitors, inputs = Monitors(SIZES, LIMITS), healthy()
    found = []
    for dropped in (0, 2, 2, 3, 3):
        inputs.records_dropped[0] = dropped
        found.append("RECORD_DROPPED" in seen(monitors.look(inputs)))
    assert found == [False, True, False, True, False]


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize(("step", "stepped"), [(WALL_STEP_NS, False), (WALL_STEP_NS + 1, True)])
def test_a_step_of_the_wall_clock_is_told_once(step: int, stepped: bool, sign: int) -> None:
    monitors, inputs = Monitors(SIZES, LIMITS), healthy()
    inputs.wall_offset_ns[0] = 1_700_000_000_000_000_000
    assert monitors.look(inputs) == 0, "nobody knows what the wall clock said before"
    inputs.wall_offset_ns[0] += sign * step
    assert seen(monitors.look(inputs)) == ({"WALL_CLOCK_STEPPED"} if stepped else set())
    assert monitors.look(inputs) == 0


class TestBase:
    """The base action, judged only while the policy is in charge."""

    SINCE = 980

    def judge(self, change: Callable[[TickInputs], Any], now: int = NOW) -> set[str]:
        inputs = healthy()
        inputs.now_ns[0] = now
        inputs.base_observed_ns[0] = self.SINCE
        change(inputs)
        return seen(Monitors(SIZES, LIMITS).base(inputs, self.SINCE))

    @pytest.mark.parametrize(("age", "stale"), [(50, False), (51, True)])
    def test_age_counts_from_the_observation(self, age: int, stale: bool) -> None:
        found = self.judge(lambda _: None, now=self.SINCE + age)
        assert found == ({"BASE_STALE"} if stale else set())

    @pytest.mark.parametrize(("age", "stale"), [(50, False), (51, True)])
    def test_before_the_first_action_age_counts_from_the_take_over(
        self, age: int, stale: bool
    ) -> None:
        def old(inputs: TickInputs) -> None:
            inputs.base_observed_ns[0] = 3

        assert self.judge(old, now=self.SINCE + age) == ({"BASE_STALE"} if stale else set())

    @pytest.mark.parametrize("value", [math.nan, math.inf])
    def test_an_action_that_is_not_finite_is_named(self, value: float) -> None:
        def broken(inputs: TickInputs) -> None:
            inputs.base_action[1] = value

        def residual(inputs: TickInputs) -> None:
            inputs.residual_action[0] = value

        assert self.judge(broken) == {"BASE_NOT_FINITE"}
        assert self.judge(residual) == {"RESIDUAL_NOT_FINITE"}

    def test_what_it_said_before_the_take_over_is_not_judged(self) -> None:
        def yesterday(inputs: TickInputs) -> None:
            inputs.base_observed_ns[0] = self.SINCE - 1
            inputs.base_action[:] = math.nan
            inputs.residual_action[:] = math.nan
            inputs.base_failed[0] = True
            inputs.base_unfamiliarity[0] = math.nan
            inputs.base_inference_ns[0] = 1000

        assert self.judge(yesterday) == set()

    @pytest.mark.parametrize(
        ("distance", "far"),
        [(0.0, False), (3.0, False), (3.0 + 1e-9, True), (math.inf, True), (math.nan, True)],
    )
    def test_an_observation_far_from_training_is_named(self, distance: float, far: bool) -> None:
        def strange(inputs: TickInputs) -> None:
            inputs.base_unfamiliarity[0] = distance

        assert self.judge(strange) == ({"OBSERVATION_UNFAMILIAR"} if far else set())

    @pytest.mark.parametrize(("took", "slow"), [(5, False), (6, True)])
    def test_slow_inference_is_named(self, took: int, slow: bool) -> None:
        def late(inputs: TickInputs) -> None:
            inputs.base_inference_ns[0] = took

        assert self.judge(late) == ({"INFERENCE_SLOW"} if slow else set())

    def test_a_failed_inference_is_named(self) -> None:
        def failed(inputs: TickInputs) -> None:
            inputs.base_failed[0] = True

        assert self.judge(failed) == {"BASE_FAILED"}

    def test_a_failed_residual_is_named_and_not_judged_further(self) -> None:
        def failed(inputs: TickInputs) -> None:
            inputs.residual_failed[0] = True
            inputs.residual_action[:] = math.nan

        assert self.judge(failed) == {"RESIDUAL_FAILED"}

    @pytest.mark.parametrize(
        ("action", "past"),
        [
            ([0.5, -0.5], False),
            ([0.5 + 1e-15, 0.0], True),
            ([0.0, -0.5 - 1e-15], True),
            ([0.0, 0.0], False),
        ],
    )
    def test_a_residual_ends_at_its_bound(self, action: list[float], past: bool) -> None:
        def ask(inputs: TickInputs) -> None:
            inputs.residual_action[:] = action

        assert self.judge(ask) == ({"RESIDUAL_OUT_OF_BOUND"} if past else set())


def test_a_refused_snapshot_is_said_once_and_lost_ones_while_they_are() -> None:
    monitors, inputs = Monitors(SIZES, LIMITS), healthy()
    inputs.snapshots_refused[0] = 2
    inputs.gate_lost[0] = True
    assert seen(monitors.look(inputs)) == {"SNAPSHOT_REFUSED", "GATE_LOST"}
    inputs.gate_lost[0], inputs.learner_lost[0] = False, True
    assert seen(monitors.look(inputs)) == {"LEARNER_LOST"}
    inputs.learner_lost[0] = False
    assert seen(monitors.look(inputs)) == set()


@pytest.mark.parametrize(
    ("q", "dq", "words"),
    [
        ([0.5, 0.0, 1.0], [0.1, -0.1, 0.1], ()),
        ([0.5, -1e-9, 1.0], [0.0] * 3, ("b is at -0.0000 rad", "[0.0000, 1.0000]")),
        ([0.5, 0.0, 1.1], [0.0] * 3, ("c is at 1.1000 rad", "[0.0000, 1.0000]")),
        ([0.5, 0.5, 0.5], [0.0, 0.0, -0.2], ("c moves at -0.2000 rad/s", "0.1000")),
        ([0.5, 0.5, 0.5], [math.nan, 0.0, 0.0], ("a moves at nan",)),
    ],
)
def test_the_hand_over_is_refused_by_name(
    q: list[float], dq: list[float], words: tuple[str, ...]
) -> None:
    monitors = Monitors(SIZES, LIMITS)
    monitors.state.q, monitors.state.dq = q, dq
    start = StartEnvelope(
        position_min_rad=(0.0,) * 3, position_max_rad=(1.0,) * 3, speed_max_rad_s=(0.1,) * 3
    )
    refusal = monitors.start_refusal(["a", "b", "c"], start)
    assert bool(refusal) is bool(words)
    for word in words:
        assert word in refusal


OUTSIDE = -0.3


def guard_names(monitors: Monitors, workspace: float) -> set[str]:
    margins = [0.5] * len(GUARDS)
    margins[WORKSPACE] = workspace
    return seen(monitors.guards(margins))


@pytest.mark.parametrize("index", range(len(GUARDS)))
@pytest.mark.parametrize(("margin", "past"), [(0.0, False), (-1e-12, True), (-math.inf, True)])
def test_each_guard_stands_at_zero(index: int, margin: float, past: bool) -> None:
    margins = [0.5] * len(GUARDS)
    margins[index] = margin
    found = seen(Monitors(SIZES, LIMITS).guards(margins))
    assert found == ({f"{GUARDS[index].upper()}_GUARD"} if past else set())


def test_a_tool_let_back_in_may_hardly_go_further_out() -> None:
    monitors = Monitors(SIZES, LIMITS)
    assert guard_names(monitors, OUTSIDE) == {"WORKSPACE_GUARD"}
    monitors.let_back_in(OUTSIDE)
    assert guard_names(monitors, OUTSIDE - 0.05) == set()
    assert guard_names(monitors, OUTSIDE - 0.0501) == {"WORKSPACE_GUARD"}
    assert guard_names(monitors, 0.0) == set()
    assert guard_names(monitors, -1e-12) == {"WORKSPACE_GUARD"}, "inside once, it is whole again"


@pytest.mark.parametrize("margin", [-math.inf, math.nan, 0.0, 0.4])
def test_nobody_is_let_back_in_from_nowhere(margin: float) -> None:
    monitors = Monitors(SIZES, LIMITS)
    monitors.let_back_in(margin)
    assert guard_names(monitors, -1e-12) == {"WORKSPACE_GUARD"}
    assert guard_names(monitors, -math.inf) == {"WORKSPACE_GUARD"}


@pytest.mark.parametrize(
    ("values", "finite"),
    [
        ([], True),
        ([-1.0, 0.0, 2.0], True),
        # the sum of these is infinite, none of them is
        ([1e308, 1e308], True),
        ([1e308, 1e308, -1e308], True),
        ([0.0, math.nan], False),
        ([math.inf, 1.0], False),
        # and what cancels in other sums makes NaN of this one
        ([math.inf, -math.inf], False),
        ([1e308, 1e308, -math.inf], False),
    ],
)
def test_finite_is_what_every_value_is(values: list[float], finite: bool) -> None:
    assert all_finite(values) is finite
