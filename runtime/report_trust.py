"""The report's plots of trust: stages with roll-backs and orders, the base in between, evidence."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from runtime.messages import Phase
from runtime.records import Record
from runtime.report_residual import WINDOW, robot_minutes_axis, windows
from runtime.report_style import (
    AMBER,
    BLUE,
    GREEN,
    INK,
    RED,
    VIOLET,
    new_figure,
    plot,
)
from runtime.residual_summary import PolicySteps, ResidualSummary
from runtime.summary import EpisodeRow

STAGE_COLOURS = {
    "OBSERVE": "#b9c6d2",
    "WARM": "#8fb3cf",
    "EXPLORE": AMBER,
    "SHADOW": VIOLET,
    "ADAPTIVE": GREEN,
}
_S_PER_MIN = 60.0
_POINTS = 1500
# evidence beyond an alarm tells nothing more
_EVIDENCE_SHOWN = 1.25


@plot
def trust_plot(rows: Sequence[EpisodeRow], numbers: ResidualSummary) -> Figure | None:
    """Success of the residual's and of the base's own episodes, over the stages of trust."""
    if not numbers.stages:
        return None
    figure, (top, bottom) = new_figure(3.6, nrows=2, height_ratios=[4, 1], sharex=True)
    parts = (
        ("the residual's episodes", GREEN, "-", [row for row in rows if not row.base_alone]),
        ("the base's own in between", BLUE, "--", [row for row in rows if row.base_alone]),
    )
    for name, colour, dash, of in parts:
        points = windows(of)
        if points:
            minutes = np.array([at for at, _ in points]) / numbers.rate_hz / _S_PER_MIN
            shares = [100 * share.share for _, share in points]
            top.plot(minutes, shares, dash, color=colour, linewidth=1.6, label=name)
    top.set(ylim=(-3, 103), ylabel="success, %")
    top.set_title(f"Success of the last {WINDOW} episodes of each, and the stage of trust")
    _stages(bottom, numbers)
    handles, _ = top.get_legend_handles_labels()
    used = {row.stage for row in numbers.stages}
    handles += [Patch(color=c, label=s.lower()) for s, c in STAGE_COLOURS.items() if s in used]
    marks = [*_marks(bottom, numbers)]
    figure.legend(
        handles=[*handles, *marks], loc="outside lower center", ncols=len(handles) + len(marks)
    )
    robot_minutes_axis(bottom, numbers)
    return figure


def _stages(axes: Axes, numbers: ResidualSummary) -> None:
    begins = [row.robot_s / _S_PER_MIN for row in numbers.stages]
    ends = [*begins[1:], numbers.robot_s / _S_PER_MIN]
    for row, begin, end in zip(numbers.stages, begins, ends, strict=True):
        colour = STAGE_COLOURS[row.stage]
        axes.axvspan(begin, end, color=colour, linewidth=0)
    axes.set(yticks=[], ylim=(0, 1))
    axes.grid(visible=False)


def _marks(axes: Axes, numbers: ResidualSummary) -> list[Line2D]:
    """Draw roll-backs and orders on the stages; return what the legend shows of them."""
    told = (
        ("rolled back", "v", RED, [row.robot_s for row in numbers.rollbacks]),
        ("a person's word", "D", INK, [row.robot_s for row in numbers.orders]),
    )
    drawn: list[Line2D] = []
    for name, marker, colour, at_s in told:
        if at_s:
            minutes = np.array(at_s) / _S_PER_MIN
            drawn += axes.plot(
                minutes, np.full(len(at_s), 0.5), marker, color=colour, markersize=8,
                markeredgecolor="white", linestyle="none", label=name, clip_on=False,
            )  # fmt: skip
    return drawn


@plot
def evidence_plot(record: Record, numbers: ResidualSummary) -> Figure | None:
    """What spoke against the residual: falling success, limits, pressing, with what is allowed by
    the base beside it."""
    steps = PolicySteps(record)
    running = np.flatnonzero(steps.column("phase")[:, 0] == Phase.RUNNING)
    watched = ("success_evidence", "limited_share", "pressed_share")
    if not any(steps.column(name)[running].any() for name in watched):
        return None
    shown = running[:: max(1, len(running) // _POINTS)]
    minutes = steps.robot_s[shown] / _S_PER_MIN
    figure, (top, bottom) = new_figure(3.8, nrows=2, sharex=True)
    evidence = np.minimum(steps.column("success_evidence")[shown], _EVIDENCE_SHOWN)
    for values, name, colour in zip(
        evidence.T, ("against its own record", "against the base"), (GREEN, BLUE), strict=True
    ):
        top.plot(minutes, values, color=colour, linewidth=1.3, label=name)
    top.axhline(1.0, color=RED, linewidth=1, linestyle=":", label="alarm")
    top.set(ylim=(0, _EVIDENCE_SHOWN))
    top.set_title("Evidence that its success falls")
    _legend_above(top)
    for name, what, colour in (("limited", "limited", VIOLET), ("pressed", "presses", AMBER)):
        own = 100 * steps.column(f"{name}_share")[shown, 0]
        base = 100 * steps.column(f"base_{name}_share")[shown, 0]
        bottom.plot(minutes, own, color=colour, linewidth=1.3, label=what)
        bottom.plot(minutes, base, color=colour, linewidth=1, linestyle="--", label=f"{what}, base")
    bottom.set(ylabel="% of steps")
    bottom.set_ylim(bottom=0)
    bottom.set_title("Policy steps in which the envelope acts, and that press")
    _legend_above(bottom)
    robot_minutes_axis(bottom, numbers)
    return figure


def _legend_above(axes: Axes) -> None:
    """Name the lines beside the title, where none of them runs."""
    axes.legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=4, borderaxespad=0.2)
