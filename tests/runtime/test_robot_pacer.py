"""Ticks on the robot's beat, on a clock of the test's own."""

from hypothesis import given
from hypothesis import strategies as st

from runtime.realtime import Wake
from runtime.robot_pacer import RobotPacer

PERIOD_NS = 2_000_000


class Robot:
    """Says something at set times; waiting for it and sleeping move the clock on."""

    def __init__(self, said_ns: list[int]) -> None:
        self.said_ns = said_ns
        self.now = 1

    def now_ns(self) -> int:
        return self.now

    def sleep_s(self, seconds: float) -> None:
        self.now += max(1, round(seconds * 1e9))

    def wait(self, until_ns: int) -> bool:
        due = [at for at in self.said_ns if at <= until_ns]
        self.now = max(self.now, due[0] if due else until_ns)
        self.said_ns = [at for at in self.said_ns if at > self.now]
        return bool(due)

    def pacer(self) -> RobotPacer:
        return RobotPacer(self.wait, PERIOD_NS, self.now_ns, self.sleep_s)


def beat(count: int, every_ns: int = PERIOD_NS) -> list[int]:
    return [1 + (k + 1) * every_ns for k in range(count)]


def test_a_tick_answers_what_was_measured_at_once() -> None:
    robot = Robot(beat(50))
    paced = robot.pacer()
    for at in beat(50):
        assert paced.wait() == Wake(0, 0)
        assert robot.now == at


def test_a_robot_a_little_too_fast_is_followed() -> None:
    every_ns = round(PERIOD_NS * 0.9992)
    robot = Robot(beat(2000, every_ns))
    paced = robot.pacer()
    for at in beat(2000, every_ns):
        paced.wait()
        assert robot.now - at < 10


def test_a_robot_that_falls_silent_is_noticed_and_nobody_of_us_is_late() -> None:
    robot = Robot(beat(3))
    paced = robot.pacer()
    for _ in range(3):
        paced.wait()
    last = robot.now
    assert paced.wait() == Wake(0, 0)
    assert robot.now == last + 2 * PERIOD_NS


def test_who_wakes_after_the_patience_missed_something() -> None:
    robot = Robot(beat(3))
    paced = robot.pacer()
    for _ in range(3):
        paced.wait()
    robot.now += 5 * PERIOD_NS + 300
    assert paced.wait() == Wake(3 * PERIOD_NS + 300, 3)


@given(
    every_ns=st.integers(50_000, 3 * PERIOD_NS),
    work_ns=st.lists(st.integers(0, 6 * PERIOD_NS), min_size=5, max_size=60),
)
def test_no_robot_makes_the_reference_faster(every_ns: int, work_ns: list[int]) -> None:
    robot = Robot(beat(9000, every_ns))
    paced = robot.pacer()
    paced.wait()
    woke = [robot.now]
    for work in work_ns:
        robot.now += work
        paced.wait()
        woke.append(robot.now)
    # whatever was missed, a window of k ticks lasts as long as all but half of one of them
    for first in range(len(woke)):
        for last in range(first + 1, len(woke)):
            least_ns = (last - first - 0.5) * PERIOD_NS * 0.999
            assert woke[last] - woke[first] >= least_ns - 10
