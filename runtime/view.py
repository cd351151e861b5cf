"""What a person sees on the terminal: the live view of a run, its end table, the fault table."""

from collections.abc import Iterable

from rich.console import Group
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from runtime.faults import Row
from runtime.messages import STAGES
from runtime.record_format import RecorderStatus
from runtime.replay import ReplayResult
from runtime.summary import Summary, wilson

_MARKS = {
    "SUCCESS": ("●", "green"),
    "FAILURE": ("●", "red"),
    "TIMEOUT": ("○", "yellow"),
    "ABORT": ("×", "red"),
    "UNKNOWN": ("?", "dim"),
}
_MODE_STYLE = {"HOLD": "yellow", "STOPPED": "bold red", "BASE": "green"}


def live_view(status: RecorderStatus, planned: int | None) -> Panel:
    """Return the live panel: episodes, success, mode, tick times, what limited."""
    results = status.results
    successes = sum(result.outcome == "SUCCESS" for result in results)
    marks = Text()
    for result in results[-60:]:
        mark, style = _MARKS.get(result.outcome, ("?", "dim"))
        marks.append(mark, style=style)
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", min_width=9)
    grid.add_column()
    total = f" of {planned}" if planned else ""
    grid.add_row("episode", f"{status.episode}{total}   step {status.episode_step}")
    if results:
        share = wilson(successes, len(results))
        grid.add_row(
            "success",
            f"{successes}/{len(results)} = {share.share:.0%}   "
            f"95 % interval {share.low:.0%} to {share.high:.0%}",
        )
        grid.add_row("", marks)
    mode = Text(status.mode, style=_MODE_STYLE.get(status.mode, ""))
    grid.add_row("mode", mode + Text(f"   {status.phase.lower()}", style="dim"))
    faults = ", ".join(status.faults)
    grid.add_row("faults", Text(faults or "none", style="red" if faults else ""))
    step = STAGES.index("step")
    grid.add_row(
        "tick", f"p50 {status.stage_p50_us[step]:.0f} µs   p99 {status.stage_p99_us[step]:.0f} µs"
    )
    limited = [f"{name.lower()} {count}" for name, count in status.limited_ticks.items() if count]
    grid.add_row("limited", ", ".join(limited) or "nothing")
    grid.add_row(
        "record",
        f"{status.ticks} ticks   {status.size_bytes / 1e6:.1f} MB   "
        f"{status.bytes_per_s / 1e6:.2f} MB/s   dropped {status.dropped}",
    )
    return Panel(grid, title=f"trimtab · {status.run}", title_align="left", border_style="blue")


def end_table(numbers: Summary) -> Group:
    """Return what a run amounted to: success, faults, limits, margins, tick percentiles."""
    facts = Table(title=f"{numbers.run}", title_justify="left", show_header=False, box=None)
    facts.add_column(style="dim")
    facts.add_column()
    if numbers.success is not None:
        share = numbers.success
        facts.add_row(
            "success",
            f"[bold]{share.successes}/{share.count}[/] = {share.share:.1%}, "
            f"Wilson 95 % interval {share.low:.1%} to {share.high:.1%}",
        )
    facts.add_row("outcomes", _listed(numbers.outcomes))
    facts.add_row("time", f"{numbers.duration_s:.1f} s on the robot's clock, {numbers.ticks} ticks")
    facts.add_row("resets", f"{numbers.reset_s:.1f} s, kept apart from the episodes' time")
    facts.add_row("modes", ", ".join(f"{k} {v:.1f} s" for k, v in numbers.mode_s.items()))
    faults = {f"{row.fault} ({row.response})": row.times for row in numbers.faults}
    facts.add_row("faults", _listed(faults) or "none")
    limits = {name: sum(by.values()) for name, by in numbers.limited_ticks.items()}
    limited = _listed({name: count for name, count in limits.items() if count}) or "none"
    facts.add_row("limited", f"{limited}   ({numbers.limited_share:.3%} of commands)")
    facts.add_row("margins", _shares(numbers.smallest_margin))
    facts.add_row("guards", _shares(numbers.smallest_guard_margin))
    rate = f"{numbers.bytes_per_s / 1e3:.0f} kB/s"
    facts.add_row("record", f"{numbers.size_bytes / 1e6:.1f} MB, {rate} of robot time")
    times = Table(title="tick, µs", title_justify="left")
    for name in ("stage", "p50", "p99", "p99.9", "max"):
        times.add_column(name, justify="left" if name == "stage" else "right")
    for stage, q in numbers.stages.items():
        times.add_row(stage, *(f"{v:.0f}" for v in (q.p50_us, q.p99_us, q.p999_us, q.max_us)))
    return Group(facts, times)


def fault_table(rows: Iterable[Row]) -> Table:
    """Return the fault table as a person reads it."""
    table = Table(title="What can go wrong, and what the daemon then does", title_justify="left")
    for column in ("fault", "response", "debounce", "clear", "what happened"):
        table.add_column(column)
    for row in rows:
        clear = row.clear.name + (f" {row.dwell_s:g} s" if row.dwell_s else "")
        table.add_row(
            row.fault.name, row.response.name, f"{row.debounce_ticks}", clear, row.sentence
        )
    return table


def replay_table(result: ReplayResult) -> Table:
    """Return what a replay found."""
    verdict = "[green]equal[/]" if result.exact else f"[red]{result.different} ticks differ[/]"
    where = "same machine: bit for bit" if result.same_machine else "other machine: with tolerance"
    counts = f"{result.ticks} compared, {result.skipped} skipped"
    title = f"replay ({result.strength}): {verdict}   {counts}; {where}"
    table = Table(title=title, title_justify="left")
    for column in ("tick", "field", "recorded", "replayed"):
        table.add_column(column)
    for example in result.examples:
        table.add_row(
            str(example.tick), example.field, _numbers(example.recorded), _numbers(example.replayed)
        )
    return table


def _numbers(values: list[float]) -> str:
    return " ".join(f"{value:.9g}" for value in values[:4]) + (" …" if len(values) > 4 else "")


def _listed(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.items())


def _shares(margins: dict[str, float]) -> str:
    return ", ".join(f"{name} {share:.2f}" for name, share in margins.items())
