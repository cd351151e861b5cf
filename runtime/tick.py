"""One control tick, pure: inputs in, record and certificate out. Time is an argument.

The order is fixed: look (monitors, guards), judge (episodes, faults, mode), move (policy, script
or fallback, then the envelope), write down. Nothing here blocks, logs or knows the time of day.
"""

from dataclasses import dataclass

from runtime import device_rules
from runtime.authority import MODE_OF_STAGE, Authority
from runtime.envelope.certificate import Certificate
from runtime.envelope.guards import WORKSPACE, Guards
from runtime.episodes import EpisodeDecision, EpisodeManager
from runtime.fault_tracker import FaultTracker
from runtime.faults import Fault, Response, Row
from runtime.keyframe import Memory, TickState
from runtime.measured_arm import MeasuredArm
from runtime.messages import (
    Mode,
    Outcome,
    Request,
    SignalSource,
    Sizes,
    TickInputs,
    TickRecord,
    new_record,
)
from runtime.modes import ACTIVE, ARMED, COMMANDING, ModeFacts, next_mode, rearms, refusal
from runtime.monitors import MonitorLimits, Monitors, all_finite
from runtime.motion import Motion, MotionParts
from runtime.policy_contract import StartEnvelope
from runtime.residual_watch import ResidualWatch
from runtime.robot_spec import RobotSpec


@dataclass(frozen=True)
class TickSettings:
    """Plain numbers and tables that a tick is made with."""

    sizes: Sizes
    robot: RobotSpec
    rows: tuple[Row, ...]
    monitors: MonitorLimits
    start: StartEnvelope
    blend_s: float
    command_valid_ns: int


