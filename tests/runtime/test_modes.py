"""Every mode x response x request against a table written by hand, and the facts one by one."""

import itertools

import pytest

from runtime.faults import Response
from runtime.messages import Mode, Request
from runtime.modes import ModeFacts, next_mode, rearms

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

EVERYTHING = list(itertools.product(Mode, Response, Request))


def good(*, running: bool) -> ModeFacts:
    return ModeFacts(
        preflight_ok=True, at_rest=True, can_start=True, running=running, stage=Mode.SHADOW
    )


@pytest.mark.parametrize("running", [False, True])
def test_every_mode_response_and_request_has_its_expected_mode(running: bool) -> None:
    table = RUNNING if running else IDLE
    assert len(table) == len(Mode) * len(Request)
    for mode, response, request in EVERYTHING:
        expected = table[mode.name, request.name].split()[response]
        new, refused = next_mode(mode, request, response, good(running=running))
        assert ("!" if refused else "") + new.name == expected, (mode, response, request)


def all_facts() -> list[ModeFacts]:
    flags = itertools.product((False, True), repeat=4)
    return [ModeFacts(a, b, c, d, Mode.BASE) for a, b, c, d in flags]


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
