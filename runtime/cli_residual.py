"""`trimtab residual`: what was learnt, what gate and people said of it, and how it stands."""

import importlib.util
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from runtime.cli_ask import DEFAULT_CONFIG, ConfigOption, ask_daemon, person
from runtime.errors import ConfigError, StartRefused
from runtime.wire import Order, OrderKind

if TYPE_CHECKING:
    from policies.lineage import Entry
    from runtime.residual_history import Happening

residual_app = typer.Typer(
    no_args_is_help=True, help="What the residual learnt, how it stands, and what it may do."
)
console = Console(highlight=False)

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for a machine.")]
_NAMED = 12
_LABEL_WIDTH = 10


def lineage_folder(config_file: Path) -> Path:
    """Return the folder that the config's `gate.lineage` names. Raises ConfigError."""
    from runtime.config import load_config
    from runtime.gate_client import gate_rules

    return config_file.resolve().parent / gate_rules(load_config(config_file)).lineage


def require_learning() -> None:
    """Refuse where what learning needs is not installed. Raises StartRefused."""
    if importlib.util.find_spec("torch") is None:
        raise StartRefused(
            "torch, which learning needs, is not installed; install the extra `learn`: pip install "
            "'trimtab[learn]', or run without --learn"
        )


def begin_lineage(config_file: Path, run: str) -> Path:
    """Return an empty folder for a learner that begins anew; an earlier lineage is set aside.

    Raises:
        StartRefused: what learning needs is not installed.
        ConfigError: the config has no gate, or the earlier lineage cannot be set aside.
    """
    from policies.lineage import Lineage

    require_learning()
    folder = lineage_folder(config_file)
    aside = Lineage(folder).set_aside(run)
    if aside is not None:
        sys.stderr.write(f"learning begins anew; the earlier lineage is now {aside}\n")
    return folder


# -- what people say ----------------------------------------------------------------------------


@residual_app.command("pin")
def pin(
    version: Annotated[int, typer.Argument(min=1, help="A version that passed the gate.")],
    config: ConfigOption = DEFAULT_CONFIG,
) -> None:
    """Have the running daemon use one version and nothing newer, once it has earned authority."""
    _require_promoted(config, version)
    ask_daemon(config, Order(OrderKind.PIN, person(), version))


@residual_app.command("drop")
def drop(config: ConfigOption = DEFAULT_CONFIG) -> None:
    """Have the base of the running daemon work alone, at once."""
    ask_daemon(config, Order(OrderKind.DROP, person()))


@residual_app.command("shadow")
def shadow(config: ConfigOption = DEFAULT_CONFIG) -> None:
    """Have the running daemon compute and record the residual, and move nothing by it."""
    ask_daemon(config, Order(OrderKind.SHADOW, person()))


@residual_app.command("resume")
def resume(config: ConfigOption = DEFAULT_CONFIG) -> None:
    """Take back what pin, drop and shadow said; authority is earned anew."""
    ask_daemon(config, Order(OrderKind.RESUME, person()))


def _require_promoted(config: Path, version: int) -> None:
    """Refuse to pin what there is not. Raises ConfigError."""
    from policies.lineage import Lineage

    folder = lineage_folder(config)
    promoted = sorted({e.version for e in Lineage(folder).entries() if e.passed})
    if version in promoted:
        return
    newest = ", ".join(map(str, promoted[-_NAMED:]))
    more = f"{len(promoted)} versions, the newest of them " * (len(promoted) > _NAMED)
    there = f"there is {more}{newest}" if promoted else "nothing has passed yet"
    raise ConfigError(
        f"version {version} never passed the gate in {folder}: {there}; "
        "`trimtab residual history` says what each was"
    )


# -- what they see ------------------------------------------------------------------------------


@residual_app.command("history")
def history(config: ConfigOption = DEFAULT_CONFIG, as_json: JsonOption = False) -> None:
    """Print every verdict of the gate, what control made of the offers, stages, roll-backs and
    orders; where time is simulated, those of a run at seconds since it began."""
    from policies.lineage import Lineage

    folder = lineage_folder(config)
    entries = Lineage(folder).entries()
    told = list(_in_order(entries, _happenings(config, entries)))
    if as_json:
        sys.stdout.write(json.dumps(msgspec.to_builtins(told), indent=2) + "\n")
        return
    table = Table(
        title=f"lineage {folder}", title_justify="left", box=SIMPLE_HEAD, collapse_padding=True
    )
    for name in ("when (UTC)", "version", "of", "steps", "became", "why"):
        table.add_column(name, no_wrap=name != "why")
    for one in told:
        table.add_row(*_cells(one))
    console.print(table if told else f"{folder}: nothing was judged or ordered yet")


