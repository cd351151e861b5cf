"""Units that people mix up: a value too large to be meant is refused, with the unit that it is
likely in and what it would be in ours."""

import math

from pydantic import AfterValidator

_THOUSAND = 1e3
_DEGREES_PER_RADIAN = 180.0 / math.pi


def radians(most: float) -> AfterValidator:
    """Refuse an angle (or its derivative by time) above `most` in size: it looks like degrees."""
    return _bound(most, "degrees", "radians", _DEGREES_PER_RADIAN)


def metres(most: float) -> AfterValidator:
    """Refuse a length (or speed) above `most` in size: it looks like millimetres."""
    return _bound(most, "millimetres", "metres", _THOUSAND)


def newton_metres(most: float) -> AfterValidator:
    """Refuse a torque above `most` in size: it looks like N mm."""
    return _bound(most, "newton millimetres", "newton metres", _THOUSAND)


def newtons(most: float) -> AfterValidator:
    """Refuse a force above `most` in size: it looks like mN."""
    return _bound(most, "millinewtons", "newtons", _THOUSAND)


def kilograms(most: float) -> AfterValidator:
    """Refuse a mass above `most` in size: it looks like grams."""
    return _bound(most, "grams", "kilograms", _THOUSAND)


def _bound(most: float, mistaken: str, unit: str, ratio: float) -> AfterValidator:
    def check(value: float) -> float:
        # not `>`: NaN must not pass, whoever checks finiteness before or after
        if not (abs(value) <= most):
            raise ValueError(
                f"{value!r} looks like {mistaken}; in {unit} that is {value / ratio:.4g} "
                f"(allowed: up to {most:.4g} {unit})"
            )
        return value

    return AfterValidator(check)
