"""`trimtab report`: a record as one self-contained HTML page. All numbers come from the record."""

from pathlib import Path
from typing import Any

import jinja2
import msgspec

from runtime import report_plots as plots
from runtime.errors import RecordError
from runtime.records import Record
from runtime.summary import LIMITS, Summary, summary

_TEMPLATE = Path(__file__).with_name("report_template.html")
_UNITS = ("B", "kB", "MB", "GB", "TB")


def write_report(record: Record, path: Path) -> Summary:
    """Write the page to `path` and return the numbers on it.

    Raises:
        RecordError: the page cannot be written there.
    """
    numbers = summary(record)
    page = render_report(record, numbers)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(page, encoding="utf-8")
    except OSError as error:
        raise RecordError(
            f"{path}: the report cannot be written: {error.strerror}; name another file"
        ) from None
    return numbers


def render_report(record: Record, numbers: Summary) -> str:
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
        plots=_plots(record, numbers),
    )


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


def format_size(size_bytes: float) -> str:
    """Return a number of bytes with a decimal unit."""
    value, unit = float(size_bytes), 0
    while value >= 1000 and unit < len(_UNITS) - 1:
        value, unit = value / 1000, unit + 1
    return f"{value:.3g} {_UNITS[unit]}" if value < 999.5 else f"{value:.0f} {_UNITS[unit]}"


def format_span(seconds: float) -> str:
    """Return a duration in the unit a person would use."""
    if seconds < 120:
        return f"{seconds:.3g} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 120:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"
