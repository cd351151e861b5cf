"""What a person sees of the residual on the terminal: live rows, its end table, the comparison."""

from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from runtime.amounts import format_span
from runtime.comparison import Comparison, comparison_rows, difference_words, starts_words
from runtime.record_format import EpisodeResult, RecorderStatus, ResidualStatus
from runtime.residual_summary import ResidualSummary
from runtime.summary import Proportion, wilson

RECENT = 20
_REASONS_MAX = 4
_MARKS_MAX = 60
_MARKS = {
    "SUCCESS": ("●", "green"),
    "FAILURE": ("●", "red"),
    "TIMEOUT": ("○", "yellow"),
    "ABORT": ("×", "red"),
    "UNKNOWN": ("?", "dim"),
}


def success_of(results: Sequence[EpisodeResult]) -> Proportion | None:
    """Return the share of successes among known outcomes; None without any."""
    known = [result.outcome for result in results if result.outcome != "UNKNOWN"]
    return wilson(known.count("SUCCESS"), len(known)) if known else None


def proportion_words(share: Proportion | None) -> str:
    """Return a share with its interval, in words."""
    if share is None:
        return "none yet"
    interval = f"95 % interval {share.low:.0%} to {share.high:.0%}"
    return f"{share.successes}/{share.count} = {share.share:.0%}   {interval}"


def doing(status: RecorderStatus) -> str:
    """Say in a sentence what is going on between base, residual and learner."""
    residual = status.residual
    if residual is None:
        return "the base works alone"
    if residual.stage not in ("EXPLORE", "ADAPTIVE"):
        return "the residual is not used"
    if residual.stage == "ADAPTIVE":
        return f"version {residual.version} works; nothing is learnt"
    if residual.version:
        return f"learning: version {residual.version} works, some episodes disturbed"
    if residual.updates:
        return "the base works, disturbed; the learner prepares its first version"
    return "the base works, disturbed; the learner watches before it begins"


def live_rows(status: RecorderStatus, base: Proportion | None) -> list[tuple[str, str | Text]]:
    """Return the live view's rows about success and residual: label and content.

    `base`: success of the base alone, measured earlier; None: what this run has of it.
    """
    results, residual = status.results, status.residual
    if residual is None:
        if not results:
            return []
        return [("success", proportion_words(success_of(results))), ("", outcome_marks(results))]
    alone = base or success_of([r for r in results if r.version == 0 and not r.explored])
    rows: list[tuple[str, str | Text]] = [
        ("base", f"{proportion_words(alone)}   alone" if alone else "not seen alone in this run"),
        (f"last {RECENT}", Text(proportion_words(success_of(results[-RECENT:])), style="bold")),
        ("", outcome_marks(results)),
        ("residual", _residual_words(residual)),
    ]
    if residual.updates or residual.promoted or residual.refused:
        rows.append(("learner", _learner_words(residual)))
    return rows


def outcome_marks(results: Sequence[EpisodeResult]) -> Text:
    """Return one coloured mark for each of the last episodes."""
    marks = Text()
    for result in results[-_MARKS_MAX:]:
        mark, style = _MARKS.get(result.outcome, ("?", "dim"))
        marks.append(mark, style=style)
    return marks


def _residual_words(residual: ResidualStatus) -> str:
    return (
        f"stage {residual.stage.lower()}   version {residual.version}   "
        f"authority {residual.authority:.0%}"
    )


def _learner_words(residual: ResidualStatus) -> str:
    return (
        f"{residual.updates:,} updates, {residual.updates_per_step:.1f} a policy step   "
        f"candidates {residual.promoted} passed, {residual.refused} refused"
    )


def residual_table(numbers: ResidualSummary) -> Table:
    """Return what became of the residual in a run."""
    table = Table(title="residual", title_justify="left", title_style="bold", box=SIMPLE_HEAD)
    table.show_header = False
    table.add_column(style="dim", no_wrap=True)
    table.add_column()
    table.add_row("stage", f"{numbers.stage.lower()}, version {numbers.version} at the end")
    acting, noisy = numbers.acting_steps, numbers.explored_steps
    of_steps = f"in {acting:,} of {numbers.policy_steps:,} policy steps"
    table.add_row("authority", f"{of_steps}, {noisy:,} of them disturbed to explore")
    table.add_row("robot time", format_span(numbers.robot_s))
    if numbers.updates:
        rate = f"{numbers.updates_per_step:.2f} a policy step"
        table.add_row("learner", f"{numbers.updates:,} updates, {rate} once it had begun")
    if numbers.verdicts:
        counts = f"{numbers.promoted} candidates passed, {numbers.refused} refused"
        table.add_row("gate", "\n".join([counts, *_reasons(numbers)]))
    if numbers.dropped_s:
        table.add_row("taken away", f"for {format_span(numbers.dropped_s)} by faults")
    if numbers.size:
        sizes = (f"{s.action} {s.mean:.0%} ({s.at_bound:.0%} at it)" for s in numbers.size)
        table.add_row("of its bound", ", ".join(sizes))
    return table


def _reasons(numbers: ResidualSummary) -> list[str]:
    refused = [row for row in numbers.verdicts if not row.passed]
    lines = [f"version {row.version}: {'; '.join(row.reasons)}" for row in refused[:_REASONS_MAX]]
    more = len(refused) - _REASONS_MAX
    return [*lines, f"and {more} more: trimtab report shows all"] if more > 0 else lines


def comparison_table(found: Comparison) -> Table:
    """Return base and deployed residual side by side, and what the way between them cost."""
    table = Table(
        title=f"{found.pairs} equal starts: the base alone, and what was learnt",
        title_justify="left",
        title_style="bold",
        box=SIMPLE_HEAD,
    )
    parts = [("base alone", found.base), ("learnt", found.deployed)]
    if found.learning is not None:
        parts.insert(1, ("while learning", found.learning))
    table.add_column("", style="dim", no_wrap=True)
    for name, _ in parts:
        table.add_column(name, justify="right")
    for label, cells in comparison_rows(found, [part for _, part in parts]):
        table.add_row(label, *cells)
    table.caption = f"{difference_words(found)}\n{starts_words(found)}"
    table.caption_justify = "left"
    table.caption_style = ""
    return table
