"""Sizes and durations as a person writes them."""

_UNITS = ("B", "kB", "MB", "GB", "TB")


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
