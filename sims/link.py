"""The simulated robot as a Link: in lockstep (it waits for every command) or in real time."""

from collections.abc import Sequence
from pathlib import Path

from runtime.clock import Clock, LockstepClock, MonotonicClock, seconds_to_ns
from runtime.config import Config, resolve
from runtime.envelope.certificate import Certificate
from runtime.errors import LinkError
from runtime.interfaces import CertifiedCommand, LinkDescription
from runtime.messages import Command, GroupSize, TaskSignal, TickInputs
from runtime.robot_spec import RobotSpec
from sims.config import load_sim
from sims.driver import EpisodeDriver
from sims.plant import Plant

GROUPS = (GroupSize("force", 3), GroupSize("task", 4))


class SimulatedLink:
    """What both links share: the plant's samples, the driver's signals, the certificate check.

    Groups: `force` = tared, filtered force of the surroundings on the tool (N, base frame);
    `task` = perceived lip-centre pose x, y, z, yaw of the hole (m, rad, base frame).
    """

    lockstep = False

    def __init__(self, plant: Plant, robot: RobotSpec, episode_s: float, clock: Clock) -> None:
        self.plant = plant
        self.driver = EpisodeDriver(plant, episode_s)
        self._robot = robot
        self._clock = clock
        self._signals: list[TaskSignal] = []
        self._received_ns = clock.now_ns()
        self._task_received_ns = self._received_ns
        self._task_sequence = plant.perception.sequence
        self._closed = False

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
            lockstep=self.lockstep,
            seeds={"sim": self.plant.config.seed},
            facts={"field": self.plant.config.field},
        )

    def read(self, inputs: TickInputs) -> None:
        """Put the newest sample of each group into `inputs`."""
        plant = self.plant
        inputs.q[:] = plant.q
        inputs.dq[:] = plant.dq
        inputs.tau[:] = plant.tau
        inputs.view["observation_force"][:] = plant.force
        inputs.view["observation_task"][:] = plant.perception.pose
        sequence, received_ns = plant.sequence, self._received_ns
        inputs.group_sequence[:] = (sequence, sequence, plant.perception.sequence)
        inputs.group_received_ns[:] = (received_ns, received_ns, self._task_received_ns)
        inputs.group_device_stamp_ns[:] = (plant.now_ns, plant.now_ns, plant.perception.stamp_ns)
        inputs.link_received_ns[0] = received_ns
        inputs.device[0] = 0

    def signals(self) -> Sequence[TaskSignal]:
        """Return the driver's signals since the last call, oldest first."""
        signals, self._signals = self._signals, []
        return signals

    def news(self) -> Sequence[str]:
        """The simulated device says nothing in words."""
        return ()

    def arm(self, epoch: int) -> None:
        """The simulated device takes every newer epoch: nobody has to tell it."""

    def close(self) -> None:
        """Let go of the simulation."""
        self._closed = True

    def _command_of(self, certified: CertifiedCommand | None) -> Command | None:
        if self._closed:
            raise LinkError("the simulated link is closed; open a new one to drive the robot")
        if certified is None:
            return None
        if not isinstance(certified, Certificate):
            raise LinkError(
                f"link.write was given a {type(certified).__name__}; allowed: a command with the "
                "envelope's certificate, or None"
            )
        return certified.command

    def _step(self, command: Command | None) -> None:
        """Simulate one servo period and collect the driver's signals."""
        self.plant.step(command)
        self._signals.extend(self.driver.step())

    def _stamp(self) -> None:
        self._received_ns = self._clock.now_ns()
        if self.plant.perception.sequence != self._task_sequence:
            self._task_sequence = self.plant.perception.sequence
            self._task_received_ns = self._received_ns


class LockstepLink(SimulatedLink):
    """The simulation stands still between commands; time is the link's own."""

    lockstep = True

    def __init__(self, plant: Plant, robot: RobotSpec, episode_s: float) -> None:
        self._simulated = LockstepClock()
        super().__init__(plant, robot, episode_s, self._simulated)

    def write(self, certified: CertifiedCommand | None) -> None:
        """Send a command and simulate one servo period; raises LinkError without certificate."""
        command = self._command_of(certified)
        self._simulated.advance(self.plant.period_ns)
        self._step(command)
        self._stamp()


class RealtimeLink(SimulatedLink):
    """The same plant, simulated inside `write` for as long as CLOCK_MONOTONIC went on."""

    def __init__(self, plant: Plant, robot: RobotSpec, episode_s: float) -> None:
        clock = MonotonicClock()
        super().__init__(plant, robot, episode_s, clock)
        self._simulated_until_ns = clock.now_ns()
        self._catch_up_ns = seconds_to_ns(plant.config.catch_up_s)
        self._begun = False
        self.dropped_periods = 0

    def read(self, inputs: TickInputs) -> None:
        """Put the newest samples into `inputs`; real time begins with the first call."""
        if not self._begun:
            self._begun = True
            self._simulated_until_ns = self._received_ns = self._clock.now_ns()
            self._task_received_ns = self._received_ns
        super().read(inputs)

    def write(self, certified: CertifiedCommand | None) -> None:
        """Send a command and simulate the periods that passed since the last call.

        A caller that was away longer than `sim.catch_up_s` loses the rest of that time; the
        device's clock runs on. Raises LinkError without certificate.
        """
        command = self._command_of(certified)
        period_ns = self.plant.period_ns
        elapsed_ns = self._clock.now_ns() - self._simulated_until_ns
        # rounded, so that a tick that starts a little early or late still gets its one period
        periods = (elapsed_ns + period_ns // 2) // period_ns
        self._simulated_until_ns += periods * period_ns
        simulated = min(periods, max(1, self._catch_up_ns // period_ns))
        if periods > simulated:
            self.dropped_periods += periods - simulated
            self.plant.skip(periods - simulated)
        if periods == 0 and command is not None:
            self.plant.device.accept(command, self.plant.now_ns)
        for _ in range(simulated):
            self._step(command)
            command = None
        if periods > 0:
            self._stamp()


def open_link(
    config: Config,
    config_file: Path,
    robot: RobotSpec,
    episode_s: float,
    *,
    lockstep: bool,
    field: str | None = None,
    seed: int | None = None,
) -> LockstepLink | RealtimeLink:
    """Return the simulation that the config's `sim` block describes.

    `episode_s`: how long an episode lasts (steps over policy rate); `field` and `seed` replace
    the config's own.

    Raises:
        ConfigError: the `sim` block or the robot's MJCF cannot be used.
    """
    sim = load_sim(config, field, seed)
    plant = Plant(resolve(robot.tool.mjcf, config_file), robot, sim, config.control.servo_hz)
    link = LockstepLink if lockstep else RealtimeLink
    return link(plant, robot, episode_s)
