"""The report's plots: each takes a record and returns one inline SVG, or "" for nothing to show."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from runtime.faults import ROWS
from runtime.messages import GUARDS, Phase
from runtime.records import Record
from runtime.report_style import (
    BLUE,
    INK,
    MODE_COLOURS,
    OUTCOME_COLOURS,
    PAPER,
    RED,
    RESPONSE_COLOURS,
    VIOLET,
    band,
    bins,
    margin_strips,
    mark_quantiles,
    new_figure,
    plain_log_axis,
    plot,
    time_axis,
)
from runtime.summary import (
    LIMITS,
    EpisodeRow,
    Summary,
    active_faults,
    seconds,
    stage_times_ns,
    wilson,
)

_GROUP_OF_THREE = 3
_STAGE_TITLES = {"step": ("Control tick (stage step)", BLUE), "policy": ("Policy", VIOLET)}


@plot
def episodes_plot(rows: Sequence[EpisodeRow]) -> Figure | None:
    """Success so far with its interval, over bars of each episode's duration and outcome."""
    if not rows:
        return None
    figure, (top, bottom) = new_figure(3.9, nrows=2, height_ratios=[1.5, 1], sharex=True)
    outcomes = np.array([row.outcome for row in rows])
    _success_so_far(top, outcomes)
    bottom.bar(
        np.arange(1, len(rows) + 1), [row.duration_s for row in rows],
        color=[OUTCOME_COLOURS[row.outcome] for row in rows], width=0.82,
    )  # fmt: skip
    bottom.set(xlabel="episode", ylabel="duration, s", xlim=(0.4, len(rows) + 0.6))
    bottom.xaxis.set_major_locator(MaxNLocator(12, integer=True))
    bottom.grid(visible=False, axis="x")
    shown = [name for name in OUTCOME_COLOURS if name in outcomes]
    handles = [Patch(color=OUTCOME_COLOURS[name], label=name.lower()) for name in shown]
    figure.legend(handles=handles, ncols=len(shown), loc="outside upper right")
    return figure


def _success_so_far(axes: Axes, outcomes: "np.ndarray[tuple[int], np.dtype[np.str_]]") -> None:
    successes = np.cumsum(outcomes == "SUCCESS")
    trials = np.cumsum(outcomes != "UNKNOWN")
    known = trials > 0
    shares = [wilson(int(k), int(n)) for k, n in zip(successes[known], trials[known], strict=True)]
    position = np.arange(1, len(outcomes) + 1)[known]
    low, high = [100 * s.low for s in shares], [100 * s.high for s in shares]
    axes.fill_between(position, low, high, color=BLUE, alpha=0.13, linewidth=0)
    axes.plot(position, [100 * s.share for s in shares], color=BLUE, linewidth=1.8)
    axes.set(ylim=(0, 100), ylabel="success, %")
    axes.set_title("Success so far, with its 95 % Wilson interval")


@plot
def modes_plot(record: Record) -> Figure | None:
    """Modes, responses and every active fault as bands over time."""
    if not len(record):
        return None
    faults = active_faults(record)
    lanes = ["mode", "response", *(fault.name.lower().replace("_", " ") for fault in faults)]
    figure, axes = new_figure(1.35 + 0.27 * len(lanes))
    modes, responses = record.scalar("mode"), record.scalar("response")
    for mode, colour in MODE_COLOURS.items():
        band(axes, record, 0, modes == mode, colour)
    for response, colour in RESPONSE_COLOURS.items():
        band(axes, record, 1, responses == response, colour)
    colours = {row.fault: RESPONSE_COLOURS[row.response] for row in ROWS}
    for lane, fault in enumerate(faults, start=2):
        active = (record.scalar("faults") >> int(fault) & 1) != 0
        band(axes, record, lane, active, colours[fault])
    axes.set_yticks(range(len(lanes)), lanes)
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(len(lanes) - 0.45, -0.55)
    axes.grid(visible=False)
    time_axis(axes, record)
    present = [mode for mode in MODE_COLOURS if (modes == mode).any()]
    handles = [Patch(color=MODE_COLOURS[mode], label=mode.name.lower()) for mode in present]
    figure.legend(handles=handles, ncols=len(handles), loc="outside upper right")
    return figure


