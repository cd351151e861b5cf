"""The block `zmq` of the config: where the robot's driver listens, and who we are to it."""

from runtime.robot_spec import Positive, StrictModel


class CurveKeysConfig(StrictModel):
    """Files as `trimtab keys` makes them: our own secret one, and the device's public one."""

    secret_key: str
    device_key: str


class ZmqConfig(StrictModel):
    """`endpoint`: what the device binds, ipc:// or tcp://; none: `robot` in this robot's own folder
    of sockets. `loopback`: allows a loopback address without keys. `connect_s`: how long the first
    answer may take."""

    endpoint: str | None = None
    loopback: bool = False
    curve: CurveKeysConfig | None = None
    connect_s: Positive = 10.0
