"""The envelope: nothing reaches a motor but a command that this file certified.

Why it can always stop. Claim: after every certificate there is a stop of all joints together that
begins at the command just certified, ends at rest, and keeps every invariant in each tick of it:
finite, position, velocity, acceleration, jerk (stop.py, joint.py) and geometry (geometry.py).

- `rest_at`: the stop is to stay, and the pose was judged by itself.
- `admit`: what is certified is either a command whose own stop was judged, joint by joint in closed
  form and then all joints over one box of poses; or, if nothing else passes, the next step of the
  stop kept before. What remains of a stop is a stop, and was judged with it.
- `brake`, `emergency`: that next step, again.

So by induction no state that the reference can reach lacks a stop, whatever is asked.

What is assumed. The period is the nominal one: a skipped deadline delays the rest of the curve, it
does not change its shape. Latency delays it likewise. Nothing is assumed of the robot: that it is
where the reference is lies outside the claim. The distance between the two is covered by the
tracking margin of the robot spec (joints) and `geometry.margin_m` (space), and watched by guards.
"""

import math
from collections.abc import Iterable

import msgspec

from runtime.envelope.certificate import ENVELOPE_SEAL, Certificate
from runtime.envelope.choice import Choice
from runtime.envelope.geometry import Geometry
from runtime.envelope.joint import JointAdmission, Reference
from runtime.messages import Command, Limit
from runtime.robot_spec import JointLimits

_NOWHERE = Reference(
    q=0.0, v=0.0, a=0.0, stop_a=0.0, q_low=0.0, q_high=0.0, limited_by=0, margin=1.0
)


class EnvelopeState(msgspec.Struct, frozen=True):
    """Everything that the envelope carries from tick to tick, as plain data.

    `issued`: what the last certificate said, empty before the first rest. `current`: what the
    last admission said; it differs from `issued` while `pending` (admitted, not yet certified).
    `geometry`: what Geometry.save returned, empty without one and before the first rest.
    """

    issued: tuple[Reference, ...]
    current: tuple[Reference, ...]
    finite: bool
    pending: bool
    clearance_m: float = 0.0
    nearest_barrier: int = -1
    geometry: bytes = b""


