"""Errors that a person reads: each names what was found, what is allowed, and the way out."""

# what a decoder may raise at bytes of a stranger: its own errors are ValueErrors, as are texts that
# are no UTF-8, but nesting without end and huge numbers are not
UNREADABLE = (ValueError, RecursionError, OverflowError, MemoryError)


class TrimtabError(Exception):
    """Base of every error that the command line prints as a sentence instead of a traceback."""

    exit_code = 1


class ConfigError(TrimtabError):
    """The config, robot spec or a path in them cannot be used; the message names key and value."""

    exit_code = 2


class ContractError(TrimtabError):
    """A policy file contradicts robot spec, config or itself; names the term and both values."""

    exit_code = 3


class RecordError(TrimtabError):
    """A record cannot be read or replayed."""

    exit_code = 4


class StartRefused(TrimtabError):
    """The daemon refuses to start or to move, although the files are well formed."""

    exit_code = 5


class LinkError(TrimtabError):
    """The robot or its simulation cannot be reached or driven."""

    exit_code = 6


class SnapshotError(TrimtabError):
    """A residual's snapshot cannot be used; says which check it failed."""

    exit_code = 9


class LearnerError(TrimtabError):
    """The learner was given what it cannot learn from, or cannot resume what was saved."""

    exit_code = 10
