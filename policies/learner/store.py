"""A trainer's checkpoints on disk: one small file for what changes, one for each kept state.

A kept state is written once, before the first checkpoint that names it, and removed after the first
that does not: whenever the process is killed, what the checkpoint names is there, and whole.
"""

import contextlib
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec

from policies.learner.agent import SavedNetworks
from policies.learner.checkpoint import TrainerState
from policies.lineage import write_whole

CHECKPOINT = "learner.checkpoint"
STATES = "learner.states"


class _File(msgspec.Struct, frozen=True):
    """The checkpoint's file: whose record it belongs to, and the kept states' file names by
    version."""

    run: str
    trainer: bytes
    kept: dict[int, str]


@dataclass(frozen=True)
class Found:
    """A checkpoint that can be gone on from. `missing`: versions whose kept state is not there, or
    not what was written: a rollback goes back further than them."""

    state: TrainerState
    missing: tuple[int, ...]


class CheckpointStore:
    """Checkpoints of one run in a folder, which is made when something is first written."""

    def __init__(self, folder: Path, run: str) -> None:
        self.file = folder / CHECKPOINT
        self._states = folder / STATES
        self._run = run
        self._written: dict[int, tuple[SavedNetworks, str]] = {}

    def read(self) -> Found | None:
        """Return this run's checkpoint; None where there is none that can be read."""
        try:
            found = msgspec.msgpack.decode(self.file.read_bytes(), type=_File)
        except (OSError, msgspec.MsgspecError):
            return None
        if found.run != self._run:
            return None
        self._written = {
            version: (networks, name)
            for version, name in found.kept.items()
            if (networks := self._networks(name)) is not None
        }
        kept = {version: networks for version, (networks, _) in self._written.items()}
        missing = tuple(version for version in found.kept if version not in kept)
        return Found(TrainerState(found.trainer, kept), missing)

    def write(self, state: TrainerState) -> None:
        """Make this the checkpoint. Raises OSError; the one before it then still holds."""
        names = self._write_states(state.kept)
        write_whole(self.file, msgspec.msgpack.encode(_File(self._run, state.trainer, names)))
        self._let_go(set(names.values()))

    def _write_states(self, kept: Mapping[int, SavedNetworks]) -> dict[int, str]:
        """Write the states that are not on disk yet; return the names of all."""
        for version, networks in kept.items():
            written = self._written.get(version)
            if written is None or written[0] is not networks:
                data = msgspec.msgpack.encode(networks)
                name = f"{version:06d}-{_digest(data)}"
                write_whole(self._states / name, data)
                self._written[version] = (networks, name)
        self._written = {version: self._written[version] for version in kept}
        return {version: name for version, (_, name) in self._written.items()}

    def _let_go(self, named: set[str]) -> None:
        """Remove what the checkpoint does not name: what was thinned, and what a kill left."""
        for path in self._states.iterdir() if self._states.is_dir() else ():
            if path.name not in named:
                # what cannot be removed now is tried again after the next checkpoint
                with contextlib.suppress(OSError):
                    path.unlink()

    def _networks(self, name: str) -> SavedNetworks | None:
        try:
            data = (self._states / name).read_bytes()
            whole = name.endswith(_digest(data))
            return msgspec.msgpack.decode(data, type=SavedNetworks) if whole else None
        except (OSError, msgspec.MsgspecError):
            return None


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]
