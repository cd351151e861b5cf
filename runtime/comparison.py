"""The base alone against what was learnt, on the same starts: from their records alone."""

import math
from collections.abc import Sequence

import msgspec
import numpy as np

from runtime.amounts import format_span
from runtime.errors import RecordError
from runtime.messages import Outcome, Phase, Stage
from runtime.records import Record
from runtime.residual_tally import grant_of
from runtime.summary import Proportion, Summary, success_of, summary

_Z95 = 1.959963984540054
_KNOWN = (Outcome.SUCCESS.name, Outcome.FAILURE.name, Outcome.ABORT.name, Outcome.TIMEOUT.name)


class PartNumbers(msgspec.Struct, frozen=True):
    """One record of a trial. `cycle_s`: mean length of an episode, failures included.
    `pressed_share`: of the ticks in episodes, with a contact force above the threshold;
    `limited_share`: of the ticks with a command, with an invariant acting. `robot_s`: policy steps
    over the policy's rate. `promoted`, `refused`: candidates of the learner. `own`, `left`: success
    of the residual's own episodes and of those left to the base; None without any. `earned`: in
    part of it the residual had authority that it had earned; `why`: the gate's last word on it."""

    run: str
    success: Proportion | None
    own: Proportion | None
    left: Proportion | None
    earned: bool
    why: str
    cycle_s: float
    pressed_share: float
    force_max_n: float
    limited_share: float
    policy_steps: int
    robot_s: float
    version: int
    promoted: int
    refused: int


class Comparison(msgspec.Struct, frozen=True):
    """Base and deployed residual on the same starts. `difference`: of their success, deployed
    minus base, with its 95 % interval, over `pairs` starts whose outcome is known in both;
    `only_base` and `only_deployed` succeeded in one alone. `learning`: the record in between."""

    base: PartNumbers
    deployed: PartNumbers
    learning: PartNumbers | None
    pressed_above_n: float
    pairs: int
    only_base: int
    only_deployed: int
    difference: float
    low: float
    high: float


def compare(
    base: Record, deployed: Record, learning: Record | None, pressed_above_n: float
) -> Comparison:
    """Compare two records episode by episode.

    Raises:
        RecordError: they are not of the same starts, or no episode ended in both.
    """
    for what, first, second in (
        ("seeds", base.header.seeds, deployed.header.seeds),
        ("field", base.header.link.get("field"), deployed.header.link.get("field")),
    ):
        if first != second:
            raise RecordError(
                f"{what}: {base.header.run} has {first}, {deployed.header.run} {second}; only "
                "records of the same starts can be paired: run both with the same --seed and "
                "--field"
            )
    numbers = summary(base), summary(deployed)
    before, after = (_outcomes(one) for one in numbers)
    both = sorted(before.keys() & after.keys())
    if not both:
        raise RecordError(
            f"{base.header.run} and {deployed.header.run}: no episode has a known outcome in "
            "both; record at least one in each"
        )
    only_base = sum(before[e] and not after[e] for e in both)
    only_deployed = sum(after[e] and not before[e] for e in both)
    low, high = paired_interval(only_deployed, only_base, len(both))
    return Comparison(
        base=part_numbers(base, numbers[0], pressed_above_n),
        deployed=part_numbers(deployed, numbers[1], pressed_above_n),
        learning=None
        if learning is None
        else part_numbers(learning, summary(learning), pressed_above_n),
        pressed_above_n=pressed_above_n,
        pairs=len(both),
        only_base=only_base,
        only_deployed=only_deployed,
        difference=(only_deployed - only_base) / len(both),
        low=low,
        high=high,
    )


def paired_interval(only_first: int, only_second: int, pairs: int) -> tuple[float, float]:
    """Return the 95 % interval of p_first - p_second from the counts of pairs that differ.

    Adjusted Wald interval for matched pairs (Agresti and Min 2005), cut at -1 and 1.
    """
    first, second, count = only_first + 0.5, only_second + 0.5, pairs + 2.0
    difference = (first - second) / count
    half = _Z95 * math.sqrt(first + second - (first - second) ** 2 / count) / count
    return max(-1.0, difference - half), min(1.0, difference + half)


