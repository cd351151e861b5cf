"""The look of the report's plots: palette, figure set-up, and shapes that several plots draw."""

import hashlib
import io
from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any, ParamSpec, cast

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator
from numpy.typing import NDArray

from runtime.faults import Response
from runtime.messages import Mode
from runtime.records import Record
from runtime.summary import runs_of, seconds, tick_period_s

Parameters = ParamSpec("Parameters")

INK, MUTED, HAIR, PAPER = "#1d2733", "#6b7785", "#dfe4ea", "#ffffff"
BLUE, GREEN, RED, AMBER, VIOLET = "#2b6a99", "#3b8f6b", "#c2523c", "#d69a2d", "#7a6aa8"
OUTCOME_COLOURS = {
    "SUCCESS": GREEN,
    "FAILURE": RED,
    "TIMEOUT": AMBER,
    "ABORT": VIOLET,
    "UNKNOWN": "#aab4bf",
}
MODE_COLOURS = {
    Mode.DISARMED: "#d5dbe1",
    Mode.READY: "#b9c6d2",
    Mode.HOMING: "#8fb3cf",
    Mode.BASE: BLUE,
    Mode.SHADOW: VIOLET,
    Mode.ADAPTIVE: GREEN,
    Mode.HOLD: AMBER,
    Mode.STOPPED: RED,
}
RESPONSE_COLOURS = {
    Response.NONE: HAIR,
    Response.WARN: "#8fb3cf",
    Response.DROP_RESIDUAL: VIOLET,
    Response.HOLD: AMBER,
    Response.STOP: RED,
}
# calm while more than an honest policy's share is left
_NO_COMMAND = "#f1f3f5"
_MARGIN_SHADES = [(0.0, RED), (0.05, AMBER), (0.15, "#e3eaf0"), (1.0, "#9dbbd6")]
_WIDTH_IN = 10.4
BINS = 1200
_QUANTILES = (50, 99, 99.9)
STYLE: dict[Any, Any] = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9,
    "axes.edgecolor": HAIR,
    "axes.labelcolor": MUTED,
    "axes.labelsize": 9,
    "axes.titlesize": 9.5,
    "axes.titlepad": 8,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlecolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#edf0f3",
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "text.color": INK,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "svg.fonttype": "path",
    "figure.facecolor": PAPER,
}


def plot(draw: Callable[Parameters, Figure | None]) -> Callable[Parameters, str]:
    """Make a function that draws a figure one that returns inline SVG; "" stands for no figure."""

    @wraps(draw)
    def styled(*args: Parameters.args, **kwargs: Parameters.kwargs) -> str:
        with mpl.rc_context({**STYLE, "svg.hashsalt": draw.__name__}):
            figure = draw(*args, **kwargs)
            return "" if figure is None else _svg(figure, draw.__name__)

    return styled


def _svg(figure: Figure, name: str) -> str:
    """Return the figure as an SVG element whose ids clash with no other plot of the page."""
    buffer = io.StringIO()
    figure.savefig(
        buffer, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type"))
    )
    text = buffer.getvalue()
    prefix = hashlib.sha256(name.encode()).hexdigest()[:6]
    text = text[text.index("<svg") :]
    # matplotlib numbers its groups and glyphs alike in every figure
    for attribute in ('id="', 'href="#', "url(#"):
        text = text.replace(attribute, f"{attribute}{prefix}-")
    return text


def new_figure(height_in: float, **grid: Any) -> tuple[Figure, Any]:
    """Return a figure of the page's width and its axes, as `Figure.subplots` makes them."""
    figure = Figure(figsize=(_WIDTH_IN, height_in), layout="constrained")
    return figure, figure.subplots(**grid)


def bins(record: Record) -> NDArray[np.intp]:
    """Return where each of at most BINS equal groups of ticks begins."""
    count = min(BINS, len(record))
    return np.linspace(0, len(record), count, endpoint=False).astype(np.intp)


def shown_span_s(record: Record) -> float:
    """Return how long a time axis is: the record's duration, at least one period."""
    return max(record.duration_s, tick_period_s(record))


def time_axis(axes: Axes, record: Record) -> None:
    """Label the x axis as the record's time in seconds."""
    axes.set_xlim(0, shown_span_s(record))
    axes.xaxis.set_major_locator(MaxNLocator(8))
    axes.set_xlabel("time since the first tick, s")


