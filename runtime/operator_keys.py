"""Single keys at the terminal of `trimtab run`, for the person beside the robot.

Without a terminal (a pipe, a service) there are no keys, and that is no error.
"""

import getpass
import os
import select
import sys
import termios
import tty
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from runtime.messages import Outcome, Request, SignalKind, SignalSource, TaskSignal
from runtime.operator_port import OperatorClient
from runtime.wire import OperatorMessage, OperatorRequest, OperatorSignal

LEGEND = "space stop · s success · f failure · a abort · b begin · r reset · e reset over"

_OUTCOMES = {"s": Outcome.SUCCESS, "f": Outcome.FAILURE, "a": Outcome.ABORT, "u": Outcome.UNKNOWN}
_KINDS = {
    "b": SignalKind.EPISODE_BEGIN,
    "r": SignalKind.RESET_BEGIN,
    "e": SignalKind.RESET_END,
}


def message_for(key: str, who: str) -> OperatorMessage | None:
    """Return what a key says, None for a key without meaning."""
    if key == " ":
        return OperatorRequest(Request.STOP, who)
    if key in _OUTCOMES:
        signal = TaskSignal(SignalKind.OUTCOME, SignalSource.OPERATOR, _OUTCOMES[key])
        return OperatorSignal(who, signal)
    if key in _KINDS:
        return OperatorSignal(who, TaskSignal(_KINDS[key], SignalSource.OPERATOR))
    return None


class OperatorKeys:
    """Reads keys without Enter and without waiting; gives the terminal back on exit."""

    def __init__(self) -> None:
        self._file = sys.stdin.fileno() if sys.stdin.isatty() else -1
        self._before: list[Any] = []

    def __enter__(self) -> Self:
        if self._file >= 0:
            self._before = termios.tcgetattr(self._file)
            tty.setcbreak(self._file)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._before:
            termios.tcsetattr(self._file, termios.TCSADRAIN, self._before)

    @property
    def present(self) -> bool:
        """True when there is a terminal to read from."""
        return self._file >= 0

    def read(self) -> str:
        """Return the keys pressed since the last call."""
        if self._file < 0 or not select.select([self._file], [], [], 0)[0]:
            return ""
        return os.read(self._file, 32).decode(errors="ignore")


class OperatorDesk:
    """Takes keys to a running daemon and brings its refusals back."""

    def __init__(self, folder: Path) -> None:
        self._keys = OperatorKeys()
        self._client = OperatorClient(folder)
        self._who = f"{getpass.getuser()}, at the keys"

    def __enter__(self) -> Self:
        self._keys.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._keys.__exit__(kind, error, trace)
        self._client.close()

    def serve(self) -> str:
        """Send what was pressed; return why something was refused, or nothing. Never waits."""
        for key in self._keys.read():
            message = message_for(key, self._who)
            if message is not None:
                self._client.send(message)
        reply = self._client.receive()
        return "" if reply is None or reply.accepted else reply.text
