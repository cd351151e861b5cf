"""What every test session shares."""

from hypothesis import settings

# the same examples on every machine and in every run: a failure is never a matter of luck
settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.load_profile("repeatable")
