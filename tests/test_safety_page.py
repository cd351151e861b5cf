"""SAFETY.md says what the tables say: nobody edits it by hand, nobody forgets to make it anew."""

from runtime.faults import ROWS
from runtime.messages import Mode
from runtime.modes import REQUESTS
from runtime.safety_page import safety_page
from tests.daemon_kit import ROOT, trimtab


def test_the_committed_page_is_up_to_date() -> None:
    page = (ROOT / "SAFETY.md").read_text(encoding="utf-8")
    assert page == safety_page(), "SAFETY.md is out of date: make safety"


def test_the_command_prints_the_page() -> None:
    said = trimtab("faults", "--safety")
    assert said.code == 0
    assert said.out == safety_page()


def test_every_row_and_request_is_in_it() -> None:
    page = safety_page()
    for row in ROWS:
        assert f"| {row.fault.name} | {row.response.name} |" in page
        assert row.sentence in page
    for (mode, request), asked in REQUESTS.items():
        assert f"| {mode.name} | {request.name} | {asked.name} |" in page
    assert all(mode.name in page for mode in (Mode.DISARMED, Mode.STOPPED))
