"""`trimtab residual`: what was learnt, what the gate said of it, and what is good enough to use."""

import importlib.util
import json
import sys
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from runtime.errors import StartRefused

residual_app = typer.Typer(no_args_is_help=True, help="What the residual learnt, and its lineage.")
console = Console(highlight=False)

ConfigOption = Annotated[Path, typer.Option("--config", help="The config file.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for a machine.")]
DEFAULT_CONFIG = Path("config.yaml")


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


@residual_app.command("history")
def history(config: ConfigOption = DEFAULT_CONFIG, as_json: JsonOption = False) -> None:
    """Print every verdict of the gate with its reasons, and what control made of the offers."""
    from policies.lineage import Lineage

    folder = lineage_folder(config)
    entries = Lineage(folder).entries()
    if as_json:
        sys.stdout.write(json.dumps(msgspec.to_builtins(entries), indent=2) + "\n")
        return
    table = Table(title=f"lineage {folder}", title_justify="left", box=SIMPLE_HEAD)
    for name in ("when (UTC)", "version", "of", "steps", "updates", "became", "why"):
        table.add_column(name, no_wrap=name != "why")
    for entry in entries:
        verdict = entry.what == "verdict"
        good = not entry.reasons
        words = ("promoted", "refused") if verdict else ("in use", "refused by control")
        delay_s = (entry.first_use_ns - entry.verdict_ns) * 1e-9
        timed = not verdict and good and entry.verdict_ns and delay_s >= 0.0
        why = f"{delay_s * 1e3:.0f} ms after its verdict" if timed else "; ".join(entry.reasons)
        table.add_row(
            entry.at_utc,
            str(entry.version),
            str(entry.parent) if verdict else "",
            str(entry.steps) if verdict else "",
            str(entry.updates) if verdict else "",
            words[0] if good else words[1],
            why,
        )
    console.print(table if entries else f"{folder}: nothing was judged yet")


@residual_app.command("status")
def status(config: ConfigOption = DEFAULT_CONFIG, as_json: JsonOption = False) -> None:
    """Print what `trimtab run --residual` would use, and how many candidates it took."""
    from policies.lineage import Lineage

    folder = lineage_folder(config)
    lineage = Lineage(folder)
    verdicts = [entry for entry in lineage.entries() if entry.what == "verdict"]
    kept = lineage.last_good()
    good = kept.snapshot if kept else None
    facts = {
        "lineage": str(folder),
        "version": good.version if good else 0,
        "digest": good.digest if good else "",
        "steps": good.steps if good else 0,
        "updates": good.updates if good else 0,
        "judged": len(verdicts),
        "promoted": sum(entry.passed for entry in verdicts),
    }
    if as_json:
        sys.stdout.write(json.dumps(facts, indent=2) + "\n")
        return
    for name, value in facts.items():
        console.print(f"{name:<9} {value}")
