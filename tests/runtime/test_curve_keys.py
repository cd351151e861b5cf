"""CURVE keys: a secret that is nobody else's, files that other tools read, nothing overwritten."""

import os
import stat
from pathlib import Path

import pytest
import zmq
import zmq.auth

from runtime.curve_keys import KeyPair, make_keys
from runtime.errors import ConfigError
from tests.daemon_kit import trimtab


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def pair(tmp_path: Path) -> KeyPair:
    return make_keys("daemon", tmp_path / "deep" / "keys")


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_modes_do_not_depend_on_the_umask(umask: int, tmp_path: Path) -> None:
    before = os.umask(umask)
    try:
        pair = make_keys("daemon", tmp_path / "keys")
    finally:
        os.umask(before)
    assert mode(pair.secret) == 0o600
    assert mode(pair.public) == 0o644
    assert mode(pair.secret.parent) == 0o700


def test_other_tools_read_the_files(pair: KeyPair) -> None:
    public, secret = zmq.auth.load_certificate(pair.secret)
    assert secret is not None
    assert zmq.curve_public(secret) == public == pair.public_key.encode()
    assert zmq.auth.load_certificate(pair.public) == (public, None)
    assert zmq.auth.load_certificates(pair.public.parent) == {public: True}
    assert secret not in pair.public.read_bytes()
    assert secret.decode() not in repr(pair)


def test_every_pair_is_another(pair: KeyPair) -> None:
    assert make_keys("robot", pair.public.parent).public_key != pair.public_key


def test_the_keys_open_a_connection(pair: KeyPair) -> None:
    other = make_keys("robot", pair.public.parent)
    server_public, server_secret = zmq.auth.load_certificate(other.secret)
    public, secret = zmq.auth.load_certificate(pair.secret)
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    with context, context.socket(zmq.ROUTER) as server, context.socket(zmq.DEALER) as client:
        for socket in (server, client):
            socket.setsockopt(zmq.LINGER, 0)
        server.setsockopt(zmq.CURVE_SERVER, 1)
        server.setsockopt(zmq.CURVE_SECRETKEY, server_secret or b"")
        port = server.bind_to_random_port("tcp://127.0.0.1")
        client.setsockopt(zmq.CURVE_SERVERKEY, server_public)
        client.setsockopt(zmq.CURVE_PUBLICKEY, public)
        client.setsockopt(zmq.CURVE_SECRETKEY, secret or b"")
        client.connect(f"tcp://127.0.0.1:{port}")
        client.send(b"hello")
        assert server.poll(5000)
        assert server.recv_multipart()[-1] == b"hello"


@pytest.mark.parametrize("there", ["daemon.key", "daemon.key_secret"])
def test_nothing_is_overwritten_and_nothing_is_left(there: str, tmp_path: Path) -> None:
    folder = tmp_path / "keys"
    folder.mkdir(mode=0o700)
    (folder / there).write_text("in use")
    with pytest.raises(ConfigError, match=rf"{there} is there already.*another name"):
        make_keys("daemon", folder)
    assert [file.name for file in folder.iterdir()] == [there]
    assert (folder / there).read_text() == "in use"


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    folder, target = tmp_path / "keys", tmp_path / "target"
    folder.mkdir(mode=0o700)
    (folder / "daemon.key_secret").symlink_to(target)
    with pytest.raises(ConfigError, match="there already"):
        make_keys("daemon", folder)
    assert not target.exists()


@pytest.mark.parametrize("open_to", [0o755, 0o750, 0o701, 0o777])
def test_a_folder_that_others_can_enter_is_refused(open_to: int, tmp_path: Path) -> None:
    folder = tmp_path / "keys"
    folder.mkdir()
    folder.chmod(open_to)
    with pytest.raises(ConfigError, match=rf"mode {open_to:04o}.*0700.*chmod 700"):
        make_keys("daemon", folder)
    assert not list(folder.iterdir())


def test_a_folder_of_another_user_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    me = os.getuid()
    monkeypatch.setattr(os, "getuid", lambda: me + 1)
    with pytest.raises(ConfigError, match="belongs to another user"):
        make_keys("daemon", tmp_path / "keys")


def test_a_folder_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "keys").write_text("")
    with pytest.raises(ConfigError, match="keys is a file"):
        make_keys("daemon", tmp_path / "keys")
    with pytest.raises(ConfigError, match="cannot be written"):
        make_keys("daemon", tmp_path / "keys" / "below")


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "../a", "a b", "a.key", "x" * 41, "a\n"])
def test_names_are_names(name: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="letters, digits"):
        make_keys(name, tmp_path / "keys")
    assert not (tmp_path / "keys").exists()


def test_the_command_says_where_and_never_the_secret(tmp_path: Path) -> None:
    folder = tmp_path / "keys"
    said = trimtab("keys", "daemon", "--folder", folder)
    assert said.code == 0, said
    public, secret = zmq.auth.load_certificate(folder / "daemon.key_secret")
    assert secret is not None
    assert public.decode() in said.out
    assert secret.decode() not in said.out + said.err
    again = trimtab("keys", "daemon", "--folder", folder)
    assert again.code == ConfigError.exit_code
    assert again.err.startswith("error: ")
