"""The gate's sockets and snapshots against bytes that are no messages: counted, never raised."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import zmq

from runtime.errors import SnapshotError
from runtime.gate_line import Line
from runtime.gate_wire import Beat, FromLearner, Progress, encode, from_learner
from runtime.snapshot import decode_snapshot
from tests.runtime.gate_line_kit import snapshot

NO_TEXT = encode(Progress(1, 2, "xx")).replace(b"xx", b"\xff\xfe")
ENDLESS = b"\x81\xa1x" + b"\x91" * 3000 + b"\x90"


@pytest.fixture
def line(tmp_path: Path) -> Iterator[tuple[Line[FromLearner], "zmq.Socket[bytes]"]]:
    with zmq.Context() as context:
        endpoint = f"ipc://{tmp_path}/l"
        bound: Line[FromLearner] = Line(context, endpoint, from_learner)
        with context.socket(zmq.DEALER) as sender:
            sender.connect(endpoint)
            yield bound, sender
        bound.close()


@pytest.mark.parametrize("garbage", [b"", b"\xff", NO_TEXT, ENDLESS, NO_TEXT[:-1]])
def test_what_is_no_message_is_counted(
    line: tuple[Line[FromLearner], "zmq.Socket[bytes]"], garbage: bytes
) -> None:
    bound, sender = line
    sender.send(garbage)
    sender.send(encode(Beat()))
    heard: list[FromLearner] = []
    while not heard and bound.socket.poll(5000):
        heard += bound.received(10)
    assert heard == [Beat()]
    assert bound.odd == 1 and bound.last_odd


def test_a_snapshot_that_is_none_says_so() -> None:
    whole = snapshot(3)
    text = whole.index(b"\xa1c")
    for data in (b"", whole[:-1], whole[:text] + b"\xa1\xff" + whole[text + 2 :], ENDLESS):
        with pytest.raises(SnapshotError, match="no snapshot"):
            decode_snapshot(data)
