"""Which files are mutated, and which tests judge each: the fastest first."""

from pathlib import Path

# where the members of enums stand
ENUMERATIONS = ("runtime/faults.py", "runtime/messages.py")

_TESTS = "tests/runtime/"
_ENVELOPE = (
    f"{_TESTS}test_envelope_edges.py",
    f"{_TESTS}test_envelope_joint.py",
    f"{_TESTS}test_envelope.py",
)
_GEOMETRY = (
    f"{_TESTS}test_envelope_shapes.py",
    f"{_TESTS}test_envelope_geometry_bounds.py",
    f"{_TESTS}test_envelope_geometry.py",
)

TARGETS: dict[str, tuple[str, ...]] = {
    "runtime/modes.py": (f"{_TESTS}test_modes.py",),
    "runtime/faults.py": (f"{_TESTS}test_faults.py",),
    "runtime/fault_tracker.py": (f"{_TESTS}test_fault_tracker.py",),
    "runtime/fallback.py": (f"{_TESTS}test_fallback.py",),
    "runtime/monitors.py": (f"{_TESTS}test_monitors.py", f"{_TESTS}test_monitor_edges.py"),
    "runtime/plausibility.py": (f"{_TESTS}test_monitor_edges.py", f"{_TESTS}test_plausibility.py"),
    "runtime/envelope/certificate.py": _ENVELOPE,
    "runtime/envelope/stop.py": (f"{_TESTS}test_envelope_stop.py", *_ENVELOPE),
    "runtime/envelope/joint.py": (*_ENVELOPE, f"{_TESTS}test_envelope_invariants.py"),
    "runtime/envelope/envelope.py": (*_ENVELOPE, *_GEOMETRY),
    "runtime/envelope/guards.py": (
        f"{_TESTS}test_envelope_guards.py",
        f"{_TESTS}test_monitor_edges.py",
    ),
    "runtime/envelope/anchors.py": _GEOMETRY,
    "runtime/envelope/barriers.py": _GEOMETRY,
    "runtime/envelope/bodies.py": _GEOMETRY,
    "runtime/envelope/choice.py": _GEOMETRY,
    "runtime/envelope/distance.py": _GEOMETRY,
    "runtime/envelope/geometry.py": _GEOMETRY,
}


def uncovered() -> list[str]:
    """Return the files of the envelope that no line above names."""
    files = [str(path) for path in sorted(Path("runtime/envelope").glob("*.py"))]
    return [path for path in files if path not in TARGETS and not path.endswith("__init__.py")]
