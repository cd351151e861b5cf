"""Replays a record from itself alone: its header carries config, robot, model and base."""

import base64
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from runtime.config import Config, parse, read_yaml
from runtime.errors import RecordError
from runtime.events import EventKind
from runtime.fingerprint import fingerprint
from runtime.interfaces import ResidualPolicy
from runtime.policy_contract import PolicyInterface
from runtime.record_format import RecordHeader
from runtime.records import Record
from runtime.replay import Replay, ReplayResult
from runtime.robot_spec import RobotSpec
from runtime.wiring import (
    BASE_FILE,
    MODEL_FILE,
    Deployment,
    build_tick,
    load_base,
    load_deployment,
    load_residual,
    sizes_for,
)


@contextmanager
def deployment_of(record: Record) -> Iterator[Deployment]:
    """Yield the deployment that a record carries, unpacked into a folder for that time.

    Raises:
        RecordError: the record's header lacks what a replay needs.
    """
    with unpacked(record.header) as deployment:
        yield deployment


@contextmanager
def unpacked(header: RecordHeader) -> Iterator[Deployment]:
    """Yield the deployment that a record's header carries, in a folder for that time.

    Raises:
        RecordError: the header lacks what a tick is composed from.
    """
    missing = [name for name in (MODEL_FILE, BASE_FILE) if name not in header.files]
    if missing or not header.config or not header.robot:
        raise RecordError(f"the record's header lacks {', '.join(missing) or 'config or robot'}")
    with TemporaryDirectory(prefix="trimtab-replay-") as name:
        folder = Path(name)
        (folder / "config.yaml").write_text(header.config, encoding="utf-8")
        (folder / "model.xml").write_text(header.files[MODEL_FILE], encoding="utf-8")
        (folder / "base.onnx").write_bytes(base64.b64decode(header.files[BASE_FILE]))
        yield Deployment(
            config=parse(Config, read_yaml(folder / "config.yaml"), "the record's config"),
            config_file=folder / "config.yaml",
            robot=parse(RobotSpec, json.loads(header.robot), "the record's robot spec"),
            model_file=folder / "model.xml",
            base_file=folder / "base.onnx",
        )


def replay_record(
    record: Record, strength: str, other_config: Path | None = None
) -> ReplayResult:
    """Replay a record through the tick that its header describes, or through another config's.

    Args:
        record: what was recorded.
        strength: `envelope` or `policy`; see replay.py.
        other_config: a config file whose envelope, faults and rates are tried instead.

    Raises:
        RecordError: the record cannot be replayed.
        TrimtabError: the other config cannot be used.
    """
    same_machine = record.header.fingerprint == fingerprint()
    with deployment_of(record) as recorded:
        deployment = recorded
        if other_config is not None:
            deployment = replace(
                load_deployment(other_config), base_file=recorded.base_file
            )
        base = load_base(deployment)
        sizes = sizes_for(deployment, base.contract)
        tick = build_tick(deployment, base.contract)
        replay = Replay(record, tick, sizes, same_machine=same_machine)
        if other_config is not None:
            return replay.other_config()
        if strength == "policy":
            return replay.policy(base, _residuals(record, deployment, base.contract))
        return replay.envelope()


def _residuals(
    record: Record, deployment: Deployment, contract: PolicyInterface
) -> dict[int, ResidualPolicy]:
    """Return the residual at every version that went live, and at version 0."""
    residuals = {0: load_residual(deployment, contract, 0)}
    for event in record.events:
        # a return to version 0 has no data
        if event.kind is EventKind.SNAPSHOT and event.data:
            residual = load_residual(deployment, contract, 0)
            if refusal := residual.offer(event.data):
                raise RecordError(
                    f"tick {event.tick}: {event.text}: this snapshot cannot be asked again: "
                    f"{refusal}; replay with the version that recorded it"
                )
            residuals[residual.version] = residual
    return residuals
