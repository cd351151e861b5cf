"""The safety case, continued: what is watched, and what surrounds envelope and guards."""

from runtime.safety_case import INVARIANTS, Claim, in_file

GUARDS_CASE = (
    Claim(
        "G1",
        "The motor torque, estimated from the drive's gains, its torque limit and gravity with and "
        "without the declared payload, is watched in every tick.",
        ("torque",),
        ("runtime/measured_arm.py", "runtime/arm_physics.py", "runtime/envelope/guards.py"),
        (
            *in_file(
                "tests/runtime/test_envelope_guards.py",
                "test_a_margin_is_one_minus_the_share_that_is_used",
                "test_what_is_not_finite_is_past_its_guard",
            ),
            *in_file(
                "tests/runtime/test_measured_arm.py",
                "test_the_estimate_is_the_simulated_motors_torque",
                "test_a_carried_payload_is_not_underestimated",
            ),
        ),
        "An estimate: friction, and gains that differ from the spec's, are not in it.",
    ),
    Claim(
        "G2",
        "An arm that is not where it was told to be is stopped, and stays stopped.",
        ("tracking",),
        ("runtime/envelope/guards.py",),
        (
            *in_file(
                "tests/runtime/test_envelope_guards.py",
                "test_a_margin_is_one_minus_the_share_that_is_used",
                "test_what_is_not_finite_is_past_its_guard",
            ),
        ),
        "Debounced over five ticks; smaller errors than the guard are not seen.",
    ),
    Claim(
        "G3",
        "Measured speed of every joint, of the tool and of the elbow is watched.",
        ("joint_speed", "tool_speed", "elbow_speed"),
        ("runtime/envelope/guards.py", "runtime/arm_physics.py", "runtime/kinematics.py"),
        (
            *in_file(
                "tests/runtime/test_envelope_guards.py",
                "test_a_margin_is_one_minus_the_share_that_is_used",
                "test_what_is_not_finite_is_past_its_guard",
            ),
            *in_file(
                "tests/runtime/test_arm_physics.py",
                "test_speeds_and_torques_against_trigonometry",
            ),
        ),
        "Two places on the arm are watched, not all; speed is known as late as the measurement.",
    ),
    Claim(
        "G4",
        "A tool measured outside its workspace is held, and may only move back in.",
        ("workspace",),
        ("runtime/envelope/guards.py", "runtime/monitors.py"),
        (
            *in_file(
                "tests/runtime/test_workspace_recovery.py",
                "test_it_is_held_until_re_armed_then_homes_and_is_guarded_again",
            ),
        ),
        "The commanded tool is kept inside as an invariant (I4); this guard sees pushes.",
    ),
    Claim(
        "G5",
        "The contact force, behind a first-order low-pass, is watched where the robot feels one. "
        "With cut-off f the filtered force is 1/(2 pi f) seconds behind one that grows steadily: 8 "
        "ms at 20 Hz, besides the sensor's own delay and one servo period.",
        ("contact_force",),
        ("runtime/force_filter.py", "runtime/envelope/guards.py"),
        (
            *in_file(
                "tests/runtime/test_force_filter.py",
                "test_a_growing_force_is_followed_as_late_as_it_says",
            ),
            *in_file(
                "tests/runtime/test_measured_arm.py",
                "test_a_press_passes_the_guard_as_late_as_the_filter_says_and_no_later",
                "test_a_force_that_is_not_finite_does_not_stay_in_the_filter",
            ),
        ),
        "A hard impact is over before any filter has seen it: the guard limits how long and how "
        "hard the arm presses, not the peak of a blow.",
    ),
    Claim(
        "G6",
        "A joint measurement that the arm cannot have reached is not used, and never becomes "
        "plausible by waiting: the arm is held until the sample is plausible again or a person "
        "accepts the place.",
        (),
        ("runtime/plausibility.py", "runtime/monitors.py"),
        (
            *in_file(
                "tests/runtime/test_plausibility.py",
                "test_a_jump_stands_at_what_the_joint_can_do",
                "test_a_lasting_jump_never_becomes_plausible_by_waiting",
                "test_an_encoder_that_lost_its_zero_stays_held_until_a_person_accepts_it",
            ),
        ),
        "A slow drift of an encoder is plausible in every tick.",
    ),
    Claim(
        "G7",
        "An observation far from anything in the base policy's training is told, and takes away "
        "the residual's authority; slow inference and a step of the wall clock are told, and the "
        "step changes no command.",
        (),
        ("policies/familiarity.py", "runtime/monitors.py", "runtime/loop.py"),
        (
            *in_file(
                "tests/policies/test_familiarity.py",
                "test_an_absurd_task_is_far_past_the_limit",
            ),
            *in_file("tests/runtime/test_monitors.py", "test_slow_inference_is_named"),
            *in_file(
                "tests/runtime/test_loop.py",
                "test_a_step_of_the_wall_clock_is_said_and_changes_nothing",
            ),
        ),
        "The distance is per feature: a strange combination of familiar numbers is not seen.",
    ),
)

SYSTEM = (
    Claim(
        "S1",
        "Every condition that the fault table names is raised where it happens, and each row has "
        "an injector that is proven to have acted.",
        (),
        ("runtime/faults.py", "runtime/monitors.py", "runtime/fault_tracker.py"),
        (
            *in_file(
                "tests/sims/test_injection.py",
                "test_every_fault_has_one_row_and_one_injector",
                "test_injected_fault_acts",
            ),
        ),
        "What nobody thought of has no row.",
    ),
    Claim(
        "S2",
        "A config may tighten a row or a limit, never loosen it, and a limit that is missing, "
        "contradictory or in the wrong unit refuses to start.",
        (),
        ("runtime/faults.py", "runtime/config.py", "runtime/robot_spec.py", "runtime/units.py"),
        (
            *in_file("tests/runtime/test_faults.py", "test_a_change_is_stricter_or_refused"),
            *in_file("tests/runtime/test_config.py", "test_a_robot_must_make_sense"),
            *in_file(
                "tests/runtime/test_config_sense.py",
                "test_a_robot_in_other_units_is_refused_with_the_guess",
                "test_a_velocity_that_cannot_be_reached_and_stopped_in_the_range",
            ),
            *in_file("tests/test_bad_input.py", "test_a_robot_spec_without_a_limit"),
        ),
        "Limits that are plausible and wrong are believed: they are the manufacturer's to give and "
        "the integrator's to check.",
    ),
    Claim(
        "S3",
        "The checker shares nothing with the checked: envelope, trajectory generator and "
        "set-points import nothing of one another, and the tests judge commands with numbers "
        "written again.",
        (),
        ("pyproject.toml", "tests/runtime/invariant_checker.py"),
        (
            *in_file("tests/test_architecture.py", "test_contracts_make_no_exceptions"),
            *in_file("tests/test_invariants_in_the_loop.py", "test_the_checker_would_have_noticed"),
        ),
        "Same language, same library versions, same computer: a common cause can hit both.",
    ),
    Claim(
        "S4",
        "What was decided can be shown afterwards: every tick is recorded and replays bit for bit, "
        "and motion that would go unrecorded is held.",
        (),
        ("runtime/replay.py", "runtime/recorder.py", "runtime/explain.py"),
        (
            *in_file(
                "tests/runtime/test_replay.py",
                "test_an_honest_run_replays_bit_for_bit_at_both_strengths",
                "test_one_bit_of_one_command_is_found_and_named",
            ),
            *in_file(
                "tests/runtime/test_explain.py",
                "test_a_tick_is_explained_from_the_record_alone",
            ),
        ),
        "A record shows what the daemon saw, not what happened.",
    ),
    Claim(
        "S5",
        "The control process dies alone: it is never restarted while armed, and without its "
        "supervisor it stops.",
        (),
        ("runtime/supervisor.py", "runtime/control_process.py"),
        (
            *in_file(
                "tests/test_daemon.py",
                "test_a_killed_control_process_is_reported_and_never_restarted",
                "test_without_its_supervisor_control_stops_and_leaves",
            ),
        ),
        "One operating system schedules all of it; a frozen computer is the watchdog's to notice.",
    ),
)