@plot
def tick_times_plot(record: Record) -> Figure | None:
    """Histograms of the time that step and policy take, with quantiles."""
    stages = stage_times_ns(record)
    shown = [name for name in _STAGE_TITLES if name in stages]
    if not shown:
        return None
    figure, grid = new_figure(2.9, ncols=len(shown), squeeze=False)
    for axes, name in zip(grid[0], shown, strict=True):
        title, colour = _STAGE_TITLES[name]
        times_us = np.maximum(stages[name] / 1e3, 0.1)
        edges = np.geomspace(times_us.min() * 0.9, times_us.max() * 1.1, 90)
        axes.hist(times_us, bins=edges, color=colour, alpha=0.85, linewidth=0)
        axes.set(yscale="log", xlabel="time, µs (log)", ylabel="ticks (log)")
        plain_log_axis(axes)
        axes.set_xlim(right=edges[-1] * 2.2)  # room for the quantiles
        axes.set_title(title)
        mark_quantiles(axes, times_us, " µs")
    return figure


@plot
def deadlines_plot(record: Record) -> Figure | None:
    """Lateness of every tick and missed deadlines over time; nothing in lockstep."""
    if not len(record):
        return None
    lateness_us = record.column("stage_ns")[:, 0] / 1e3
    missed = record.scalar("missed_ticks")
    if not lateness_us.any() and not missed.any():
        return None
    starts = bins(record)
    time_s = seconds(record)[starts]
    missed_in_bin = np.add.reduceat(missed, starts)
    figure, (top, bottom) = new_figure(3.0, nrows=2, height_ratios=[1.6, 1], sharex=True)
    latest = np.maximum.reduceat(lateness_us, starts)
    top.fill_between(time_s, latest, color=BLUE, alpha=0.4, linewidth=0, step="post")
    top.set(ylabel="lateness, µs")
    top.set_ylim(bottom=0)
    top.set_title("Latest wake-up, and missed deadlines")
    bottom.fill_between(time_s, missed_in_bin, color=RED, linewidth=0, step="post")
    bottom.set(ylabel="missed")
    bottom.set_ylim(bottom=0, top=max(1.0, 1.1 * float(missed_in_bin.max())))
    bottom.yaxis.set_major_locator(MaxNLocator(3, integer=True))
    time_axis(bottom, record)
    return figure


@plot
def envelope_plot(record: Record, numbers: Summary) -> Figure | None:
    """Ticks limited per joint and limit, and each joint's margin over time."""
    if not len(record):
        return None
    joints = record.header.joints
    figure, (left, right) = new_figure(0.26 * len(joints) + 1.3, ncols=2, width_ratios=[1, 1.25])
    _limits_table(left, numbers, joints)
    margin_strips(right, record, "margin", joints)
    right.set_title("Smallest share of any invariant left")
    return figure


def _limits_table(axes: Axes, numbers: Summary, joints: Sequence[str]) -> None:
    names = [limit.name or "" for limit in LIMITS]
    counts = np.array([[numbers.limited_ticks[name][joint] for name in names] for joint in joints])
    shades = LinearSegmentedColormap.from_list("shades", ["#f4f6f8", "#e9c98c", RED])
    most = np.log1p(max(numbers.ticks, 1))
    axes.pcolormesh(np.log1p(counts), cmap=shades, vmin=0, vmax=most, edgecolors=PAPER, lw=2)
    for (row, column), value in np.ndenumerate(counts):
        axes.text(
            column + 0.5, row + 0.5, f"{value:,}", ha="center", va="center", fontsize=8,
            color=INK if value else "#b3bcc6",
        )  # fmt: skip
    # in two rows, or long names run into each other
    labels = ["\n" * (place % 2) + name.lower() for place, name in enumerate(names)]
    axes.set_xticks(np.arange(len(names)) + 0.5, labels)
    axes.set_yticks(np.arange(len(joints)) + 0.5, joints)
    axes.invert_yaxis()
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.grid(visible=False)
    axes.set_title("Ticks in which a limit acted")


