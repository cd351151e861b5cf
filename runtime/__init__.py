"""The control daemon: contracts, safety, tick, loop, links, recorder, processes, command line."""

import runtime.blas  # noqa: F401 - before anything imports numpy
