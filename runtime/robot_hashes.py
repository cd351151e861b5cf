"""What daemon and driver compare before anything moves: PROTOCOL.md, section 10."""

import hashlib
import json
from collections.abc import Sequence
from typing import Any

from runtime.robot_spec import RobotSpec

_JOINT_QUANTITIES = 3  # positions, velocities, torques


def robot_text(robot: RobotSpec) -> str:
    """Return what `robot_hash` is taken of: the spec without the path of its model, which says
    where a file lies on one machine and nothing of the robot."""
    return _canonical(robot.model_dump(mode="json", exclude={"tool": {"mjcf"}}))


def contract_text(joints: Sequence[str], groups: Sequence[tuple[str, int]], period_ns: int) -> str:
    """Return what `contract_hash` is taken of. `groups`: name and size of those besides the joints,
    in order; `period_ns`: the servo's."""
    sizes = [("joints", _JOINT_QUANTITIES * len(joints)), *groups]
    return _canonical({"groups": sizes, "joints": list(joints), "period_ns": period_ns})


def robot_hash(robot: RobotSpec) -> bytes:
    """Return 32 bytes that change with anything that the robot is or may do."""
    return digest(robot_text(robot))


def contract_hash(
    joints: Sequence[str], groups: Sequence[tuple[str, int]], period_ns: int
) -> bytes:
    """Return 32 bytes that change with what observations and commands hold; see `contract_text`."""
    return digest(contract_text(joints, groups, period_ns))


def digest(text: str) -> bytes:
    """Return the SHA-256 of a text in UTF-8."""
    return hashlib.sha256(text.encode()).digest()


def _canonical(data: dict[str, Any]) -> str:
    """Return JSON that is the same on every machine; json writes floats as repr does."""
    return json.dumps(
        data, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )
