"""Where the robot's wire may run: what others could reach, or play, is refused with the way out."""

import os
from pathlib import Path

import pytest

from runtime.endpoints import check_robot_endpoint, is_loopback, require_own_folder
from runtime.errors import ConfigError, LinkError
from runtime.zmq_spec import CurveKeysConfig, ZmqConfig

KEYS = CurveKeysConfig(secret_key="ours.key_secret", device_key="robot.key")


@pytest.mark.parametrize(
    ("address", "ours"),
    [
        ("127.0.0.1:5555", True),
        ("127.9.9.9:5555", True),
        ("[::1]:5555", True),
        ("0.0.0.0:5555", False),
        ("[::]:5555", False),
        ("192.0.2.1:5555", False),
        ("*:5555", False),
        ("localhost:5555", False),
        ("127.0.0.1.example:5555", False),
        ("127.0.0.1", False),
        ("", False),
    ],
)
def test_only_an_address_of_this_machine_is_loopback(address: str, ours: bool) -> None:
    assert is_loopback(address) == ours


def test_an_own_folder_is_made_and_kept(tmp_path: Path) -> None:
    address = f"{tmp_path}/above/own/robot"
    require_own_folder(address)
    assert (tmp_path / "above" / "own").stat().st_mode & 0o777 == 0o700
    require_own_folder(address)


@pytest.mark.parametrize("mode", [0o755, 0o701, 0o770, 0o710])
def test_a_folder_that_others_may_enter_is_refused(tmp_path: Path, mode: int) -> None:
    folder = tmp_path / "shared"
    folder.mkdir()
    folder.chmod(mode)
    with pytest.raises(LinkError, match=rf"mode {mode:04o}.*chmod 700 {folder}"):
        require_own_folder(f"{folder}/robot")


def test_a_link_a_file_and_no_folder_are_refused(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir(mode=0o700)
    (tmp_path / "link").symlink_to(tmp_path / "real")
    (tmp_path / "file").touch()
    with pytest.raises(LinkError, match="no folder of your own; choose another"):
        require_own_folder(f"{tmp_path}/link/robot")
    for under in ("file", "file/deeper"):
        with pytest.raises(LinkError, match=r"cannot be opened .*name a folder of your own"):
            require_own_folder(f"{tmp_path}/{under}/robot")
    for address in ("@abstract", "relative/robot", ""):
        with pytest.raises(LinkError, match=r"in no folder.*mode 0700"):
            require_own_folder(address)


def test_anothers_folder_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nobody = os.getuid() + 1
    monkeypatch.setattr(os, "getuid", lambda: nobody)
    with pytest.raises(LinkError, match="no folder of your own"):
        require_own_folder(f"{tmp_path}/robot")


def test_a_client_connects_where_nobody_else_listens(tmp_path: Path) -> None:
    check_robot_endpoint(f"ipc://{tmp_path}/robot", ZmqConfig())
    check_robot_endpoint("tcp://127.0.0.1:5555", ZmqConfig(loopback=True))
    check_robot_endpoint("tcp://192.0.2.1:5555", ZmqConfig(curve=KEYS))
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o755)
    # keys are for tcp: whoever may enter the folder could put another robot there
    for config in (ZmqConfig(), ZmqConfig(loopback=True), ZmqConfig(curve=KEYS)):
        with pytest.raises(LinkError, match="others could connect"):
            check_robot_endpoint(f"ipc://{tmp_path}/open/robot", config)
    for endpoint, config, said in (
        ("tcp://127.0.0.1:5555", ZmqConfig(), "zmq.loopback: true"),
        ("tcp://192.0.2.1:5555", ZmqConfig(loopback=True), "trimtab keys"),
        ("inproc://robot", ZmqConfig(curve=KEYS), "allowed are ipc:// and tcp://"),
    ):
        with pytest.raises(ConfigError, match=said):
            check_robot_endpoint(endpoint, config)
