"""Hostile frames against the robot protocol's decoders: `python -m tests.benchmarks.wire_fuzz`.

Each decoder gets `--frames` frames (tests/wire_frames.py) and must answer each with a message or a
WireError and nothing else, soon, and without growing; at least half must pass the checks of type
and version. A message that comes through must be the same when it is written and read again.
`--keep` adds the shortest frame of every way of failing that was not seen before to tests/corpus.
A short run of its own under `coverage` says how many branches of the decoders are taken.
"""

import argparse
import gc
import json
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from runtime.robot_codes import MAX_FRAME_BYTES
from runtime.robot_wire import (
    WireError,
    WireFault,
    decode_from_client,
    decode_from_device,
    encode,
)
from tests.benchmarks.kit import REPOSITORY, load_text, resident_mb
from tests.wire_frames import CORPUS, READERS, Frames, Kept, corpus, shortest, vectors

FRAMES = 1_000_000
COVERED_FRAMES = 20_000
SLOWEST_S = 0.1
GROWTH_MB = 1.0
PASSED_SHARE = 0.5
KEPT_BYTES = 200
_BATCH = 2000
_NUMBERS = re.compile(r"0x[0-9a-f]+|'?\\x[0-9a-f]+'?|[0-9]+")
_DECODERS: dict[str, Callable[[bytes], Any]] = {
    "device": decode_from_client,
    "client": decode_from_device,
}


@dataclass
class Told:
    """What one decoder did. `fates`: how many frames ended how; `grown_mb`: resident memory at the
    end less that after a tenth of the frames."""

    to: str
    frames: int = 0
    fates: Counter[str] = field(default_factory=Counter)
    grown_mb: float = 0.0
    slowest_s: float = 0.0  # of the processor's time, as what comes next
    decoding_s: float = 0.0
    escaped: list[str] = field(default_factory=list)

    @property
    def passed_share(self) -> float:
        """Share of the frames that had a known type and our version."""
        return (self.fates["message"] + self.fates["ELEMENTS"]) / self.frames

    def failures(self) -> list[str]:
        """Return what falls short."""
        wanted = {
            f"raised something else: {self.escaped[:3]}": not self.escaped,
            "too few passed type and version": self.passed_share >= PASSED_SHARE,
            f"a frame took {self.slowest_s:.3f} s": self.slowest_s <= SLOWEST_S,
            f"grew by {self.grown_mb:.1f} MB": self.grown_mb <= GROWTH_MB,
        }
        return [words for words, reached in wanted.items() if not reached]

    def text(self) -> str:
        """Return the row of the table."""
        fates = ", ".join(f"{name} {100 * n / self.frames:.1f} %" for name, n in self.fates.items())
        return (
            f"{self.to:<7} {self.frames:9d} frames, {100 * self.passed_share:.1f} % past type and "
            f"version ({fates}); {1e6 * self.decoding_s / self.frames:.2f} us a frame, slowest "
            f"{1e3 * self.slowest_s:.1f} ms; memory {self.grown_mb:+.2f} MB; "
            f"{len(self.escaped)} escaped"
        )


def one(to: str, data: bytes) -> tuple[str, str]:
    """Give a frame to a decoder; return what became of it, and a way of failing (no numbers)."""
    try:
        message = _DECODERS[to](data)
    except WireError as error:
        return error.fault.name, f"{error.fault.name} {_NUMBERS.sub('#', str(error))}"
    again = encode(message)
    # integers of a byte are written as floats of nine: a frame may outgrow its limit
    assert len(again) > MAX_FRAME_BYTES or encode(_DECODERS[to](again)) == again
    return "message", f"message {type(message).__name__}"


