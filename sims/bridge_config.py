"""What a bridge process is told: where it listens, who may connect, and how bad its network is.

The block `sim.bridge` of the config, or a YAML file of its own with the same keys.
"""

from pathlib import Path
from typing import Annotated

from pydantic import Field

from runtime.config import RealtimeConfig, parse, read_yaml
from runtime.robot_spec import Finite, NotNegative, Positive, StrictModel

Likelihood = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]


class DirectionFaults(StrictModel):
    """What happens to the frames of one direction.

    Each is lost with `loss_share`; sent twice with `duplicate_share`; delayed by `latency_s` plus
    up to `jitter_s`, evenly drawn, without overtaking, but with `reorder_share` it is held back
    for `reorder_s` more and those behind it overtake. Every `freeze_every_s` nothing passes for
    `freeze_s`, and all of it comes at once after that (both 0: never).
    """

    latency_s: NotNegative = 0.0
    jitter_s: NotNegative = 0.0
    loss_share: Likelihood = 0.0
    duplicate_share: Likelihood = 0.0
    reorder_share: Likelihood = 0.0
    reorder_s: NotNegative = 0.0
    freeze_every_s: NotNegative = 0.0
    freeze_s: NotNegative = 0.0


class CurveConfig(StrictModel):
    """CURVE keys: the device's own secret certificate, and a folder of the public certificates
    (`*.key`) that may connect, as `trimtab keys` makes them."""

    secret_key: str
    allowed: str


class BridgeConfig(StrictModel):
    """The block `sim.bridge`. `endpoint`: where it binds; none: in the robot's socket folder.

    `watchdog_s`, `lease_s`: the protocol's. `loopback`: allows a loopback address without keys.
    `episode_s`: how long the daemon's episodes last; the simulated person at the bench waits for
    their end. `clock_drift_ppm`: how much faster the device's clock runs than this machine's.
    `bus_s`: how long before it is told of a sample of the joints was taken, as on a drive's bus.
    `realtime`: how the process is scheduled; none: like any other, and late on a busy machine.
    """

    endpoint: str | None = None
    watchdog_s: Annotated[float, Field(gt=0, le=0.1, allow_inf_nan=False)] = 0.02
    lease_s: Annotated[float, Field(ge=0.1, le=2.0, allow_inf_nan=False)] = 0.5
    loopback: bool = False
    curve: CurveConfig | None = None
    episode_s: Positive = 4.0
    clock_drift_ppm: Finite = 0.0
    bus_s: Annotated[float, Field(ge=0, le=0.01, allow_inf_nan=False)] = 0.0001
    realtime: RealtimeConfig | None = None
    network_seed: Annotated[int, Field(ge=0)] = 0
    to_robot: DirectionFaults = DirectionFaults()
    to_client: DirectionFaults = DirectionFaults()


def read_bridge(file: Path) -> BridgeConfig:
    """Return what a YAML file says in the stead of the block; raises ConfigError."""
    return parse(BridgeConfig, read_yaml(file), str(file))
