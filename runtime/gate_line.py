"""The gate's two sockets: what comes in is decoded, counted and bounded; nothing is trusted."""

from collections.abc import Iterator
from typing import Generic, TypeVar

import msgspec
import zmq
from zmq.utils.monitor import recv_monitor_message

from runtime.errors import UNREADABLE
from runtime.gate_wire import MAX_FRAME_BYTES, ToControl, ToLearner, encode

Message = TypeVar("Message")

# beyond so many times the limit the transport cuts the sender off without reading any of it
_CUT_OFF = 4
# of the largest messages so many may wait, then the sender has to
_WAITING_FRAMES = 16


class Line(Generic[Message]):
    """A bound DEALER with one peer, whose messages have at most `bytes_max`. `odd` counts what
    could not be understood, `last_odd` says of the last one why; `cut` counts lost connections.
    """

    def __init__(
        self,
        context: "zmq.Context[zmq.Socket[bytes]]",
        endpoint: str,
        decoder: msgspec.msgpack.Decoder[Message],
        bytes_max: int = MAX_FRAME_BYTES,
    ) -> None:
        self._decoder = decoder
        self._bytes_max = bytes_max
        self.odd = self.cut = 0
        self.last_odd = ""
        self.socket = context.socket(zmq.DEALER)
        self.socket.setsockopt(zmq.LINGER, 0)
        self.socket.setsockopt(zmq.RCVHWM, _WAITING_FRAMES)
        self.socket.setsockopt(zmq.SNDHWM, 1000)
        self.socket.setsockopt(zmq.MAXMSGSIZE, _CUT_OFF * bytes_max)
        self._monitor = self.socket.get_monitor_socket(zmq.EVENT_DISCONNECTED)
        self.socket.bind(endpoint)

    def received(self, most: int) -> Iterator[Message]:
        """Yield up to `most` messages that are here and can be understood."""
        for _ in range(most):
            try:
                data = self.socket.recv(zmq.NOBLOCK)
            except zmq.Again:
                return
            if len(data) > self._bytes_max:
                self._note(f"{len(data)} bytes; a message has at most {self._bytes_max}")
                continue
            try:
                message = self._decoder.decode(data)
            except UNREADABLE as error:
                self._note(f"{len(data)} bytes that are no message: {error}")
                continue
            yield message

    def send(self, message: ToControl | ToLearner) -> bool:
        """Send without waiting; False when nobody is there or nobody reads."""
        try:
            self.socket.send(encode(message), zmq.NOBLOCK)
        except zmq.Again:
            return False
        return True

    def count_cuts(self) -> None:
        """Renew `cut`: the peer ended, or sent far more at once than is allowed."""
        while self._monitor.poll(0):
            recv_monitor_message(self._monitor)
            self.cut += 1

    def close(self) -> None:
        """Close the socket."""
        self.socket.disable_monitor()
        self._monitor.close(linger=0)
        self.socket.close()

    def _note(self, why: str) -> None:
        self.odd += 1
        self.last_odd = why
