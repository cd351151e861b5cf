"""A learner gone mad: garbage and oversized messages, as fast as the socket takes them."""

import os
import sys

import zmq

from runtime.gate_wire import MAX_FRAME_BYTES, Beat, encode


def main() -> None:
    os.nice(10)
    socket: zmq.Socket[bytes] = zmq.Context.instance().socket(zmq.DEALER)
    socket.setsockopt(zmq.LINGER, 0)
    socket.setsockopt(zmq.SNDHWM, 100)
    socket.connect(sys.argv[1])
    large = b"\x00" * (MAX_FRAME_BYTES + 1)
    number = 0
    while True:
        number += 1
        socket.send(large if number % 1000 == 0 else b"\xff" * 200)
        if number % 50 == 0:
            socket.send(encode(Beat()))


if __name__ == "__main__":
    main()
