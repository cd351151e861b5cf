"""`trimtab trial`: base in the field, learning live, and what came of it, in one command."""

import json
import sys
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.console import Console

from runtime.cli_residual import begin_lineage, require_learning

console = Console(highlight=False)

PRESSED_ABOVE_N = 80.0


def trial(
    config: Annotated[Path, typer.Option("--config", help="The config file.")] = Path(
        "config.yaml"
    ),
    field: Annotated[str | None, typer.Option(help="A block of sim.fields.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of base and evaluation starts.")] = 1,
    episodes: Annotated[int, typer.Option(min=1, help="Before learning, and after.")] = 40,
    steps: Annotated[int, typer.Option(min=1, help="Policy steps of learning.")] = 6000,
    pressed_above_n: Annotated[
        float, typer.Option(min=0.0, help="Contact force that counts as pressing.")
    ] = PRESSED_ABOVE_N,
    out: Annotated[Path, typer.Option(help="The report page to write.")] = Path("out/report.html"),
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for a machine.")] = False,
) -> None:
    """Run base alone, learning and evaluation on the same starts; compare and report them."""
    from runtime.comparison import compare
    from runtime.report import write_report
    from runtime.trial import Trial, TrialPlan
    from runtime.view import live_runs, no_view
    from runtime.view_residual import comparison_table, residual_table

    def say(words: str) -> None:
        if not as_json:
            console.print(words, markup=False, soft_wrap=True)

    plan = TrialPlan(config, field, seed, episodes, steps)
    require_learning()
    view = no_view if as_json else live_runs(console)
    left = Trial(plan, lambda run: begin_lineage(config, run), view, say).run()
    if left.exit_code:
        raise typer.Exit(left.exit_code)
    base, learning, deployed = left.records
    found = compare(base, deployed, learning, pressed_above_n)
    say("writing the report")
    numbers = write_report(learning, out, found)
    if as_json:
        sys.stdout.write(json.dumps(msgspec.to_builtins(found), indent=2) + "\n")
        return
    if numbers.residual is not None:
        console.print(residual_table(numbers.residual))
    console.print(comparison_table(found))
    for what, record in zip(("base", "learning", "learnt"), left.records, strict=True):
        console.print(f"record of {what:<9} {record.paths[0].parent}")
    console.print(f"report              {out}")
    console.print("to work with what was learnt: trimtab run --residual")
