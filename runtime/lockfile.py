"""One daemon per robot id: an advisory lock that the kernel releases when its holders are gone."""

import fcntl
import os
from pathlib import Path

from runtime.errors import StartRefused


class RobotLock:
    """Held by every process that has `fd` open, so a robot is free only when all have ended.

    The supervisor takes it and hands `fd` down to its children: a control process that outlives
    it, and is still stopping the robot, keeps the next daemon out.

    Args:
        folder: the robot's socket folder.
        robot_id: for the message.
        inherited: the descriptor that a supervisor handed down; None takes the lock anew.

    Raises:
        StartRefused: another daemon holds it (the message names its process number), or
            `inherited` is not this robot's lock.
    """

    def __init__(self, folder: Path, robot_id: str, inherited: int | None = None) -> None:
        path = folder / "lock"
        if inherited is None:
            self.fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        else:
            self.fd = _checked(inherited, path)
        try:
            fcntl.flock(self.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(self.fd, 32, 0).decode(errors="replace").strip() or "unknown"
            self.close()
            raise StartRefused(
                f"robot {robot_id!r} is already driven by the daemon with process number {holder}; "
                "stop that one first and wait until it has ended, or give this robot another "
                "robot_id"
            ) from None
        if inherited is None:
            os.ftruncate(self.fd, 0)
            os.pwrite(self.fd, str(os.getpid()).encode(), 0)

    def close(self) -> None:
        """Let go of it; the lock itself ends with its last holder."""
        os.close(self.fd)


def _checked(fd: int, path: Path) -> int:
    try:
        fits = path.exists() and os.path.samestat(os.fstat(fd), path.stat())
    except OSError:
        fits = False
    if not fits:
        raise StartRefused(
            f"descriptor {fd} is not the lock {path}: leave --lock-fd out, or start the daemon "
            "with `trimtab run`"
        )
    os.set_inheritable(fd, False)
    return fd
