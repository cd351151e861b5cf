"""SAFETY.md, generated from the fault table and the mode table: `trimtab faults --safety`."""

from runtime.faults import ROWS, Clear, Response
from runtime.messages import Mode
from runtime.modes import REQUESTS

_INTRODUCTION = """\
# Safety

This page is generated (`make safety`); a test fails when it is out of date.

Trimtab is not certified functional safety. It is software on a general-purpose computer. The
robot's own safety functions (emergency stop, protective stop, speed and force limits of the
controller, the device's command watchdog) must be in place and must not depend on it.

## What is always true of a command

Per joint, of the commanded reference q_k with the nominal servo period dt: position inside the
command range; v_k = (q_k - q_{k-1})/dt, a_k = (v_k - v_{k-1})/dt and j_k = (a_k - a_{k-1})/dt
inside the command limits. The command limits are the manufacturer's, less the tracking margin of
the robot spec. Beside every command the envelope keeps a stop manoeuvre that ends at rest inside
all of them; a command after which none exists is not sent (`runtime/envelope/`). A value that is
not finite is never clamped: the kept stop manoeuvre goes out instead, and it is a fault.

## Responses

The worst active one wins: """

_RESPONSES = {
    Response.NONE: "nothing happens",
    Response.WARN: "it is recorded and shown",
    Response.DROP_RESIDUAL: "the learned residual has no authority; the base goes on",
    Response.HOLD: "the arm brakes inside its limits, stands, and gives way where it presses",
    Response.STOP: "the same, latched: a person must re-arm and arm again",
}
_CLEARS = {
    Clear.WHEN_CLEAR: "as soon as the condition is gone",
    Clear.AFTER_DWELL: "once the condition has been gone for the dwell time",
    Clear.ON_REARM: "when a person re-arms and the condition is gone",
    Clear.NEVER: "never in this run",
}


def safety_page() -> str:
    """Return SAFETY.md as text."""
    lines = [_INTRODUCTION + " < ".join(response.name for response in Response) + ".\n"]
    lines += [f"- {response.name}: {text}" for response, text in _RESPONSES.items()]
    lines += ["", "A fault ends:", ""]
    lines += [f"- {clear.name}: {text}" for clear, text in _CLEARS.items()]
    lines += [
        "",
        "## Faults",
        "",
        "A config may tighten a row (a worse response, a later clear, less debounce, more dwell),",
        "never loosen it.",
        "",
        "| fault | response | debounce (ticks) | clear | dwell (s) | what physically happened |",
        "|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {row.fault.name} | {row.response.name} | {row.debounce_ticks} | {row.clear.name} "
        f"| {row.dwell_s:g} | {row.sentence} |"
        for row in ROWS
    ]
    lines += [
        "",
        "A tool that is outside the workspace box stays held. When a person re-arms it there, it",
        "may move, but hardly further out: until it is inside again, the guard stands where it was",
        "re-armed.",
        "",
        "## Requests",
        "",
        "What an operator may ask for, and where; everything else is refused. STOP is granted",
        f"everywhere but in {Mode.DISARMED.name}. Starting a process never moves the robot: only",
        "the arm request does.",
        "",
        "| in mode | request | leads to |",
        "|---|---|---|",
    ]
    lines += [
        f"| {mode.name} | {request.name} | {asked.name} |"
        for (mode, request), asked in REQUESTS.items()
    ]
    return "\n".join(lines) + "\n"
