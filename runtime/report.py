"""`trimtab report`: a record as one self-contained HTML page. All numbers come from the record."""

from pathlib import Path
from typing import Any

import jinja2
import msgspec

from runtime import report_plots as plots
from runtime import report_residual as learning
from runtime import report_trust as trust
from runtime.amounts import format_size, format_span
from runtime.comparison import (
    Comparison,
    comparison_rows,
    difference_words,
    owner_words,
    starts_words,
)
from runtime.errors import RecordError
from runtime.records import Record
from runtime.summary import LIMITS, Summary, success_of, summary

_TEMPLATE = Path(__file__).with_name("report_template.html")


def write_report(record: Record, path: Path, found: Comparison | None = None) -> Summary:
    """Write the page to `path` and return the numbers on it.

    `found`: a comparison of base and learnt, to be shown above the record they come from.

    Raises:
        RecordError: the page cannot be written there.
    """
    numbers = summary(record)
    page = render_report(record, numbers, found)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(page, encoding="utf-8")
    except OSError as error:
        raise RecordError(
            f"{path}: the report cannot be written: {error.strerror}; name another file"
        ) from None
    return numbers


def render_report(record: Record, numbers: Summary, found: Comparison | None = None) -> str:
    """Return the page as HTML; it refers to nothing outside itself."""
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    environment.filters.update(size=format_size, span=format_span)
    template = environment.from_string(_TEMPLATE.read_text(encoding="utf-8"))
    return template.render(
        record=record,
        header=record.header,
        numbers=numbers,
        limits=[limit.name for limit in LIMITS],
        limited_total=_limited_total(numbers),
        contract=_indented(record.header.contract),
        plots=_plots(record, numbers) | _residual_plots(record, numbers, found),
        found=found,
        comparison=_compared(found),
        difference=f"{difference_words(found)}; {starts_words(found)}" if found else "",
        owner=owner_words(found) if found else "",
        residual=numbers.residual,
        alone=success_of([row for row in numbers.episodes if row.base_alone]),
        helped=success_of([row for row in numbers.episodes if not row.base_alone]),
        corrected=[row for row in numbers.episodes if row.at_first],
    )


def _compared(found: Comparison | None) -> dict[str, Any]:
    """Return heads and rows of the comparison's table."""
    if found is None:
        return {}
    parts = {"base alone": found.base, "while learning": found.learning, "learnt": found.deployed}
    shown = {name: part for name, part in parts.items() if part is not None}
    return {"heads": list(shown), "rows": comparison_rows(found, list(shown.values()))}


def _residual_plots(record: Record, numbers: Summary, found: Comparison | None) -> dict[str, str]:
    residual = numbers.residual
    if residual is None:
        return {}
    return {
        "trust": trust.trust_plot(numbers.episodes, residual),
        "evidence": trust.evidence_plot(record, residual),
        "learning": learning.learning_curve_plot(numbers.episodes, residual, found),
        "authority": learning.authority_plot(record, residual),
        "size": learning.residual_size_plot(record, residual),
    }


def _plots(record: Record, numbers: Summary) -> dict[str, str]:
    return {
        "episodes": plots.episodes_plot(numbers.episodes),
        "modes": plots.modes_plot(record),
        "tick_times": plots.tick_times_plot(record),
        "deadlines": plots.deadlines_plot(record),
        "envelope": plots.envelope_plot(record, numbers),
        "guards": plots.guards_plot(record),
        "vectors": plots.vectors_plot(record),
        "path": plots.path_plot(record, numbers.episodes),
    }


def _limited_total(numbers: Summary) -> dict[str, int]:
    return {limit: sum(joints.values()) for limit, joints in numbers.limited_ticks.items()}


def _indented(text: str) -> str:
    """Return JSON text spread over lines; other text as it is."""
    try:
        plain: Any = msgspec.json.decode(text)
    except msgspec.DecodeError:
        return text
    return msgspec.json.format(msgspec.json.encode(plain), indent=2).decode()