def part_numbers(record: Record, numbers: Summary, pressed_above_n: float) -> PartNumbers:
    """Return what of one record goes into the comparison."""
    running = record.scalar("phase") == Phase.RUNNING
    force_n = record.scalar("contact_force_n")[running]
    lengths_s = [row.duration_s for row in numbers.episodes if row.outcome in _KNOWN]
    residual = numbers.residual
    rate_hz = record.header.rate_hz() or record.header.servo_hz
    steps = int(record.scalar("base_sequence")[-1]) if len(record) else 0
    return PartNumbers(
        run=record.header.run,
        success=numbers.success,
        own=success_of([row for row in numbers.episodes if not row.base_alone]),
        left=success_of([row for row in numbers.episodes if row.base_alone]),
        earned=bool((record.scalar("residual_stage") == Stage.ADAPTIVE).any()),
        why=next((told.why for e in reversed(record.events) if (told := grant_of(e))), ""),
        cycle_s=float(np.mean(lengths_s)) if lengths_s else 0.0,
        pressed_share=float(np.mean(force_n > pressed_above_n)) if len(force_n) else 0.0,
        force_max_n=float(force_n.max(initial=0.0)),
        limited_share=numbers.limited_share,
        policy_steps=steps,
        robot_s=steps / rate_hz,
        version=residual.version if residual else 0,
        promoted=residual.promoted if residual else 0,
        refused=residual.refused if residual else 0,
    )


def _outcomes(numbers: Summary) -> dict[int, bool]:
    """Return whether each episode with a known outcome succeeded."""
    return {
        row.episode: row.outcome == Outcome.SUCCESS.name
        for row in numbers.episodes
        if row.outcome in _KNOWN
    }


def comparison_rows(found: Comparison, parts: Sequence[PartNumbers]) -> list[tuple[str, list[str]]]:
    """Return the comparison's rows: a label and one cell for each part."""
    above = f"contact above {found.pressed_above_n:g} N"
    return [
        ("success", [_successes(part.success) for part in parts]),
        ("  95 % interval", [_interval(part) for part in parts]),
        ("  the residual's own", [_successes(part.own) for part in parts]),
        ("  left to the base", [_successes(part.left) for part in parts]),
        ("cycle time", [f"{part.cycle_s:.2f} s" for part in parts]),
        (above, [f"{part.pressed_share:.2%} of time" for part in parts]),
        ("largest contact", [f"{part.force_max_n:.0f} N" for part in parts]),
        ("limited ticks", [f"{part.limited_share:.2%}" for part in parts]),
        ("robot time", [format_span(part.robot_s) for part in parts]),
        ("policy steps", [f"{part.policy_steps:,}" for part in parts]),
        ("version at the end", [str(part.version) for part in parts]),
        ("candidates", [_candidates(part) for part in parts]),
    ]


def difference_words(found: Comparison) -> str:
    """Return the paired difference of success with its interval."""
    return (
        f"success: {100 * found.difference:+.1f} points, 95 % interval of the paired difference "
        f"{100 * found.low:+.1f} to {100 * found.high:+.1f}"
    )


def starts_words(found: Comparison) -> str:
    """Return on how many starts only one of the two succeeded."""
    return (
        f"starts that succeeded only with what was learnt: {found.only_deployed}, only with the "
        f"base alone: {found.only_base}, of {found.pairs}"
    )


def owner_words(found: Comparison) -> str:
    """Return, where at least half of what is called learnt was the base's own work, that it was
    and why; else nothing."""
    part, before = found.deployed, found.learning
    own, left = (share.count if share else 0 for share in (part.own, part.left))
    if own > left:
        return ""
    which = f"{left} of the {own + left}" if own else f"All {left}"
    if part.earned:
        why = part.why
    else:
        why = "no authority was earned"
        if before is not None and before.why:
            why += f" (the gate's last word while learning: {before.why})"
    return (
        f'{which} episodes under "learnt" are the base\'s own and say nothing of what was learnt: '
        f"{why}"
    )


def _successes(share: Proportion | None) -> str:
    return "none" if share is None else f"{share.successes}/{share.count} = {share.share:.1%}"


def _interval(part: PartNumbers) -> str:
    share = part.success
    return "" if share is None else f"{share.low:.1%} to {share.high:.1%}"


def _candidates(part: PartNumbers) -> str:
    if not part.promoted and not part.refused:
        return "none"
    return f"{part.promoted} passed, {part.refused} refused"
