"""How the daemon's link is opened: what is refused, and with which way out."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import zmq

from runtime.config import Config, load_config, load_robot
from runtime.errors import ConfigError, LinkError
from runtime.robot_hashes import robot_hash
from runtime.robot_socket import OPTIONS
from runtime.robot_wire import Hello
from runtime.zmq_link import ZmqLink, open_link
from tests.benchmarks.kit import CONFIG_FILE
from tests.runtime.zmq_link_kit import Device, settings


@pytest.fixture
def device(tmp_path: Path) -> Iterator[Device]:
    made = Device(settings(tmp_path)[1])
    yield made
    made.close()


def open_(config: Config, **changes: object) -> ZmqLink:
    robot = load_robot(config, CONFIG_FILE)
    asked: dict[str, object] = {"lockstep": False, "field": None, "seed": None}
    return open_link(config, CONFIG_FILE, robot, 4.0, **(asked | changes))  # type: ignore[arg-type]


def test_nobody_there_is_said_with_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(LinkError, match=r"no robot answers within 0\.3 s.*start its driver"):
        open_(settings(tmp_path)[0])


@pytest.mark.parametrize(
    ("block", "said"),
    [
        (None, "needs the block `zmq`"),
        ({"endpoint": "udp://127.0.0.1:5555"}, "allowed are ipc:// and tcp://"),
        ({"endpoint": "tcp://192.0.2.1:5555"}, "without keys"),
        ({"endpoint": "tcp://127.0.0.1:5555"}, "loopback: true"),
        ({"endpoint": "tcp://robot.example:5555", "loopback": True}, "without keys"),
    ],
)
def test_what_others_could_reach_is_refused(block: dict[str, object] | None, said: str) -> None:
    data = load_config(CONFIG_FILE).model_dump() | {"zmq": block}
    with pytest.raises(ConfigError, match=said):
        open_(Config.model_validate(data))


@pytest.mark.parametrize("changes", [{"lockstep": True}, {"field": "field"}, {"seed": 1}])
def test_a_robot_keeps_its_own_time_and_place(tmp_path: Path, changes: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match="keeps its own time and place"):
        open_(settings(tmp_path)[0], **changes)


def test_missing_keys_are_named(tmp_path: Path) -> None:
    curve = {"secret_key": str(tmp_path / "none"), "device_key": str(tmp_path / "none")}
    block = {"endpoint": "tcp://192.0.2.1:5555", "curve": curve}
    data = load_config(CONFIG_FILE).model_dump() | {"zmq": block}
    with pytest.raises(ConfigError, match="which does not exist"):
        open_(Config.model_validate(data))
    (tmp_path / "none").write_text("no key\n")
    with pytest.raises(ConfigError, match="trimtab keys"):
        open_(Config.model_validate(data))


def test_the_options_are_set_before_the_connection(
    tmp_path: Path, device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, _ = settings(tmp_path)
    seen: list[int | bytes] = []

    class Watched(zmq.Socket[bytes]):
        def connect(self, addr: str) -> "zmq.Socket[bytes]":  # type: ignore[override]
            seen.extend(self.getsockopt(option) for option in OPTIONS)
            return super().connect(addr)  # type: ignore[return-value]

    monkeypatch.setattr(zmq.Context, "_socket_class", Watched)
    with pytest.raises(LinkError):
        open_(config)
    assert seen == list(OPTIONS.values())
    assert robot_hash(load_robot(config, CONFIG_FILE)) == device.last(Hello).robot_hash
