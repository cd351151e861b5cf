"""Runs a tick once through everything before the first deadline.

What happens for the first time is slow (libraries load lazily, caches are cold): unprepared, the
tick that armed the robot took four servo periods. Nothing of it is kept, sent or recorded.
"""

from runtime.clock import NS_PER_S
from runtime.messages import (
    Outcome,
    Request,
    SignalKind,
    SignalSource,
    Sizes,
    TaskSignal,
    TickInputs,
    new_inputs,
)
from runtime.robot_spec import RobotSpec
from runtime.signal_slots import put_signals
from runtime.tick import ControlTick

_TICKS_EACH = 40

_SCENES = (
    (Request.NONE, None),
    (Request.ARM, None),
    (Request.NONE, TaskSignal(SignalKind.RESET_BEGIN, SignalSource.MANAGER)),
    (Request.NONE, TaskSignal(SignalKind.EPISODE_BEGIN, SignalSource.MANAGER)),
    (Request.NONE, TaskSignal(SignalKind.OUTCOME, SignalSource.MANAGER, Outcome.UNKNOWN)),
    (Request.STOP, None),
)


def warm_up(tick: ControlTick, sizes: Sizes, robot: RobotSpec) -> None:
    """Play arming, a reset, an episode and a stop on a robot that stands at home.

    The tick is put back exactly as it was.
    """
    before = tick.save()
    inputs = new_inputs(sizes)
    inputs.q[:] = [joint.home_rad for joint in robot.joints]
    inputs.preflight_ok[0] = True
    for request, signal in _SCENES:
        for index in range(_TICKS_EACH):
            _advance(inputs)
            inputs.request[0] = request if index == 0 else Request.NONE
            put_signals(inputs, [signal] if signal is not None and index == 0 else [])
            tick.step(inputs)
            inputs.base_sequence[0] += 1
            inputs.base_observed_ns[0] = inputs.now_ns[0]
    tick.restore(before)


def _advance(inputs: TickInputs) -> None:
    """Let a servo period pass in which every group delivers a sample."""
    inputs.tick[0] += 1
    inputs.now_ns[0] += NS_PER_S // 500
    inputs.group_sequence[:] += 1
    inputs.group_received_ns[:] = inputs.now_ns[0]
    inputs.link_received_ns[0] = inputs.now_ns[0]