def plain_log_axis(axes: Axes) -> None:
    """Make x logarithmic with labels such as 20, 50, 100."""
    axes.set_xscale("log")
    formatter = FuncFormatter(lambda value, _: f"{value:g}" if f"{value:e}"[0] in "125" else "")
    axes.xaxis.set_major_formatter(formatter)
    axes.xaxis.set_minor_formatter(formatter)


def band(axes: Axes, record: Record, lane: int, flags: NDArray[np.bool_], colour: str) -> None:
    """Draw the runs of True as bars; runs closer than a pixel or so are drawn as one."""
    begins, ends = runs_of(flags)
    if not len(begins):
        return
    time_s = seconds(record)
    starts = time_s[begins]
    stops = time_s[ends - 1] + tick_period_s(record)
    pixel_s = record.duration_s / BINS
    parts = np.flatnonzero(starts[1:] - stops[:-1] > pixel_s)
    first = np.concatenate(([0], parts + 1))
    last = np.concatenate((parts, [len(stops) - 1]))
    widths = np.maximum(stops[last] - starts[first], pixel_s)
    bars = list(zip(starts[first].tolist(), widths.tolist(), strict=True))
    axes.broken_barh(bars, (lane - 0.36, 0.72), facecolors=colour, linewidth=0)


def mark_quantiles(axes: Axes, values: NDArray[Any], unit: str) -> None:
    """Draw median, p99 and p99.9 as lines and name them in the upper right corner."""
    found = np.percentile(values, _QUANTILES)
    for value, dash in zip(found, ((1, 0), (5, 3), (1.5, 2)), strict=True):
        axes.axvline(float(value), color=INK, linewidth=1.0, linestyle=(0, dash))
    labels = [f"p{share:g}" for share in _QUANTILES]
    lines = [
        f"{label:>6} {_three_digits(value):>7}{unit}"
        for label, value in zip(labels, found, strict=True)
    ]
    axes.text(
        0.99, 0.97, "\n".join(lines), transform=axes.transAxes, ha="right", va="top",
        fontsize=8, family="DejaVu Sans Mono", linespacing=1.45,
        bbox={"facecolor": PAPER, "edgecolor": "none", "alpha": 0.85, "pad": 3},
    )  # fmt: skip


def _three_digits(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def margin_strips(axes: Axes, record: Record, name: str, labels: Sequence[str]) -> None:
    """Draw a field of shares left as one strip a label over time: the smallest in each bin.

    The smallest share of all, over ticks whose command was sent, stands at the strip's end.
    """
    values = np.where(record.column("command_sent") != 0, record.column(name), np.nan)
    filled = np.where(np.isnan(values), np.inf, values)
    least = np.minimum.reduceat(filled, bins(record), axis=0)
    least[np.isinf(least)] = np.nan
    shades = LinearSegmentedColormap.from_list("left", _MARGIN_SHADES).with_extremes(
        bad=_NO_COMMAND
    )
    shown = axes.imshow(
        least.T, aspect="auto", cmap=shades, vmin=0, vmax=1, interpolation="nearest",
        extent=(0.0, shown_span_s(record), len(labels) - 0.5, -0.5),
    )  # fmt: skip
    for index in range(len(labels) - 1):
        axes.axhline(index + 0.5, color=PAPER, linewidth=2)
    axes.set_yticks(range(len(labels)), [label.replace("_", " ") for label in labels])
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    _smallest_at_end(axes, filled)
    time_axis(axes, record)
    bar = cast("Figure", axes.figure).colorbar(shown, ax=axes, pad=0.085, aspect=14)
    bar.outline.set_visible(False)
    bar.set_ticks([0, 0.5, 1], labels=["0 %", "50 %", "100 %"])


def _smallest_at_end(axes: Axes, filled: NDArray[np.float64]) -> None:
    for index, least in enumerate(filled.min(axis=0)):
        if np.isfinite(least):
            axes.annotate(
                f"{100 * least:.1f} %", (1.01, index), xycoords=("axes fraction", "data"),
                fontsize=8, va="center", color=RED if least < 0.05 else INK, annotation_clip=False,
            )  # fmt: skip
