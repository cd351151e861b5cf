"""The supervisor: starts recorder and control, keeps the heartbeat, restarts the recorder.

It never restarts control: a control process that died leaves the robot to the device's watchdog
and to a person. Children run in sessions of their own, so Ctrl-C reaches the supervisor alone,
which asks for an orderly stop.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import FrameType

import msgspec
import zmq

from runtime.arming import Arming
from runtime.companions import Companion, Companions, Deaths, ended
from runtime.config import RecorderConfig
from runtime.control_process import command as control_command
from runtime.errors import RecordError
from runtime.lockfile import RobotLock
from runtime.operator_keys import OperatorDesk
from runtime.operator_port import OperatorClient
from runtime.record_format import RecorderPlace, RecorderStatus
from runtime.recorder import recorder_command

_BEAT_S = 0.1
_END_LIMIT_S = 20.0
CONTROL_DIED = 8

_Child = subprocess.Popen[bytes]


@dataclass
class SupervisorReport:
    """How a run went: its exit code, restarts of the recorder and by name of others, last status.

    `exit_code` is control's own; CONTROL_DIED if a signal killed it.
    """

    exit_code: int = 0
    recorder_restarts: int = 0
    companion_restarts: dict[str, int] = field(default_factory=dict)
    status: RecorderStatus | None = None


class Supervisor:
    """Runs one daemon to its end. `show` gets each new status for the live view.

    `lock` is the robot's: recorder and control inherit it. `companions` start with them, may die
    and come back, and hold nothing. `goes_on`: re-arm a simulated robot that nobody attends.
    """

    def __init__(
        self,
        place: RecorderPlace,
        recorder: RecorderConfig,
        control_options: Sequence[str],
        lock: RobotLock,
        arm: bool,
        show: Callable[[RecorderStatus], None],
        companions: Sequence[Companion] = (),
        *,
        goes_on: bool = False,
    ) -> None:
        self._place = place
        self._recorder_config = recorder
        self._control_options = control_options
        self._lock = lock
        self._arming = Arming(arm=arm, goes_on=goes_on, say=_say)
        self._show = show
        self._stop_asked = False
        self._recorder_given_up = False
        self._recorder_deaths = Deaths(time.monotonic())
        self._companions = Companions(companions, _say)
        self._report = SupervisorReport()

    def run(self) -> SupervisorReport:
        """Start everything, wait for control to end, then for the recorder."""
        before = {
            number: signal.signal(number, self._on_signal)
            for number in (signal.SIGINT, signal.SIGTERM)
        }
        client = OperatorClient(self._place.sockets)
        status = self._status_socket()
        recorder = self._start(recorder_command(self._place, self._recorder_config))
        self._companions.start()
        control = self._start(self._control_command())
        desk = OperatorDesk(self._place.sockets)
        try:
            with desk:
                while control.poll() is None:
                    self._serve(desk)
                    self._beat(client, status)
                    recorder = self._keep_recorder(recorder)
                    self._companions.keep()
                    if self._stop_asked:
                        control.terminate()
                        self._stop_asked = False
            self._take_status(status)
            self._report.exit_code = self._judge(control.returncode)
        finally:
            control.terminate()
            self._end(control)
            # it ends once control is silent, also when control could not say goodbye
            recorder.terminate()
            self._end(recorder)
            self._companions.end(_END_LIMIT_S)
            self._report.companion_restarts = self._companions.restarts
            client.close()
            status.close()
            for number, handler in before.items():
                signal.signal(number, handler)
        return self._report

    def _status_socket(self) -> "zmq.Socket[bytes]":
        status: zmq.Socket[bytes] = zmq.Context.instance().socket(zmq.SUB)
        status.setsockopt(zmq.LINGER, 0)
        status.setsockopt(zmq.RCVHWM, 10)
        status.setsockopt(zmq.SUBSCRIBE, b"")
        status.connect(self._place.status_endpoint)
        return status

    def _control_command(self) -> list[str]:
        ours = ["--parent", str(os.getpid()), "--lock-fd", str(self._lock.fd)]
        return control_command(self._place, [*self._control_options, *ours])

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._stop_asked = True

    def _start(self, command: list[str]) -> _Child:
        return subprocess.Popen(
            command,
            start_new_session=True,
            stdin=subprocess.DEVNULL,
            pass_fds=(self._lock.fd,),
        )

    def _beat(self, client: OperatorClient, status: "zmq.Socket[bytes]") -> None:
        client.heartbeat()
        self._arming.ask(client)
        if status.poll(round(_BEAT_S * 1e3)):
            self._take_status(status)

    @staticmethod
    def _serve(desk: OperatorDesk) -> None:
        refusal = desk.serve()
        if refusal:
            _say(f"refused: {refusal}")

    def _take_status(self, status: "zmq.Socket[bytes]") -> None:
        while status.poll(0):
            latest = msgspec.msgpack.decode(status.recv(), type=RecorderStatus)
            self._report.status = latest
            self._arming.see(latest.mode, latest.faults)
            self._show(latest)
        if self._arming.gave_up:
            self._stop_asked = True

    def _keep_recorder(self, recorder: _Child) -> _Child:
        """Restart a recorder that died; control keeps what it had not acknowledged.

        One that cannot write would fail again: then the run ends, for nothing moves unrecorded.
        """
        code = recorder.poll()
        if not code or self._recorder_given_up:
            return recorder
        failed = code == RecordError.exit_code
        if failed or not self._recorder_deaths.again(time.monotonic()):
            self._recorder_given_up = True
            self._stop_asked = True
            _say(f"the recorder {ended(code)} and is not started again: the robot is stopped")
            return recorder
        self._report.recorder_restarts += 1
        _say(f"the recorder {ended(code)}; starting another")
        return self._start(recorder_command(self._place, self._recorder_config))

    @staticmethod
    def _judge(returncode: int) -> int:
        """Return the run's exit code; say what a control process that was killed cannot say."""
        if returncode >= 0:
            return returncode
        _say(
            f"error: the control process {ended(returncode)} and is not started again: the "
            "device's watchdog holds the robot; look at it before you start anew"
        )
        return CONTROL_DIED

    @staticmethod
    def _end(child: _Child) -> None:
        """Wait for a child to end by itself; then ask; then insist."""
        try:
            child.wait(_END_LIMIT_S)
        except subprocess.TimeoutExpired:
            child.terminate()
            try:
                child.wait(_END_LIMIT_S)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()


def _say(sentence: str) -> None:
    sys.stderr.write(sentence + "\n")
    sys.stderr.flush()
