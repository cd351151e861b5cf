"""The body of `trimtab base check FILE`: what a policy file says of itself, and if that is true."""

from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from policies.contract_io import (
    PARITY_TOLERANCE,
    check_network,
    open_session,
    read_contract,
    read_model_bytes,
    replay_parity,
)


def inspect(file: Path) -> dict[str, Any]:
    """Return the contract and the result of replaying its parity vectors as plain JSON data.

    Keys: file, bytes, contract (without its parity vectors), parity {vectors,
    max_abs_difference, tolerance, passed}. The caller decides what a failed parity means.

    Raises:
        ContractError: the file cannot be opened, or contradicts itself.
    """
    source = str(file)
    data = read_model_bytes(file)
    session = open_session(data, source)
    contract = read_contract(session, source)
    check_network(session, contract, source)
    parity = replay_parity(session, contract)
    return {
        "file": source,
        "bytes": len(data),
        "contract": contract.model_dump(mode="json", exclude={"parity"}),
        "parity": {
            "vectors": parity.vectors,
            "max_abs_difference": parity.max_abs_difference,
            "tolerance": PARITY_TOLERANCE,
            "passed": parity.passed,
        },
    }


def render(report: dict[str, Any], console: Console) -> None:
    """Print what `inspect` returned as tables."""
    contract = report["contract"]
    console.print(_facts(report))
    console.print(_terms(contract))
    console.print(_action(contract["action"]))
    console.print(_start(contract))
    parity = report["parity"]
    verdict = "[green]passed[/]" if parity["passed"] else "[red]FAILED[/]"
    console.print(
        f"parity: {verdict}, {parity['vectors']} vectors, max abs difference "
        f"{parity['max_abs_difference']:.3e} (allowed {parity['tolerance']:.0e})"
    )


def _facts(report: dict[str, Any]) -> Table:
    contract = report["contract"]
    reward, provenance = contract["reward"], contract["provenance"]
    table = _table(f"{contract['name']}: {report['file']}")
    table.show_header = False
    table.add_column(style="dim", no_wrap=True)
    table.add_column()
    rows = {
        "size": f"{report['bytes']} bytes",
        "robot": f"{contract['robot']} ({len(contract['joint_names'])} joints)",
        "rate": f"{contract['rate_hz']:g} Hz",
        "reward": (
            f"success {reward['success']:g}, failure {reward['failure']:g}, discount "
            f"{reward['discount']:g}, time-out {_terminal(reward['timeout_is_terminal'])}"
        ),
        "trained on": (
            f"{contract['statistics']['samples']} steps of {provenance['demonstrations']} "
            f"demonstrations, seed {provenance['seed']}"
        ),
        "created": provenance["created_utc"],
        "made by": provenance["command"],
        "versions": ", ".join(f"{name} {text}" for name, text in provenance["versions"].items()),
    }
    for key, text in rows.items():
        table.add_row(key, text)
    return table


def _terminal(is_terminal: bool) -> str:
    return "terminal" if is_terminal else "not terminal"


def _terms(contract: dict[str, Any]) -> Table:
    table = _table("network input: ((raw * scale + offset) - mean) / std")
    for column in ("", "term", "group", "unit"):
        table.add_column(column, no_wrap=True)
    for column in ("scale", "offset", "mean", "std", "lowest", "highest"):
        table.add_column(column, justify="right", no_wrap=True)
    seen = contract["statistics"]
    index = 0
    for term in contract["terms"]:
        for element in range(term["size"]):
            table.add_row(
                str(index),
                term["name"] if element == 0 else "",
                term["group"] if element == 0 else "",
                term["unit"],
                *(f"{term[key][element]:.4g}" for key in ("scale", "offset", "mean", "std")),
                f"{seen['minimum'][index]:.3g}",
                f"{seen['maximum'][index]:.3g}",
            )
            index += 1
    return table


def _action(action: dict[str, Any]) -> Table:
    columns = ("scale", "offset", "low", "high", "reach", "residual_bound")
    relative = "relative" if action["relative"] else "absolute"
    table = _table(f"network output: {action['kind']} ({relative})")
    for column in ("action", "unit"):
        table.add_column(column)
    for column in columns:
        table.add_column(column.replace("_", " "), justify="right")
    for index, name in enumerate(action["names"]):
        values = (f"{action[key][index]:g}" for key in columns)
        table.add_row(name, action["units"][index], *values)
    return table


def _start(contract: dict[str, Any]) -> Table:
    table = _table("may take over")
    table.add_column("joint")
    for column in ("from rad", "to rad", "speed rad/s"):
        table.add_column(column, justify="right")
    start = contract["start"]
    limits = [start[key] for key in ("position_min_rad", "position_max_rad", "speed_max_rad_s")]
    for index, name in enumerate(contract["joint_names"]):
        table.add_row(name, *(f"{limit[index]:.4f}" for limit in limits))
    return table


def _table(title: str) -> Table:
    return Table(title=title, title_justify="left", title_style="bold", box=SIMPLE_HEAD)
