"""What decides whether two machines compute the same bits: processor and numeric libraries."""

import hashlib
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

_PACKAGES = ("numpy", "mujoco", "onnxruntime", "ruckig")


def fingerprint() -> dict[str, str]:
    """Return name -> value of everything that may change a computed bit."""
    found = {"machine": platform.machine(), "python": platform.python_version(), **_processor()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


def _processor() -> dict[str, str]:
    """Return the processor's model and a hash of its instruction sets (they choose code paths)."""
    model, flags = "unknown", ""
    information = Path("/proc/cpuinfo")
    if information.exists():
        for line in information.read_text(errors="replace").splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name":
                model = value.strip()
            elif key.strip() in ("flags", "Features"):
                flags = value.strip()
                break
    return {"processor": model, "instructions": hashlib.sha256(flags.encode()).hexdigest()[:16]}
