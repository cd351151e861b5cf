"""The trial as a person starts it: three daemons, a comparison, a page; and what it refuses."""

import json
import subprocess
from pathlib import Path

import msgspec
import pytest

from runtime.comparison import Comparison
from runtime.errors import ConfigError, StartRefused
from runtime.messages import Stage
from runtime.records import Record, read_record
from runtime.trial import LEARNING_SEED_OFFSET
from tests.daemon_kit import ROOT, TRIMTAB, Said, trimtab, write_config
from tests.learning_kit import QUICK_LEARNER

QUICK: dict[str, object] = {
    **QUICK_LEARNER,
    "base.file": str(ROOT / "policies" / "bases" / "peg.onnx"),
    "gate.simulation_field": None,
    "gate.replay_s": 0.5,
    "gate.lineage": "lineage",
}
SEED = 5
# three daemons and torch start one after the other
pytestmark = pytest.mark.timeout(240)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("trial")


@pytest.fixture(scope="module")
def config(folder: Path) -> Path:
    return write_config(folder, QUICK)


@pytest.fixture(scope="module")
def page(folder: Path) -> Path:
    return folder / "new" / "report.html"


@pytest.fixture(scope="module")
def said(config: Path, page: Path) -> Said:
    words = ["--field", "nominal", "--episodes", 2, "--steps", 120, "--seed", SEED, "--out", page]
    command = [*TRIMTAB, "trial", "--config", config, *words, "--json"]
    done = subprocess.run(
        [str(word) for word in command],
        check=False,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=230.0,
    )
    return Said(done.returncode, done.stdout, done.stderr)


@pytest.fixture(scope="module")
def records(said: Said, folder: Path) -> list[Record]:
    assert said.code == 0, said
    runs = sorted(path for path in (folder / "out" / "records").iterdir() if path.is_dir())
    return [read_record(run) for run in runs]


def test_three_records_of_three_parts(records: list[Record]) -> None:
    base, learning, learnt = records
    assert base.header.seeds == learnt.header.seeds == {"sim": SEED}
    assert learning.header.seeds == {"sim": SEED + LEARNING_SEED_OFFSET}
    assert not base.column("authority").any()
    assert (base.scalar("residual_stage") == Stage.OBSERVE).all()
    assert learning.scalar("base_sequence")[-1] >= 120
    assert learning.scalar("residual_version")[-1] > 0


def test_what_was_learnt_is_there_from_the_first_episode_and_moves_nothing_unearned(
    records: list[Record],
) -> None:
    learnt, last = records[2], records[1].scalar("residual_version")[-1]
    running = learnt.scalar("policy_due") != 0
    assert set(learnt.scalar("residual_stage")[running]) == {Stage.OBSERVE}
    # the last promoted one may not have come to act any more while learning
    assert (learnt.scalar("residual_version")[running][1:] >= last).all()
    assert not learnt.column("residual_noise").any()
    assert not learnt.column("authority").any()


def test_it_says_how_they_compare(said: Said, records: list[Record], page: Path) -> None:
    found = msgspec.convert(json.loads(said.out), Comparison)
    assert found.pairs == 2
    assert [found.base.run, found.deployed.run] == [records[i].header.run for i in (0, 2)]
    assert found.learning is not None and found.learning.promoted > 0
    text = page.read_text(encoding="utf-8")
    assert "What was learnt" in text and "Verdicts" in text
    # in so little time nothing is earned
    assert found.deployed.own is None and found.deployed.left is not None
    assert "no authority was earned" in text


def test_the_page_can_be_drawn_again_from_the_records(
    records: list[Record], tmp_path: Path
) -> None:
    base, learning, learnt = (record.paths[0].parent for record in records)
    again = tmp_path / "again.html"
    ended = trimtab("report", learning, "--base", base, "--learnt", learnt, "--out", again)
    assert ended.code == 0, ended
    assert "What was learnt" in again.read_text(encoding="utf-8")
    half = trimtab("report", learning, "--base", base, "--out", again)
    assert half.code == ConfigError.exit_code and "go together" in half.err


def test_it_refuses_before_anything_starts(tmp_path: Path) -> None:
    bare = write_config(tmp_path, {**QUICK, "gate": None, "governor": None, "learner": None})
    refused = trimtab("trial", "--config", bare, "--json")
    assert refused.code == ConfigError.exit_code
    assert "no `gate` block" in refused.err
    assert not (tmp_path / "out").exists()


def test_it_needs_torch(monkeypatch: pytest.MonkeyPatch, config: Path) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    refused = trimtab("trial", "--config", config, "--json")
    assert refused.code == StartRefused.exit_code
    assert "pip install" in refused.err
