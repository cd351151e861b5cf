"""The explanation of a tick in one picture: a bar for every limit, nearest first, and wanted
against applied around the tick."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from runtime.errors import RecordError
from runtime.explain_facts import Explanation, JointFact, Use
from runtime.messages import Mode
from runtime.records import Record
from runtime.report_style import (
    AMBER,
    BLUE,
    HAIR,
    INK,
    MODE_COLOURS,
    MUTED,
    PAPER,
    RED,
    STYLE,
)

_AROUND_TICKS = 60
_STRIPS = 4
_BAR_IN = 0.175
_WIDTH_IN = 13.5
_HEIGHT_MIN_IN = 6.5
_NEAR, _VERY_NEAR = 0.9, 0.995
_USED_MAX = 1.08
_ROUNDING = 1e-6
_DPI = 110


def save_picture(said: Explanation, record: Record, path: Path) -> None:
    """Draw the explanation of a tick of `record` into a PNG.

    Raises:
        RecordError: the picture cannot be written there.
    """
    with mpl.rc_context(STYLE):
        figure = _draw(said, record)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            figure.savefig(path, format="png", dpi=_DPI)
        except OSError as error:
            raise RecordError(
                f"{path}: the picture cannot be written: {error}; name another place with --out"
            ) from None


def _draw(said: Explanation, record: Record) -> Figure:
    known = [use for use in said.uses if use.used is not None]
    height_in = max(_HEIGHT_MIN_IN, 1.4 + _BAR_IN * len(known))
    figure = Figure(figsize=(_WIDTH_IN, height_in), layout="constrained")
    left, right = figure.subfigures(ncols=2, squeeze=False)[0]
    _bars(left.subplots(), known)
    around = _around(record, said.tick)
    shown = _most_telling(said.joints)
    strips = right.subplots(
        nrows=1 + len(shown), sharex=True, height_ratios=[0.22] + [1.0] * len(shown), squeeze=False
    )[:, 0]
    _mode_strip(strips[0], record, around, said.tick)
    for axes, joint in zip(strips[1:], shown, strict=True):
        _joint_strip(axes, record, around, said, joint)
    strips[-1].set_xlabel("ticks from the one explained")
    handles, labels = strips[1].get_legend_handles_labels()
    right.legend(handles, labels, loc="outside upper right", ncols=3)
    figure.suptitle(_title(said), x=0.01, ha="left", fontsize=11, fontweight="bold", color=INK)
    return figure


def _title(said: Explanation) -> str:
    acting = [fault.name for fault in said.faults if fault.acts]
    limited = Counter(name.lower() for joint in said.joints for name in joint.limited_by)
    words = [f"tick {said.tick}", f"{said.time_s:.3f} s", f"mode {said.mode}"]
    words.append(f"response {said.response}" + (f" ({', '.join(acting)})" if acting else ""))
    counts = [f"{name} ({count} joints)" for name, count in limited.items()]
    words.append(f"limited by {', '.join(counts)}" if counts else "no limit acted")
    return "   ·   ".join(words)


def _bars(axes: Axes, uses: Sequence[Use]) -> None:
    """Draw one bar per limit, as long as the share that is used."""
    places = np.arange(len(uses))
    used = [min(max(use.used or 0.0, 0.0), _USED_MAX) for use in uses]
    axes.barh(places, used, height=0.72, color=[_colour(use) for use in uses], linewidth=0)
    axes.axvline(1.0, color=RED, linewidth=1.2)
    for place, use in zip(places.tolist(), uses, strict=True):
        axes.annotate(
            _label(use), (1.12, place), va="center", fontsize=7.5, annotation_clip=False,
            color=INK if use.acted else MUTED,
        )  # fmt: skip
    axes.set_yticks(places, [use.name for use in uses], fontsize=7.5)
    for tick, use in zip(axes.get_yticklabels(), uses, strict=True):
        tick.set_color(RED if use.acted else INK)
    axes.tick_params(axis="y", length=0)
    axes.set_xlim(0, 1.62)
    axes.set_xticks([0, 0.25, 0.5, 0.75, 1.0], ["0", "25", "50", "75", "100 %"])
    axes.set_ylim(len(uses) - 0.4, -0.6)
    axes.grid(visible=False, axis="y")
    axes.spines["bottom"].set_visible(False)
    axes.set_title("Used of each limit, nearest first (a distance: from 10 cm before its margin)")


def _colour(use: Use) -> str:
    used = use.used or 0.0
    if use.acted or used >= _VERY_NEAR:
        return RED
    return AMBER if used >= _NEAR else BLUE


def _label(use: Use) -> str:
    share = f"{100 * (use.used or 0.0):.0f} %"
    acted = "  acted" if use.acted else ""
    if use.value is None:
        return share + acted
    if use.kind == "geometry":
        return f"{1e3 * use.value:.1f} mm{acted}"
    # what is left of a zero after three differences is rounding
    value = use.value if (use.used or 0.0) > _ROUNDING else 0.0
    return f"{share}  {value:.3g} {use.unit}{acted}"


def _around(record: Record, tick: int) -> NDArray[np.intp]:
    """Return the indices of the record's ticks around `tick`."""
    offset = record.scalar("tick") - tick
    found: NDArray[np.intp] = np.flatnonzero(np.abs(offset) <= _AROUND_TICKS)
    return found


