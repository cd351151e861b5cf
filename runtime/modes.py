"""The mode machine: a table for what operators may ask, a few lines for what faults force."""

from dataclasses import dataclass

from runtime.faults import Response
from runtime.messages import Mode, Request

ACTIVE = frozenset({Mode.BASE, Mode.SHADOW, Mode.ADAPTIVE})
ARMED = ACTIVE | {Mode.HOMING, Mode.HOLD}
COMMANDING = ARMED | {Mode.STOPPED}


@dataclass
class ModeFacts:
    """What the mode machine needs to know of this tick.

    `at_rest`: the reference (where there is one) and the measured robot stand still.
    `can_start`: the measured pose lies where a reference may begin. `running`: an episode runs
    and the policy may act. `stage`: the active mode that the residual has earned.
    """

    preflight_ok: bool = False
    at_rest: bool = False
    can_start: bool = False
    running: bool = False
    stage: Mode = Mode.BASE


# (mode, request) -> mode asked for; a pair that is not here is refused. REARM clears latched
# faults in every mode, and only out of STOPPED does it change the mode
REQUESTS: dict[tuple[Mode, Request], Mode] = {
    (Mode.READY, Request.ARM): Mode.HOMING,
    (Mode.READY, Request.DISARM): Mode.DISARMED,
    (Mode.HOMING, Request.DISARM): Mode.DISARMED,
    (Mode.HOLD, Request.DISARM): Mode.DISARMED,
    (Mode.STOPPED, Request.DISARM): Mode.DISARMED,
    (Mode.STOPPED, Request.REARM): Mode.READY,
}


def next_mode(
    mode: Mode, request: Request, response: Response, facts: ModeFacts
) -> tuple[Mode, bool]:
    """Return the mode after this tick and whether the request was refused.

    STOP needs no entry in the table: it is the fault OPERATOR_STOP, and faults win over requests.
    """
    forced = _forced(mode, response)
    if forced is not mode:
        return forced, request in (Request.ARM, Request.DISARM)
    stays = request is Request.REARM and mode is not Mode.STOPPED
    if stays or request in (Request.NONE, Request.STOP):
        return _by_itself(mode, response, facts), False
    asked = REQUESTS.get((mode, request))
    if asked is None or not _permitted(asked, response, facts):
        # what is refused changes nothing, not even what would have happened without it
        return _by_itself(mode, response, facts), True
    return asked, False


def refusal(mode: Mode, request: Request, response: Response, facts: ModeFacts) -> str:
    """Say why `next_mode` refused a request, and where or when it would be granted."""
    asked = REQUESTS.get((mode, request))
    if asked is None:
        where = ", ".join(allowed.name for allowed, known in REQUESTS if known is request)
        why = f"allowed in {where}"
    elif not facts.at_rest:
        why = "the robot still moves; ask for STOP, or wait until it is at rest"
    elif not (asked is Mode.DISARMED or facts.preflight_ok):
        why = "preflight has not passed: an observation is missing"
    elif not facts.can_start:
        why = "no reference may begin at the measured pose"
    else:
        why = f"a fault asks for {response.name}; end its cause, then REARM"
    return f"request {request.name} refused in mode {mode.name}: {why}"


def rearms(mode: Mode, request: Request, facts: ModeFacts) -> bool:
    """Return whether latched faults may clear in this tick; out of a stop, only at rest."""
    if request is not Request.REARM:
        return False
    return mode is not Mode.STOPPED or (facts.at_rest and facts.preflight_ok)


def _forced(mode: Mode, response: Response) -> Mode:
    """Return what the worst response makes of the mode, whatever anybody asks."""
    if response is Response.STOP and mode is not Mode.DISARMED:
        return Mode.STOPPED
    if response is Response.HOLD and mode in ARMED:
        return Mode.HOLD
    return mode


def _permitted(asked: Mode, response: Response, facts: ModeFacts) -> bool:
    """Every hand-over that an operator asks for begins and ends at rest."""
    if asked is Mode.DISARMED:
        return facts.at_rest
    allowed = Response.DROP_RESIDUAL if asked is Mode.HOMING else Response.HOLD
    may_start = facts.can_start or asked is not Mode.HOMING
    return response <= allowed and facts.at_rest and facts.preflight_ok and may_start


def _by_itself(mode: Mode, response: Response, facts: ModeFacts) -> Mode:
    """Return the transition that needs nobody's request; none of them arms the robot."""
    if mode is Mode.DISARMED:
        return Mode.READY if facts.preflight_ok and response < Response.STOP else mode
    if mode is Mode.READY:
        return mode if facts.preflight_ok else Mode.DISARMED
    if mode is Mode.HOLD and response >= Response.HOLD:
        return mode
    if mode in ARMED:
        return _active_mode(response, facts) if facts.running else Mode.HOMING
    return mode


def _active_mode(response: Response, facts: ModeFacts) -> Mode:
    """Return the stage, or BASE while a fault takes the residual away."""
    return Mode.BASE if response >= Response.DROP_RESIDUAL else facts.stage
