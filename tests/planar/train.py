"""Makes the reaching base: `python -m tests.planar.train`, from the root of the repository.

The scripted reacher drives the ordinary loop in simulation; its noiseless actions are cloned.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

from policies.demonstrations import DemonstrationSpec, DemonstrationWriter
from policies.features import RawFeatures
from runtime.config import parse, read_yaml
from runtime.demonstrate import expert_interface
from runtime.events import Event
from runtime.interfaces import RecorderHealth
from runtime.layout import Floats
from runtime.loop import EpisodesDone
from runtime.messages import TickRecord
from runtime.operator_port import ScriptedPort
from runtime.policy_contract import PolicyInterface
from runtime.wiring import Surroundings, build_loop, load_deployment, open_link, zero_residual
from tests.planar.reacher import ScriptedReacher

FOLDER = Path(__file__).parent
COMMAND = "python -m tests.planar.train"
EPISODES = 300
NOISE_STD = 0.1
SEED = 7


class DemonstratingReacher:
    """Acts with noise, and writes down features beside the noiseless action."""

    def __init__(
        self, reacher: ScriptedReacher, spec: DemonstrationSpec, writer: DemonstrationWriter
    ) -> None:
        self._reacher = reacher
        self._spec = spec
        self._writer = writer
        self._features: RawFeatures | None = None

    @property
    def contract(self) -> PolicyInterface:
        """The reacher's own."""
        return self._reacher.contract

    @property
    def unfamiliarity(self) -> float:
        """Nothing is: it never trained."""
        return 0.0

    def act(self, record: TickRecord, out: Floats) -> None:
        """Act, and note what was seen and what would have been done without noise."""
        if self._features is None:
            names = [term.name for term in self._spec.terms]
            self._features = RawFeatures(names, self._spec.action.kind, record)
        self._reacher.act(record, out)
        features = self._features.read(record)
        episode = int(record.episode[0])
        self._writer.add(features, self._reacher.label, episode, record.q, record.dq)


class NoRecord:
    """A sink that keeps nothing: demonstrations are their own record."""

    def record(self, record: TickRecord) -> None:
        """Let the tick go."""

    def event(self, event: Event) -> None:
        """Let the event go."""

    def health(self) -> RecorderHealth:
        """Nothing is ever lost of nothing."""
        return RecorderHealth(dropped=0, lost=False)

    def close(self) -> None:
        """Nothing to close."""


def collect(out: Path, episodes: int, seed: int) -> Path:
    """Write demonstrations to `out` (.npz) and return the path of the spec beside it."""
    deployment = load_deployment(FOLDER / "config.yaml", base_to_come=True)
    file = FOLDER / "reach.yaml"
    spec = parse(DemonstrationSpec, read_yaml(file), str(file))
    interface = expert_interface(deployment, spec)
    link = open_link(deployment, interface, lockstep=True, seed=seed)
    writer = DemonstrationWriter(spec)
    reacher = DemonstratingReacher(ScriptedReacher(interface, seed, NOISE_STD), spec, writer)
    port = ScriptedPort()
    surroundings = Surroundings(link, reacher, zero_residual(), NoRecord(), port, None)
    build_loop(deployment, surroundings, EpisodesDone(episodes)).run()
    return writer.save(out)


def main() -> int:
    """Collect, train, write reach.onnx; return the exit code."""
    with tempfile.TemporaryDirectory(prefix="reach-") as name:
        demos = Path(name) / "demonstrations.npz"
        spec = collect(demos, EPISODES, SEED)
        words = ["--demos", str(demos), "--spec", str(spec), "--out", str(FOLDER / "reach.onnx")]
        words += ["--hidden", "32", "32", "--seed", str(SEED), "--command", COMMAND]
        return subprocess.call([sys.executable, "-m", "policies.train_base", *words])


if __name__ == "__main__":
    sys.exit(main())