class Envelope:
    """Keeps the commanded reference of every joint inside its invariants, whatever is asked.

    A tick is one `admit` or `brake`, then one `certify`. Only `certify` moves the reference on:
    an `admit` whose command was not certified never happened, so an exception in between cannot
    make the next command jump.

    After each call: `q` rad, `v` rad/s, `a` rad/s^2 (the reference and its finite differences),
    `limited_by` (messages.Limit bits) and `margin` (see JointAdmission), each a list in joint
    order; `finite` is False when the last `admit` was asked for something not finite.

    `clearance_m`: what every barrier certainly leaves to the kept stop beyond its margin, m
    (>= 0 but for one that was begun inside), and `nearest_barrier`, the index in `geometry.names`
    of the one that promises least, or that changed the command. A barrier that is judged once for
    many ticks promises what it leaves anywhere in the box of poses that it was judged for
    (cover.py), at least half of what it left when that was done. 0 and -1 without barriers and
    before the first rest. After `emergency` they are those of the tick before.
    """

    def __init__(
        self, limits: tuple[JointLimits, ...], dt_s: float, geometry: Geometry | None = None
    ) -> None:
        """Take the invariants of every joint, the servo period, and what to keep away from.

        Raises:
            ValueError: limits or period cannot be kept in float64 arithmetic; names the joint.
        """
        self._joints = tuple(JointAdmission(limit, dt_s) for limit in limits)
        self.geometry = geometry
        self._choice = None if geometry is None else Choice(self._joints, geometry)
        self._issued: tuple[Reference, ...] = ()
        self._pending = False
        self.finite = True
        self.clearance_m = 0.0
        self.nearest_barrier = -1
        self._show(())

    @property
    def at_rest(self) -> bool:
        """True when the reference neither moves nor accelerates; False before the first rest."""
        return bool(self._current) and not any(self.v) and not any(self.a)

    def refusal(self, q: Iterable[float]) -> str:
        """Return why the reference cannot begin at rest at `q` (rad, one per joint): a sentence
        that names every joint outside its command range, or every barrier that the robot is
        inside, and by how much. Empty when it can.

        A little outside or inside is none: from there the reference may only move back. A joint
        is then never further out than the tick before, a barrier never further in.
        """
        here = [float(at) for at in q]
        pairs = zip(self._joints, here, strict=True)
        reason = "; ".join(reason for joint, at in pairs if (reason := joint.outside(at)))
        return reason or (self.geometry.refusal(here) if self.geometry else "")

    def rest_at(self, q: Iterable[float]) -> None:
        """Set the reference once, at rest at `q` (rad), where the drive did not follow one before.

        Raises:
            ValueError: `refusal(q)` says why not.
        """
        here = [float(at) for at in q]
        reason = self.refusal(here)
        if reason:
            raise ValueError(reason)
        self._issued = tuple(joint.rest(at) for joint, at in zip(self._joints, here, strict=True))
        self._pending = False
        self.finite = True
        self._show(self._issued)
        if self.geometry is not None:
            self.geometry.settle(here)
        self._look()

    def admit(self, q_desired: Iterable[float]) -> None:
        """Advance the reference by one tick towards `q_desired` (rad, one per joint).

        If any number is not finite, every joint takes the next step of its kept stop instead.

        Raises:
            RuntimeError: no reference was set by `rest_at`.
            ValueError: the number of joints differs.
        """
        self._require_rest()
        desired = [float(value) for value in q_desired]
        triples = zip(self._joints, self._issued, desired, strict=True)
        self.finite = all(map(math.isfinite, desired))
        if self.finite:
            # a list first: a tuple built from a generator takes longer
            moved = tuple([joint.admit(last, value) for joint, last, value in triples])
            if self._choice is not None:
                moved = self._choice.of(self._issued, moved)
                self.clearance_m, self.nearest_barrier = self._choice.room_m, self._choice.nearest
        else:
            moved = tuple(
                joint.brake(last, 0 if math.isfinite(value) else int(Limit.FINITE))
                for joint, last, value in triples
            )
        self._show(moved)
        self._pending = True

    def brake(self) -> None:
        """Advance the reference by one tick along the kept stop; at rest, stay.

        Whatever this tick had admitted before is dropped.

        Raises:
            RuntimeError: no reference was set by `rest_at`.
        """
        self._require_rest()
        self._look()
        self._brake()

    def emergency(self) -> None:
        """Brake in a tick that raised, at any point before its `certify`.

        The step was certified with the last good tick and is plain numbers since: nothing that
        failed in this tick has a part in it.

        Raises:
            RuntimeError: no reference was set by `rest_at`.
        """
        self._require_rest()
        self._brake()

    def certify(
        self,
        epoch: int,
        sequence: int,
        answers_sequence: int,
        answers_device_stamp_ns: int,
        valid_for_ns: int,
    ) -> Certificate:
        """Return this tick's command, certified; the arguments are those of messages.Command.

        Raises:
            RuntimeError: no `admit` or `brake` since the last certificate.
        """
        if not self._pending:
            raise RuntimeError(
                "certify without a new command: each tick calls admit or brake first, "
                "then certify once"
            )
        self._pending = False
        self._issued = self._current
        command = Command(
            epoch=epoch,
            sequence=sequence,
            answers_sequence=answers_sequence,
            answers_device_stamp_ns=answers_device_stamp_ns,
            valid_for_ns=valid_for_ns,
            q=list(self.q),
            dq=list(self.v),
        )
        return Certificate(command, ENVELOPE_SEAL)

    def save(self) -> EnvelopeState:
        """Return the whole state as plain data; msgpack keeps it bit for bit."""
        return EnvelopeState(
            issued=self._issued,
            current=self._current,
            finite=self.finite,
            pending=self._pending,
            clearance_m=self.clearance_m,
            nearest_barrier=self.nearest_barrier,
            geometry=self.geometry.save() if self.geometry and self._issued else b"",
        )

    def restore(self, state: EnvelopeState) -> None:
        """Take over a state that `save` returned for the same limits and period.

        Raises:
            ValueError: the state has another number of joints.
        """
        if not (len(state.issued) == len(state.current) in (0, len(self._joints))):
            raise ValueError(
                f"the saved envelope has {len(state.current)} joints, this robot has "
                f"{len(self._joints)}: restore it with the robot spec of the run that saved it"
            )
        if self._choice is not None and state.issued:
            self._choice.restore(state.geometry, state.issued)
        self._issued = state.issued
        self._show(state.current)
        self.finite = state.finite
        self._pending = state.pending
        self.clearance_m = state.clearance_m
        self.nearest_barrier = state.nearest_barrier

    def _brake(self) -> None:
        self.finite = True
        pairs = zip(self._joints, self._issued, strict=True)
        self._show(tuple(joint.brake(last, 0) for joint, last in pairs))
        self._pending = True

    def _look(self) -> None:
        """Measure how near the kept stop comes to the barriers."""
        if self._choice is not None:
            self._choice.look(self._issued)
            self.clearance_m, self.nearest_barrier = self._choice.room_m, self._choice.nearest

    def _show(self, current: tuple[Reference, ...]) -> None:
        self._current = current
        # zeros before the first rest: the lists always have the robot's width
        shown = current or (_NOWHERE,) * len(self._joints)
        q: list[float] = []
        v: list[float] = []
        a: list[float] = []
        limited_by: list[int] = []
        margin: list[float] = []
        # one pass over the joints takes half the time of five comprehensions
        for r in shown:
            q.append(r.q)
            v.append(r.v)
            a.append(r.a)
            limited_by.append(r.limited_by)
            margin.append(r.margin)
        self.q, self.v, self.a, self.limited_by, self.margin = q, v, a, limited_by, margin

    def _require_rest(self) -> None:
        if not self._issued:
            raise RuntimeError("the envelope has no reference: call rest_at before admit or brake")
