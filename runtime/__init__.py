"""The control daemon: contracts, safety, tick, loop, links, recorder, processes, command line."""
