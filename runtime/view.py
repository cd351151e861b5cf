"""What a person sees on the terminal: the live view of a run, its end table, the fault table."""

from collections.abc import Iterable

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from runtime.faults import Clear, Response, Row
from runtime.messages import STAGES
from runtime.operator_keys import LEGEND
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
_ROWS_MAX = 10
_NUMBERS_MAX = 3
_LINE_MAX = 60
_RESPONSE_STYLE = {Response.STOP: "bold red", Response.HOLD: "yellow", Response.WARN: "dim"}
_CLEARS = {
    Clear.WHEN_CLEAR: "when clear",
    Clear.AFTER_DWELL: "clear for {} s",
    Clear.ON_REARM: "on re-arm",
    Clear.NEVER: "never",
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
    return Panel(
        grid,
        title=f"trimtab · {status.run}",
        title_align="left",
        subtitle=LEGEND,
        subtitle_align="left",
        border_style="blue",
    )


class LiveRun:
    """The live view of the newest status; None plans no end.

    It is drawn by rich's thread: no slow terminal may hold up the supervisor's heartbeat.
    """

    def __init__(self, planned: int | None) -> None:
        self._planned = planned
        self._status: RecorderStatus | None = None

    def show(self, status: RecorderStatus) -> None:
        """Show `status` from the next refresh on."""
        self._status = status

    def __rich__(self) -> RenderableType:
        """Draw it."""
        if self._status is None:
            return Text("starting …", style="dim")
        return live_view(self._status, self._planned)


def end_table(numbers: Summary) -> Group:
    """Return what a run amounted to: success, faults, limits, margins, tick percentiles."""
    facts = _table(numbers.run)
    facts.show_header = False
    facts.add_column(style="dim", no_wrap=True)
    facts.add_column()
    if numbers.success is not None:
        share = numbers.success
        facts.add_row(
            "success",
            f"[bold]{share.successes}/{share.count}[/] = {share.share:.1%}, "
            f"Wilson 95 % interval {share.low:.1%} to {share.high:.1%}",
        )
    facts.add_row("outcomes", _listed(numbers.outcomes) or "none")
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
    times = _table("tick, µs")
    for name in ("stage", "p50", "p99", "p99.9", "max"):
        times.add_column(name, justify="left" if name == "stage" else "right")
    for stage, q in numbers.stages.items():
        times.add_row(stage, *(f"{v:.0f}" for v in (q.p50_us, q.p99_us, q.p999_us, q.max_us)))
    return Group(facts, times)


def fault_table(rows: Iterable[Row]) -> Table:
    """Return the fault table as a person reads it."""
    table = _table("What can go wrong, and what the daemon then does")
    table.add_column("fault", no_wrap=True)
    table.add_column("response", no_wrap=True)
    table.add_column("ticks", justify="right")
    table.add_column("clears", no_wrap=True)
    table.add_column("what happened")
    for row in rows:
        style = _RESPONSE_STYLE.get(row.response, "")
        clears = _CLEARS[row.clear].format(f"{row.dwell_s:g}")
        response = Text(row.response.name, style=style)
        table.add_row(row.fault.name, response, f"{row.debounce_ticks}", clears, row.sentence)
    table.caption = "ticks: how many in a row the condition must hold before the fault acts"
    table.caption_justify = "left"
    return table


def replay_table(result: ReplayResult) -> Group:
    """Return what a replay found."""
    verdict = "[green]equal[/]" if result.exact else f"[red]{result.different} ticks differ[/]"
    where = "same machine: bit for bit" if result.same_machine else "other machine: with tolerance"
    counts = f"{result.ticks} compared, {result.skipped} skipped"
    heading = f"[bold]replay, {result.strength}:[/] {verdict}, {counts}; {where}"
    shown: list[RenderableType] = [heading]
    if result.commanded:
        shown.append(_stretches(result))
    if result.examples:
        shown.append(_examples(result))
    return Group(*shown)


def _stretches(result: ReplayResult) -> Table:
    table = _table("commanded differently")
    table.add_column("ticks", no_wrap=True)
    table.add_column("why")
    for stretch in result.commanded[:_ROWS_MAX]:
        table.add_row(f"{stretch.first_tick} to {stretch.last_tick}", stretch.why)
    if len(result.commanded) > _ROWS_MAX:
        table.add_row("…", f"{len(result.commanded) - _ROWS_MAX} more are in --json")
    return table


def _examples(result: ReplayResult) -> Table:
    table = _table("first differences")
    for column in ("tick", "field", "recorded", "replayed"):
        table.add_column(column, no_wrap=column in ("tick", "field"))
    for example in result.examples[:_ROWS_MAX]:
        recorded, replayed = _numbers(example.recorded), _numbers(example.replayed)
        table.add_row(str(example.tick), example.field, recorded, replayed)
    return table


def _table(title: str) -> Table:
    return Table(title=title, title_justify="left", title_style="bold", box=SIMPLE_HEAD)


def _numbers(values: list[float]) -> str:
    shown = " ".join(f"{value:.6g}" for value in values[:_NUMBERS_MAX])
    return shown + (" …" if len(values) > _NUMBERS_MAX else "")


def _listed(counts: dict[str, int]) -> str:
    return _in_lines(f"{name} {count}" for name, count in counts.items())


def _shares(margins: dict[str, float]) -> str:
    return _in_lines(f"{name} {share:.2f}" for name, share in margins.items())


def _in_lines(parts: Iterable[str]) -> str:
    """Join parts into lines that fit a narrow terminal; none is split."""
    lines = [""]
    for part in parts:
        if lines[-1] and len(lines[-1]) + len(part) > _LINE_MAX:
            lines.append("")
        lines[-1] += f"{part}, "
    return "\n".join(lines).removesuffix(", ")
