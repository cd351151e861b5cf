"""SAFETY.md, generated from the safety case, the fault table and the mode table:
`trimtab faults --safety`."""

from collections.abc import Iterable

from runtime.faults import ROWS, Clear, Response
from runtime.messages import Mode
from runtime.modes import REQUESTS
from runtime.safety_assumptions import ASSUMPTIONS, HARDWARE, ROLES
from runtime.safety_case import INVARIANTS, Claim
from runtime.safety_watch import GUARDS_CASE, RESIDUAL, SYSTEM

_INTRODUCTION = """\
# Safety

This page is generated (`make safety`); a test fails when it is out of date.

**Nothing here is certified functional safety.** Trimtab is software on a general-purpose computer.
No performance level (ISO 13849-1) and no safety integrity level (IEC 62061) is claimed for any part
of it: neither for the envelope, nor for a guard, nor for a stop. It bounds what a bad
policy can command; it does not protect people.

## What the hardware must provide

None of it may depend on this software, and all of it must be in place before an arm is armed where
a person can reach it:

"""
_ARCHITECTURE = """\
## How it is built

This is a simplex architecture (L. Sha, "Using simplicity to control complexity", IEEE Software
18(4), 2001): a controller that is good and cannot be trusted is bounded by one that is simple and
can be argued about. ASTM F3269 calls the same run-time assurance; it is a practice for aircraft and
lends us its words here, not its approval.

"""
_ROLES_TO_STANDARDS = """\
The kept stop is the guarantee. Whatever chooses among admitted commands (a closed form, a small
quadratic program near a barrier) may fail, stall or answer nonsense: its answer is admitted by the
same rule, or the kept stop's next step is sent instead.

Invariants and guards are two kinds. An **invariant** bounds what is sent, and holds whatever
happens outside. A **guard** watches what is measured; a push breaks it whatever is sent, so it
never makes the command jump: its row in the fault table decides.

## Stops

In the words of IEC 60204-1: what this software does by itself, HOLD and STOP, is a stop of
**category 2**: the arm is brought to rest in a controlled way, and the drives stay powered and
hold. **Category 1**, a controlled stop after which power is removed, needs a drive or safety
controller that removes it once the arm stands or a fixed time is over. **Category 0** is the
hardware's alone. An emergency stop must be of category 0 or 1; so no request, key or fault of this
software is one.

## Standards, and what is not claimed

- ISO 10218-1:2025 and ISO 10218-2:2025 speak of the robot and of its application. Speed, force,
  separation and stop functions under them are safety functions with a required performance level;
  the guards here are monitoring and are none of them.
- ISO/TS 15066: which forces and pressures a person may meet is for the integrator's risk
  assessment to say. The numbers in config.yaml protect the robot and the workpiece.
- ISO 13849-1: PL d is not claimed. One channel, no diagnostic coverage that anybody assessed, an
  operating system with no safety case.

## The case: what is always true of a command

Of the commanded reference q_k of each joint, with the nominal servo period dt:
v_k = (q_k - q_(k-1))/dt, a_k = (v_k - v_(k-1))/dt and j_k = (a_k - a_(k-1))/dt. When a robot starts
outside its limits they are widened to where it stands, and it may only move back in.

"""

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


def _claims(claims: Iterable[Claim]) -> list[str]:
    """Return claims as a table: requirement, files, tests, residual risk."""
    lines = [
        "",
        "| | required | enforced by | proven by | what is left |",
        "|---|---|---|---|---|",
    ]
    return lines + [
        f"| {claim.number} | {claim.requirement} | {_files(claim.enforced_by)} "
        f"| {_files(claim.proven_by)} | {claim.residual} |"
        for claim in claims
    ]


def _files(names: Iterable[str]) -> str:
    return "<br>".join(f"`{name}`" for name in names)


def _assumptions() -> list[str]:
    return [
        "",
        "## What the case assumes",
        "",
        "| assumed | what covers a deviation | what notices one |",
        "|---|---|---|",
        *(f"| {item.what} | {item.covered_by} | {item.noticed_by} |" for item in ASSUMPTIONS),
    ]


def safety_page() -> str:
    """Return SAFETY.md as text."""
    lines = [_INTRODUCTION + "\n".join(f"- {item}" for item in HARDWARE), "", _ARCHITECTURE]
    lines[-1] += "\n".join(["| role | here |", "|---|---|", *(f"| {r} | {w} |" for r, w in ROLES)])
    lines += ["", _ROLES_TO_STANDARDS.rstrip(), *_claims(INVARIANTS)]
    lines += ["", "## The case: what is watched", *_claims(GUARDS_CASE)]
    lines += ["", "## The case: what surrounds them", *_claims(SYSTEM)]
    lines += ["", "## The case: what learns on the robot", *_claims(RESIDUAL)]
    lines += _assumptions()
    lines += ["", "## Responses", "", "The worst active one wins: "]
    lines[-1] += " < ".join(response.name for response in Response) + ".\n"
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
