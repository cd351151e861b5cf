"""Learning on a robot behind its socket: what is learnt there gets back to it."""

import time
from pathlib import Path

from policies.lineage import Entry, Lineage
from tests.daemon_kit import ROOT, daemon
from tests.hardware_kit import hardware, hardware_config
from tests.learning_kit import EAGER, QUICK_LEARNER

LIMIT_S = 120.0
LEARNS: dict[str, object] = {
    **QUICK_LEARNER,
    **EAGER,
    "base.file": str(ROOT / "policies" / "bases" / "peg.onnx"),
    "gate.simulation_episodes": 1,
    "gate.replay_s": 0.5,
    "gate.lineage": "lineage",
}


def judged(lineage: Lineage) -> list[Entry]:
    return [entry for entry in lineage.entries() if entry.what == "verdict"]


def test_a_candidate_is_checked_in_the_simulation_while_the_robot_works_and_promoted(
    tmp_path: Path,
) -> None:
    config, lineage = hardware_config(tmp_path, LEARNS), Lineage(tmp_path / "lineage")
    run = ("--clock", "realtime", "--arm", "--learn")
    with hardware(config, None), daemon(config, *run) as robot:
        end_s = time.monotonic() + LIMIT_S
        while not any(entry.passed for entry in judged(lineage)):
            assert time.monotonic() < end_s, [entry.reasons for entry in judged(lineage)]
            assert robot.process.poll() is None, robot.said()
            time.sleep(0.5)
    assert not [r for entry in judged(lineage) for r in entry.reasons if "could not be judged" in r]
