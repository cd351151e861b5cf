"""One daemon per robot id: an advisory lock that the kernel releases when its holder dies."""

import fcntl
import os
from pathlib import Path

from runtime.errors import StartRefused


class RobotLock:
    """Holds the lock from construction to the end of the process.

    Raises:
        StartRefused: another process holds it; the message names its process number.
    """

    def __init__(self, folder: Path, robot_id: str) -> None:
        path = folder / "lock"
        self._file = path.open("a+", encoding="utf-8")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._file.seek(0)
            holder = self._file.read().strip() or "unknown"
            self._file.close()
            raise StartRefused(
                f"robot {robot_id!r} is already driven by process {holder}; stop that one first, "
                "or give this robot another robot_id"
            ) from None
        self._file.seek(0)
        self._file.truncate()
        self._file.write(str(os.getpid()))
        self._file.flush()
