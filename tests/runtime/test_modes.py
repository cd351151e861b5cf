"""Every mode x response x request against a table written by hand, and the facts one by one."""

import itertools

import pytest

from runtime.faults import Response
from runtime.messages import Mode, Request
from runtime.modes import ACTIVE, ARMED, COMMANDING, ModeFacts, next_mode, rearms, refusal

# Columns: response NONE, WARN, DROP_RESIDUAL, HOLD, STOP. `!`: the request is refused.
# Robot at rest, preflight passed, pose good; `stage` is SHADOW where an episode runs, so that
# dropping the residual shows.
IDLE = {
    ("DISARMED", "NONE"): "READY READY READY READY DISARMED",
    ("DISARMED", "STOP"): "READY READY READY READY DISARMED",
    ("DISARMED", "REARM"): "READY READY READY READY DISARMED",
    ("DISARMED", "ARM"): "!READY !READY !READY !READY !DISARMED",
    ("DISARMED", "DISARM"): "!READY !READY !READY !READY !DISARMED",
    ("READY", "NONE"): "READY READY READY READY STOPPED",
    ("READY", "STOP"): "READY READY READY READY STOPPED",
    ("READY", "REARM"): "READY READY READY READY STOPPED",
    ("READY", "ARM"): "HOMING HOMING HOMING !READY !STOPPED",
    ("READY", "DISARM"): "DISARMED DISARMED DISARMED DISARMED !STOPPED",
    ("HOMING", "NONE"): "HOMING HOMING HOMING HOLD STOPPED",
    ("HOMING", "STOP"): "HOMING HOMING HOMING HOLD STOPPED",
    ("HOMING", "REARM"): "HOMING HOMING HOMING HOLD STOPPED",
    ("HOMING", "ARM"): "!HOMING !HOMING !HOMING !HOLD !STOPPED",
    ("HOMING", "DISARM"): "DISARMED DISARMED DISARMED !HOLD !STOPPED",
    ("HOLD", "NONE"): "HOMING HOMING HOMING HOLD STOPPED",
    ("HOLD", "STOP"): "HOMING HOMING HOMING HOLD STOPPED",
    ("HOLD", "REARM"): "HOMING HOMING HOMING HOLD STOPPED",
    ("HOLD", "ARM"): "!HOMING !HOMING !HOMING !HOLD !STOPPED",
    ("HOLD", "DISARM"): "DISARMED DISARMED DISARMED DISARMED !STOPPED",
    ("STOPPED", "NONE"): "STOPPED STOPPED STOPPED STOPPED STOPPED",
    ("STOPPED", "STOP"): "STOPPED STOPPED STOPPED STOPPED STOPPED",
    ("STOPPED", "REARM"): "READY READY READY READY !STOPPED",
    ("STOPPED", "ARM"): "!STOPPED !STOPPED !STOPPED !STOPPED !STOPPED",
    ("STOPPED", "DISARM"): "DISARMED DISARMED DISARMED DISARMED DISARMED",
}
for _mode in ("BASE", "SHADOW", "ADAPTIVE"):
    for _request in ("NONE", "STOP", "REARM"):
        IDLE[_mode, _request] = "HOMING HOMING HOMING HOLD STOPPED"
    for _request in ("ARM", "DISARM"):
        IDLE[_mode, _request] = "!HOMING !HOMING !HOMING !HOLD !STOPPED"

RUNNING = dict(IDLE)
for _mode in ("BASE", "SHADOW", "ADAPTIVE", "HOMING", "HOLD"):
    for _request in ("NONE", "STOP", "REARM"):
        RUNNING[_mode, _request] = "SHADOW SHADOW BASE HOLD STOPPED"
    for _request in ("ARM", "DISARM"):
        RUNNING[_mode, _request] = "!SHADOW !SHADOW !BASE !HOLD !STOPPED"
RUNNING["HOMING", "DISARM"] = IDLE["HOMING", "DISARM"]
RUNNING["HOLD", "DISARM"] = IDLE["HOLD", "DISARM"]

