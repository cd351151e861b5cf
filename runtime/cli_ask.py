"""`trimtab ask` and `trimtab mark`: what people say to a running daemon, under their name."""

import getpass
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from runtime.errors import ConfigError, StartRefused
from runtime.messages import Outcome, Request, SignalKind, SignalSource, TaskSignal
from runtime.record_format import socket_folder
from runtime.wire import OperatorMessage, OperatorRequest, OperatorSignal

console = Console(highlight=False)

ConfigOption = Annotated[Path, typer.Option("--config", help="The config file.")]
DEFAULT_CONFIG = Path("config.yaml")


def person() -> str:
    """Return under which name the record will know who speaks."""
    return getpass.getuser()


def ask_daemon(config: Path, message: OperatorMessage) -> None:
    """Say something to the running daemon and print its answer.

    Raises:
        StartRefused: it refused. LinkError: nobody answered.
    """
    from runtime.config import load_config
    from runtime.operator_port import operator_client

    with operator_client(socket_folder(load_config(config).robot_id)) as client:
        reply = client.ask(message, timeout_s=2.0)
    if not reply.accepted:
        raise StartRefused(reply.text or "refused")
    where = "" if reply.mode is None else f" mode {reply.mode.name}."
    console.print(f"accepted.{where} {reply.text}".rstrip())


def ask(
    what: Annotated[str, typer.Argument(help="arm, disarm, stop or rearm.")],
    config: ConfigOption = DEFAULT_CONFIG,
) -> None:
    """Ask a running daemon for something, as its operator."""
    known = {request.name.lower(): request for request in Request if request}
    if what not in known:
        raise ConfigError(f"{what}: allowed are {', '.join(known)}")
    ask_daemon(config, OperatorRequest(known[what], person()))


def mark(
    what: Annotated[
        str, typer.Argument(help="success, failure, abort, unknown, begin, reset, reset-end, note.")
    ],
    text: Annotated[str, typer.Argument(help="A remark for the record.")] = "",
    episode: Annotated[
        int, typer.Option(min=0, help="The ended episode that an outcome corrects; 0: this one.")
    ] = 0,
    config: ConfigOption = DEFAULT_CONFIG,
) -> None:
    """State an outcome, a beginning or a remark to a running daemon."""
    kinds = {
        "begin": SignalKind.EPISODE_BEGIN,
        "reset": SignalKind.RESET_BEGIN,
        "reset-end": SignalKind.RESET_END,
    }
    outcomes = {
        outcome.name.lower(): outcome
        for outcome in Outcome
        if outcome not in (Outcome.NONE, Outcome.TIMEOUT)
    }
    signal = None
    if what in outcomes:
        signal = TaskSignal(SignalKind.OUTCOME, SignalSource.MARK, outcomes[what])
    elif what in kinds:
        signal = TaskSignal(kinds[what], SignalSource.MARK)
    elif what != "note":
        raise ConfigError(f"{what}: allowed are {', '.join([*outcomes, *kinds, 'note'])}")
    ask_daemon(config, OperatorSignal(person(), signal, text, episode))
