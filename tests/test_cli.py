"""The command line: what a person sees, what a machine reads, and how each command ends."""

from pathlib import Path

import pytest

from runtime.config import load_config
from runtime.errors import ConfigError, RecordError
from runtime.faults import ROWS
from tests.daemon_kit import ROOT, Daemon, daemon, json_of, trimtab, write_config

BASE = ROOT / "policies" / "bases" / "peg.onnx"
EPISODES = 2


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Daemon:
    """A run in lockstep that ended as planned."""
    config = write_config(tmp_path_factory.mktemp("run"))
    words = ("--arm", "--episodes", EPISODES, "--field", "nominal", "--json")
    with daemon(config, *words) as robot:
        robot.end()
    return robot


def test_a_run_ends_with_its_numbers(finished: Daemon) -> None:
    said = finished.said()
    assert said.code == 0, said
    assert said.err == ""
    numbers = json_of(said)
    assert sum(numbers["outcomes"].values()) == EPISODES
    assert numbers["outcomes"].get("SUCCESS", 0) == numbers["success"]["successes"]
    assert numbers["missing"] == numbers["dropped"] == 0
    assert not numbers["truncated"]
    assert finished.record().header.link["field"] == "nominal"


def test_it_replays_at_both_strengths(finished: Daemon) -> None:
    said = trimtab("replay", finished.records, "--json")
    assert said.code == 0, said
    envelope, policy = json_of(said)
    assert (envelope["strength"], policy["strength"]) == ("envelope", "policy")
    assert envelope["same_machine"]
    assert envelope["different"] == policy["different"] == 0
    assert envelope["ticks"] == len(finished.record())
    assert policy["actions"] > 20


def test_another_config_says_what_would_differ(finished: Daemon, tmp_path: Path) -> None:
    slower = write_config(tmp_path, {"control.motion_share": 0.2})
    said = trimtab("replay", finished.records, "--config", slower, "--json")
    assert said.code == 0, said
    (result,) = json_of(said)
    assert result["different"] > 0
    assert "q_applied" in result["largest"]
    readable = trimtab("replay", finished.records, "--config", slower)
    assert readable.code == 0
    assert "ticks differ" in readable.out


def test_a_report_is_one_page(finished: Daemon, tmp_path: Path) -> None:
    page = tmp_path / "new" / "report.html"
    said = trimtab("report", finished.records, "--out", page, "--json")
    assert said.code == 0, said
    assert json_of(said)["run"] == finished.record().header.run
    text = page.read_text(encoding="utf-8")
    assert text.startswith("<!")
    assert "http://" not in text.replace("http://www.w3.org", "")


def test_faults_prints_every_row_whatever_the_width() -> None:
    said = trimtab("faults")
    assert said.code == 0
    words = "".join(said.out.split())
    assert all(row.response.name in words for row in ROWS)
    rows = json_of(trimtab("faults", "--json"))
    assert [row["fault"] for row in rows] == [row.fault.name for row in ROWS]
    assert all(row["sentence"] and row["clear"] and row["response"] for row in rows)


def test_base_check_prints_contract_and_parity() -> None:
    said = trimtab("base", "check", BASE)
    assert said.code == 0
    report = json_of(trimtab("base", "check", BASE, "--json"))
    assert report["parity"]["passed"]


def test_check_config_says_what_would_run() -> None:
    said = trimtab("check-config", "--config", ROOT / "config.yaml")
    assert said.code == 0
    assert "the config can be used" in said.out
    facts = json_of(trimtab("check-config", "--config", ROOT / "config.yaml", "--json"))
    assert facts["servo"] == f"{load_config(ROOT / 'config.yaml').control.servo_hz:g} Hz"


@pytest.mark.parametrize(
    "command",
    [[], ["run"], ["base"], ["base", "train"], ["base", "check"], ["faults"], ["replay"],
     ["report"], ["trial"], ["residual"], ["residual", "history"], ["ask"], ["mark"],
     ["check-config"], ["hashes"], ["keys"]],
)  # fmt: skip
def test_every_command_explains_itself(command: list[str]) -> None:
    said = trimtab(*command, "--help")
    assert said.code == 0
    assert "Usage:" in said.out
    assert len(said.out.splitlines()) > 6


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["run", "--clock", "sundial"], ConfigError.exit_code, "lockstep and realtime"),
        (["replay", "nowhere", "--strength", "iron"], ConfigError.exit_code, "envelope, policy"),
        (["replay", "nowhere"], RecordError.exit_code, "no record here"),
        (["ask", "please"], ConfigError.exit_code, "arm, disarm, stop, rearm"),
        (["mark", "victory"], ConfigError.exit_code, "success, failure"),
        (["run", "--episodes", "0"], 2, "--episodes"),
        (["fly"], 2, "fly"),
        (["base", "check", "none.onnx"], 3, "no such policy file"),
    ],
)
def test_wrong_words_are_answered(words: list[str], code: int, said: str) -> None:
    ended = trimtab(*words)
    assert ended.code == code, ended
    assert all(word in ended.err for word in said.split()), ended.err
    assert ended.out == ""
