"""One injector for every fault of the table: it makes the fault happen, and proves that it did.

injector = INJECTORS[Fault.LINK_LOST]()
loop = ControlLoop(injector.attach(parts), ...)
injector.active = True
"""

from runtime.faults import Fault
from sims import inside_injectors as inside
from sims import learning_injectors as learning
from sims import outside_injectors as outside
from sims.injector import Injector

_ALL: tuple[type[Injector], ...] = (
    outside.JointsStale,
    outside.GroupStale,
    outside.SequenceGap,
    outside.ObservationNotFinite,
    outside.ObservationImplausible,
    outside.WallClockStepped,
    outside.LinkLost,
    outside.DeviceStopped,
    outside.DeviceLetGo,
    outside.DeviceNotReady,
    outside.DeviceNotArmed,
    outside.TorqueAboveGuard,
    outside.NotFollowing,
    outside.JointTooFast,
    outside.ToolTooFast,
    outside.ElbowTooFast,
    outside.WorkspaceLeft,
    outside.ContactTooHard,
    outside.StartRefused,
    inside.BaseNotFinite,
    inside.BaseStale,
    inside.BaseFailed,
    inside.InferenceSlow,
    inside.ObservationUnfamiliar,
    learning.ResidualNotFinite,
    learning.ResidualFailed,
    learning.ResidualOutOfBound,
    learning.SnapshotRefused,
    learning.GateLost,
    learning.LearnerLost,
    learning.SuccessFell,
    learning.SuccessBelowBase,
    learning.ResidualLimited,
    learning.ResidualSaturated,
    learning.ResidualPresses,
    learning.CriticMisjudges,
    learning.UpdateGuardPassed,
    learning.WeightsStale,
    learning.ResidualHeld,
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
