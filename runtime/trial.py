"""A field pilot in small: the base alone, learning live, then what was learnt on the base's starts.

Three runs, three records. The starts of the first and the third are the same; learning sees others.
Only simulated robots: nobody else arms them.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from runtime.companions import Companion, companions
from runtime.errors import TrimtabError
from runtime.gate_client import gate_rules
from runtime.lockfile import RobotLock
from runtime.record_format import RecorderPlace, new_place
from runtime.records import Record, read_record
from runtime.summary import EpisodeRow, Proportion, success_of, summary
from runtime.supervisor import Supervisor
from runtime.view import Plan, Viewer
from runtime.wiring import load_base, load_deployment

# learning starts from other places than those that judge it
LEARNING_SEED_OFFSET = 1000
_GATES = ("none", "learning", "deployed")
_HEADINGS = ("part 1 of 3:", "part 2 of 3:", "part 3 of 3, the starts of part 1:")
_ABOUT = (
    "the base alone, {} episodes",
    "learning live, {} policy steps from other starts",
    "what was learnt, {} episodes from the starts of part 1; nothing is learnt",
)


@dataclass(frozen=True)
class TrialPlan:
    """What a trial does: `episodes` with the base alone and again with what was learnt, between
    them `steps` policy steps of learning (and the rest of the episode that they end in)."""

    config: Path
    field: str | None
    seed: int
    episodes: int
    steps: int


@dataclass(frozen=True)
class TrialRecords:
    """What a trial left: the records of its parts, and the exit code of the one that did not end
    as planned (0: all did)."""

    records: list[Record]
    exit_code: int


class Trial:
    """Runs the three parts, one daemon after the other.

    `begin_lineage` takes the learning run's name and returns an empty folder for what it learns.
    `view` opens a live view; `say` gets a sentence at every turn.

    Raises:
        TrimtabError: the config, the base or the residual's blocks cannot be used.
    """

    def __init__(
        self,
        plan: TrialPlan,
        begin_lineage: Callable[[str], Path],
        view: Viewer,
        say: Callable[[str], None],
    ) -> None:
        self._plan = plan
        self._view = view
        self._say = say
        self._deployment = load_deployment(plan.config)
        config = self._deployment.config
        gate_rules(config)
        self._rate_hz = load_base(self._deployment).contract.rate_hz
        self._records = plan.config.resolve().parent / config.recorder.folder
        self._begin_lineage = begin_lineage

    def run(self) -> TrialRecords:
        """Run all parts, or those before one that did not end as planned."""
        records: list[Record] = []
        base: Proportion | None = None
        lineage: Path | None = None
        for part, gate in enumerate(_GATES):
            place = self._new_place()
            if gate == "learning":
                lineage = self._begin_lineage(place.run)
            record, code = self._part(part, place, lineage, base)
            records += [] if record is None else [record]
            if code or record is None:
                self._say(f"   it did not end as planned; its record: {place.folder}")
                return TrialRecords(records, code or TrimtabError.exit_code)
            numbers = summary(record)
            self._say(_result_words(numbers.success))
            if gate != "none":
                self._say("   " + ", ".join(owner_lines(numbers.episodes)))
            base = base or numbers.success
        return TrialRecords(records, 0)

    def _part(
        self, part: int, place: RecorderPlace, lineage: Path | None, base: Proportion | None
    ) -> tuple[Record | None, int]:
        plan, gate = self._plan, _GATES[part]
        learning = gate == "learning"
        robot_s = plan.steps / self._rate_hz
        planned = Plan(
            episodes=None if learning else plan.episodes,
            robot_s=robot_s if learning else None,
            heading=_HEADINGS[part],
            base=base,
        )
        about = _ABOUT[part].format(plan.steps if learning else plan.episodes)
        self._say(f"part {part + 1} of {len(_GATES)}: {about}")
        lock = RobotLock(place.sockets, self._deployment.config.robot_id)
        with self._view(planned) as show:
            recorder, options = self._deployment.config.recorder, self._options(gate)
            beside = _beside(gate, place, lineage)
            supervisor = Supervisor(
                place, recorder, options, lock, True, show, beside, goes_on=True
            )
            ended = supervisor.run()
        lock.close()
        record = read_record(place.folder) if place.folder.exists() else None
        return record, ended.exit_code

    def _options(self, gate: str) -> list[str]:
        plan, learning = self._plan, gate == "learning"
        seed = plan.seed + LEARNING_SEED_OFFSET if learning else plan.seed
        options = ["--config", str(plan.config), "--clock", "lockstep", "--simulated-only"]
        options += ["--gate", gate, "--seed", str(seed)]
        options += [] if plan.field is None else ["--field", plan.field]
        if gate == _GATES[-1]:
            options += ["--picture", str(self._records.parent / "arm.png")]
        length = ["--steps", plan.steps] if learning else ["--episodes", plan.episodes]
        return [*options, *map(str, length)]

    def _new_place(self) -> RecorderPlace:
        return new_place(self._records, self._deployment.config.robot_id)


def _beside(gate: str, place: RecorderPlace, lineage: Path | None) -> list[Companion]:
    """Return who works beside control in a part: nobody beside the base alone."""
    if lineage is None:
        return []
    return companions(place, lineage, learn=gate == "learning", control_cpu=None)


def _result_words(success: Proportion | None) -> str:
    if success is None:
        return "   no episode ended with a known outcome"
    return (
        f"   {success.successes} of {success.count} succeeded "
        f"({success.low:.0%} to {success.high:.0%})"
    )


def owner_lines(rows: Sequence[EpisodeRow]) -> list[str]:
    """Say whose the episodes were, of those with a known outcome."""
    own = success_of([row for row in rows if not row.base_alone])
    left = success_of([row for row in rows if row.base_alone])
    if own is None:
        return ["all of them were left to the base"]
    lines = [f"the residual's own: {own.successes} of {own.count}"]
    return lines + ([f"left to the base: {left.successes} of {left.count}"] if left else [])
