"""The report's plots of learning: success over robot time, versions, authority, residual size."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from runtime.comparison import Comparison
from runtime.messages import Phase
from runtime.records import Record
from runtime.report_style import AMBER, BLUE, GREEN, INK, MUTED, RED, VIOLET, new_figure, plot
from runtime.residual_summary import PolicySteps, ResidualSummary, residual_bound, residual_shares
from runtime.residual_tally import acting
from runtime.summary import EpisodeRow, Proportion, wilson

WINDOW = 20
_BINS = 60
_S_PER_MIN = 60.0
# beyond the last step, for the marker of what was learnt
_ROOM = 1.07

Floats = NDArray[np.float64]


def windows(rows: Sequence[EpisodeRow], width: int = WINDOW) -> list[tuple[int, Proportion]]:
    """Return, for each episode with a known outcome, the run's policy steps at its end and the
    success of the last `width` such episodes; the first windows are shorter, at least 5."""
    known = [row for row in rows if row.outcome != "UNKNOWN"]
    found = []
    for end in range(min(5, width), len(known) + 1):
        last = known[max(0, end - width) : end]
        successes = sum(row.outcome == "SUCCESS" for row in last)
        found.append((last[-1].run_steps, wilson(successes, len(last))))
    return found


@plot
def learning_curve_plot(
    rows: Sequence[EpisodeRow], numbers: ResidualSummary, found: Comparison | None
) -> Figure | None:
    """Success of the last episodes over robot time with its band, between base and deployed."""
    points = windows(rows)
    if not points:
        return None
    figure, axes = new_figure(3.6)
    minutes = np.array([steps for steps, _ in points]) / numbers.rate_hz / _S_PER_MIN
    shares = [share for _, share in points]
    low, high = [100 * s.low for s in shares], [100 * s.high for s in shares]
    axes.fill_between(minutes, low, high, color=GREEN, alpha=0.15, linewidth=0)
    axes.plot(
        minutes, [100 * s.share for s in shares], color=GREEN, linewidth=2,
        label=f"last {WINDOW} episodes, exploration included",
    )  # fmt: skip
    if found is not None and found.base.success is not None:
        _level(axes, found.base.success)
    if found is not None and found.deployed.success is not None:
        _learnt(axes, numbers.robot_s / _S_PER_MIN, found.deployed.success)
    _first_version(axes, numbers)
    axes.set(ylim=(0, 103), ylabel="success, %")
    axes.set_title("Success while learning, with its 95 % interval")
    figure.legend(loc="outside upper right", ncols=3)
    robot_minutes_axis(axes, numbers)
    return figure


def _level(axes: Axes, base: Proportion) -> None:
    axes.axhspan(100 * base.low, 100 * base.high, color=BLUE, alpha=0.08, linewidth=0)
    axes.axhline(
        100 * base.share, color=BLUE, linestyle="--", linewidth=1.4,
        label=f"base alone, {base.count} episodes",
    )  # fmt: skip


def _learnt(axes: Axes, minutes: float, learnt: Proportion) -> None:
    share = 100 * learnt.share
    error = [[share - 100 * learnt.low], [100 * learnt.high - share]]
    axes.errorbar(
        [minutes * (1 + _ROOM) / 2], [share], yerr=error, fmt="D", color=INK, capsize=4,
        markersize=5, label=f"after learning, {learnt.count} episodes",
    )  # fmt: skip


def _first_version(axes: Axes, numbers: ResidualSummary) -> None:
    if numbers.live:
        minutes = numbers.live[0].robot_s / _S_PER_MIN
        axes.axvline(minutes, color=MUTED, linewidth=1, linestyle=":")
        axes.annotate(
            f" version {numbers.live[0].version} goes live", (minutes, 0.03), fontsize=8,
            xycoords=("data", "axes fraction"), color=MUTED,
        )  # fmt: skip


@plot
def authority_plot(record: Record, numbers: ResidualSummary) -> Figure | None:
    """Authority, live version with the gate's verdicts, and exploration, over robot time."""
    steps = PolicySteps(record)
    running = steps.column("phase")[:, 0] == Phase.RUNNING
    if not running.any():
        return None
    figure, (top, middle, bottom) = new_figure(5.2, nrows=3, height_ratios=[1, 1.5, 1], sharex=True)
    minutes = steps.robot_s[running] / _S_PER_MIN
    authority = steps.column("authority")[running].max(axis=1)
    noisy = acting(record.ticks)[steps.index] & steps.column("residual_noise").any(axis=1)
    _shares(top, minutes, authority, BLUE)
    top.set_title("Authority in use in episodes (mean of each slice of time)")
    _versions(middle, minutes, steps.column("residual_version")[running, 0], numbers)
    _shares(bottom, minutes, noisy[running].astype(float), AMBER)
    bottom.set_title("Share of policy steps disturbed to explore")
    robot_minutes_axis(bottom, numbers)
    return figure


