"""SAC updates per CPU second: `python -m tests.benchmarks.learner_speed`.

Ours, uncompiled and compiled, beside SBX (JAX) and stable-baselines3: batch 256, two critics, two
hidden layers, one core, float32, sampling from the replay included; 23 observations, 4 actions (our
actor sees the base action too). LayerNorm in both or in neither; stable-baselines3 has none. Every
contender runs in a process of its own on one core, in turns; the median of the rounds counts.
Start-up: from the process's start to the first update, and what compiling took in the background.
"""

import argparse
import importlib
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

OBSERVATION, ACTION, BATCH = 23, 4, 256
HIDDEN = (64, 256)
CONTENDERS = ("ours uncompiled", "ours compiled", "SBX", "stable-baselines3")
STEPS = 2_400
# updates in one call of a contender: as long as a policy step's worth of a busy learner
CHUNK = 64
_ONE_THREAD = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1",
    "JAX_PLATFORMS": "cpu",
}


def rate(update: Callable[[int], object], seconds: float) -> float:
    """Return updates per CPU second of all threads, over about `seconds` of CPU."""
    update(CHUNK)
    begin, done = time.process_time(), 0
    while time.process_time() - begin < seconds:
        update(CHUNK)
        done += CHUNK
    return done / (time.process_time() - begin)


def ours(hidden: int, layer_norm: bool, compiled: bool, seconds: float) -> dict[str, float]:
    import torch

    from policies.learner.agent import Agent, Problem
    from policies.learner.replay import Step
    from policies.learner.settings import LearnerSettings

    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    settings = LearnerSettings(
        hidden=(hidden, hidden), layer_norm=layer_norm, critics=2, actor_std_weight=1.0,
        warm_up_updates=0, n_step=1, compile="first" if compiled else "off", force_cost=None,
    )  # fmt: skip
    agent = Agent(Problem(OBSERVATION, (0.4,) * ACTION, 0.98), settings)
    rng = np.random.default_rng(0)

    def normal(count: int) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
        return rng.normal(size=count).astype(np.float32)

    for number in range(STEPS // 80):
        agent.replay.begin_episode(number)
        for _ in range(80):
            agent.replay.add_step(
                Step(
                    normal(OBSERVATION), normal(ACTION), np.tanh(normal(ACTION)),
                    normal(OBSERVATION), normal(ACTION),
                )
            )  # fmt: skip
        agent.replay.end_episode(float(number % 2))
    agent.update(1)
    if agent.failure is not None:
        raise SystemExit(agent.failure)
    start = time.monotonic()
    found = rate(agent.update, seconds)
    return {"rate": found, "first": start, "compile_s": agent.diagnostics()["compile_s"]}


def peer(name: str, hidden: int, layer_norm: bool, seconds: float) -> dict[str, float]:
    """Measure another library's SAC; imported by name, for only this benchmark needs them."""
    gymnasium: Any = importlib.import_module("gymnasium")
    box = gymnasium.spaces.Box
    spaces = {
        "observation_space": box(-1.0, 1.0, (OBSERVATION,), np.float32),
        "action_space": box(-1.0, 1.0, (ACTION,), np.float32),
    }
    kwargs: dict[str, object] = {"net_arch": [hidden, hidden]}
    if name == "SBX":
        kwargs["layer_norm"] = layer_norm
    else:
        torch: Any = importlib.import_module("torch")
        torch.set_num_threads(1)
        torch.set_flush_denormal(True)
    library: Any = importlib.import_module("sbx" if name == "SBX" else "stable_baselines3")
    # an environment that only says its sizes
    environment = type("Nothing", (gymnasium.Env,), spaces)()
    model = library.SAC(
        "MlpPolicy", environment, batch_size=BATCH, buffer_size=STEPS, learning_rate=3e-4,
        policy_kwargs=kwargs, seed=0, device="cpu", learning_starts=0,
    )  # fmt: skip
    rng = np.random.default_rng(0)
    for _ in range(STEPS):
        here, there = rng.normal(size=(2, 1, OBSERVATION)).astype(np.float32)
        action = rng.uniform(-1, 1, (1, ACTION)).astype(np.float32)
        model.replay_buffer.add(here, there, action, np.zeros(1), np.zeros(1), [{}])
    logger: Any = importlib.import_module("stable_baselines3.common.logger")
    model.set_logger(logger.Logger(folder=None, output_formats=[]))

    def update(count: int) -> None:
        model.train(gradient_steps=count, batch_size=BATCH)

    update(1)
    start = time.monotonic()
    return {"rate": rate(update, seconds), "first": start, "compile_s": 0.0}


def child(args: argparse.Namespace) -> None:
    """Measure one contender and print the result for the parent."""
    if args.child.startswith("ours"):
        found = ours(args.hidden, args.layer_norm, args.child == "ours compiled", args.seconds)
    else:
        found = peer(args.child, args.hidden, args.layer_norm, args.seconds)
    print(json.dumps(found | {"first": found["first"] - args.begun}))


def measure(name: str, hidden: int, layer_norm: bool, seconds: float) -> dict[str, float]:
    core = max(os.sched_getaffinity(0))
    command = [
        "taskset", "-c", str(core), sys.executable, "-m", "tests.benchmarks.learner_speed",
        "--child", name, "--hidden", str(hidden), "--seconds", str(seconds),
        "--begun", str(time.monotonic()), *(["--layer-norm"] if layer_norm else []),
    ]  # fmt: skip
    environment = os.environ | _ONE_THREAD
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"{name}, hidden {hidden}: {done.stderr[-2000:]}")
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> int:
    """Measure all in turns and print the table; 1 where ours is slower than SBX."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=5.0, help="CPU seconds a measurement")
    parser.add_argument("--child", choices=CONTENDERS, help=argparse.SUPPRESS)
    parser.add_argument("--hidden", type=int, default=64, help=argparse.SUPPRESS)
    parser.add_argument("--layer-norm", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--begun", type=float, default=0.0, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        child(args)
        return 0
    table = Table("hidden", "LayerNorm", "learner", "updates a CPU second", "range", "start-up s",
                  "of that compiling s")  # fmt: skip
    slower = False
    for hidden in HIDDEN:
        for layer_norm in (False, True):
            names = CONTENDERS[: 3 if layer_norm else 4]
            runs = [
                [measure(name, hidden, layer_norm, args.seconds) for name in names]
                for _ in range(args.rounds)
            ]
            medians, lows = {}, {}
            for name, found in zip(names, zip(*runs, strict=True), strict=True):
                rates = [run["rate"] for run in found]
                medians[name], lows[name] = statistics.median(rates), min(rates)
                table.add_row(
                    str(hidden), "yes" if layer_norm else "no", name, f"{medians[name]:.0f}",
                    f"{min(rates):.0f} to {max(rates):.0f}",
                    f"{statistics.median(run['first'] for run in found):.1f}",
                    f"{statistics.median(run['compile_s'] for run in found):.1f}",
                )  # fmt: skip
            # level: not below what SBX itself reached in one of its turns
            slower |= not (medians["ours compiled"] >= lows["SBX"])
    Console(width=120).print(table)
    print("NOT REACHED: ours is slower than SBX" if slower else "ours is at least level with SBX")
    return int(slower)


if __name__ == "__main__":
    sys.exit(main())