class ControlTick:
    """The control law with its safety logic. See TickSettings for what it needs."""

    def __init__(
        self,
        settings: TickSettings,
        parts: MotionParts,
        episodes: EpisodeManager,
        guards: Guards,
        arm: MeasuredArm,
        authority: Authority,
        watch: ResidualWatch,
    ) -> None:
        self._settings = settings
        self._episodes = episodes
        self._guards = guards
        self._arm = arm
        self._tracker = FaultTracker(settings.rows)
        self._monitors = Monitors(settings.sizes, settings.monitors)
        self._motion = Motion(parts, settings.sizes.action, settings.blend_s)
        self._facts = ModeFacts()
        self._no_tau_nm = [0.0] * settings.sizes.joints
        self._authority = authority
        self._watch = watch
        self._memory = Memory(
            self._tracker, self._monitors, episodes, self._motion, authority, watch, arm
        )
        self.state = TickState()
        self.record = new_record(settings.sizes)
        self.certificate: Certificate | None = None
        self.notes: list[str] = []

    @property
    def motion(self) -> Motion:
        """What moves the reference; fault injection puts itself between its parts."""
        return self._motion

    def step(self, inputs: TickInputs) -> TickRecord:
        """Run one tick. The record is reused: copy it if it must outlive the next step.

        After it `certificate` is the command to send, or None while nothing may be commanded.
        """
        record = self.record
        self.certificate = None
        record.raw[: len(inputs.raw)] = inputs.raw
        self.notes.clear()
        conditions = self._monitors.look(inputs) | self._follow(inputs) | self._measure(record)
        self.notes.extend(self._monitors.news)
        decision = self._episodes.update(inputs, self._monitors.fresh_groups, self.state.mode)
        conditions |= self._policy_conditions(inputs, decision) | self._watch.conditions(inputs)
        request = _REQUESTS[inputs.request.item()]
        self._see_facts(inputs, request)
        rearm = rearms(self.state.mode, request, self._facts)
        if rearm:
            self._accept(record.guard_margin[WORKSPACE].item())
        response = self._tracker.update(conditions, inputs.now_ns.item(), rearm)
        record.request_refused[0] = self._change_mode(request, response, inputs)
        self._authority.update(
            self.state.mode,
            response,
            inputs.residual_stage.item(),
            self._watch.allowed(inputs.authority_granted.tolist()),
            self._arm.now.tool_position_in_base_m,
        )
        self._move(inputs, decision, conditions)
        self._write(record, conditions, response, decision)
        self._watch.see(
            record,
            self.state.mode,
            decision.outcome,
            self._authority.value,
            self._authority.state.level,
            self.state.limited,
            self._arm.now.contact_force_n,
        )
        if self.state.following:
            self._certify(record)
        self._write_command(record)
        return record

    def emergency(self, inputs: TickInputs) -> TickRecord:
        """Fill the record of a tick whose step raised: the command is the kept stop's next step."""
        record = self.record
        record.raw[: len(inputs.raw)] = inputs.raw
        record.step_raised[0] = True
        parts = self._motion.parts
        if self.state.following:
            if self.certificate is None:
                parts.envelope.emergency()
                self._certify(record)
            parts.fallback.begin()
            parts.scripted.cancel()
            record.q_desired[...] = parts.envelope.q
        self._write_reference(record)
        # what the last good tick decided is not said twice
        record.mode[0] = self.state.mode
        record.outcome[0] = Outcome.NONE
        record.outcome_source[0] = SignalSource.NONE
        record.policy_due[0] = False
        record.request_refused[0] = bool(inputs.request[0])
        self._write_command(record)
        return record

    @property
    def at_rest(self) -> bool:
        """True when reference and measured robot stood still in the last step."""
        return self._facts.at_rest

    # -- look ---------------------------------------------------------------------------------

    def _measure(self, record: TickRecord) -> int:
        """Work out what the arm does from the last usable observation; return guard conditions."""
        seen, parts = self._monitors.state, self._motion.parts
        following = self.state.following
        applied = parts.envelope.q if following else seen.q
        arm = self._arm.look(seen.q, seen.dq, applied, seen.groups, record.now_ns.item())
        parts.setpoints.measure(seen.q)
        record.setpoint_measured[...] = parts.setpoints.state.measured
        record.tool_position_in_base_m[...] = arm.tool_position_in_base_m
        record.tool_speed_m_s[0] = arm.tool_speed_m_s
        record.elbow_speed_m_s[0] = arm.elbow_speed_m_s
        record.contact_force_n[0] = arm.contact_force_n
        record.tau_estimate[...] = arm.motor_nm
        margins = self._guards.margins(arm)
        record.guard_margin[...] = margins
        if not following:
            return 0
        limited = 1 << Fault.ENVELOPE_LIMITED if self.state.limited else 0
        return limited | self._monitors.guards(margins)

    def _follow(self, inputs: TickInputs) -> int:
        """Know when the device lets go, and set the reference anew before it takes hold again.

        It drops commands that answer too old a sample and holds by itself, so our reference and
        its target part. A hold takes them up again once the arm is seen, and seen at rest.
        """
        state, motion, device = self.state, self._motion, inputs.device.item()
        age_ns = inputs.now_ns.item() - inputs.group_received_ns.item(0)
        fresh = age_ns <= self._settings.command_valid_ns
        if state.following and device_rules.lets_go(device, fresh):
            state.following = False
        elif (
            state.mode is Mode.HOLD
            and not state.following
            and device_rules.can_be_taken(device, fresh, self._seen_at_rest())
        ):
            q = self._monitors.state.q
            if not motion.parts.envelope.refusal(q):
                motion.take_up(q)
                state.following = True
                # a new reference: what was sent for the old one must not be executed any more
                state.epoch += 1
        if state.mode not in ARMED:
            return 0
        return device_rules.conditions(device, state.following, state.mode is Mode.HOLD)

    def _seen_at_rest(self) -> bool:
        limit = self._settings.robot.rest_speed_max_rad_s
        return max(map(abs, self._monitors.state.dq)) <= limit

    def _policy_conditions(self, inputs: TickInputs, decision: EpisodeDecision) -> int:
        if decision.began:
            settings = self._settings
            refusal = self._monitors.start_refusal(settings.robot.joint_names, settings.start)
            if refusal:
                self.notes.append(refusal)
                self._episodes.abort(decision)
                return 1 << Fault.START_REFUSED
        if self._episodes.running and self.state.mode in ACTIVE:
            return self._monitors.base(inputs, self.state.in_charge_since_ns)
        return 0

    # -- judge --------------------------------------------------------------------------------

    def _see_facts(self, inputs: TickInputs, request: Request) -> None:
        seen, facts = self._monitors.state, self._facts
        envelope = self._motion.parts.envelope
        facts.preflight_ok = bool(inputs.preflight_ok[0])
        referred_rest = envelope.at_rest or not self.state.following
        facts.at_rest = referred_rest and self._seen_at_rest()
        facts.running = self._episodes.running
        facts.stage = MODE_OF_STAGE[inputs.residual_stage.item()]
        facts.can_start = True
        if request is Request.ARM:
            refusal = device_rules.refusal(inputs.device.item()) or envelope.refusal(seen.q)
            facts.can_start = not refusal
            if refusal:
                self.notes.append(f"arm refused: {refusal}")

    def _accept(self, workspace_margin: float) -> None:
        """A person re-arms: what is measured is where the arm is, wherever that may be."""
        self._monitors.let_back_in(workspace_margin)
        if self._monitors.place_refused and self._facts.at_rest:
            self._monitors.accept_place()
            # the reference belongs to the old place; `_follow` takes it up anew at the next
            self.state.following = False

    def _change_mode(self, request: Request, response: Response, inputs: TickInputs) -> bool:
        mode = self.state.mode
        new, refused = next_mode(mode, request, response, self._facts)
        if refused:
            self.notes.append(refusal(mode, request, response, self._facts))
        if new is not mode:
            self._enter(new, int(inputs.now_ns[0]))
        return refused

    def _enter(self, new: Mode, now_ns: int) -> None:
        """Change the mode; what came before an epoch is never executed after it.

        The mode itself changes last: if a hand-over raises, nobody has taken over.
        """
        state, old = self.state, self.state.mode
        if new is Mode.HOMING and old is Mode.READY:
            self._motion.arm(self._monitors.state.q)
            state.following = True
        elif new not in COMMANDING:
            state.following = False
        elif state.following:
            self._motion.hand_over(old, new)
        if new in ACTIVE and old not in ACTIVE:
            state.in_charge_since_ns = now_ns
        if new is Mode.STOPPED or old is Mode.STOPPED or old is Mode.READY:
            state.epoch += 1
        state.mode = new

    # -- move ---------------------------------------------------------------------------------

    def _move(self, inputs: TickInputs, decision: EpisodeDecision, conditions: int) -> None:
        mode, motion = self.state.mode, self._motion
        if not self.state.following:
            self.record.q_desired[...] = self._monitors.state.q
            return
        if decision.reset_target is not None and mode is Mode.HOMING:
            motion.reset(decision.reset_target)
        if decision.began and self._episodes.running:
            motion.begin_episode(inputs.base_sequence.item())
        # an action that was observed before the policy took over is never executed
        fresh = inputs.base_observed_ns.item() >= self.state.in_charge_since_ns
        if mode in ACTIVE and self._episodes.running and fresh:
            self._act(inputs, inputs.base_sequence.item())
        # nobody relaxes towards where the arm was seen last, only towards where it is
        drive_nm = self._no_tau_nm if conditions & _ARM_UNSEEN else self._arm.now.drive_nm
        self.record.q_desired[...] = motion.step(mode, self._monitors.state.q, drive_nm)
        envelope = motion.parts.envelope
        at_rest = envelope.at_rest and self._facts.at_rest
        moving = motion.moving or mode is not Mode.HOMING
        self._episodes.stood(at_rest, moving, inputs.now_ns.item())

    def _act(self, inputs: TickInputs, sequence: int) -> None:
        """Sum base and residual, anew whenever one of them or the authority changed."""
        motion, authority = self._motion, self._authority
        if sequence <= motion.state.base_sequence and not authority.changed():
            return
        action = authority.sum(inputs.base_action.tolist(), inputs.residual_action.tolist())
        if all_finite(action) and motion.act(action, sequence):
            self._episodes.state.step += 1

    # -- write down ---------------------------------------------------------------------------

    def _write(
        self,
        record: TickRecord,
        conditions: int,
        response: Response,
        decision: EpisodeDecision,
    ) -> None:
        episodes = self._episodes
        record.step_raised[0] = False
        record.mode[0] = self.state.mode
        record.response[0] = response
        record.faults[0] = self._tracker.active
        record.faults_seen[0] = conditions
        record.stale_groups[0] = self._monitors.stale_groups
        record.phase[0] = episodes.state.phase
        record.episode[0] = episodes.state.episode
        record.episode_step[0] = episodes.state.step
        record.time_left[0] = episodes.time_left
        record.outcome[0] = decision.outcome
        record.outcome_source[0] = decision.source
        record.policy_due[0] = (
            self.state.mode in ACTIVE and episodes.step_due and response < Response.HOLD
        )
        record.action[...] = self._motion.state.action
        record.action_executed[...] = self._motion.state.executed
        record.authority[...] = self._authority.value
        record.region_share[0] = self._authority.region_share
        self._write_reference(record)

    def _write_reference(self, record: TickRecord) -> None:
        parts = self._motion.parts
        envelope = parts.envelope
        record.setpoint[...] = parts.setpoints.state.value
        if self.state.following:
            record.q_applied[...] = envelope.q
            record.dq_applied[...] = envelope.v
            record.ddq_applied[...] = envelope.a
            limited = any(envelope.limited_by)
            record.limited_by[...] = envelope.limited_by if limited else 0
            record.margin[...] = envelope.margin
            record.clearance_m[0] = envelope.clearance_m
            record.nearest_barrier[0] = envelope.nearest_barrier
            self.state.limited = limited
        else:
            record.q_applied[...] = self._monitors.state.q
            record.dq_applied[...] = 0.0
            record.ddq_applied[...] = 0.0
            record.limited_by[...] = 0
            record.margin[...] = 1.0
            record.clearance_m[0] = 0.0
            record.nearest_barrier[0] = -1
            self.state.limited = False

    def _certify(self, record: TickRecord) -> None:
        self.certificate = self._motion.parts.envelope.certify(
            epoch=self.state.epoch,
            # ticks only count upwards, so they serve as the command's sequence
            sequence=record.tick.item(),
            answers_sequence=record.group_sequence.item(0),
            answers_device_stamp_ns=record.group_device_stamp_ns.item(0),
            valid_for_ns=self._settings.command_valid_ns,
        )

    def _write_command(self, record: TickRecord) -> None:
        record.command_sent[0] = self.certificate is not None
        record.epoch[0] = self.state.epoch
        record.command_sequence[0] = record.tick[0]
        record.valid_for_ns[0] = self._settings.command_valid_ns

    # -- keyframes ----------------------------------------------------------------------------

    def save(self) -> bytes:
        """Return the whole state (msgpack), bit exact."""
        return self._memory.save(self.state)

    def restore(self, data: bytes) -> None:
        """Take up a state that `save` returned."""
        self.certificate = None
        self.state = self._memory.restore(data)


# a look-up in a tuple is a fifth of the enum's own call
_REQUESTS = tuple(Request)

_ARM_UNSEEN = (
    1 << Fault.JOINTS_STALE
    | 1 << Fault.LINK_LOST
    | 1 << Fault.OBSERVATION_NOT_FINITE
    | 1 << Fault.OBSERVATION_IMPLAUSIBLE
)
