"""The threads by which ZeroMQ moves a robot's messages: never behind those of a busy machine."""

import os

import zmq

from runtime.realtime import grants


def new_context(priority: int | None) -> "zmq.Context[zmq.Socket[bytes]]":
    """Return a context of its own, whose threads run under SCHED_FIFO with `priority`.

    As any other threads where it is None or refused: who asks for it asks for its own thread too,
    and says there what was refused.
    """
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    if priority is not None and grants(priority):
        # before the first socket, with which the threads begin
        context.set(zmq.THREAD_SCHED_POLICY, os.SCHED_FIFO)
        context.set(zmq.THREAD_PRIORITY, priority)
    return context
