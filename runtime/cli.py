"""The command line: `trimtab`. Every refusal is a sentence on stderr and a non-zero exit code."""

import json
import subprocess
import sys
import tempfile
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, NoReturn

import msgspec
import typer
from rich.console import Console
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from runtime.cli_ask import ask, mark
from runtime.cli_residual import begin_lineage, lineage_folder, residual_app
from runtime.cli_robot import hashes, keys, stop
from runtime.cli_trial import PRESSED_ABOVE_N, trial
from runtime.errors import ConfigError, RecordError, TrimtabError
from runtime.faults import ROWS, Row
from runtime.record_format import SEGMENT_SUFFIX, new_place

app = typer.Typer(no_args_is_help=True, add_completion=False, help=__doc__)
base_app = typer.Typer(no_args_is_help=True, help="Train and check base policies.")
app.add_typer(base_app, name="base")
app.add_typer(residual_app, name="residual")
app.command()(trial)
app.command()(ask)
app.command()(mark)
app.command()(hashes)
app.command()(keys)
app.command()(stop)
console = Console(highlight=False)

ConfigOption = Annotated[Path, typer.Option("--config", help="The config file.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for a machine.")]
DEFAULT_CONFIG = Path("config.yaml")


def _print_json(data: Any) -> None:
    sys.stdout.write(json.dumps(data, indent=2) + "\n")


def _plain(row: Row) -> dict[str, Any]:
    """Return a row of the fault table as JSON has it: enumerations by name."""
    return {
        **asdict(row),
        "fault": row.fault.name,
        "response": row.response.name,
        "clear": row.clear.name,
    }


def latest_run(path: Path) -> Path:
    """Return `path` itself, or the newest run in it when it is a folder of runs.

    Raises:
        RecordError: there is no record.
    """
    if path.is_file() or any(path.glob(f"*{SEGMENT_SUFFIX}")):
        return path
    runs = {segment.parent for segment in path.glob(f"*/*{SEGMENT_SUFFIX}")}
    if not runs:
        raise RecordError(f"{path}: no record here; `trimtab run` writes one into out/records")
    return max(runs, key=lambda run: run.stat().st_mtime)


