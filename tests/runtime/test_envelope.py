"""The envelope as the tick uses it: rest, admit, brake, certify, save and restore."""

import math
import random
from collections.abc import Iterable

import msgspec
import numpy as np
import pytest

from runtime.envelope.certificate import Certificate
from runtime.envelope.envelope import Envelope, EnvelopeState
from runtime.envelope.joint import RECOVERABLE_RAD
from runtime.messages import Command, Limit
from tests.runtime.envelope_kit import (
    DT_S,
    ELBOW,
    SHOULDER,
    TWO_JOINTS,
    admitted,
    brake_to_rest,
    moving,
    resting,
    send,
)
from tests.runtime.invariant_checker import check

# -- certificate ----------------------------------------------------------------------------------


def test_a_certificate_is_the_envelopes_alone() -> None:
    command = send(admitted())
    with pytest.raises(TypeError, match=r"only Envelope\.certify"):
        Certificate(command, object())  # type: ignore[arg-type]


def test_a_certificate_carries_the_command_and_its_answers() -> None:
    envelope = resting((0.1, 0.2))
    envelope.admit([0.1, 0.2 + 1e-6])
    certified = envelope.certify(2, 3, 7, 8, 9)
    assert isinstance(certified, Certificate)
    assert certified.command == Command(2, 3, 7, 8, 9, [0.1, 0.2 + 1e-6], envelope.v)
    assert certified.command.dq[1] == (0.2 + 1e-6 - 0.2) / DT_S
    with pytest.raises(AttributeError):
        certified.command = certified.command  # type: ignore[misc]


def test_one_command_is_certified_once() -> None:
    envelope = admitted()
    send(envelope)
    with pytest.raises(RuntimeError, match="calls admit or brake first"):
        send(envelope)
    with pytest.raises(RuntimeError, match="calls admit or brake first"):
        send(resting())


# -- rest -----------------------------------------------------------------------------------------


def test_before_the_first_rest_nothing_can_be_asked() -> None:
    envelope = Envelope(TWO_JOINTS, DT_S)
    assert not envelope.at_rest
    assert envelope.finite
    assert (envelope.q, envelope.v, envelope.limited_by) == ([0.0, 0.0], [0.0, 0.0], [0, 0])
    with pytest.raises(RuntimeError, match="call rest_at before"):
        envelope.admit([0.0, 0.0])
    with pytest.raises(RuntimeError, match="call rest_at before"):
        envelope.brake()
    with pytest.raises(RuntimeError, match="call rest_at before"):
        envelope.emergency()


def test_rest_takes_every_place_in_the_range_and_says_what_is_outside() -> None:
    envelope = Envelope(TWO_JOINTS, DT_S)
    places: list[Iterable[float]] = [[-1.0, 0.5], [1.0, -2.0], np.array([0.3, 0.1])]
    for q in places:
        assert envelope.refusal(q) == ""
        envelope.rest_at(q)
        assert envelope.at_rest
        assert envelope.q == list(q)
        assert envelope.finite
    # a little outside is a place to move back in from
    for q in ([1.0 + 0.19, 0.0], [-1.19, 0.69]):
        assert envelope.refusal(q) == ""
    above = 1.0 + RECOVERABLE_RAD + 1e-9
    assert "shoulder is at 1.200000 rad" in envelope.refusal([above, 0.0])
    text = envelope.refusal([-1.25, 0.75])
    assert "joint shoulder is at -1.250000 rad, 0.250000 rad outside" in text
    assert "joint elbow is at 0.750000 rad, 0.250000 rad outside" in text
    assert "no position" in envelope.refusal([math.nan, 0.0])
    with pytest.raises(ValueError, match=r"elbow is at 0\.75"):
        envelope.rest_at([0.0, 0.75])
    # a refused rest changes nothing
    assert envelope.q == [0.3, 0.1]


# -- admit ---------------------------------------------------------------------------------------


def test_what_is_not_finite_brakes_every_joint_and_names_the_joint() -> None:
    for bad in (math.nan, math.inf, -math.inf):
        envelope, twin = moving(), moving()
        envelope.admit([bad, 0.1])
        twin.brake()
        assert not envelope.finite
        assert envelope.limited_by == [Limit.FINITE, 0]
        assert (envelope.q, envelope.v, envelope.a) == (twin.q, twin.v, twin.a)
        send(envelope)
        envelope.admit(envelope.q)
        assert envelope.finite


