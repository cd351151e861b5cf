"""What every fault injector is: something between the parts of a loop that can be switched on."""

import time
from abc import ABC, abstractmethod
from typing import ClassVar

from runtime.clock import seconds_to_ns
from runtime.errors import LinkError
from runtime.faults import Fault
from runtime.interfaces import Link
from runtime.loop import LoopParts
from sims.faulty import FaultyLink, Switch
from sims.link import SimulatedLink
from sims.plant import Plant


class Injector(ABC):
    """Puts itself between the parts of a loop; `active` switches it on and off at any time."""

    fault: ClassVar[Fault]

    def __init__(self) -> None:
        self._switch = Switch()

    @property
    def active(self) -> bool:
        """Whether the damage is done now."""
        return self._switch.active

    @active.setter
    def active(self, on: bool) -> None:
        self._switch.active = on

    @property
    def acted(self) -> int:
        """How many times this injector changed something."""
        return self._switch.acted

    @abstractmethod
    def attach(self, parts: LoopParts) -> LoopParts:
        """Return `parts` with this injector in between.

        Raises:
            LinkError: the injector needs a simulated plant and the link has none.
        """


def plant_of(link: Link) -> Plant:
    """Return the plant behind a simulated link.

    Raises:
        LinkError: the link is not simulated.
    """
    while isinstance(link, FaultyLink):
        link = link.inner
    if not isinstance(link, SimulatedLink):
        raise LinkError(
            f"this fault is injected into the plant, but the link is a {type(link).__name__}; "
            "use a simulated link"
        )
    return link.plant


def let_time_pass(link: Link, seconds: float) -> None:
    """Let the link's clock run without commands: simulated in lockstep, real otherwise."""
    if not link.describe().lockstep:
        time.sleep(seconds)
        return
    until_ns = link.clock.now_ns() + seconds_to_ns(seconds)
    while link.clock.now_ns() < until_ns:
        link.write(None)