def _happenings(config_file: Path, entries: "Sequence[Entry]") -> "list[Happening]":
    """Return roll-backs, orders and stages from the records that are kept of the lineage's time."""
    from runtime.config import load_config
    from runtime.residual_history import happenings_in, runs_since

    read = load_config(config_file)
    records = config_file.resolve().parent / read.recorder.folder
    first = min((entry.run for entry in entries), default="")
    runs = runs_since(records, read.robot_id, first)
    # where nothing was judged yet, people may have spoken in the last run all the same
    return happenings_in(runs if entries else runs[-1:])


def _in_order(
    entries: "Sequence[Entry]", happened: "Sequence[Happening]"
) -> "Iterator[Entry | Happening]":
    """Yield both kinds run by run; within a run between the verdicts that parted them."""
    for run in sorted({e.run for e in entries} | {h.run for h in happened}):
        beside = [one for one in happened if one.run == run]
        verdicts = 0
        for entry in (entry for entry in entries if entry.run == run):
            if entry.what == "verdict":
                while beside and beside[0].after_verdicts <= verdicts:
                    yield beside.pop(0)
                verdicts += 1
            yield entry
        yield from beside


def _cells(one: "Entry | Happening") -> list[str]:
    """Return a line of the history."""
    from policies.lineage import Entry

    if not isinstance(one, Entry):
        version = str(one.version) if one.version or one.what == "rollback" else ""
        when = _short(one.at_utc) if one.at_utc else f"+{one.run_s:.1f} s"
        return [when, version, "", "", f"{one.what}: {one.words}", one.why]
    verdict, good = one.what == "verdict", not one.reasons
    words = ("promoted", "refused") if verdict else ("in use", "not taken")
    delay_s = (one.first_use_ns - one.verdict_ns) * 1e-9
    timed = not verdict and good and one.verdict_ns and delay_s >= 0.0
    why = f"{delay_s * 1e3:.0f} ms after its verdict" if timed else "; ".join(one.reasons)
    numbers = [str(one.parent), str(one.steps)] if verdict else ["", ""]
    return [_short(one.at_utc), str(one.version), *numbers, words[0] if good else words[1], why]


def _short(at_utc: str) -> str:
    """Return month, day and time of day: all fits a narrow terminal, and --json has the rest."""
    return at_utc[5:-1].replace("T", " ")


@residual_app.command("status")
def status(config: ConfigOption = DEFAULT_CONFIG, as_json: JsonOption = False) -> None:
    """Print how the residual stands on the running robot, or stood at the end of its last run, and
    what `trimtab run --residual` would use."""
    from runtime.residual_now import residual_now
    from runtime.view_residual import status_rows

    now = residual_now(config)
    facts = _lineage_facts(lineage_folder(config))
    if as_json:
        whole = {**facts, "now": msgspec.to_builtins(now)}
        sys.stdout.write(json.dumps(whole, indent=2) + "\n")
        return
    for name, value in (*status_rows(now), *facts.items()):
        console.print(f"{name:<{_LABEL_WIDTH}} {value}", markup=False, soft_wrap=True)


def _lineage_facts(folder: Path) -> dict[str, Any]:
    """Return what `trimtab run --residual` would use, and how many candidates it took."""
    from policies.lineage import Lineage

    lineage = Lineage(folder)
    verdicts = [entry for entry in lineage.entries() if entry.what == "verdict"]
    kept = lineage.last_good()
    good = kept.snapshot if kept else None
    return {
        "lineage": str(folder),
        "version": good.version if good else 0,
        "digest": good.digest if good else "",
        "steps": good.steps if good else 0,
        "updates": good.updates if good else 0,
        "judged": len(verdicts),
        "promoted": sum(entry.passed for entry in verdicts),
    }