RESIDUAL = (
    Claim(
        "R1",
        "What learns on the robot is bounded three times, by code that shares nothing: by itself, "
        "by the tick, which takes its authority away in the tick in which it asks for more, and by "
        "the envelope. A residual that raises or asks for NaN is dropped, too; the base goes on.",
        (),
        ("policies/residual.py", "runtime/monitors.py", "runtime/tick.py"),
        (
            *in_file(
                "tests/policies/test_residual.py",
                "test_it_never_leaves_its_bound",
                "test_what_is_no_observation_is_answered_with_nothing",
            ),
            *in_file(
                "tests/runtime/test_residual_in_the_loop.py",
                "test_a_residual_that_misbehaves_is_dropped_in_that_tick_and_comes_back_by_ramp",
            ),
            *in_file("tests/runtime/test_monitors.py", "test_a_residual_ends_at_its_bound"),
        ),
        "The bound limits a rate: what many small steps add up to is the region's to limit.",
    ),
    Claim(
        "R2",
        "The residual acts only as far as it is granted, no faster than its ramp, and only while "
        "the tool is measured inside its region; every way down is immediate.",
        (),
        ("runtime/authority.py", "runtime/tick.py", "runtime/modes.py"),
        (
            *in_file(
                "tests/runtime/test_authority.py",
                "test_never_above_the_grant_nor_faster_than_the_ramp",
                "test_nothing_in_the_tick_of_a_drop_outside_or_elsewhere",
            ),
            *in_file(
                "tests/runtime/test_residual_in_the_loop.py",
                "test_outside_its_region_it_has_no_authority",
            ),
        ),
        "Inside its region it may do what the envelope admits: press, or work against the base.",
    ),
    Claim(
        "R3",
        "Control takes a snapshot only if it is whole, finite, newer, made for this base and these "
        "terms, computed here as in training, and near what is live on the last observations; "
        "otherwise the one before stays.",
        (),
        ("policies/residual.py", "policies/gate_checks.py", "runtime/snapshot.py"),
        (
            *in_file(
                "tests/policies/test_residual.py",
                "test_a_bad_snapshot_is_refused_with_its_reason",
                "test_garbage_never_raises",
                "test_what_is_not_newer_is_refused",
                "test_actions_may_not_jump_on_what_was_just_seen",
            ),
        ),
        "A snapshot that passes can still be bad at its task; then it is bounded, not good.",
    ),
    Claim(
        "R4",
        "Within the tick the residual is taken away when its success falls below its own record or "
        "the base's, when with it the envelope acts or the tool presses more often than with the "
        "base alone, when its critic, its updates or its weights are past their limits, when gate "
        "or learner are gone, and when a person says so; an action that stays at its bound is "
        "withheld. What was found against it stays until it is on trial anew.",
        (),
        ("runtime/residual_watch.py", "runtime/change_detector.py", "runtime/tick.py"),
        (
            *in_file(
                "tests/runtime/test_residual_triggers.py",
                "test_a_run_that_this_and_nothing_else_stops",
                "test_what_is_over_is_given_back_after_its_dwell_and_by_the_ramp",
            ),
            *in_file(
                "tests/runtime/test_residual_watch_properties.py",
                "test_what_was_raised_stays_until_the_trial_is_over",
                "test_nothing_makes_it_raise_and_evidence_stays_in_range",
            ),
            *in_file(
                "tests/runtime/test_change_detector.py",
                "test_the_mean_distance_to_a_false_alarm_is_what_was_promised",
            ),
        ),
        "Success is judged by outcomes that others report: what lies about them is believed. "
        "Shares are compared with the base's as the gate measured them.",
    ),
)

CLAIMS = INVARIANTS + GUARDS_CASE + SYSTEM + RESIDUAL
