"""`trimtab` whose control process is tests.benchmarks.matrix_control; all else is the product."""

from collections.abc import Sequence
from unittest.mock import patch

from runtime import supervisor
from runtime.cli import main
from runtime.control_process import command as control_command
from runtime.record_format import RecorderPlace

CONTROL = "tests.benchmarks.matrix_control"


def command(place: RecorderPlace, options: Sequence[str]) -> list[str]:
    """Return control's command line with the other module."""
    words = control_command(place, options)
    words[words.index("-m") + 1] = CONTROL
    return words


if __name__ == "__main__":
    with patch.object(supervisor, "control_command", command):
        main()
