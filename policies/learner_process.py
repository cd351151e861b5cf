"""The learner: `python -m policies.learner_process`. Reads the record as it grows, learns, offers.

It may be killed at any moment: a new one takes the last checkpoint, rebuilds the replay from the
record, and goes on exactly where that checkpoint was made. Needs the extra `learn`.
"""

import argparse
import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from policies.learner_line import GateLine
from policies.lineage import Lineage
from runtime.errors import StartRefused, TrimtabError
from runtime.feed import FeedReader
from runtime.realtime import die_with_parent
from runtime.record_format import RecorderPlace, RecordHeader

try:
    import torch

    from policies.learner.setup import Setup
    from policies.learner.store import CheckpointStore
    from policies.learner.trainer import Trainer
except ImportError as error:
    sys.stderr.write(f"learner: {error}; install the extra `learn`: pip install 'trimtab[learn]'\n")
    sys.exit(StartRefused.exit_code)

CHECKPOINT_UPDATES = 200
_NICENESS = 10
_WAIT_S = 0.1
# ticks are numbered from 1, so nothing is known before this one
_BEFORE_FIRST = 0


class Learner:
    """One learner process from its first word to its last."""

    def __init__(self, options: argparse.Namespace) -> None:
        place = RecorderPlace(options.run, options.folder, options.sockets)
        self._lineage = Lineage(options.lineage)
        self._store = CheckpointStore(options.lineage, place.run)
        self._feed = FeedReader(place, _BEFORE_FIRST)
        self._gate = GateLine(place)
        self._ended = False
        self._saved_updates = 0
        self._save_failed = False

    def end(self) -> None:
        """Ask for the end. Safe in signal handlers."""
        self._ended = True

    def run(self) -> None:
        """Learn until the end is asked for.

        Raises:
            TrimtabError: the header describes nothing to learn, or learning broke down.
        """
        try:
            header = None
            while header is None and not self._ended:
                header = self._feed.wait_header(_WAIT_S)
            if header is not None:
                self._learn(header)
        finally:
            self._gate.close()
            self._feed.close()

    def _learn(self, header: RecordHeader) -> None:
        trainer = Trainer(Setup.of(header))
        self._resume(trainer)
        self._gate.begin_to_beat()
        while not self._ended:
            for batch in self._feed.read(_WAIT_S):
                self._gate.forget_answers()
                for said in trainer.feed(batch.rows, batch.events):
                    self._gate.send(said)
                self._save_if_due(trainer)
        self._save(trainer)

    # -- checkpoints --------------------------------------------------------------------------

    def _resume(self, trainer: Trainer) -> None:
        """Go on from this run's checkpoint, if there is one that can be read."""
        found = self._store.read()
        if found is None:
            trainer.next_version = self._lineage.newest_version() + 1
            return
        begun_s = time.monotonic()
        position = Trainer.saved_position(found.state)
        for batch in self._feed.catch_up(position):
            trainer.rebuild(batch.rows, batch.events)
        trainer.restore(found.state)
        self._saved_updates = trainer.agent.updates
        self._gate.note(
            f"the learner is back: {trainer.agent.updates} updates from its checkpoint, the replay "
            f"from the record up to tick {position}, in {time.monotonic() - begun_s:.1f} s"
        )
        if found.missing:
            self._gate.note(
                f"the learner's states of candidates {', '.join(map(str, found.missing))} are no "
                "longer whole on disk: a rollback to them goes back further"
            )

    def _save_if_due(self, trainer: Trainer) -> None:
        if trainer.agent.updates - self._saved_updates >= CHECKPOINT_UPDATES:
            self._save(trainer)

    def _save(self, trainer: Trainer) -> None:
        """Write a checkpoint; without room for one learning goes on, and that is said."""
        if trainer.agent.updates == self._saved_updates:
            return
        state = trainer.state()
        self._saved_updates = trainer.agent.updates
        try:
            self._store.write(state)
        except OSError as error:
            if not self._save_failed:
                self._gate.note(
                    f"no checkpoint of the learner can be written to {self._store.file.parent} "
                    f"({error.strerror}); it learns on without"
                )
            self._save_failed = True
        else:
            self._save_failed = False


def _arguments(given: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="policies.learner_process", description=__doc__)
    parser.add_argument("--run", required=True)
    parser.add_argument("--folder", required=True, type=Path)
    parser.add_argument("--sockets", required=True, type=Path)
    parser.add_argument("--lineage", required=True, type=Path)
    parser.add_argument("--parent", required=True, type=int)
    return parser.parse_args(given)


def main(given: Sequence[str] | None = None) -> int:
    """Run the learner; return its exit code."""
    options = _arguments(sys.argv[1:] if given is None else given)
    try:
        die_with_parent(options.parent, signal.SIGTERM)
        os.nice(_NICENESS)
        torch.set_num_threads(1)
        learner = Learner(options)
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: learner.end())
        learner.run()
    except TrimtabError as error:
        sys.stderr.write(f"learner: {error}\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
