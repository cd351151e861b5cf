"""Looks at a policy file or a whole deployment without running it."""

from pathlib import Path
from typing import Any

from rich.console import Console

from runtime.wiring import build_tick, load_base, load_deployment, load_residual, open_link


def inspect_base(file: Path) -> dict[str, Any]:
    """Return a policy file's contract and parity as plain data. Raises ContractError."""
    from policies.check import inspect

    return inspect(file)


def render_base(report: dict[str, Any], console: Console) -> None:
    """Print what `inspect_base` returned."""
    from policies.check import render

    render(report, console)


def check_deployment(config_file: Path) -> dict[str, str]:
    """Load everything that a run would load, and say what it is.

    Raises:
        TrimtabError: the first thing that does not fit.
    """
    deployment = load_deployment(config_file)
    base = load_base(deployment)
    build_tick(deployment, base.contract)
    load_residual(deployment, base.contract, None)
    facts = {
        "config": str(config_file),
        "robot": f"{deployment.robot.name}, {len(deployment.robot.joints)} joints",
        "base": f"{base.contract.name}, {base.contract.rate_hz:g} Hz, {deployment.base_file.name}",
        "servo": f"{deployment.config.control.servo_hz:g} Hz",
    }
    if deployment.config.sim:
        link = open_link(deployment, base.contract, lockstep=True)
        facts["simulation"] = ", ".join(deployment.config.sim.get("fields", {})) or "no fields"
        link.close()
    return facts
