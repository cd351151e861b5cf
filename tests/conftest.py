"""What every test session shares."""

# first of all: it says how numpy's sums are to be added up, see there
import runtime  # noqa: F401

from hypothesis import settings  # isort: skip

# the same examples on every machine and in every run: a failure is never a matter of luck
settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.load_profile("repeatable")
