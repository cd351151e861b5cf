"""Clones demonstrations into a base policy file: `python -m policies.train_base --help`.

The only way in here is a process of its own: this file imports torch.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import nn

from policies.base import OnnxBasePolicy
from policies.contract_io import PARITY_TOLERANCE, open_session, run_rows
from policies.demonstrations import Demonstrations, load_demonstrations, load_spec
from policies.export import Layer, build_model, embed, make_contract, term_specs
from policies.features import Float32s, Normaliser
from runtime.errors import ContractError, TrimtabError
from runtime.layout import Floats
from runtime.policy_contract import ParityVectors, TermSpec

FILE_BYTES_MAX = 200_000
PARITY_CHECKED = 512
PARITY_KEPT = 32
Report = Callable[[int, float, float], None]


@dataclass(frozen=True)
class Recipe:
    """How to train. `held_out`: share of episodes that never train and choose the weights."""

    hidden: tuple[int, ...] = (64, 64)
    epochs: int = 80
    batch: int = 256
    learning_rate: float = 3e-3
    held_out: float = 0.1
    seed: int = 0


@dataclass(frozen=True)
class Trained:
    """The network of the best epoch and the mean square error it had on held-out episodes."""

    network: nn.Sequential
    held_out_loss: float
    epoch: int


def _network(sizes: Sequence[int]) -> nn.Sequential:
    modules: list[nn.Module] = []
    for width_in, width_out in pairwise(sizes):
        modules += [nn.Linear(width_in, width_out), nn.Tanh()]
    return nn.Sequential(*modules)


def _split(data: Demonstrations, recipe: Recipe) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the row numbers that train and those held out; whole episodes, so none leaks."""
    episodes = np.random.default_rng(recipe.seed).permutation(data.episodes)
    count = max(1, round(len(episodes) * recipe.held_out))
    if not (count < len(episodes)):
        raise ContractError(
            f"{len(episodes)} demonstration episodes are too few: {count} are held out and at "
            "least one must train"
        )
    held_out = np.isin(data.episode, episodes[:count])
    return torch.from_numpy(np.flatnonzero(~held_out)), torch.from_numpy(np.flatnonzero(held_out))


def fit(data: Demonstrations, inputs: Float32s, recipe: Recipe, report: Report) -> Trained:
    """Clone: mean square error of tanh outputs, Adam with a cosine rate, best held-out epoch.

    `inputs` are the normalised features, shape [rows, features]. `report` gets epoch, training
    and held-out loss. The same seed on the same machine gives the same weights.
    """
    torch.manual_seed(recipe.seed)
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    x, y = torch.from_numpy(inputs), torch.from_numpy(data.actions.astype(np.float32))
    train, held_out = _split(data, recipe)
    network = _network((x.shape[1], *recipe.hidden, y.shape[1]))
    optimiser = torch.optim.Adam(network.parameters(), lr=recipe.learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, recipe.epochs)
    best_loss, best_epoch, best = float("inf"), 0, network.state_dict()
    for epoch in range(1, recipe.epochs + 1):
        loss = _one_epoch(network, optimiser, (x, y), train, recipe.batch)
        schedule.step()
        with torch.no_grad():
            unseen = float(nn.functional.mse_loss(network(x[held_out]), y[held_out]))
        if unseen < best_loss:
            best_loss, best_epoch = unseen, epoch
            best = {key: value.clone() for key, value in network.state_dict().items()}
        report(epoch, loss, unseen)
    if not (best_loss < float("inf")):
        raise ContractError(f"training diverged: the held-out loss is {unseen}; lower --rate")
    network.load_state_dict(best)
    return Trained(network, best_loss, best_epoch)


def _one_epoch(
    network: nn.Sequential,
    optimiser: torch.optim.Optimizer,
    data: tuple[torch.Tensor, torch.Tensor],
    rows: torch.Tensor,
    batch: int,
) -> float:
    x, y = data
    total = 0.0
    for chosen in torch.split(rows[torch.randperm(len(rows))], batch):
        loss = nn.functional.mse_loss(network(x[chosen]), y[chosen])
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        total += float(loss.detach()) * len(chosen)
    return total / len(rows)


def layers_of(network: nn.Sequential) -> list[Layer]:
    """Return the dense layers as arrays."""
    return [
        Layer(
            weight=np.ascontiguousarray(module.weight.detach().numpy().T),
            bias=module.bias.detach().numpy().copy(),
        )
        for module in network
        if isinstance(module, nn.Linear)
    ]


def _parity_inputs(data: Demonstrations, seed: int) -> Floats:
    """Return raw features: half demonstrated, half from a box twice as wide as they span."""
    rng = np.random.default_rng(seed)
    low, high = data.features.min(axis=0), data.features.max(axis=0)
    half = PARITY_CHECKED // 2
    demonstrated = data.features[rng.integers(len(data.features), size=half)]
    span = (high - low) / 2
    return np.concatenate((demonstrated, rng.uniform(low - span, high + span, (half, len(low)))))


def check_parity(
    network: nn.Sequential, terms: tuple[TermSpec, ...], raw: Floats
) -> tuple[Float32s, float]:
    """Return torch's outputs for raw features (shape [rows, features]) and the largest absolute
    difference to ONNX Runtime.

    Raises:
        ContractError: it is above PARITY_TOLERANCE.
    """
    inputs = Normaliser(terms).rows(raw)
    with torch.no_grad():
        # row by row, as the policy runs: a batch may sum in another order
        wanted = np.array([network(row[None])[0].numpy() for row in torch.from_numpy(inputs)])
    session = open_session(build_model(layers_of(network), {}), "the exported network")
    difference = float(np.max(np.abs(run_rows(session, inputs) - wanted)))
    if not (difference <= PARITY_TOLERANCE):
        raise ContractError(
            f"torch and ONNX Runtime differ by {difference}; allowed is {PARITY_TOLERANCE}: "
            "the export is wrong, nothing was written"
        )
    return wanted, difference


