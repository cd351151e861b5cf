"""What people said of the residual in this run and what of it still holds.

The port asks whether an order can be taken; the gate's client asks what holds in this very tick, so
that a drop needs neither gate nor learner. The gate itself reads the orders in the record.
"""

from runtime.wire import Order, OrderKind

_RESUME = "`trimtab residual resume`"
_ANSWERS = {
    OrderKind.PIN: "The gate returns to version {order.version} and lets nothing newer go live; "
    f"{_RESUME} ends it.",
    OrderKind.DROP: f"The base works alone from this tick on, until {_RESUME}.",
    OrderKind.SHADOW: "The residual is computed and moves nothing from this tick on, until "
    f"{_RESUME}.",
    OrderKind.RESUME: "It earns its authority anew.",
}


class Orders:
    """Orders that hold. `residual`: whether this run has one at all.

    `dropped`: nothing of the residual reaches the robot. `shadow`: it is computed all the same.
    `pinned`: the version that it shall run; 0: none. `resumed`: how often people gave it free.
    `words` says what holds and who said so; empty: nothing.
    """

    def __init__(self, *, residual: bool) -> None:
        self._residual = residual
        self.dropped = self.shadow = False
        self.pinned = 0
        self.resumed = 0
        self._said: dict[OrderKind, str] = {}

    @property
    def words(self) -> str:
        """What holds, and who said so."""
        return ", ".join(self._said.values())

    def take(self, order: Order) -> str:
        """Let an order hold from now on; return why not, empty if it does."""
        why_not = self._refusal(order)
        if why_not:
            return why_not
        self._said[order.kind] = described(order)
        match order.kind:
            case OrderKind.PIN:
                self.pinned = order.version
            case OrderKind.DROP:
                self.dropped = True
            case OrderKind.SHADOW:
                self.shadow = True
            case OrderKind.RESUME:
                self.dropped = self.shadow = False
                self.pinned = 0
                self.resumed += 1
                self._said.clear()
        return ""

    def _refusal(self, order: Order) -> str:
        if not self._residual:
            return (
                "this robot runs without a residual; start it with `trimtab run --residual` (what "
                "was learnt) or `--learn`"
            )
        if order.kind is OrderKind.PIN and order.version < 1:
            return (
                f"version {order.version}; versions that were learnt count from 1, and the base "
                "alone is `trimtab residual drop`"
            )
        if self.dropped and order.kind in (OrderKind.PIN, OrderKind.SHADOW):
            return f"the residual is dropped; {_RESUME} first"
        return ""


def described(order: Order) -> str:
    """Return an order and who gave it, in words."""
    what = f"{order.kind.value} {order.version}" if order.version else order.kind.value
    return f"{what} ({order.who})"


def answer(order: Order) -> str:
    """Return what a person hears whose order was taken."""
    return f"It is in the record. {_ANSWERS[order.kind].format(order=order)}"
