"""How the residual stands now: from a running daemon's recorder, else from its last record."""

from pathlib import Path

import msgspec
import zmq

from runtime.config import load_config
from runtime.errors import RecordError
from runtime.record_format import (
    RecorderPlace,
    RecorderStatus,
    ResidualStatus,
    socket_folder,
)
from runtime.records import read_events
from runtime.residual_history import runs_since
from runtime.residual_tally import ResidualTally

# the recorder speaks five times a second
_PATIENCE_MS = 1000


class ResidualNow(msgspec.Struct, frozen=True):
    """`run`: whose record it is, empty where there is none; `running`: it goes on. `status`: None
    where the base runs alone. `faults`: those that act now, by name."""

    run: str = ""
    running: bool = False
    status: ResidualStatus | None = None
    faults: list[str] = []


def residual_now(config_file: Path) -> ResidualNow:
    """Return how it stands on the robot of a config.

    Raises:
        ConfigError: the config cannot be used.
        RecordError: nobody runs, and the last record is damaged or of another version.
    """
    config = load_config(config_file)
    records = config_file.resolve().parent / config.recorder.folder
    found = _running(RecorderPlace("", records, socket_folder(config.robot_id)))
    if found is not None:
        return ResidualNow(found.run, True, found.residual, found.faults)
    runs = runs_since(records, config.robot_id, "")
    return _as_left(runs[-1]) if runs else ResidualNow()


def _running(place: RecorderPlace) -> RecorderStatus | None:
    """Return what the recorder says, None if there is none."""
    context = zmq.Context()
    socket: zmq.Socket[bytes] = context.socket(zmq.SUB)
    try:
        socket.setsockopt(zmq.LINGER, 0)
        socket.setsockopt(zmq.SUBSCRIBE, b"")
        socket.connect(place.status_endpoint)
        if not socket.poll(_PATIENCE_MS):
            return None
        return msgspec.msgpack.decode(socket.recv(), type=RecorderStatus)
    finally:
        socket.close()
        context.term()


def _as_left(run: Path) -> ResidualNow:
    record, tally = read_events(run), ResidualTally()
    for event in record.events:
        tally.hear(event)
    try:
        if len(record.last):
            tally.add(record.last)
        return ResidualNow(run.name, False, tally.status())
    except ValueError as error:
        raise RecordError(
            f"{run}: it was written by another version of Trimtab ({error}); read it with that"
        ) from None
