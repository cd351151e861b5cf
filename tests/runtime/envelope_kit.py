"""Robots of one and two joints, envelopes in chosen states, and small MJCF files, for its tests."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import ParamSpec, TypeVar

import numpy as np
import pytest
from numpy.typing import NDArray

from runtime.envelope.barriers import Workspace
from runtime.envelope.envelope import Envelope
from runtime.messages import Command, Limit
from runtime.robot_spec import JointLimits
from tests.runtime.invariant_checker import JointInvariants

DT_S = 0.002
SHOULDER = JointInvariants(-1.0, 1.0, 2.0, 10.0, 4000.0)
ELBOW = JointInvariants(-2.0, 0.5, 1.0, 8.0, 3000.0)
Array = NDArray[np.float64]
Asked = ParamSpec("Asked")
Answer = TypeVar("Answer")
# so wide that no wall of it is near any of the small robots
WIDE = Workspace((-9.0, -9.0, -9.0), (9.0, 9.0, 9.0))


def as_limits(name: str, row: JointInvariants) -> JointLimits:
    """What the checker judges by, as what the envelope takes."""
    return JointLimits(
        name=name,
        position_min_rad=row.q_min,
        position_max_rad=row.q_max,
        velocity_max_rad_s=row.v_max,
        acceleration_max_rad_s2=row.a_max,
        jerk_max_rad_s3=row.j_max,
    )


def numbered_limits(rows: Sequence[JointInvariants]) -> tuple[JointLimits, ...]:
    """Limits of joint1, joint2 and so on."""
    return tuple(as_limits(f"joint{number}", row) for number, row in enumerate(rows, 1))


TWO_JOINTS = (as_limits("shoulder", SHOULDER), as_limits("elbow", ELBOW))


def answer(function: Callable[Asked, Answer], *args: Asked.args, **kwargs: Asked.kwargs) -> Answer:
    """What the function returns. That it returns at all is part of what is tested: in the tick
    an exception or a warning of it would be a fault, so here it fails the test as an assertion."""
    try:
        with np.errstate(all="raise", under="ignore"):
            return function(*args, **kwargs)
    except Exception as error:  # whatever it is
        pytest.fail(f"{function.__qualname__} raised {error!r}")


def is_like(found: Array, expected: object, within: float = 1e-12) -> bool:
    """True for the same numbers in the same shape."""
    wanted = np.array(expected, dtype=float)
    return found.shape == wanted.shape and bool(np.all(np.abs(found - wanted) <= within))


# -- envelopes of the two joints ------------------------------------------------------------------


def resting(q: tuple[float, float] = (0.0, 0.0)) -> Envelope:
    """An envelope at rest at `q`."""
    envelope = Envelope(TWO_JOINTS, DT_S)
    envelope.rest_at(q)
    return envelope


def send(envelope: Envelope, sequence: int = 1) -> Command:
    """Certify what was admitted."""
    return envelope.certify(2, sequence, 7, 8, 9).command


def admitted() -> Envelope:
    """An envelope with a command that is not certified yet."""
    envelope = resting()
    envelope.admit([0.0, 0.0])
    return envelope


def moving() -> Envelope:
    """An envelope in the middle of a motion of both joints."""
    envelope = resting()
    for _ in range(60):
        envelope.admit([1.0, -1.0])
        send(envelope)
    assert not envelope.at_rest
    return envelope


def at_full_speed() -> Envelope:
    """The elbow cruises at its speed limit, to a part in a billion."""
    envelope = resting((0.0, -1.5))
    for _ in range(400):
        envelope.admit([0.0, 0.4])
        send(envelope)
    assert envelope.v[1] == pytest.approx(1.0, rel=1e-9)
    assert envelope.a[1] == pytest.approx(0.0, abs=1e-6)
    return envelope


def push_until(envelope: Envelope, ask: Sequence[float], joint: int, limit: Limit) -> None:
    """Ask for the same place until `limit` acts on `joint`."""
    for _ in range(400):
        envelope.admit(ask)
        send(envelope)
        if envelope.limited_by[joint] & limit:
            return
    pytest.fail(f"{limit.name} never acted")


def brake_to_rest(envelope: Envelope) -> list[list[float]]:
    """Brake until at rest; return the commands."""
    sent: list[list[float]] = []
    for _ in range(1000):
        if envelope.at_rest:
            return sent
        envelope.brake()
        assert envelope.limited_by == [0] * len(envelope.q)
        sent.append(send(envelope).q)
    pytest.fail("the stop does not end")


# -- robots with a shape --------------------------------------------------------------------------

# ground and foot are fixed, three links and a tool turn about z, 0.3 m apart along x
CHAIN = """
<geom name="ground" type="box" size="1 1 .1" pos="0 0 -1"/>
<body name="foot">
  <geom name="foot" type="sphere" size=".05"/>
  <body name="one" pos=".3 0 0">
    <joint name="a" axis="0 0 1"/>
    <geom name="one" type="sphere" size=".05"/>
    <body name="two" pos=".3 0 0">
      <joint name="b" axis="0 0 1"/>
      <geom name="two" type="sphere" size=".05"/>
      <body name="three" pos=".3 0 0">
        <joint name="c" axis="0 0 1"/>
        <geom name="three" type="sphere" size=".05"/>
        <body name="tool" pos=".2 0 0">
          <geom type="sphere" size=".05"/>
          <site name="tip"/>
        </body>
      </body>
    </body>
  </body>
</body>
"""


def named_limits(*names: str) -> tuple[JointLimits, ...]:
    """Limits of joints with these names, +-2 rad each (m for a slide)."""
    row = JointInvariants(-2.0, 2.0, 1.0, 10.0, 1000.0)
    return tuple(as_limits(name, row) for name in names)


def written(folder: Path, body: str, extra: str = "") -> str:
    """Write an MJCF file with `body` in its world and `extra` beside; return its path."""
    path = folder / "robot.xml"
    path.write_text(
        f'<mujoco><compiler angle="radian"/>{extra}<worldbody>{body}</worldbody></mujoco>',
        encoding="utf-8",
    )
    return str(path)
