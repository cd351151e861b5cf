"""`trimtab hashes` and `trimtab keys`: what a robot's driver needs from us before it can speak."""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from runtime.cli_ask import DEFAULT_CONFIG, ConfigOption

console = Console(highlight=False)


def hashes(
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for a machine.")] = False,
) -> None:
    """Print the hashes that a robot's driver must answer with to be taken for this robot."""
    from runtime.clock import seconds_to_ns
    from runtime.config import load_config, load_robot
    from runtime.robot_hashes import contract_text, digest, robot_text

    read = load_config(config)
    robot = load_robot(read, config)
    groups = [(group.name, group.size) for group in read.observations.groups]
    period_ns = seconds_to_ns(1.0 / read.control.servo_hz)
    texts = {
        "robot": robot_text(robot),
        "contract": contract_text(robot.joint_names, groups, period_ns),
    }
    found = {f"{name}_hash": digest(text).hex() for name, text in texts.items()}
    if as_json:
        sys.stdout.write(json.dumps({**found, **texts}, indent=2) + "\n")
        return
    for name, value in found.items():
        console.print(f"{name:<14} {value}", soft_wrap=True)


def keys(
    name: Annotated[str, typer.Argument(help="Whose keys: letters, digits, - and _.")],
    folder: Annotated[Path, typer.Option(help="A folder of your own, closed to others.")],
) -> None:
    """Make a CURVE key pair: daemon and robot each have one, and exchange the public files."""
    from runtime.curve_keys import make_keys

    made = make_keys(name, folder)
    for what, value in (("secret", made.secret), ("public", made.public), ("", made.public_key)):
        console.print(f"{what:<6} {value}", markup=False, soft_wrap=True)
    console.print("give away the public file alone; whoever has the secret one is you")