def test_arrays_become_plain_floats() -> None:
    envelope = resting()
    envelope.admit(np.array([1e-9, 0.0]))
    assert all(type(value) is float for value in envelope.q + envelope.v + envelope.a)


# -- stop -----------------------------------------------------------------------------------------


def test_the_kept_stop_ends_at_exact_rest_inside_everything() -> None:
    envelope = moving()
    assert len(brake_to_rest(envelope)) > 10
    assert envelope.v == envelope.a == [0.0, 0.0]
    here = envelope.q
    envelope.brake()
    assert send(envelope).q == here


def test_from_every_state_the_kept_stop_ends_inside() -> None:
    rng = random.Random(11)
    envelope = resting()
    sent = [envelope.q]
    for tick in range(3000):
        if tick % 40 == 0:
            target = [rng.uniform(-1.5, 1.5), rng.uniform(-2.5, 1.0)]
        envelope.admit([q + rng.gauss(0.0, 1e-3) for q in target])
        sent.append(send(envelope).q)
        if tick % 15 == 0:
            twin = resting()
            twin.restore(envelope.save())
            stop = sent + brake_to_rest(twin)
            q = np.array(stop[-400:])
            # the first rows only begin the finite differences
            verdict = check(q, DT_S, (SHOULDER, ELBOW), tolerance=1e-9)
            begun = 0 if len(stop) <= 400 else 3
            assert [v for v in verdict.violations if v.tick >= begun] == []


def test_a_tick_that_raised_continues_from_what_was_sent() -> None:
    rng = random.Random(1)
    envelope = resting()
    sent = [envelope.q]
    for tick in range(4000):
        if rng.random() < 0.2:
            # the exception comes before or after the admission; both leave the last command
            if rng.random() < 0.5:
                envelope.admit([rng.uniform(-3, 3), rng.uniform(-3, 3)])
            envelope.emergency()
        else:
            envelope.admit([rng.uniform(-3, 3), rng.uniform(-3, 3)])
            envelope.admit([math.sin(tick / 300), math.cos(tick / 200)])
        sent.append(send(envelope, tick).q)
    assert check(np.array(sent), DT_S, (SHOULDER, ELBOW), tolerance=1e-9).violations == ()


def test_an_emergency_is_the_kept_stop() -> None:
    envelope, twin = moving(), moving()
    envelope.admit([-1.0, 1.0])
    envelope.emergency()
    twin.brake()
    assert send(envelope) == send(twin)


# -- save and restore -----------------------------------------------------------------------------


def test_a_restored_envelope_continues_bit_for_bit() -> None:
    rng = random.Random(5)
    envelope = moving()
    for pending in (False, True):
        if pending:
            envelope.admit([0.3, 0.3])
        packed = msgspec.msgpack.encode(envelope.save())
        twin = Envelope(TWO_JOINTS, DT_S)
        twin.restore(msgspec.msgpack.decode(packed, type=EnvelopeState))
        assert twin.save() == envelope.save()
        assert (twin.q, twin.margin) == (envelope.q, envelope.margin)
    send(envelope)
    send(twin)
    for _ in range(500):
        ask = [rng.uniform(-2, 2), rng.choice([math.nan, 0.1, -0.4, 9.0])]
        envelope.admit(ask)
        twin.admit(ask)
        assert send(envelope) == send(twin)
        assert twin.save() == envelope.save()


def test_the_state_before_the_first_rest_can_be_saved() -> None:
    twin = Envelope(TWO_JOINTS, DT_S)
    twin.restore(Envelope(TWO_JOINTS, DT_S).save())
    assert twin.q == [0.0, 0.0]
    assert not twin.at_rest


def test_a_state_of_another_robot_is_refused() -> None:
    state = resting().save()
    with pytest.raises(ValueError, match="has 2 joints, this robot has 1"):
        Envelope(TWO_JOINTS[:1], DT_S).restore(state)
    torn = EnvelopeState(state.issued[:1], state.current, finite=True, pending=False)
    with pytest.raises(ValueError, match="has 2 joints, this robot has 2"):
        resting().restore(torn)


def test_a_limit_that_cannot_be_kept_refuses_by_name() -> None:
    bad = TWO_JOINTS[1].model_copy(update={"jerk_max_rad_s3": 1e-8})
    with pytest.raises(ValueError, match="joint elbow: jerk_max_rad_s3 is 1e-08"):
        Envelope((TWO_JOINTS[0], bad), DT_S)