def _shares(axes: Axes, minutes: Floats, values: Floats, colour: str) -> None:
    """Draw the mean of values in [0, 1] in each slice of time."""
    centres, means = _sliced(minutes, values)
    axes.fill_between(centres, means, color=colour, alpha=0.35, linewidth=0, step="mid")
    axes.step(centres, means, color=colour, linewidth=1.2, where="mid")
    axes.set(ylim=(0, 1.05))
    _percent(axes)


def _percent(axes: Axes) -> None:
    axes.set_yticks([0.0, 0.5, 1.0], labels=["0 %", "50 %", "100 %"])


def _versions(axes: Axes, minutes: Floats, version: Floats, numbers: ResidualSummary) -> None:
    axes.step(minutes, version, color=INK, linewidth=1.3, where="post", label="live")
    for passed, colour, marker, name in (
        (True, GREEN, "o", "passed the gate"),
        (False, RED, "x", "refused"),
    ):
        judged = [row for row in numbers.verdicts if row.passed is passed]
        if judged:
            axes.plot(
                [row.robot_s / _S_PER_MIN for row in judged], [row.version for row in judged],
                marker, color=colour, markersize=4.5, linestyle="none", label=name,
            )  # fmt: skip
    axes.set(ylabel="version")
    axes.set_ylim(bottom=0)
    axes.yaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.legend(loc="upper left", ncols=3)
    axes.set_title("Version at work, and the gate's verdicts")


@plot
def residual_size_plot(record: Record, numbers: ResidualSummary) -> Figure | None:
    """Per action, how much of its bound the learnt part took, and what was asked for with noise."""
    names, bound = residual_bound(record)
    steps = PolicySteps(record)
    running = steps.column("phase")[:, 0] == Phase.RUNNING
    acts = running & acting(record.ticks)[steps.index]
    if not names or not acts.any():
        return None
    figure, grid = new_figure(1.15 * len(names) + 0.5, nrows=len(names), sharex=True, squeeze=False)
    minutes = steps.robot_s[acts] / _S_PER_MIN
    asked, learnt = (share[acts] for share in residual_shares(record, steps))
    for axes, name, most, with_noise, without in zip(
        grid[:, 0], names, bound, asked.T, learnt.T, strict=True
    ):
        _size(axes, minutes, with_noise, without)
        axes.set_ylabel(name, rotation=0, ha="right", va="center", color=INK)
        axes.annotate(
            f"bound {most:g}", (0.995, 0.8), xycoords="axes fraction", ha="right", fontsize=8,
            color=MUTED,
        )  # fmt: skip
    grid[0, 0].set_title("Share of its bound that each action of the residual takes")
    handles, labels = grid[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper right", ncols=2)
    robot_minutes_axis(grid[-1, 0], numbers)
    return figure


def _size(axes: Axes, minutes: Floats, with_noise: Floats, learnt: Floats) -> None:
    centres, means = _sliced(minutes, learnt)
    _, most = _sliced(minutes, with_noise, 95)
    axes.fill_between(
        centres, most, color=VIOLET, alpha=0.22, linewidth=0, step="mid",
        label="95th percentile, noise included",
    )  # fmt: skip
    axes.step(centres, means, color=VIOLET, linewidth=1.4, where="mid", label="mean, learnt part")
    axes.set(ylim=(0, 1.08))
    _percent(axes)


def _sliced(
    minutes: Floats, values: Floats, percentile: float | None = None
) -> tuple[Floats, Floats]:
    """Return centres of equal slices of time that hold anything, and each one's mean (or
    percentile) of values."""
    edges = np.linspace(0.0, float(minutes[-1]) + 1e-9, _BINS + 1)
    place = np.clip(np.searchsorted(edges, minutes, side="right") - 1, 0, _BINS - 1)
    filled = np.unique(place)
    parts = [values[place == number] for number in filled]
    found = [np.mean(p) if percentile is None else np.percentile(p, percentile) for p in parts]
    centres: Floats = (edges[filled] + edges[filled + 1]) / 2
    return centres, np.array(found, dtype=float)


def robot_minutes_axis(axes: Axes, numbers: ResidualSummary) -> None:
    """Label the x axis as the robot's time in minutes."""
    axes.set_xlim(0, max(numbers.robot_s / _S_PER_MIN, 1e-3) * _ROOM)
    axes.xaxis.set_major_locator(MaxNLocator(10, steps=[1, 2, 5, 10]))
    axes.set_xlabel("robot time (policy steps over the policy's rate), min")
