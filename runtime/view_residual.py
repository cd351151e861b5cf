"""What a person sees of the residual on the terminal: live rows, its end table, the comparison."""

from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from runtime.amounts import format_span
from runtime.comparison import (
    Comparison,
    comparison_rows,
    difference_words,
    owner_words,
    starts_words,
)
from runtime.record_format import (
    EpisodeResult,
    EvidenceStatus,
    RecorderStatus,
    ResidualStatus,
)
from runtime.residual_now import ResidualNow
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
    if residual.held:
        return f"the base works alone: {residual.order}"
    if residual.stage == "EXPLORE":
        return _exploring(residual)
    version = f"version {residual.version}"
    learns = "and learns on" if residual.learning else "and nothing is learnt"
    return {
        "OBSERVE": "the base works alone and is measured",
        "WARM": "the base works alone; the learner prepares its first version",
        "SHADOW": f"the base works alone; {version} is computed and moves nothing",
    }.get(residual.stage, f"{version} works {learns}")


def _exploring(residual: ResidualStatus) -> str:
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
    alone = success_of([r for r in results if r.version == 0 and not r.explored])
    shown = base or alone
    rows: list[tuple[str, str | Text]] = [
        ("base", f"{proportion_words(shown)}   alone" if shown else "not seen alone in this run"),
    ]
    if base and alone:
        rows.append(("", f"{proportion_words(alone)}   alone, here and in between"))
    rows += [
        (f"last {RECENT}", Text(proportion_words(success_of(results[-RECENT:])), style="bold")),
        ("", outcome_marks(results)),
        ("residual", _residual_words(residual)),
    ]
    rows += [("why", residual.why)] * bool(residual.why)
    rows += [("people say", Text(residual.order, style="yellow"))] * bool(residual.order)
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
    words = (
        f"stage {residual.stage.lower()}   version {residual.version}   "
        f"authority {residual.authority:.0%}"
    )
    if residual.share < 1.0:
        words += f"   {residual.share:.0%} of the episodes"
    if residual.rollbacks:
        words += f"   rolled back {_times(residual.rollbacks)}"
    return words


def _times(count: int) -> str:
    return {0: "never", 1: "once"}.get(count, f"{count} times")


def status_rows(now: ResidualNow) -> list[tuple[str, str]]:
    """Return how the residual stands as lines: label and content."""
    if not now.run:
        return [("run", "none is recorded yet")]
    rows = [("run", f"{now.run}, {'running' if now.running else 'ended'}")]
    status = now.status
    if status is None:
        return [*rows, ("residual", "none: the base works alone")]
    rows += [
        ("stage", _residual_words(status).removeprefix("stage ")),
        ("why", status.why or "not said"),
        ("orders", status.order or "none"),
        ("trial", f"{status.trial}, rolled back {_times(status.rollbacks)}"),
        *_evidence_rows(status.evidence),
        ("learner", _learner_words(status) if status.updates else "none"),
    ]
    return rows + [("faults", ", ".join(now.faults))] * bool(now.faults)


def _evidence_rows(evidence: EvidenceStatus) -> list[tuple[str, str]]:
    own, base = evidence.success
    shares = (
        f"limited {evidence.limited:.2%} of its steps (base {evidence.base_limited:.2%}), "
        f"presses in {evidence.pressed:.2%} (base {evidence.base_pressed:.2%}), at its bound in "
        f"{', '.join(f'{share:.0%}' for share in evidence.saturated)}"
    )
    learnt = (
        f"critic promises {evidence.critic_gap:+.2f} too much, update guard at "
        f"{evidence.update_ratio:.0%} of what it allows, weights {evidence.weights_age_s:.0f} s old"
    )
    return [
        ("success", f"against its own record {own:.0%}, the base {base:.0%}; 100 % is an alarm"),
        ("judged by", f"own {_of(evidence.own)}, base {_of(evidence.base)}"),
        ("steps", shares),
        ("learnt", learnt),
    ]


def _of(reference: tuple[int, int]) -> str:
    successes, count = reference
    return f"{successes} of {count}" if count else "nothing yet"


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
    why = numbers.stages[-1].why if numbers.stages else ""
    if why:
        table.add_row("why", why)
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
    if numbers.rollbacks:
        table.add_row("rolled back", "\n".join(_rollback_lines(numbers)))
    if numbers.orders:
        table.add_row("people", ", ".join(f"{row.what} ({row.who})" for row in numbers.orders))
    if numbers.dropped_s:
        table.add_row("taken away", f"for {format_span(numbers.dropped_s)} by faults")
    if numbers.size:
        sizes = (f"{s.action} {s.mean:.0%} ({s.at_bound:.0%} at it)" for s in numbers.size)
        table.add_row("of its bound", ", ".join(sizes))
    return table


def _rollback_lines(numbers: ResidualSummary) -> list[str]:
    shown = numbers.rollbacks[-_REASONS_MAX:]
    lines = [f"to version {row.version} from {row.undone}: {row.why}" for row in shown]
    more = len(numbers.rollbacks) - len(shown)
    return [f"{more} times before: trimtab report shows all", *lines] if more else lines


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
    words = (difference_words(found), starts_words(found), owner_words(found))
    table.caption = "\n".join(filter(None, words))
    table.caption_justify = "left"
    table.caption_style = ""
    return table
