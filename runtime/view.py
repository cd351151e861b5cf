"""What a person sees on the terminal: the live view of a run, its end table, the fault table."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

from rich.box import SIMPLE_HEAD
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from runtime.amounts import format_span
from runtime.faults import Clear, Response, Row
from runtime.messages import STAGES
from runtime.operator_keys import LEGEND
from runtime.record_format import RecorderStatus
from runtime.replay import ReplayResult
from runtime.summary import Proportion, Summary
from runtime.view_residual import doing, live_rows, residual_table

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


@dataclass(frozen=True)
class Plan:
    """What a live view knows beforehand: when the run ends, its heading, the base's own success."""

    episodes: int | None = None
    robot_s: float | None = None
    heading: str = ""
    base: Proportion | None = None


def live_view(status: RecorderStatus, plan: Plan) -> Panel:
    """Return the live panel: what goes on, episodes, success, residual, mode, ticks, limits."""
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", min_width=9)
    grid.add_column()
    grid.add_row("now", Text(f"{plan.heading}   {doing(status)}".strip(), style="bold"))
    total = f" of {plan.episodes}" if plan.episodes else ""
    grid.add_row("episode", f"{status.episode}{total}   step {status.episode_step}")
    planned_s = f" of {format_span(plan.robot_s)}" if plan.robot_s else ""
    grid.add_row("robot time", f"{format_span(round(status.robot_s))}{planned_s}")
    for label, words in live_rows(status, plan.base):
        grid.add_row(label, words)
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
    """The live view of the newest status.

    It is drawn by rich's thread: no slow terminal may hold up the supervisor's heartbeat.
    """

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._status: RecorderStatus | None = None

    def show(self, status: RecorderStatus) -> None:
        """Show `status` from the next refresh on."""
        self._status = status

    def __rich__(self) -> RenderableType:
        """Draw it."""
        if self._status is None:
            return Text(f"{self._plan.heading} starting …".strip(), style="dim")
        return live_view(self._status, self._plan)


Show = Callable[[RecorderStatus], None]
Viewer = Callable[[Plan], AbstractContextManager[Show]]


def live_runs(console: Console) -> Viewer:
    """Return what opens a live view on a console; it is gone when it is left."""

    @contextmanager
    def view(plan: Plan) -> Iterator[Show]:
        run = LiveRun(plan)
        with Live(run, console=console, transient=True):
            yield run.show

    return view


@contextmanager
def no_view(_: Plan) -> Iterator[Show]:
    """Show nothing: a machine reads the end alone."""
    yield lambda _: None


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
    return Group(facts, *[residual_table(r) for r in [numbers.residual] if r], times)


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
