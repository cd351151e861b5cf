"""`trimtab hashes` and `trimtab keys`: what a robot's driver needs from us before it can speak.
`trimtab stop`: a stop that does not need the daemon."""

import json
import platform
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from runtime.cli_ask import DEFAULT_CONFIG, ConfigOption, person
from runtime.errors import LinkError

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


def stop(
    why: Annotated[str, typer.Argument(help="The reason, for the record.")] = "",
    category: Annotated[
        int, typer.Option(min=1, max=2, help="IEC 60204-1: 2 holds with power, 1 takes it away.")
    ] = 2,
    wait_s: Annotated[float, typer.Option("--wait", min=0.1, help="Seconds to wait.")] = 5.0,
    config: ConfigOption = DEFAULT_CONFIG,
) -> None:
    """Stop the robot: by its daemon and past it; fails unless the robot was seen at rest."""
    import zmq

    from runtime.config import load_config
    from runtime.operator_port import operator_client
    from runtime.record_format import socket_folder
    from runtime.robot_codes import StopCategory
    from runtime.robot_socket import open_socket
    from runtime.robot_stop import Daemon, Device, Wish
    from runtime.robot_stop import stop as stop_robot

    read = load_config(config)
    wish = Wish(f"{person()}@{platform.node()}", why, StopCategory(category))
    with zmq.Context() as context, operator_client(socket_folder(read.robot_id)) as client:
        daemon, device = Daemon(client, wish), None
        if read.zmq is not None:
            device = Device(open_socket(context, read, read.zmq, config), wish)
        seen = stop_robot(device, daemon, wait_s)
        context.destroy(0)
    for one in (device, daemon):
        if one is not None:
            console.print(one.said(), markup=False, soft_wrap=True)
    if not seen:
        raise LinkError(
            f"the robot was not seen at rest within {wait_s:g} s: use its emergency stop"
        )
    console.print("seen at rest")


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