def export(
    data: Demonstrations, trained: Trained, command: str, recipe: Recipe
) -> tuple[bytes, float]:
    """Return the policy file's bytes and the parity difference that was measured.

    Raises:
        ContractError: parity fails, or the file is larger than FILE_BYTES_MAX.
    """
    terms = term_specs(data.spec, data.features)
    raw = _parity_inputs(data, recipe.seed)
    outputs, difference = check_parity(trained.network, terms, raw)
    keep = slice(None, None, PARITY_CHECKED // PARITY_KEPT)
    parity = ParityVectors(
        inputs=tuple(tuple(row) for row in raw[keep].tolist()),
        outputs=tuple(tuple(row) for row in outputs[keep].astype(np.float64).tolist()),
    )
    contract = make_contract(data, terms, parity, command, recipe.seed)
    content = embed(layers_of(trained.network), contract)
    if not (len(content) <= FILE_BYTES_MAX):
        raise ContractError(
            f"the policy file would have {len(content)} bytes; allowed is {FILE_BYTES_MAX}. "
            "Use smaller --hidden layers"
        )
    return content, difference


def train(data: Demonstrations, out: Path, command: str, recipe: Recipe, console: Console) -> None:
    """Train on `data`, check the result and write `out`; says what it does on `console`.

    Raises:
        ContractError: a tanh network cannot give such actions, or a check of the result fails.
    """
    action = data.spec.action
    if set(action.low) != {-1.0} or set(action.high) != {1.0}:
        raise ContractError(
            f"action.low {action.low} and action.high {action.high}: a tanh network needs -1 and 1"
        )
    terms = term_specs(data.spec, data.features)
    columns = (
        TextColumn("cloning"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.description}"),
    )
    with Progress(*columns, TimeRemainingColumn(), console=console) as progress:
        task = progress.add_task("", total=recipe.epochs)

        def report(epoch: int, loss: float, unseen: float) -> None:
            text = f"loss {loss:.2e}, held out {unseen:.2e}"
            progress.update(task, completed=epoch, description=text)

        trained = fit(data, Normaliser(terms).rows(data.features), recipe, report)
    content, difference = export(data, trained, command, recipe)
    _write_checked(out, content)
    console.print(
        f"{len(data.features)} steps of {len(data.episodes)} episodes; best epoch {trained.epoch}, "
        f"held-out loss {trained.held_out_loss:.3e}\n"
        f"parity torch against ONNX Runtime on {PARITY_CHECKED} inputs: max abs difference "
        f"{difference:.3e} (allowed {PARITY_TOLERANCE:.0e})\n"
        f"wrote {out} ({len(content)} bytes)",
        highlight=False,
    )


def _write_checked(out: Path, content: bytes) -> None:
    """Write beside `out`, load that as the daemon would, and only then take its place."""
    out.parent.mkdir(parents=True, exist_ok=True)
    draft = out.with_name(out.name + ".draft")
    try:
        draft.write_bytes(content)
        OnnxBasePolicy.load(draft)
        draft.replace(out)
    finally:
        draft.unlink(missing_ok=True)


def _positive_int(text: str) -> int:
    number = int(text)
    if not (number >= 1):
        raise argparse.ArgumentTypeError(f"{number}; allowed: 1 or more")
    return number


def _rate(text: str) -> float:
    number = float(text)
    if not (0.0 < number <= 1.0):
        raise argparse.ArgumentTypeError(f"{number}; allowed: above 0, at most 1")
    return number


def _arguments(given: Sequence[str]) -> argparse.Namespace:
    defaults = Recipe()
    parser = argparse.ArgumentParser(prog="python -m policies.train_base", description=__doc__)
    parser.add_argument("--demos", type=Path, required=True, help="demonstrations, .npz")
    parser.add_argument("--spec", type=Path, required=True, help="what they must be, .json")
    parser.add_argument("--out", type=Path, required=True, help="policy file to write, .onnx")
    parser.add_argument("--seed", type=int, default=defaults.seed)
    parser.add_argument("--epochs", type=_positive_int, default=defaults.epochs)
    parser.add_argument("--batch", type=_positive_int, default=defaults.batch)
    parser.add_argument("--rate", type=_rate, default=defaults.learning_rate, help="learning rate")
    parser.add_argument("--hidden", type=_positive_int, nargs="+", default=defaults.hidden)
    parser.add_argument("--command", help="what the file says reproduces it")
    return parser.parse_args(given)


def _own_command(args: argparse.Namespace) -> str:
    """Return this command with file names only: folders of one machine mean nothing elsewhere."""
    return (
        f"python -m policies.train_base --demos {args.demos.name} --spec {args.spec.name} "
        f"--out {args.out.name} --seed {args.seed} --epochs {args.epochs} --batch {args.batch} "
        f"--rate {args.rate} --hidden {' '.join(str(width) for width in args.hidden)}"
    )


def main(given: Sequence[str]) -> int:
    """Run the command line and return the exit status."""
    args = _arguments(given)
    recipe = Recipe(
        hidden=tuple(args.hidden),
        epochs=args.epochs,
        batch=args.batch,
        learning_rate=args.rate,
        seed=args.seed,
    )
    command = args.command or _own_command(args)
    try:
        data = load_demonstrations(args.demos, load_spec(args.spec))
        train(data, args.out, command, recipe, Console())
    except TrimtabError as error:
        Console(stderr=True).print(f"error: {error}", markup=False, highlight=False)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
