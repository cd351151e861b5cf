"""Keys at the terminal: what each says, read from a real pseudo-terminal."""

import os
import pty
import sys

import pytest

from runtime.messages import Outcome, Request, SignalKind, SignalSource
from runtime.operator_keys import OperatorKeys, message_for
from runtime.wire import OperatorRequest, OperatorSignal


def test_space_asks_for_a_stop() -> None:
    message = message_for(" ", "ada")
    assert message == OperatorRequest(Request.STOP, "ada")


@pytest.mark.parametrize(
    ("key", "outcome"),
    [
        ("s", Outcome.SUCCESS),
        ("f", Outcome.FAILURE),
        ("a", Outcome.ABORT),
        ("u", Outcome.UNKNOWN),
    ],
)
def test_letters_state_an_outcome_as_the_operator(key: str, outcome: Outcome) -> None:
    message = message_for(key, "ada")
    assert isinstance(message, OperatorSignal)
    assert message.signal is not None
    assert message.signal.outcome is outcome
    assert message.signal.source is SignalSource.OPERATOR


@pytest.mark.parametrize(
    ("key", "kind"),
    [("b", SignalKind.EPISODE_BEGIN), ("r", SignalKind.RESET_BEGIN), ("e", SignalKind.RESET_END)],
)
def test_letters_state_beginnings_and_ends(key: str, kind: SignalKind) -> None:
    message = message_for(key, "ada")
    assert isinstance(message, OperatorSignal)
    assert message.signal is not None
    assert message.signal.kind is kind


@pytest.mark.parametrize("key", ["x", "\x1b", "S", "1", "\n"])
def test_other_keys_say_nothing(key: str) -> None:
    assert message_for(key, "ada") is None


def test_keys_come_from_a_terminal_one_by_one_and_it_is_given_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import termios

    leader, follower = pty.openpty()
    with os.fdopen(follower, "r+b", buffering=0) as terminal:
        monkeypatch.setattr(sys, "stdin", terminal)
        before = termios.tcgetattr(terminal.fileno())
        with OperatorKeys() as keys:
            assert keys.present
            assert keys.read() == ""
            os.write(leader, b"s ")
            assert keys.read() == "s "
        assert termios.tcgetattr(terminal.fileno()) == before
    os.close(leader)


def test_without_a_terminal_there_are_no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    read_end, write_end = os.pipe()
    os.write(write_end, b"s")
    with os.fdopen(read_end, "rb") as pipe:
        monkeypatch.setattr(sys, "stdin", pipe)
        with OperatorKeys() as keys:
            assert not keys.present
            assert keys.read() == ""
    os.close(write_end)