@plot
def guards_plot(record: Record) -> Figure | None:
    """The margins of the guards over time."""
    if not len(record):
        return None
    figure, axes = new_figure(2.1)
    margin_strips(axes, record, "guard_margin", GUARDS)
    axes.set_title("Smallest share of each guard left")
    return figure


@plot
def vectors_plot(record: Record) -> Figure | None:
    """For every observation group of three numbers: the norm's histogram and its course."""
    groups = [name for name, size in record.header.groups.items() if size == _GROUP_OF_THREE]
    if not groups or not len(record):
        return None
    figure, grid = new_figure(
        2.7 * len(groups), nrows=len(groups), ncols=2, squeeze=False, width_ratios=[1, 1.7]
    )
    running = record.scalar("phase") == Phase.RUNNING
    for (left, right), group in zip(grid, groups, strict=True):
        norm = np.linalg.norm(record.column(f"observation_{group}"), axis=1)
        shown = norm[running] if running.any() else norm
        left.hist(shown, bins=80, color=BLUE, alpha=0.85, linewidth=0)
        left.set(yscale="log", xlabel=f"|{group}|", ylabel="ticks (log)")
        left.set_title(f"|{group}| in episodes")
        mark_quantiles(left, shown, "")
        _course(right, record, norm)
        right.set_title(f"|{group}| over time")
    return figure


def _course(
    axes: Axes, record: Record, values: "np.ndarray[tuple[int], np.dtype[np.float64]]"
) -> None:
    starts = bins(record)
    time_s = seconds(record)[starts]
    largest = np.maximum.reduceat(values, starts)
    mean = np.add.reduceat(values, starts) / np.diff(np.append(starts, len(values)))
    axes.fill_between(
        time_s, largest, color=BLUE, alpha=0.28, linewidth=0, step="post", label="largest"
    )
    axes.plot(time_s, mean, color=BLUE, linewidth=0.9, label="mean")
    axes.set_ylim(0, max(1e-9, 1.18 * float(largest.max())))
    axes.legend(loc="upper right", ncols=2)
    time_axis(axes, record)


@plot
def path_plot(record: Record, rows: Sequence[EpisodeRow]) -> Figure | None:
    """The measured tool path of the episodes, from above and from the side."""
    position = record.column("tool_position_in_base_m")
    if not len(record) or not position.any() or not rows:
        return None
    # a point per policy step is enough for the eye
    due = np.flatnonzero(record.scalar("policy_due"))
    due_s = seconds(record)[due]
    ends_s = [row.begin_s + row.duration_s for row in rows]
    first = np.searchsorted(due_s, [row.begin_s for row in rows])
    last = np.searchsorted(due_s, ends_s, side="right")
    paths = [position[due[a:b]] for a, b in zip(first, last, strict=True)]
    colours = [OUTCOME_COLOURS[row.outcome] for row in rows]
    alpha = max(0.3, min(0.9, 25 / len(rows)))
    figure, axes_pair = new_figure(4.4, ncols=2)
    views = ((1, "y", "from above"), (2, "z", "from the side"))
    for axes, (vertical, label, where) in zip(axes_pair, views, strict=True):
        lines = [path[:, (0, vertical)] for path in paths]
        axes.add_collection(LineCollection(lines, colors=colours, linewidths=1.0, alpha=alpha))
        axes.autoscale()
        axes.set_aspect("equal", adjustable="datalim")
        axes.set(xlabel="x in base, m", ylabel=f"{label} in base, m")
        axes.set_title(f"Tool path {where}, by outcome")
    return figure
