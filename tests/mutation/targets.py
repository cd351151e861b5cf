"""Which files are mutated, and which tests judge each: the fastest first."""

from pathlib import Path

# where the members of enums stand
ENUMERATIONS = ("runtime/faults.py", "runtime/messages.py")

_TESTS = "tests/runtime/"
_GOVERNOR = (
    "tests/policies/test_governor.py",
    "tests/policies/test_governor_bad_input.py",
    "tests/policies/test_governor_edges.py",
    "tests/policies/test_governor_orders.py",
    "tests/policies/test_governor_record.py",
    "tests/policies/test_governor_trust.py",
    f"{_TESTS}test_gate_trust.py",
)

# what the gate's process runs, and no tick
BESIDE_THE_LOOP = ("policies/governor.py", "policies/governor_record.py", "runtime/gate_trust.py")

TARGETS: dict[str, tuple[str, ...]] = {
    "runtime/modes.py": (f"{_TESTS}test_modes.py",),
    "runtime/faults.py": (f"{_TESTS}test_faults.py",),
    "runtime/fault_tracker.py": (f"{_TESTS}test_fault_tracker.py",),
    "runtime/fallback.py": (f"{_TESTS}test_fallback.py",),
    "runtime/monitors.py": (f"{_TESTS}test_monitors.py", f"{_TESTS}test_monitor_edges.py"),
    "runtime/authority.py": (f"{_TESTS}test_authority.py",),
    "runtime/residual_watch.py": (
        f"{_TESTS}test_residual_watch.py",
        f"{_TESTS}test_residual_watch_edges.py",
    ),
    "policies/governor.py": (*_GOVERNOR, f"{_TESTS}test_gate_evidence.py"),
    "policies/governor_record.py": (*_GOVERNOR, f"{_TESTS}test_gate_evidence.py"),
    "runtime/gate_trust.py": (
        f"{_TESTS}test_gate_trust.py",
        f"{_TESTS}test_gate_trust_edges.py",
        f"{_TESTS}test_gate_earned.py",
        f"{_TESTS}test_gate_evidence.py",
    ),
    "runtime/plausibility.py": (f"{_TESTS}test_monitor_edges.py", f"{_TESTS}test_plausibility.py"),
    "runtime/envelope/certificate.py": (f"{_TESTS}test_envelope_edges.py",),
    "runtime/envelope/stop.py": (
        f"{_TESTS}test_envelope_edges.py",
        f"{_TESTS}test_envelope_stop.py",
    ),
    "runtime/envelope/joint.py": (
        f"{_TESTS}test_envelope_edges.py",
        f"{_TESTS}test_envelope_joint_edges.py",
        f"{_TESTS}test_envelope_joint.py",
    ),
    "runtime/envelope/envelope.py": (f"{_TESTS}test_envelope_unit.py",),
    "runtime/envelope/guards.py": (
        f"{_TESTS}test_envelope_guards.py",
        f"{_TESTS}test_monitor_edges.py",
    ),
    "runtime/envelope/anchors.py": (f"{_TESTS}test_envelope_anchors.py",),
    "runtime/envelope/cover.py": (f"{_TESTS}test_envelope_cover.py",),
    "runtime/envelope/barriers.py": (f"{_TESTS}test_envelope_barriers.py",),
    "runtime/envelope/bodies.py": (f"{_TESTS}test_envelope_bodies.py",),
    "runtime/envelope/choice.py": (
        f"{_TESTS}test_envelope_program.py",
        f"{_TESTS}test_envelope_choice.py",
    ),
    "runtime/envelope/distance.py": (f"{_TESTS}test_envelope_distance.py",),
    "runtime/envelope/geometry.py": (
        f"{_TESTS}test_envelope_geometry_state.py",
        f"{_TESTS}test_envelope_geometry_parts.py",
    ),
}


def uncovered() -> list[str]:
    """Return the files of the envelope that no line above names."""
    files = [str(path) for path in sorted(Path("runtime/envelope").glob("*.py"))]
    return [path for path in files if path not in TARGETS and not path.endswith("__init__.py")]
