"""The MuJoCo plant as hardware behind the protocol: what it measures, what its drives follow."""

from runtime.layout import Floats
from runtime.messages import TaskSignal
from runtime.robot_codes import OutcomeCode, SignalCode
from runtime.robot_wire import GroupSample
from sims.device import CommandReceiver
from sims.driver import EpisodeDriver
from sims.plant import Plant
from sims.robot_device import Measured, Outgoing, RobotDevice


class DriveLine(CommandReceiver):
    """The drives behind the device: its target, as late as the field says. It judges nothing."""

    def __init__(self, start_rad: Floats, period_ns: int, latency_s: float) -> None:
        super().__init__(start_rad, period_ns, latency_s)
        self._driven = False

    @property
    def holding(self) -> bool:
        """True while no commands are executed."""
        return not self._driven

    def renew(self, target_rad: Floats, *, driven: bool) -> None:
        """Follow another target [n] from the next period on."""
        self._target[:] = target_rad
        self._driven = driven


class BridgedRobot:
    """Plant, device and the person at the bench. `episode_s`: how long an episode lasts; `bus_ns`:
    how long before a period its joints were measured.

    All samples are stamped by the device's clock, which `step` is given.
    """

    def __init__(
        self, plant: Plant, device: RobotDevice, episode_s: float, bus_ns: int = 0
    ) -> None:
        latency_s = plant.config.field_block(plant.config.field).action_latency_s
        self.plant = plant
        self.device = device
        self._line = DriveLine(plant.q.copy(), plant.period_ns, latency_s)
        plant.device = self._line
        self._bus_ns = bus_ns
        self._person = EpisodeDriver(plant, episode_s)
        self._task = GroupSample(0, 0, (0.0,) * len(plant.perception.pose))

    def step(self, now_ns: int, skipped: int) -> list[Outgoing]:
        """Begin one period: tell what was measured, and renew what the drives follow.

        `skipped`: periods that passed before it without simulation; the robot stood still in them.
        """
        self.plant.skip(skipped)
        out = self.device.step(now_ns, self._measure(now_ns), skipped)
        self._line.renew(self.device.target_rad, driven=self.device.driven)
        return out

    def simulate(self) -> None:
        """Let the period happen."""
        self.plant.step(None)
        for signal in self._person.step():
            self._signal(signal)

    def _signal(self, signal: TaskSignal) -> None:
        self.device.signal(SignalCode(signal.kind), OutcomeCode(signal.outcome), signal.target)

    def _measure(self, now_ns: int) -> Measured:
        plant, task = self.plant, self.plant.perception
        if task.sequence != self._task.sequence:
            taken_ns = now_ns - (plant.now_ns - task.stamp_ns)
            # the plant's clock and the device's run apart by the jitter of this process
            stamp_ns = max(taken_ns, self._task.stamp_ns + 1)
            self._task = GroupSample(task.sequence, stamp_ns, tuple(task.pose.tolist()))
        joints = (*plant.q.tolist(), *plant.dq.tolist(), *plant.tau.tolist())
        groups = (
            GroupSample(plant.sequence, now_ns - self._bus_ns, joints),
            GroupSample(plant.sequence, now_ns - self._bus_ns, tuple(plant.force.tolist())),
            self._task,
        )
        return Measured(plant.q.copy(), plant.dq.copy(), groups)


class DriftingClock:
    """The device's own clock: monotonic, and `ppm` millionths faster than `now_ns`'s."""

    def __init__(self, start_ns: int, ppm: float) -> None:
        self._start_ns = start_ns
        self._share = ppm * 1e-6

    def of(self, real_ns: int) -> int:
        """Return what the device's clock shows at a time of this machine's."""
        since_ns = real_ns - self._start_ns
        return real_ns + round(since_ns * self._share)
