"""A base that is not decorated: why it is not, from the governor to where people look."""

import io
from pathlib import Path

import pytest
import zmq
from rich.console import Console

from runtime.events import Event, EventKind
from runtime.gate_client import GateConnection
from runtime.gate_line import Line
from runtime.gate_wire import FromControl, Grant, from_control
from runtime.messages import Stage
from runtime.records import Record
from runtime.residual_history import happenings
from runtime.residual_now import ResidualNow
from runtime.residual_tally import grant_of
from runtime.summary import summary
from runtime.tally import Tally, Volume
from runtime.view import Plan, end_table, live_view
from runtime.view_residual import status_rows
from tests.policies.governor_kit import CONFIG
from tests.runtime.gate_line_kit import Taker, events_of, send
from tests.runtime.recording_kit import EPISODE_TICKS, make_place
from tests.runtime.residual_records import RATE_HZ, write_record
from tests.runtime.trust_kit import Story, make_trust, tell

BASES = {"-": "nothing to decorate", "+": "left alone"}
EPISODES = 2


def granted_of(letter: str, folder: Path) -> list[Grant]:
    """Return what the gate says of a base whose episodes all end alike."""
    trust, story = make_trust(folder, lag=None), Story()
    said = [trust.grant(learner_lost=False)]
    story.episodes(letter * (CONFIG.observe_most_episodes + 5))
    tell(trust, story)
    return [*said, *trust.grants()]


def recorded(grants: list[Grant], folder: Path) -> list[Event]:
    """Return the events that control makes of grants that reach it over the wire."""
    place, context = make_place(folder), zmq.Context()
    gate: Line[FromControl] = Line(context, place.gate_endpoint, from_control)
    actions = len(grants[0].authority)
    control = GateConnection(place, actions, lost_after_s=5.0)
    events: list[Event] = []
    for grant in grants:
        send(gate, grant)
        events += events_of(control, Taker())
    control.close()
    gate.close()
    context.term()
    return [event for event in events if event.kind is EventKind.GRANT]


@pytest.fixture(scope="module", params=BASES)
def refused(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Record, str]:
    """A record of such a run, and the words that must be found."""
    folder = tmp_path_factory.mktemp("refused")
    letter = str(request.param)
    events = recorded(granted_of(letter, folder), folder)
    ticks = (0, EPISODE_TICKS + 20)
    placed = [
        Event(tick, 0, event.kind, event.text) for tick, event in zip(ticks, events, strict=False)
    ]
    return write_record(folder / "run", (), placed, EPISODES), BASES[letter]


def shown(what: object) -> str:
    console = Console(file=io.StringIO(), width=200)
    console.print(what)
    return " ".join(console.file.getvalue().split())  # type: ignore[attr-defined]


def test_nothing_is_granted_and_the_reason_is_said_once(tmp_path: Path) -> None:
    for letter, words in BASES.items():
        grants = granted_of(letter, tmp_path)
        assert {grant.stage for grant in grants} == {Stage.OBSERVE}
        assert not any(any(grant.authority) or grant.learning for grant in grants)
        assert [words in why for why in dict.fromkeys(grant.why for grant in grants)] == [
            False, True
        ]  # fmt: skip


def test_it_is_in_the_record(refused: tuple[Record, str]) -> None:
    record, words = refused
    told = [grant.why for event in record.events if (grant := grant_of(event))]
    assert words in told[-1]


def test_status_and_the_live_view_say_it(refused: tuple[Record, str]) -> None:
    record, words = refused
    tally = Tally()
    tally.rate_hz = RATE_HZ
    tally.add(record.ticks)
    for event in record.events:
        tally.hear(event)
    status = tally.status("run", Volume(len(record), 1, 1.0, "s"), [])
    assert status is not None
    assert words in shown(live_view(status, Plan()))
    lines = dict(status_rows(ResidualNow("run-1", True, status.residual, [])))
    assert words in lines["why"] and lines["stage"].startswith("observe")


def test_history_and_the_end_table_say_it(refused: tuple[Record, str]) -> None:
    record, words = refused
    first, second = happenings(record.paths[0].parent)
    assert (first.words, second.words) == ("observe", "observe")
    assert words not in first.why and words in second.why
    numbers = summary(record)
    assert numbers.residual is not None
    assert [words in row.why for row in numbers.residual.stages] == [False, True]
    assert words in shown(end_table(numbers))
