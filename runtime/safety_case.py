"""The safety case as data: what is required, which file enforces it, which test proves it, and what
risk is left; here, of the commands. SAFETY.md is made of it, and a test proves that every file and
test that it names exists."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Claim:
    """One requirement. `covers`: the invariants (messages.Limit) and guards (messages.GUARDS) that
    it speaks of; `enforced_by`: files; `proven_by`: file::function; `residual`: what is left."""

    number: str
    requirement: str
    covers: tuple[str, ...]
    enforced_by: tuple[str, ...]
    proven_by: tuple[str, ...]
    residual: str


def in_file(file: str, *tests: str) -> tuple[str, ...]:
    """Return the names of tests in one file, as pytest takes them."""
    return tuple(f"{file}::{test}" for test in tests)


INVARIANTS = (
    Claim(
        "I1",
        "No value that is not finite reaches the robot. It is never clamped, for minimum and "
        "maximum pass NaN on: every joint takes the next step of its kept stop, and it is a fault.",
        ("FINITE",),
        ("runtime/envelope/envelope.py", "runtime/monitors.py"),
        (
            *in_file(
                "tests/runtime/test_envelope.py",
                "test_what_is_not_finite_brakes_every_joint_and_names_the_joint",
            ),
            *in_file(
                "tests/runtime/test_monitors.py",
                "test_a_value_that_is_not_finite_is_seen_wherever_it_is",
            ),
        ),
        "A wrong value that is finite and plausible is limited like any other, not recognised.",
    ),
    Claim(
        "I2",
        "Position, velocity, acceleration and jerk of every joint's commanded reference, as finite "
        "differences on the servo grid, stay inside the command limits: the manufacturer's, less "
        "the tracking margin of the robot spec.",
        ("POSITION", "VELOCITY", "ACCELERATION", "JERK"),
        ("runtime/envelope/joint.py", "runtime/robot_spec.py"),
        (
            *in_file(
                "tests/runtime/test_envelope_invariants.py",
                "test_no_adversary_breaks_an_invariant",
                "test_no_limits_and_no_sequence_break_an_invariant",
            ),
            *in_file(
                "tests/test_invariants_in_the_loop.py",
                "test_noise_for_joint_targets_keeps_every_invariant",
            ),
            *in_file(
                "tests/test_adversaries.py",
                "test_no_adversary_breaks_an_invariant_or_the_arm",
                "test_what_was_broken_on_purpose_is_found",
            ),
        ),
        "The arm itself overshoots its reference; the tracking margin covers as much as it is "
        "wide. A push moves the arm whatever is commanded: past what the margin was chosen for, "
        "the arm leaves the manufacturer's limits (`tests/benchmarks/adversaries.py` says by how "
        "much).",
    ),
    Claim(
        "I3",
        "From every state that the reference reaches, the stop kept beside the command brings it "
        "to rest inside every invariant; a command after which no such stop exists is not sent.",
        (),
        ("runtime/envelope/stop.py", "runtime/envelope/joint.py", "runtime/envelope/envelope.py"),
        (
            *in_file(
                "tests/runtime/test_envelope.py",
                "test_from_every_state_the_kept_stop_ends_inside",
            ),
            *in_file(
                "tests/runtime/test_envelope_stop.py",
                "test_the_closed_form_is_the_simulation",
            ),
            *in_file(
                "tests/runtime/test_envelope_stateful.py",
                "test_anything_in_any_order_keeps_the_invariants",
            ),
            *in_file("tests/test_adversaries.py", "test_every_sampled_state_can_be_stopped"),
        ),
        "The argument is by induction over ticks and holds on the nominal grid; see the "
        "assumptions on the period and on tracking.",
    ),
    Claim(
        "I4",
        "Over the straight way to every command and the whole stop kept beside it, the robot's "
        "shapes stay the margin away from every keep-out volume and from one another, and the tool "
        "stays the margin inside the workspace.",
        ("GEOMETRY",),
        (
            "runtime/envelope/geometry.py",
            "runtime/envelope/cover.py",
            "runtime/envelope/barriers.py",
            "runtime/envelope/bodies.py",
            "runtime/envelope/choice.py",
            "runtime/geometry_spec.py",
        ),
        (
            *in_file(
                "tests/runtime/test_envelope_geometry_bounds.py",
                "test_no_bound_promises_more_than_there_is",
                "test_brute_force_finds_a_radius_too_small",
            ),
            *in_file(
                "tests/runtime/test_envelope_geometry.py",
                "test_nothing_that_is_asked_brings_the_robot_nearer_than_the_margin",
                "test_cut_off_anywhere_the_stop_passes_no_limit",
                "test_whatever_the_solver_says_nothing_comes_nearer",
            ),
            *in_file(
                "tests/runtime/test_geometry_stateful.py",
                "test_anything_in_any_order_keeps_its_distance",
            ),
            *in_file("tests/test_bad_input.py", "test_a_world_in_which_the_robot_cannot_stand"),
        ),
        "Only what is written in the config and the robot's model is kept out of: people, things "
        "that were moved, cables and workpieces are not seen. It speaks of the commanded arm; the "
        "measured one is off by its tracking error, and before the tracking guard notices, that "
        "can be the guard's angle times the length of the arm: far more than a margin of a few "
        "millimetres. The margin covers honest tracking, calibration and shapes, not a push.",
    ),
    Claim(
        "I5",
        "Only the envelope makes the certificate without which no link accepts a command, and the "
        "loop writes in one place.",
        (),
        ("runtime/envelope/certificate.py", "runtime/loop.py"),
        (
            *in_file(
                "tests/test_architecture.py",
                "test_only_the_envelope_makes_certificates",
                "test_links_are_written_to_in_one_place",
            ),
            *in_file(
                "tests/contracts/test_link_contract.py",
                "test_only_a_certificate_is_a_command",
            ),
        ),
        "Code in the same process can forge anything; the tests read our own source only.",
    ),
    Claim(
        "I6",
        "A tick that raises an error sends the next step of the stop that the last good tick kept, "
        "then the robot stops and stays stopped.",
        (),
        ("runtime/tick.py", "runtime/loop.py", "runtime/envelope/envelope.py"),
        (
            *in_file(
                "tests/runtime/test_tick_raises.py",
                "test_an_exception_anywhere_sends_the_kept_stop_and_then_stops",
                "test_a_step_that_always_raises_still_comes_to_rest",
            ),
        ),
        "A process that is killed or hangs sends nothing: the device's watchdog must hold the arm.",
    ),
    Claim(
        "I7",
        "After a stop nothing older is executed: every stop, re-arm and restart raises the epoch, "
        "and the device drops older epochs, older sequences and answers to old observations.",
        (),
        ("runtime/tick.py", "sims/device.py", "sims/robot_device.py"),
        (
            *in_file(
                "tests/runtime/test_tick.py",
                "test_epoch_rises_with_every_arm_stop_and_rearm_and_never_otherwise",
            ),
            *in_file(
                "tests/test_hardware.py",
                "test_a_stop_reaches_the_robot_and_its_daemon_and_nothing_older_is_executed",
            ),
            *in_file(
                "tests/sims/test_device.py",
                "test_older_epoch_is_dropped_whatever_its_sequence",
            ),
            *in_file(
                "tests/contracts/test_link_contract.py",
                "test_what_must_not_be_executed_is_dropped",
            ),
        ),
        "Proven for the simulated device; a real one must pass the same contract tests.",
    ),
    Claim(
        "I8",
        "Starting a process never moves the robot, and no fault that latches clears by itself: "
        "both need a person's request.",
        (),
        ("runtime/modes.py", "runtime/fault_tracker.py"),
        (
            *in_file(
                "tests/runtime/test_modes.py",
                "test_every_mode_response_and_request_has_its_expected_mode",
                "test_only_an_arm_request_at_rest_makes_the_robot_follow_commands",
            ),
            *in_file(
                "tests/runtime/test_fault_tracker.py",
                "test_the_real_table_does_what_it_says_and_clears_no_latched_fault_by_itself",
            ),
        ),
        "Who asks is not authenticated beyond the permissions of the operator's socket.",
    ),
    Claim(
        "I9",
        "A robot that starts outside its command range, or inside a margin, may only move back in: "
        "the limit is widened to where it stands and follows it inward. Too far outside it is not "
        "armed.",
        (),
        ("runtime/envelope/joint.py", "runtime/envelope/geometry.py"),
        (
            *in_file(
                "tests/runtime/test_outside_start.py",
                "test_a_joint_somewhat_outside_only_moves_back_in",
                "test_a_joint_far_outside_is_not_armed",
            ),
            *in_file(
                "tests/runtime/test_envelope_geometry_recovery.py",
                "test_a_robot_inside_a_barrier_may_only_move_back_out",
            ),
        ),
        "Up to 0.2 rad or 3 cm it moves by itself, once a person arms it; what is in the way on "
        "the way back in is not known.",
    ),
)
