"""The residual's slot: the zero residual, which every learned one replaces."""

from runtime.layout import Floats
from runtime.messages import TickRecord


class ZeroResidual:
    """Version 0: asks for exactly nothing."""

    @property
    def version(self) -> int:
        """The snapshot's version, 0."""
        return 0

    def act(self, record: TickRecord, base_action: Floats, out: Floats) -> None:
        """Write zeros (shape [action]) into `out`."""
        out[:] = 0.0
