"""One injector for every fault of the table: it makes the fault happen, and proves that it did.

injector = INJECTORS[Fault.LINK_LOST]()
loop = ControlLoop(injector.attach(parts), ...)
injector.active = True
"""

from runtime.faults import Fault
from sims import inside_injectors as inside
from sims import outside_injectors as outside
from sims.injector import Injector

_ALL: tuple[type[Injector], ...] = (
    outside.JointsStale,
    outside.GroupStale,
    outside.SequenceGap,
    outside.ObservationNotFinite,
    outside.LinkLost,
    outside.TorqueAboveGuard,
    outside.NotFollowing,
    outside.ToolTooFast,
    outside.StartRefused,
    inside.BaseNotFinite,
    inside.BaseStale,
    inside.BaseFailed,
    inside.WorkspaceLeft,
    inside.ResidualNotFinite,
    inside.TooMuchAsked,
    inside.TickRaised,
    inside.DeadlineMissed,
    inside.DeadlinesMissed,
    inside.RecordDropped,
    inside.RecorderLost,
    inside.OperatorStop,
    inside.SupervisorLost,
)

INJECTORS: dict[Fault, type[Injector]] = {injector.fault: injector for injector in _ALL}
