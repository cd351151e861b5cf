"""The supervisor: starts recorder and control, keeps the heartbeat, restarts the recorder.

It never restarts control: a control process that died leaves the robot to the device's watchdog
and to a person. Children run in sessions of their own, so Ctrl-C reaches the supervisor alone,
which asks for an orderly stop.
"""

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import FrameType

import msgspec
import zmq

from runtime.config import RecorderConfig
from runtime.control_process import command as control_command
from runtime.messages import Mode, Request
from runtime.operator_port import OperatorClient
from runtime.record_format import RecorderPlace, RecorderStatus
from runtime.recorder import recorder_command
from runtime.wire import OperatorRequest

_BEAT_S = 0.1
_ASK_S = 0.5
_RESTARTS_MAX = 3
_END_LIMIT_S = 20.0


@dataclass
class SupervisorReport:
    """How a run went: control's exit code, restarts of the recorder, the last status."""

    exit_code: int = 0
    recorder_restarts: int = 0
    status: RecorderStatus | None = None


class Supervisor:
    """Runs one daemon to its end. `show` gets each new status for the live view."""

    def __init__(
        self,
        place: RecorderPlace,
        recorder: RecorderConfig,
        control_options: Sequence[str],
        arm: bool,
        show: Callable[[RecorderStatus], None],
    ) -> None:
        self._place = place
        self._recorder_config = recorder
        self._control_options = control_options
        self._arm = arm
        self._show = show
        self._stop_asked = False
        self._asked_s = 0.0
        self._report = SupervisorReport()

    def run(self) -> SupervisorReport:
        """Start everything, wait for control to end, then for the recorder."""
        client = OperatorClient(self._place.sockets)
        status: zmq.Socket[bytes] = zmq.Context.instance().socket(zmq.SUB)
        status.setsockopt(zmq.LINGER, 0)
        status.setsockopt(zmq.RCVHWM, 10)
        status.setsockopt(zmq.SUBSCRIBE, b"")
        status.connect(self._place.status_endpoint)
        recorder = self._start(recorder_command(self._place, self._recorder_config))
        control = self._start(control_command(self._place, self._control_options))
        before = {
            number: signal.signal(number, self._on_signal)
            for number in (signal.SIGINT, signal.SIGTERM)
        }
        try:
            while control.poll() is None:
                self._beat(client, status)
                recorder = self._keep_recorder(recorder)
                if self._stop_asked:
                    control.terminate()
                    self._stop_asked = False
            self._take_status(status)
            self._report.exit_code = control.returncode
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
            self._end(control)
            self._end(recorder)
            client.close()
            status.close()
        return self._report

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._stop_asked = True

    def _start(self, command: list[str]) -> subprocess.Popen[bytes]:
        return subprocess.Popen(command, start_new_session=True, stdin=subprocess.DEVNULL)

    def _beat(self, client: OperatorClient, status: "zmq.Socket[bytes]") -> None:
        client.heartbeat()
        now_s = time.monotonic()
        if self._arm and now_s - self._asked_s > _ASK_S:
            self._asked_s = now_s
            client.send(OperatorRequest(Request.ARM, "supervisor, for --arm"))
        reply = client.receive()
        if reply is not None and reply.mode not in (Mode.DISARMED, Mode.READY):
            self._arm = False
        if status.poll(round(_BEAT_S * 1e3)):
            self._take_status(status)

    def _take_status(self, status: "zmq.Socket[bytes]") -> None:
        while status.poll(0):
            latest = msgspec.msgpack.decode(status.recv(), type=RecorderStatus)
            self._report.status = latest
            self._show(latest)

    def _keep_recorder(self, recorder: subprocess.Popen[bytes]) -> subprocess.Popen[bytes]:
        """Restart a recorder that died; control keeps what it had not acknowledged."""
        if not recorder.poll() or self._report.recorder_restarts >= _RESTARTS_MAX:
            return recorder
        self._report.recorder_restarts += 1
        sys.stderr.write(f"the recorder ended with code {recorder.returncode}; starting another\n")
        return self._start(recorder_command(self._place, self._recorder_config))

    @staticmethod
    def _end(child: subprocess.Popen[bytes]) -> None:
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