def fuzz(to: str, frames: int, seed: int, ways: dict[str, Kept]) -> Told:
    """Give `frames` frames to a decoder; into `ways` goes the shortest frame for each new way."""
    told, source = Told(to), Frames(to, seed)
    warm_mb = 0.0
    while told.frames < frames:
        for data in source.batch(min(_BATCH, frames - told.frames)):
            begun = time.thread_time()
            try:
                fate, way = one(to, data)
            except Exception as error:
                told.escaped.append(f"{type(error).__name__}: {error} of {data[:80].hex()}")
                fate, way = "escaped", f"escaped {type(error).__name__}"
            took_s = time.thread_time() - begun
            told.slowest_s = max(told.slowest_s, took_s)
            told.decoding_s += took_s
            told.fates[fate] += 1
            known = ways.get(f"{to} {way}")
            if known is None or len(data) < len(known.data):
                ways[f"{to} {way}"] = Kept(to, fate, data)
        told.frames = sum(told.fates.values())
        if told.frames >= frames // 10 and not warm_mb:
            gc.collect()
            warm_mb = resident_mb()
    gc.collect()
    told.grown_mb = resident_mb() - warm_mb
    return told


def covered(folder: Path) -> tuple[int, int]:
    """Return how many branches of the decoders a short run takes, and how many there are."""
    data, report = folder / "coverage", folder / "coverage.json"
    run = [sys.executable, "-m", "coverage"]
    what = ["--branch", f"--data-file={data}"]
    short = ["-m", "tests.benchmarks.wire_fuzz", "--frames", str(COVERED_FRAMES), "--bare"]
    subprocess.run([*run, "run", *what, *short], check=True, cwd=REPOSITORY, capture_output=True)
    subprocess.run(
        [*run, "json", f"--data-file={data}", "-o", str(report)],
        check=True, cwd=REPOSITORY, capture_output=True,
    )  # fmt: skip
    files = json.loads(report.read_text(encoding="ascii"))["files"]
    found = files["runtime/robot_wire.py"]["summary"]
    return found["covered_branches"], found["num_branches"]


def keep(ways: dict[str, Kept]) -> int:
    """Add to the corpus what fails in a way that neither vectors nor corpus do; return how many."""
    old = corpus()
    known = {f"{kept.to} {one(kept.to, kept.data)[1]}" for kept in old}
    known |= {f"{to} {one(to, data)[1]}" for to in READERS for data in vectors(to)}
    new = [k for way, k in ways.items() if way not in known and len(k.data) <= KEPT_BYTES]
    CORPUS.parent.mkdir(exist_ok=True)
    lines = [f"{kept.to} {kept.became} {kept.data.hex()}" for kept in shortest([*old, *new])]
    CORPUS.write_text("\n".join(lines) + "\n", encoding="ascii")
    return len(new)


def main() -> int:
    """Fuzz both decoders; 1 if anything falls short."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=int, default=FRAMES)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=REPOSITORY / "out/wire_fuzz.json")
    parser.add_argument("--keep", action="store_true")
    parser.add_argument("--bare", action="store_true", help="No coverage, no files.")
    asked = parser.parse_args()
    ways: dict[str, Kept] = {}
    results = [fuzz(to, asked.frames, asked.seed, ways) for to in READERS]
    print("\n".join(told.text() for told in results))
    failures = [words for told in results for words in told.failures()]
    if not asked.bare:
        asked.out.parent.mkdir(parents=True, exist_ok=True)
        taken, branches = covered(asked.out.parent)
        print(f"{taken} of {branches} branches of the decoders taken in {COVERED_FRAMES} frames")
        print(f"{len(ways)} ways to end, of {len(WireFault)} faults; {load_text()}")
        failures += [] if taken == branches else [f"{branches - taken} branches never taken"]
        table = [vars(told) | {"passed_share": told.passed_share} for told in results]
        plain = {"seed": asked.seed, "branches": [taken, branches], "decoders": table}
        asked.out.write_text(json.dumps(plain, indent=1) + "\n", encoding="ascii")
    if asked.keep:
        print(f"{keep(ways)} frames added to {CORPUS.name}")
    print("; ".join(failures) or "reached")
    return bool(failures)


if __name__ == "__main__":
    sys.exit(main())
