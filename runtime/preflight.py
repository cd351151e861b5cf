"""Checks before anything may move that no other file is the natural home of."""

from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path

from runtime.errors import StartRefused

OWN_PACKAGES = ("runtime", "policies", "sims")


def require_own_packages(names: Iterable[str] = OWN_PACKAGES) -> None:
    """Prove that the import packages `names` are ours: they lie in one folder, beside this one.

    The names are common ones; another distribution that installs one of them would be imported in
    place of ours, in the middle of a control program.

    Raises:
        StartRefused: one is missing, or comes from elsewhere.
    """
    home = Path(__file__).resolve().parent.parent
    for name in names:
        spec = find_spec(name)
        if spec is None or spec.origin is None:
            raise StartRefused(f"the package {name!r} is not installed; expected in {home}")
        found = Path(spec.origin).resolve().parent
        if found != home / name:
            raise StartRefused(
                f"the package {name!r} comes from {found}, not from {home}: another distribution "
                f"shadows it. Uninstall that one, or start from an environment of your own"
            )
