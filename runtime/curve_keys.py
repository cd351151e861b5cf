"""CURVE key pairs for the robot's wire: a secret that only its owner reads, and what others get."""

import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path

import zmq

from runtime.errors import ConfigError

PUBLIC_SUFFIX, SECRET_SUFFIX = ".key", ".key_secret"
_NAME = re.compile(r"[A-Za-z0-9_-]{1,40}")
_FOLDER_MODE, _SECRET_MODE, _PUBLIC_MODE = 0o700, 0o600, 0o644


@dataclass(frozen=True)
class KeyPair:
    """Where a new pair lies; `public_key` is Z85 text of 40 characters."""

    public: Path
    secret: Path
    public_key: str


def make_keys(name: str, folder: Path) -> KeyPair:
    """Write a new pair, `name`.key and `name`.key_secret, that zmq.auth and czmq can load.

    A folder that is not there is made. Nothing is ever overwritten: who has a key in use would be
    locked out.

    Raises:
        ConfigError: the name is no name, one of the files is there already, the folder is open to
            others, or nothing can be written.
    """
    if not _NAME.fullmatch(name):
        raise ConfigError(f"key name {name!r}: allowed are 1 to 40 letters, digits, - and _")
    public, secret = folder / f"{name}{PUBLIC_SUFFIX}", folder / f"{name}{SECRET_SUFFIX}"
    try:
        _open_folder(folder)
        public_key, secret_key = (key.decode("ascii") for key in zmq.curve_keypair())
        body = f'metadata\ncurve\n    public-key = "{public_key}"\n'
        _write_new(secret, f'{body}    secret-key = "{secret_key}"\n', _SECRET_MODE)
        try:
            _write_new(public, body, _PUBLIC_MODE)
        except OSError:
            secret.unlink()
            raise
    except FileExistsError as error:
        raise ConfigError(
            f"{error.filename} is there already and is never overwritten: take another name, or "
            "move it away once nobody uses it any more"
        ) from None
    except OSError as error:
        raise ConfigError(
            f"keys cannot be written to {folder}: {error}; name a folder of your own"
        ) from None
    return KeyPair(public, secret, public_key)


def _open_folder(folder: Path) -> None:
    """Make the folder, or refuse one in which others could read or replace a secret.

    Raises:
        ConfigError: it is no folder, or not of this user alone. OSError: it cannot be made.
    """
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"{folder} is a file; name a folder, or one that is not there yet")
    folder.mkdir(mode=_FOLDER_MODE, parents=True, exist_ok=True)
    found = folder.stat()
    if found.st_uid != os.getuid():
        raise ConfigError(f"{folder} belongs to another user; name a folder of your own")
    mode = stat.S_IMODE(found.st_mode)
    if mode != _FOLDER_MODE:
        raise ConfigError(
            f"{folder} has mode {mode:04o}, and secrets need {_FOLDER_MODE:04o}: run "
            f"`chmod 700 {folder}`, or name a folder that is not there yet"
        )


def _write_new(path: Path, text: str, mode: int) -> None:
    """Write a file that must not be there yet, with exactly `mode`. Raises OSError."""
    # created closed: nobody reads a secret in the moment before its mode is set
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _SECRET_MODE)
    with os.fdopen(handle, "w", encoding="ascii") as stream:
        stream.write(text)
        os.fchmod(stream.fileno(), mode)
