"""Mutation run over the safety core: `make mutation`, or a sample of it.

    python -m tests.mutation.run [--sample 100 --seed 1] [--only stop.py] [--jobs 2] [--out FILE]

Every mutant of `targets.TARGETS` meets its tests in a forked child. It counts as killed when a
test fails by assertion; a crash (any other exception) and a time-out are counted apart. A crash
kills as well in the files of `targets.BESIDE_THE_LOOP`: their process may die, and the loop has a
tested answer to that. Exits with 1 when all files together kill less than the share that is asked
for, or one file does, the mutants that survivors.yaml explains as equivalent left out; when a
survivor has no reason there, or a reason no survivor.
"""

import argparse
import json
import random
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from ruamel.yaml import YAML

from tests.mutation.child import Verdict
from tests.mutation.operators import Mutant, enumerations, mutants
from tests.mutation.pool import Pool
from tests.mutation.targets import BESIDE_THE_LOOP, ENUMERATIONS, TARGETS, uncovered

SHARE_MIN = 0.95
SURVIVORS = Path(__file__).with_name("survivors.yaml")
Key = tuple[str, str, str, str]


@dataclass(frozen=True)
class Judged:
    """A mutant's name and its verdict."""

    path: str
    scope: str
    line: int
    source: str
    change: str
    verdict: Verdict

    @property
    def key(self) -> Key:
        """What survivors.yaml names it by."""
        return (self.path, self.scope, self.source, self.change)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, print the table, write the JSON file; return the exit status."""
    ask = _parser().parse_args(arguments)
    missing = uncovered() if ask.only is None else []
    if missing:
        print(f"no tests are named for {', '.join(missing)}: see tests/mutation/targets.py")
        return 1
    started = time.monotonic()
    judged: list[Judged] = []
    ask.out.parent.mkdir(parents=True, exist_ok=True)
    for path in [p for p in TARGETS if ask.only is None or ask.only in p]:
        rows = _judge_file(path, ask)
        _report(rows)
        judged.extend(rows)
        # after every file: a run that is cut off has not run in vain
        ask.out.write_text(json.dumps([asdict(row) for row in judged], indent=1))
    print(f"\n{len(judged)} mutants in {time.monotonic() - started:.0f} s")
    _report(judged)
    complete = ask.sample is None and ask.only is None
    return 1 if _complaints(judged, complete=complete) else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sample", type=int, help="judge only so many mutants of each file")
    parser.add_argument("--seed", type=int, default=1, help="which ones")
    parser.add_argument("--only", help="judge only files whose path contains this")
    parser.add_argument("--jobs", type=int, default=2, help="children at a time")
    parser.add_argument("--out", type=Path, default=Path("out/mutation.json"))
    return parser


def _judge_file(path: str, ask: argparse.Namespace) -> list[Judged]:
    enums = enumerations([Path(file) for file in ENUMERATIONS])
    _, found = mutants(path, Path(path).read_text(), enums)
    chosen = list(range(len(found)))
    if ask.sample is not None and ask.sample < len(found):
        chosen = sorted(random.Random(ask.seed).sample(chosen, ask.sample))
    pool = Pool(path, TARGETS[path], enums, jobs=ask.jobs)
    said = f"{path}: {len(chosen)} of {len(found)} mutants, tests take {pool.seconds:.1f} s"
    print(said, flush=True)
    verdicts = pool.judge(chosen)
    return [_named(found[index], verdicts[index]) for index in chosen]


def _named(mutant: Mutant, verdict: Verdict) -> Judged:
    scope, source, change = mutant.key
    return Judged(mutant.path, scope, mutant.line, source, change, verdict)


def _report(judged: Sequence[Judged]) -> None:
    print(
        f"\n{'file':34} {'mutants':>8} {'assertion':>9} {'crash':>6} {'timeout':>8} "
        f"{'alive':>6}  share"
    )
    for path in [*dict.fromkeys(row.path for row in judged), "all"]:
        rows = [row for row in judged if path in (row.path, "all")]
        count = Counter(row.verdict.outcome for row in rows)
        print(
            f"{path:34} {len(rows):8} {count['assertion']:9} {count['crash']:6} "
            f"{count['timeout']:8} {count['survived']:6}  {_share(rows):6.1%}"
        )


def _share(rows: Sequence[Judged]) -> float:
    return sum(_killed(row) for row in rows) / max(1, len(rows))


def _killed(row: Judged) -> bool:
    outcome = row.verdict.outcome
    return outcome == "assertion" or (outcome == "crash" and row.path in BESIDE_THE_LOOP)


def _complaints(judged: Sequence[Judged], *, complete: bool) -> list[str]:
    """Print and return what is wrong. A sample has too few mutants per file for a share."""
    explained = _explained()
    alive = {row.key: row for row in judged if row.verdict.outcome in ("survived", "timeout")}
    found = [
        f"{row.path}:{row.line} {row.verdict.outcome}, unexplained: `{row.source}` in "
        f"{row.scope}: {row.change}"
        for key, row in alive.items()
        if key not in explained
    ]
    judged_keys = {row.key for row in judged}
    found.extend(
        f"survivors.yaml explains what does not survive: {' | '.join(key)}"
        for key in explained
        if key not in alive and (key in judged_keys or complete)
    )
    # an equivalent mutant is no program that a test could tell from the right one
    same = {key for key, reason in explained.items() if reason.startswith("equivalent")}
    for path in dict.fromkeys(row.path for row in judged):
        rows = [row for row in judged if row.path == path and row.key not in same]
        if complete and not (_share(rows) >= SHARE_MIN):
            found.append(f"{path}: {_share(rows):.1%} killed; at least {SHARE_MIN:.0%}")
    if complete and not (_share(judged) >= SHARE_MIN):
        found.append(f"all: {_share(judged):.1%} killed; at least {SHARE_MIN:.0%}")
    for line in found:
        print(line)
    return found


def _explained() -> dict[Key, str]:
    """Return the reasons by mutant; a reason may stand over several changes of one line."""
    data = YAML(typ="safe").load(SURVIVORS) or {}
    reasons: dict[Key, str] = {}
    for path, rows in data.items():
        for row in rows:
            for change in row["changes"]:
                reasons[path, row["scope"], row["line"], change] = row["reason"]
    return reasons


if __name__ == "__main__":
    sys.exit(main())