@app.command()
def run(
    config: ConfigOption = DEFAULT_CONFIG,
    clock: Annotated[str, typer.Option(help="lockstep or realtime.")] = "lockstep",
    field: Annotated[str | None, typer.Option(help="A block of sim.fields.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of the simulation.")] = None,
    episodes: Annotated[int | None, typer.Option(min=1, help="End after so many.")] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="End after so many steps.")] = None,
    arm: Annotated[bool, typer.Option("--arm", help="Ask to arm (simulated links only).")] = False,
    learn: Annotated[bool, typer.Option("--learn", help="Let the residual learn.")] = False,
    residual: Annotated[bool, typer.Option("--residual", help="Use what was learnt.")] = False,
    shadow: Annotated[
        bool, typer.Option("--shadow", help="Compute what was learnt; it moves nothing.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Run the control daemon, recorded, until it is told to stop or its episodes are over."""
    from runtime.companions import companions
    from runtime.lockfile import RobotLock
    from runtime.supervisor import Supervisor
    from runtime.view import LiveRun, Plan
    from runtime.wiring import load_deployment

    if clock not in ("lockstep", "realtime"):
        raise ConfigError(f"--clock {clock}: allowed are lockstep and realtime")
    deployment = load_deployment(config)
    records = config.resolve().parent / deployment.config.recorder.folder
    place = new_place(records, deployment.config.robot_id)
    lock = RobotLock(place.sockets, deployment.config.robot_id)
    picture = records.parent / "arm.png"
    picture.unlink(missing_ok=True)
    options = ["--config", str(config), "--clock", clock, "--picture", str(picture)]
    ends = (("--episodes", episodes), ("--steps", steps))
    for name, value in (("--field", field), ("--seed", seed), *ends):
        options += [] if value is None else [name, str(value)]
    options += ["--simulated-only"] if arm else []
    beside = []
    if learn and shadow:
        raise ConfigError("--shadow moves nothing and --learn must: take one of them")
    if learn or residual or shadow:
        lineage = begin_lineage(config, place.run) if learn else lineage_folder(config)
        options += ["--gate", "learning" if learn else "deployed"]
        cpu = deployment.config.realtime.cpu if clock == "realtime" else None
        beside = companions(place, lineage, learn=learn, control_cpu=cpu, shadow=shadow)
    view = LiveRun(Plan(episodes))
    live = nullcontext() if as_json else Live(view, console=console, transient=True)
    recorder = deployment.config.recorder
    supervisor = Supervisor(place, recorder, options, lock, arm, view.show, beside)
    with live:
        ended = supervisor.run()
    if place.folder.exists():
        _show_end(place.folder, picture, as_json)
    if ended.exit_code:
        raise typer.Exit(ended.exit_code)


def _show_end(folder: Path, picture: Path, as_json: bool) -> None:
    """Print what the run amounted to, and where to look."""
    from runtime.records import read_record
    from runtime.summary import summary
    from runtime.view import end_table

    numbers = summary(read_record(folder))
    if as_json:
        _print_json(msgspec.to_builtins(numbers))
        return
    console.print(end_table(numbers))
    console.print(f"record  {folder}")
    if picture.exists():
        console.print(f"picture {picture}")


@base_app.command("train")
def base_train(
    config: ConfigOption = DEFAULT_CONFIG,
    spec: Annotated[
        Path | None, typer.Option(help="What the base sees and does; default: beside base.file.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="File to write; default: base.file.")] = None,
    demonstrations: Annotated[int, typer.Option(min=2)] = 150,
    seed: Annotated[int, typer.Option()] = 0,
) -> None:
    """Clone the scripted expert in nominal simulation and export it with its I/O contract."""
    from runtime.demonstrate import collect
    from runtime.wiring import load_deployment

    deployment = load_deployment(config, base_to_come=True)
    target = out or deployment.base_file
    spec = spec or deployment.base_file.with_suffix(".yaml")
    said = f"trimtab base train --demonstrations {demonstrations} --seed {seed}"
    bar = Progress(
        TextColumn("demonstrating"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.description}"),
        console=console,
    )
    with tempfile.TemporaryDirectory(prefix="trimtab-train-") as name:
        demos = Path(name) / "demonstrations.npz"
        with bar as progress:
            task = progress.add_task("", total=demonstrations)
            spec_beside = collect(
                config,
                spec,
                demos,
                demonstrations,
                seed,
                lambda done, tried: progress.update(
                    task, completed=done, description=f"{tried} tried"
                ),
            )
        words = ["--demos", demos, "--spec", spec_beside, "--out", target, "--seed", seed]
        command = [sys.executable, "-m", "policies.train_base", *map(str, words)]
        ended = subprocess.run([*command, "--command", said], check=False)
    if ended.returncode:
        raise typer.Exit(ended.returncode)


@base_app.command("check")
def base_check(
    file: Annotated[Path, typer.Argument(help="A policy file.")], as_json: JsonOption = False
) -> None:
    """Print a policy file's contract and replay its parity vectors."""
    from runtime.looking import inspect_base, render_base

    report = inspect_base(file)
    if as_json:
        _print_json(report)
    else:
        render_base(report, console)
    if not report["parity"]["passed"]:
        raise typer.Exit(3)


@app.command()
def faults(
    as_json: JsonOption = False,
    safety: Annotated[bool, typer.Option("--safety", help="Print SAFETY.md instead.")] = False,
) -> None:
    """Print the fault table."""
    from runtime.safety_page import safety_page
    from runtime.view import fault_table

    if safety:
        sys.stdout.write(safety_page())
    elif as_json:
        _print_json([_plain(row) for row in ROWS])
    else:
        console.print(fault_table(ROWS))


@app.command()
def replay(
    path: Annotated[Path, typer.Argument(help="A segment, a run, or a folder of runs.")],
    strength: Annotated[str, typer.Option(help="envelope, policy or both.")] = "both",
    config: Annotated[Path | None, typer.Option(help="Try another config.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Run a record through the same tick again and compare every decision."""
    from runtime.records import read_record
    from runtime.rerun import replay_record
    from runtime.view import replay_table

    strengths = {"both": ["envelope", "policy"]}.get(strength, [strength])
    if not set(strengths) <= {"envelope", "policy"}:
        raise ConfigError(f"--strength {strength}: allowed are envelope, policy and both")
    record = read_record(latest_run(path))
    tried = strengths if config is None else ["config"]
    results = [replay_record(record, each, config) for each in tried]
    if as_json:
        _print_json([msgspec.to_builtins(result) for result in results])
    else:
        for note in record.notes:
            console.print(f"note: {note}")
        for result in results:
            console.print(replay_table(result))
    if config is None and not all(result.exact for result in results):
        raise typer.Exit(RecordError.exit_code)


@app.command()
def report(
    path: Annotated[Path, typer.Argument(help="A segment, a run, or a folder of runs.")],
    out: Annotated[Path, typer.Option(help="The page to write.")] = Path("out/report.html"),
    base: Annotated[Path | None, typer.Option(help="The base alone, to compare.")] = None,
    learnt: Annotated[Path | None, typer.Option(help="What was learnt, same starts.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Write one self-contained HTML page about a record."""
    from runtime.comparison import compare
    from runtime.records import read_record
    from runtime.report import write_report

    if (base is None) != (learnt is None):
        raise ConfigError("--base and --learnt go together: name a record for each, or neither")
    record, found = read_record(latest_run(path)), None
    if base is not None and learnt is not None:
        found = compare(read_record(base), read_record(learnt), record, PRESSED_ABOVE_N)
    numbers = write_report(record, out, found)
    if as_json:
        _print_json(msgspec.to_builtins(numbers))
    else:
        console.print(f"wrote {out}")


@app.command()
def explain(
    path: Annotated[Path, typer.Argument(help="A segment, a run, or a folder of runs.")],
    tick: Annotated[int, typer.Option(help="Number of the tick.")],
    out: Annotated[Path, typer.Option(help="The picture to write.")] = Path("out/explain.png"),
    as_json: JsonOption = False,
) -> None:
    """Say what a tick wanted and applied, what limited it, and how near the other limits were."""
    from runtime.explain import explain as explain_tick
    from runtime.explain_picture import save_picture
    from runtime.explain_words import sentences
    from runtime.records import read_record

    record = read_record(latest_run(path))
    said = explain_tick(record, tick)
    save_picture(said, record, out)
    sections = sentences(said)
    if as_json:
        words = {section.title: section.lines for section in sections}
        _print_json({**msgspec.to_builtins(said), "sentences": words, "picture": str(out)})
        return
    for section in sections:
        console.print(f"[bold]{section.title}[/]")
        for line in section.lines:
            console.print(f"  {line}", markup=False)
    console.print(f"picture {out}")


@app.command("check-config")
def check_config(config: ConfigOption = DEFAULT_CONFIG, as_json: JsonOption = False) -> None:
    """Check the config, the robot spec, the base policy and the simulation against each other."""
    from runtime.looking import check_deployment

    facts = check_deployment(config)
    if as_json:
        _print_json(facts)
        return
    for name, value in facts.items():
        console.print(f"{name:<12} {value}")
    console.print("[green]the config can be used[/]")


def main() -> NoReturn:
    """Run the command line; the errors that a person can mend are one sentence."""
    try:
        app(standalone_mode=True)
    except TrimtabError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(error.exit_code)
    sys.exit(0)


if __name__ == "__main__":
    main()
