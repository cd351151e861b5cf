"""The planar arm as a Link. The config names `open_link`; nothing else of ours knows this file."""

from collections.abc import Sequence
from pathlib import Path

from runtime.clock import Clock, LockstepClock, MonotonicClock, seconds_to_ns
from runtime.config import Config, parse, resolve
from runtime.envelope.certificate import Certificate
from runtime.errors import ConfigError, LinkError
from runtime.interfaces import CertifiedCommand, LinkDescription
from runtime.messages import GroupSize, TaskSignal, TickInputs
from runtime.robot_spec import RobotSpec
from tests.planar.driver import ReachDriver
from tests.planar.plant import Plant, ReachSim

GROUPS = (GroupSize("task", 2),)


class PlanarLink:
    """The arm waits for every command (lockstep), or goes on with CLOCK_MONOTONIC.

    In lockstep `write` simulates one servo period. In real time `read` simulates what passed since
    the last call: an arm of its own goes on whether or not it is commanded.
    Group `task`: the goal's x and y in base (m).
    """

    def __init__(self, plant: Plant, robot: RobotSpec, episode_s: float, *, lockstep: bool) -> None:
        self.plant = plant
        self._driver = ReachDriver(plant, episode_s)
        self._robot = robot
        self._simulated = LockstepClock() if lockstep else None
        self._clock: Clock = self._simulated or MonotonicClock()
        self._received_ns = self._clock.now_ns()
        self._until_ns: int | None = None
        self._catch_up_ns = seconds_to_ns(plant.sim.catch_up_s)
        self._signals: list[TaskSignal] = []
        self._open = True

    @property
    def clock(self) -> Clock:
        """The clock that stamps what `read` delivers."""
        return self._clock

    def describe(self) -> LinkDescription:
        """Return what stands behind the link."""
        return LinkDescription(
            robot=self._robot.name,
            joint_names=self._robot.joint_names,
            groups=GROUPS,
            simulated=True,
            lockstep=self._simulated is not None,
            seeds={"sim": self.plant.sim.seed},
        )

    def read(self, inputs: TickInputs) -> None:
        """Put the newest sample of each group into `inputs`."""
        if self._simulated is None:
            self._simulate(self._periods_passed())
        plant = self.plant
        inputs.q[:] = plant.q
        inputs.dq[:] = plant.dq
        inputs.tau[:] = plant.tau
        inputs.view["observation_task"][:] = plant.goal_m
        inputs.group_sequence[:] = plant.sequence
        inputs.group_device_stamp_ns[:] = plant.now_ns
        inputs.group_received_ns[:] = self._received_ns
        inputs.link_received_ns[0] = self._received_ns

    def signals(self) -> Sequence[TaskSignal]:
        """Return the driver's signals since the last call, oldest first."""
        signals, self._signals = self._signals, []
        return signals

    def news(self) -> Sequence[str]:
        """The simulated device says nothing in words."""
        return ()

    def arm(self, epoch: int) -> None:
        """The simulated device takes every newer epoch."""

    def write(self, certified: CertifiedCommand | None) -> None:
        """Hand a command to the device; in lockstep, simulate the period that it is for.

        Raises:
            LinkError: the link is closed, or the certificate is not the envelope's.
        """
        if not self._open:
            raise LinkError("the planar link is closed; open a new one to drive the arm")
        if certified is not None:
            if not isinstance(certified, Certificate):
                raise LinkError(
                    f"link.write was given a {type(certified).__name__}; allowed: a command with "
                    "the envelope's certificate, or None"
                )
            self.plant.device.accept(certified.command, self.plant.now_ns)
        if self._simulated is not None:
            self._simulated.advance(self.plant.period_ns)
            self._simulate(1)

    def close(self) -> None:
        """Let go of the arm."""
        self._open = False

    def _simulate(self, periods: int) -> None:
        for _ in range(periods):
            self.plant.step()
            self._signals.extend(self._driver.step())
        if periods:
            self._received_ns = self._clock.now_ns()

    def _periods_passed(self) -> int:
        """Return how many servo periods to simulate now, and move the time up to which it is."""
        period_ns, now_ns = self.plant.period_ns, self._clock.now_ns()
        if self._until_ns is None or now_ns - self._until_ns > self._catch_up_ns:
            # the first call sets the phase; after a long pause the lost time stays lost
            self._until_ns = now_ns - period_ns
        # half a period of tolerance: a little early or late still is one period
        periods = (now_ns - self._until_ns + period_ns // 2) // period_ns
        self._until_ns += periods * period_ns
        return periods


def open_link(
    config: Config,
    config_file: Path,
    robot: RobotSpec,
    episode_s: float,
    *,
    lockstep: bool,
    field: str | None = None,
    seed: int | None = None,
) -> PlanarLink:
    """Return the simulation that the config's `sim` block describes; see LinkFactory.

    Raises:
        ConfigError: the block cannot be used, or a field was asked for.
    """
    if field is not None:
        raise ConfigError(f"--field {field}: this simulation has no fields; leave the option out")
    data = config.sim if seed is None else {**config.sim, "seed": seed}
    sim = parse(ReachSim, data, "sim")
    plant = Plant(resolve(robot.tool.mjcf, config_file), robot, sim, config.control.servo_hz)
    return PlanarLink(plant, robot, episode_s, lockstep=lockstep)
