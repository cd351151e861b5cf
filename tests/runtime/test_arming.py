"""Who arms where nobody attends: requests one at a time, and a person's stop stays a stop."""

import pytest

from runtime.arming import Arming
from runtime.messages import Mode, Request
from runtime.wire import OperatorReply, OperatorRequest


class Desk:
    """Stands for the control process: keeps what was asked, answers what it is told to."""

    def __init__(self) -> None:
        self.asked: list[Request] = []
        self.answers: list[OperatorReply] = []

    def send(self, request: OperatorRequest) -> None:
        self.asked.append(request.request)

    def receive(self) -> OperatorReply | None:
        return self.answers.pop(0) if self.answers else None


class Bench:
    """One Arming with a desk and a clock of its own."""

    def __init__(self, *, goes_on: bool, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now_s = 100.0
        monkeypatch.setattr("runtime.arming.time.monotonic", lambda: self.now_s)
        self.said: list[str] = []
        self.desk = Desk()
        self.arming = Arming(arm=True, goes_on=goes_on, say=self.said.append)

    def turn(self, answer: OperatorReply | None = None, seconds: float = 1.0) -> None:
        self.now_s += seconds
        if answer is not None:
            self.desk.answers.append(answer)
        self.arming.ask(self.desk)  # type: ignore[arg-type]

    def blocked(self, mode: Mode, faults: list[str], seconds: float = 4.0) -> None:
        self.arming.see(mode.name, faults)
        self.now_s += seconds
        self.arming.see(mode.name, faults)


ARMED = OperatorReply(True, Mode.HOMING)


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Bench:
    return Bench(goes_on=True, monkeypatch=monkeypatch)


def test_arming_is_asked_for_until_it_is_granted_one_request_at_a_time(bench: Bench) -> None:
    bench.turn()
    bench.turn()
    assert bench.desk.asked == [Request.ARM]
    bench.turn(OperatorReply(False, Mode.DISARMED, "no observation yet"))
    assert bench.desk.asked == [Request.ARM] * 2
    assert bench.said == ["ARM not granted: no observation yet"]
    bench.turn(ARMED)
    bench.turn()
    assert bench.desk.asked == [Request.ARM] * 2


def test_after_a_stop_that_no_person_asked_for_it_re_arms_and_arms(bench: Bench) -> None:
    bench.turn()
    bench.turn(ARMED)
    bench.blocked(Mode.STOPPED, ["TRACKING_GUARD"])
    bench.turn()
    assert bench.desk.asked == [Request.ARM, Request.REARM]
    assert bench.said == ["STOPPED because of TRACKING_GUARD: re-arming"]
    bench.turn(OperatorReply(True, Mode.READY))
    assert bench.desk.asked[2:] == [Request.ARM]
    bench.turn(ARMED)
    bench.turn()
    assert len(bench.desk.asked) == 3
    assert bench.arming.rearms == 1


def test_a_hold_that_a_rearm_ends_needs_no_arming(bench: Bench) -> None:
    bench.turn()
    bench.turn(ARMED)
    bench.blocked(Mode.HOLD, ["BASE_FAILED"])
    bench.turn()
    bench.turn(OperatorReply(True, Mode.HOLD))
    bench.turn()
    assert bench.desk.asked == [Request.ARM, Request.REARM]


@pytest.mark.parametrize("mode", [Mode.READY, Mode.STOPPED])
def test_a_fault_that_keeps_it_from_being_armed_at_all_is_cleared(
    bench: Bench, mode: Mode
) -> None:
    bench.turn()
    bench.blocked(mode, ["LINK_LOST"])
    assert bench.arming.rearms == 0, "it was not refused yet"
    bench.turn(OperatorReply(False, Mode.READY, "a fault asks for HOLD"))
    bench.blocked(mode, [])
    bench.blocked(Mode.DISARMED, ["LINK_LOST"])
    assert bench.arming.rearms == 0, "that is not what it waits for"
    bench.blocked(mode, ["LINK_LOST"])
    bench.turn(OperatorReply(False, Mode.READY, "a fault asks for HOLD"))
    assert bench.desk.asked[-1:] == [Request.REARM]
    assert bench.said[-1] == f"{mode.name} because of LINK_LOST: re-arming"
    bench.turn(OperatorReply(True, Mode.READY))
    assert bench.desk.asked[-1:] == [Request.ARM]
    bench.turn(ARMED)
    bench.turn()
    assert bench.desk.asked[-1:] == [Request.ARM]
    assert bench.arming.rearms == 1


def test_a_hold_that_ends_by_itself_is_left_alone(bench: Bench) -> None:
    bench.turn()
    bench.turn(ARMED)
    bench.blocked(Mode.HOLD, ["TORQUE_GUARD"], seconds=2.0)
    bench.arming.see(Mode.ADAPTIVE.name, [])
    bench.blocked(Mode.HOLD, ["TORQUE_GUARD"], seconds=2.0)
    bench.turn()
    assert bench.desk.asked == [Request.ARM]


def test_a_persons_stop_stays_a_stop(bench: Bench) -> None:
    bench.turn()
    bench.turn(ARMED)
    bench.blocked(Mode.STOPPED, ["TRACKING_GUARD", "OPERATOR_STOP"])
    bench.turn()
    assert bench.desk.asked == [Request.ARM]


def test_where_somebody_attends_nothing_is_re_armed(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(goes_on=False, monkeypatch=monkeypatch)
    bench.turn()
    bench.turn(ARMED)
    bench.blocked(Mode.STOPPED, ["TRACKING_GUARD"])
    bench.turn()
    assert bench.desk.asked == [Request.ARM]


def test_it_gives_up_when_going_on_does_not_help(bench: Bench) -> None:
    bench.turn()
    bench.turn(ARMED)
    gave_up = []
    for _ in range(21):
        bench.blocked(Mode.STOPPED, ["TRACKING_GUARD"])
        gave_up.append(bench.arming.gave_up)
        bench.turn()
        bench.turn(OperatorReply(True, Mode.READY))
        bench.turn(ARMED)
    assert gave_up == [False] * 20 + [True]
    # 20 times out of a stop and into motion again, and once at the start
    assert bench.desk.asked.count(Request.REARM) == 20
    assert bench.desk.asked.count(Request.ARM) == 21
    # and says so once, however long the robot stays where it is
    bench.blocked(Mode.STOPPED, ["TRACKING_GUARD"])
    bench.turn()
    assert [text.endswith("re-arming") for text in bench.said] == [True] * 20 + [False]
    assert "after 20 re-arms in this run: the run is ended" in bench.said[-1]
    assert bench.arming.rearms == 21