# What a missing fact changes in the tables above; every other cell stays as it is.
MISSING = {
    "at_rest": {
        ("READY", "ARM"): "!READY !READY !READY !READY !STOPPED",
        ("READY", "DISARM"): "!READY !READY !READY !READY !STOPPED",
        ("STOPPED", "REARM"): "!STOPPED !STOPPED !STOPPED !STOPPED !STOPPED",
        ("STOPPED", "DISARM"): "!STOPPED !STOPPED !STOPPED !STOPPED !STOPPED",
    },
    "can_start": {
        ("READY", "ARM"): "!READY !READY !READY !READY !STOPPED",
    },
    "preflight_ok": {
        ("DISARMED", "NONE"): "DISARMED DISARMED DISARMED DISARMED DISARMED",
        ("DISARMED", "STOP"): "DISARMED DISARMED DISARMED DISARMED DISARMED",
        ("DISARMED", "REARM"): "DISARMED DISARMED DISARMED DISARMED DISARMED",
        ("DISARMED", "ARM"): "!DISARMED !DISARMED !DISARMED !DISARMED !DISARMED",
        ("DISARMED", "DISARM"): "!DISARMED !DISARMED !DISARMED !DISARMED !DISARMED",
        ("READY", "NONE"): "DISARMED DISARMED DISARMED DISARMED STOPPED",
        ("READY", "STOP"): "DISARMED DISARMED DISARMED DISARMED STOPPED",
        ("READY", "REARM"): "DISARMED DISARMED DISARMED DISARMED STOPPED",
        ("READY", "ARM"): "!DISARMED !DISARMED !DISARMED !DISARMED !STOPPED",
        ("STOPPED", "REARM"): "!STOPPED !STOPPED !STOPPED !STOPPED !STOPPED",
    },
}
MOVING_IDLE = {
    ("HOMING", "DISARM"): "!HOMING !HOMING !HOMING !HOLD !STOPPED",
    ("HOLD", "DISARM"): "!HOMING !HOMING !HOMING !HOLD !STOPPED",
}
MOVING_RUNNING = {
    ("HOMING", "DISARM"): "!SHADOW !SHADOW !BASE !HOLD !STOPPED",
    ("HOLD", "DISARM"): "!SHADOW !SHADOW !BASE !HOLD !STOPPED",
}
# neither at rest nor through preflight: the request is refused, and the mode changes by itself
MOVING_UNCHECKED = {("READY", "DISARM"): "!DISARMED !DISARMED !DISARMED !DISARMED !STOPPED"}

EVERYTHING = list(itertools.product(Mode, Response, Request))
FLAGS = list(itertools.product((False, True), repeat=4))


def expected_table(facts: ModeFacts) -> dict[tuple[str, str], str]:
    """Return the table written by hand for these facts."""
    table = dict(RUNNING if facts.running else IDLE)
    for fact, cells in MISSING.items():
        table.update({} if getattr(facts, fact) else cells)
    if not facts.at_rest:
        table.update(MOVING_RUNNING if facts.running else MOVING_IDLE)
        table.update({} if facts.preflight_ok else MOVING_UNCHECKED)
    return {key: row.replace("SHADOW", facts.stage.name) for key, row in table.items()}


def good(*, running: bool) -> ModeFacts:
    return ModeFacts(
        preflight_ok=True, at_rest=True, can_start=True, running=running, stage=Mode.SHADOW
    )


@pytest.mark.parametrize("stage", [Mode.BASE, Mode.SHADOW, Mode.ADAPTIVE])
@pytest.mark.parametrize("flags", FLAGS)
def test_every_mode_response_and_request_has_its_expected_mode(
    flags: tuple[bool, bool, bool, bool], stage: Mode
) -> None:
    preflight_ok, at_rest, can_start, running = flags
    facts = ModeFacts(preflight_ok, at_rest, can_start, running, stage)
    table = expected_table(facts)
    assert len(table) == len(Mode) * len(Request)
    for mode, response, request in EVERYTHING:
        expected = table[mode.name, request.name].split()[response]
        new, refused = next_mode(mode, request, response, facts)
        assert ("!" if refused else "") + new.name == expected, (mode, response, request)


def test_who_acts_who_is_armed_and_who_commands() -> None:
    assert {Mode.BASE, Mode.SHADOW, Mode.ADAPTIVE} == ACTIVE
    assert ACTIVE | {Mode.HOMING, Mode.HOLD} == ARMED
    assert set(Mode) - {Mode.DISARMED, Mode.READY} == COMMANDING


def test_of_what_nobody_said_nothing_is_taken_for_good() -> None:
    facts = ModeFacts()
    assert (facts.preflight_ok, facts.at_rest, facts.can_start, facts.running) == (False,) * 4
    assert facts.stage is Mode.BASE