def _most_telling(joints: Sequence[JointFact]) -> list[JointFact]:
    """Return the joints to draw: limited ones first, then those furthest from what was asked."""

    def weight(joint: JointFact) -> tuple[int, float, float]:
        asked = joint.applied_rad if joint.desired_rad is None else joint.desired_rad
        gap = abs(joint.applied_rad - asked)
        return len(joint.limited_by), gap, abs(joint.velocity_rad_s)

    return sorted(joints, key=weight, reverse=True)[:_STRIPS]


def _mode_strip(axes: Axes, record: Record, around: NDArray[np.intp], tick: int) -> None:
    """Draw the modes around the tick as coloured fields with their names."""
    offsets, modes = _offsets(record, around, tick), record.scalar("mode")[around]
    edges = np.flatnonzero(np.diff(modes)) + 1
    begins = np.concatenate(([0], edges))
    ends = np.concatenate((edges, [len(modes)])) - 1
    for begin, end in zip(begins.tolist(), ends.tolist(), strict=True):
        mode = Mode(int(modes[begin]))
        start, stop = float(offsets[begin]) - 0.5, float(offsets[end]) + 0.5
        axes.axvspan(start, stop, color=MODE_COLOURS[mode], linewidth=0, alpha=0.85)
        axes.text(start + 1, 0.5, mode.name, va="center", fontsize=7.5, color=PAPER, clip_on=True)
    axes.set(yticks=[], ylim=(0, 1))
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    axes.axvline(0, color=INK, linewidth=1)
    axes.set_title("Wanted and applied around the tick")


def _joint_strip(
    axes: Axes, record: Record, around: NDArray[np.intp], said: Explanation, joint: JointFact
) -> None:
    """Draw what one joint was asked, sent and measured, in mrad from its command in the tick."""
    number = [fact.joint for fact in said.joints].index(joint.joint)
    offsets = _offsets(record, around, said.tick)
    lines = (("q_desired", "asked for", AMBER, 2.4), ("q_applied", "applied", BLUE, 1.4),
             ("q", "measured", MUTED, 0.9))  # fmt: skip
    for field, label, colour, width in lines:
        values = record.ticks[field][around, number]
        shown = np.where(np.isfinite(values), 1e3 * (values - joint.applied_rad), np.nan)
        axes.plot(offsets, shown, color=colour, linewidth=width, label=label)
    limited = record.ticks["limited_by"][around, number] != 0
    for offset in offsets[limited].tolist():
        axes.axvspan(offset - 0.5, offset + 0.5, color=RED, alpha=0.10, linewidth=0)
    axes.axvline(0, color=INK, linewidth=1)
    axes.axhline(0, color=HAIR, linewidth=0.8)
    acted = f": {', '.join(joint.limited_by).lower()} acted" if joint.limited_by else ""
    axes.set_title(f"{joint.joint}{acted}", fontsize=8.5)
    axes.set_ylabel("mrad")


def _offsets(record: Record, around: NDArray[np.intp], tick: int) -> NDArray[np.int64]:
    """Return the tick numbers of `around`, counted from `tick`."""
    offsets: NDArray[np.int64] = record.scalar("tick")[around] - tick
    return offsets
