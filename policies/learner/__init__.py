"""The learner's algorithms, in torch: replay, networks, SAC and TD3, and what keeps them honest.

No socket, process or file is opened here; only the learner's own process may import this package.
"""