STILL_MOVES = "the robot still moves; ask for STOP, or wait until it is at rest"
NO_PREFLIGHT = "preflight has not passed: an observation is missing"
NO_PLACE = "no reference may begin at the measured pose"
FAULT = "a fault asks for HOLD; end its cause, then REARM"
# the flags are: preflight passed, at rest, can start
REFUSALS = [
    ("DISARMED", "ARM", (1, 1, 1), "allowed in READY"),
    ("DISARMED", "DISARM", (1, 1, 1), "allowed in READY, HOMING, HOLD, STOPPED"),
    ("BASE", "DISARM", (1, 0, 0), "allowed in READY, HOMING, HOLD, STOPPED"),
    ("HOLD", "ARM", (0, 0, 0), "allowed in READY"),
    ("READY", "ARM", (1, 0, 0), STILL_MOVES),
    ("HOMING", "DISARM", (1, 0, 1), STILL_MOVES),
    ("STOPPED", "REARM", (0, 0, 0), STILL_MOVES),
    ("READY", "ARM", (0, 1, 0), NO_PREFLIGHT),
    ("STOPPED", "REARM", (0, 1, 1), NO_PREFLIGHT),
    ("READY", "ARM", (1, 1, 0), NO_PLACE),
    ("READY", "ARM", (1, 1, 1), FAULT),
    # only a fault can have forced the mode away from under this request
    ("HOMING", "DISARM", (0, 1, 1), FAULT),
]


@pytest.mark.parametrize(("mode", "request_name", "flags", "why"), REFUSALS)
def test_a_refusal_says_what_is_missing(
    mode: str, request_name: str, flags: tuple[int, int, int], why: str
) -> None:
    preflight_ok, at_rest, can_start = map(bool, flags)
    facts = ModeFacts(preflight_ok, at_rest, can_start)
    said = refusal(Mode[mode], Request[request_name], Response.HOLD, facts)
    assert said == f"request {request_name} refused in mode {mode}: {why}"


def all_facts() -> list[ModeFacts]:
    return [ModeFacts(a, b, c, d, Mode.BASE) for a, b, c, d in FLAGS]


def test_only_an_arm_request_at_rest_makes_the_robot_follow_commands() -> None:
    for (mode, response, request), facts in itertools.product(EVERYTHING, all_facts()):
        new, _ = next_mode(mode, request, response, facts)
        armed = new in (Mode.HOMING, Mode.BASE, Mode.SHADOW, Mode.ADAPTIVE, Mode.HOLD)
        if mode in (Mode.DISARMED, Mode.READY, Mode.STOPPED) and armed:
            assert (mode, request, new) == (Mode.READY, Request.ARM, Mode.HOMING)
            assert facts.at_rest
            assert facts.can_start
            assert facts.preflight_ok
            assert response in (Response.NONE, Response.WARN, Response.DROP_RESIDUAL)


def test_no_request_lets_a_moving_robot_go() -> None:
    for (mode, response, request), facts in itertools.product(EVERYTHING, all_facts()):
        new, _ = next_mode(mode, request, response, facts)
        commanded = mode not in (Mode.DISARMED, Mode.READY)
        if commanded and not facts.at_rest:
            assert new not in (Mode.DISARMED, Mode.READY), (mode, response, request)


def test_a_stop_wins_over_every_request_and_ends_only_by_rearm_or_disarm() -> None:
    for (mode, response, request), facts in itertools.product(EVERYTHING, all_facts()):
        new, _ = next_mode(mode, request, response, facts)
        if response is Response.STOP and mode not in (Mode.DISARMED, Mode.STOPPED):
            assert new is Mode.STOPPED
        if mode is Mode.STOPPED and new is not Mode.STOPPED:
            assert (request, new) in (
                (Request.REARM, Mode.READY),
                (Request.DISARM, Mode.DISARMED),
            )
            assert facts.at_rest


def test_a_refused_request_changes_nothing() -> None:
    for (mode, response, request), facts in itertools.product(EVERYTHING, all_facts()):
        new, refused = next_mode(mode, request, response, facts)
        if refused:
            assert new is next_mode(mode, Request.NONE, response, facts)[0]


@pytest.mark.parametrize("missing", ["preflight_ok", "at_rest", "can_start"])
def test_arming_needs_every_fact(missing: str) -> None:
    facts = good(running=False)
    setattr(facts, missing, False)
    new, refused = next_mode(Mode.READY, Request.ARM, Response.NONE, facts)
    assert refused
    assert new is (Mode.DISARMED if missing == "preflight_ok" else Mode.READY)


@pytest.mark.parametrize("missing", ["preflight_ok", "at_rest"])
def test_rearming_out_of_a_stop_needs_every_fact(missing: str) -> None:
    facts = good(running=False)
    setattr(facts, missing, False)
    assert next_mode(Mode.STOPPED, Request.REARM, Response.NONE, facts) == (Mode.STOPPED, True)
    # and then the latched faults stay, so that what stopped the robot is still shown
    assert not rearms(Mode.STOPPED, Request.REARM, facts)
    assert rearms(Mode.STOPPED, Request.REARM, good(running=False))


def test_only_a_rearm_request_clears_latched_faults() -> None:
    for (mode, _, request), facts in itertools.product(EVERYTHING, all_facts()):
        if request is not Request.REARM:
            assert not rearms(mode, request, facts)
        elif mode is not Mode.STOPPED:
            assert rearms(mode, request, facts)
