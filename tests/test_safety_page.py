"""SAFETY.md says what the tables say: nobody edits it by hand, nobody forgets to make it anew, and
every file and test that the safety case names exists."""

import ast
from functools import cache

import pytest

from runtime.faults import ROWS, Fault
from runtime.force_filter import ForceFilter
from runtime.messages import GUARDS, Limit, Mode
from runtime.modes import REQUESTS
from runtime.safety_assumptions import ASSUMPTIONS, HARDWARE, ROLES
from runtime.safety_case import INVARIANTS, Claim
from runtime.safety_page import safety_page
from runtime.safety_watch import CLAIMS, GUARDS_CASE
from tests.daemon_kit import ROOT, trimtab


@cache
def functions_of(file: str) -> frozenset[str]:
    """Return the names of the test functions in a file, without running it."""
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    return frozenset(
        node.name
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    )


def test_the_committed_page_is_up_to_date() -> None:
    page = (ROOT / "SAFETY.md").read_text(encoding="utf-8")
    assert page == safety_page(), "SAFETY.md is out of date: make safety"


def test_the_readme_counts_the_rows() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert f"knows {len(ROWS)} faults by name" in readme


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


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.number)
def test_what_a_claim_names_exists(claim: Claim) -> None:
    assert claim.enforced_by
    assert claim.proven_by
    for file in claim.enforced_by:
        assert (ROOT / file).is_file(), file
    for name in claim.proven_by:
        file, _, test = name.partition("::")
        assert (ROOT / file).is_file(), file
        assert test in functions_of(file), name


def test_every_invariant_and_every_guard_has_a_claim() -> None:
    invariants = [name for claim in INVARIANTS for name in claim.covers]
    assert sorted(invariants) == sorted(str(limit.name) for limit in Limit if limit)
    guards = [name for claim in GUARDS_CASE for name in claim.covers]
    assert sorted(guards) == sorted(GUARDS)


def test_every_claim_and_assumption_is_in_it() -> None:
    page = safety_page()
    numbers = [claim.number for claim in CLAIMS]
    assert len(set(numbers)) == len(numbers)
    for claim in CLAIMS:
        assert f"| {claim.number} | {claim.requirement} |" in page
        assert claim.residual in page
        assert all(f"`{name}`" in page for name in (*claim.enforced_by, *claim.proven_by))
    for assumption in ASSUMPTIONS:
        assert f"| {assumption.what} | {assumption.covered_by} | {assumption.noticed_by} |" in page
    for text in (*HARDWARE, *(what for _, what in ROLES)):
        assert text in page


def test_a_fault_that_an_assumption_names_is_one() -> None:
    known = {fault.name for fault in Fault}
    for assumption in ASSUMPTIONS:
        words = {word.strip(",.") for word in assumption.noticed_by.split()}
        assert {word for word in words if word.isupper()} <= known


def test_it_says_plainly_what_it_is_not() -> None:
    page = " ".join(safety_page().split())
    assert "Nothing here is certified functional safety." in page
    words = ("IEC 60204-1", "ISO 10218-2:2025", "ISO/TS 15066", "PL d is not claimed", "simplex")
    assert all(word in page for word in words)


def test_no_table_cell_breaks_its_table() -> None:
    for line in safety_page().splitlines():
        if line.startswith("|"):
            assert line.endswith("|")
    texts = [text for claim in CLAIMS for text in (claim.requirement, claim.residual)]
    assert not any("|" in text or "\n" in text for text in texts)


def test_the_delay_that_the_page_states_is_the_filters() -> None:
    assert "8 ms at 20 Hz" in safety_page()
    assert ForceFilter("force", 20.0).delay_s == pytest.approx(0.008, abs=5e-5)
