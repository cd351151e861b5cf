"""Both ends of the line between control and gate, each closed with its test.

What they need is imported where it is used: most tests here need none of it, and the mutation run
starts them thousands of times.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from runtime.gate_client import GateConnection
    from runtime.gate_line import Line
    from runtime.gate_wire import FromControl
    from runtime.record_format import RecorderPlace


@pytest.fixture
def place(tmp_path: Path) -> "RecorderPlace":
    """Where a run's sockets and records lie."""
    from tests.runtime.recording_kit import make_place

    return make_place(tmp_path)


@pytest.fixture
def gate(place: "RecorderPlace") -> "Iterator[Line[FromControl]]":
    """The gate's end, in the test's own hands."""
    import zmq

    from runtime.gate_line import Line
    from runtime.gate_wire import from_control

    context = zmq.Context()
    line: Line[FromControl] = Line(context, place.gate_endpoint, from_control)
    yield line
    line.close()
    context.term()


@pytest.fixture
def paced(place: "RecorderPlace", gate: "Line[FromControl]") -> "Iterator[GateConnection]":
    """Control's end in lockstep: it waits for the learner."""
    from runtime.gate_client import GateConnection
    from tests.runtime.gate_line_kit import ACTIONS

    connection = GateConnection(place, ACTIONS, lost_after_s=0.5, lag_steps=5, wait_s=20.0)
    yield connection
    connection.close()
