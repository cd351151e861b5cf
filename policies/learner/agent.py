"""The learner whole: replay, networks, algorithm and guard from one block of settings."""

from dataclasses import dataclass

import msgspec
import numpy as np
import torch

from policies.learner.batch import RATES, Chance, Draws, draw
from policies.learner.calibration import Calibration, CalibrationMonitor
from policies.learner.compiled import CompiledStep, Example, compile_in_background
from policies.learner.composition import Algorithm, Networks, first_state
from policies.learner.networks import Actor, Critics, Float32s
from policies.learner.optimiser import corrected
from policies.learner.replay import Columns, ForceCost, Pool, Replay
from policies.learner.sac import Sac
from policies.learner.settings import LearnerSettings
from policies.learner.td3 import Td3
from policies.learner.update import Update
from policies.learner.update_guard import UpdateGuard
from runtime.errors import LearnerError
from runtime.snapshot import forward

STATE_VERSION = 2
CHUNK = 16


@dataclass(frozen=True)
class Problem:
    """What is learned, from the contract: `observation` numbers, the residual's `bound` per action
    dimension in action units, `discount` per policy step, and the reward from which an outcome
    counts as success.
    """

    observation: int
    bound: tuple[float, ...]
    discount: float
    success_reward: float = 1.0

    @property
    def columns(self) -> Columns:
        """Sizes of the replay's rows."""
        return Columns(self.observation, len(self.bound))


class SavedNetworks(msgspec.Struct, frozen=True):
    """What learning has made of the networks: their `LearnerState`, and the steps it took."""

    vectors: dict[str, bytes]
    critic_steps: int
    actor_steps: int


class SavedAgent(msgspec.Struct, frozen=True):
    """A checkpoint: everything of an `Agent` but the replay, which the records hold."""

    version: int
    settings: str
    problem: str
    networks: SavedNetworks
    rows: str
    noise: bytes
    made: int
    waived: int
    force_scale: float


class Agent:
    """Learns a bounded residual. One seed and the same calls give one learner, on one thread.

    `replay` is filled by the caller (`begin_episode`, `add_step`, `end_episode`, `correct`).
    Only the averaged actor leaves (`actor_arrays`).
    """

    def __init__(self, problem: Problem, settings: LearnerSettings) -> None:
        self.problem = problem
        self.settings = settings
        cost = settings.force_cost
        self.replay = Replay(
            problem.columns,
            settings.capacity,
            problem.discount,
            settings.n_step,
            ForceCost(cost.cost, cost.free_n, cost.range_n) if cost else ForceCost(cost=0.0),
        )
        self._chance = Chance.seeded(settings.seed)
        actions = len(problem.bound)
        inputs = problem.observation + actions
        networks = Networks(
            Actor(inputs, actions, settings.hidden),
            Critics(inputs, settings.hidden, settings.critics, settings.layer_norm),
            torch.tensor(problem.bound, dtype=torch.float32),
        )
        self._networks = networks
        self._state = first_state(networks, settings, self._chance.rows)
        algorithm: Algorithm = (
            Sac(networks, settings) if settings.algorithm == "sac" else Td3(networks, settings)
        )
        guard = settings.update_guard
        self._update = Update(
            networks,
            algorithm,
            UpdateGuard(networks, guard) if guard else None,
            problem.columns,
            settings,
        )
        self._critic = CompiledStep(self._update.critic_step)
        self._both = CompiledStep(self._update.both_steps)
        self._critic_steps = 0
        self._actor_steps = 0
        self._made = 0
        self._waived = 0
        self._compile()
        self._last: tuple[torch.Tensor, Draws, torch.Tensor] | None = None

    @property
    def updates(self) -> int:
        """Critic steps made so far, warm-up and those that were undone included."""
        return self._made

    @property
    def warm(self) -> bool:
        """Whether the critics' warm-up is over: before it, the actor has learnt nothing."""
        return self._critic_steps >= self.settings.warm_up_updates

    @property
    def failure(self) -> str | None:
        """Why the update could not be compiled; learning goes on without."""
        return self._both.failure or self._critic.failure

    @property
    def ready(self) -> bool:
        """Whether the replay holds enough steps, with known outcomes, to begin."""
        return len(self.replay.ready(Pool.NONE)) >= max(1, self.settings.prefill_steps)

    def due(self, steps: int) -> int:
        """Return the updates still owed after `steps` policy steps beyond the prefill: the warm-up
        and updates_per_step for each. In lockstep the plant waits for them. What was undone is
        not owed again.
        """
        owed = self.settings.warm_up_updates + int(steps * self.settings.updates_per_step)
        return max(0, owed - self._made - self._waived)

    def waive(self, count: int) -> None:
        """Owe so many updates less: they will never be made."""
        self._waived += count

    def update(self, count: int) -> None:
        """Take `count` gradient steps.

        Raises:
            LearnerError: nothing can be sampled yet, or the weights are no longer finite.
        """
        self._follow_success()
        while count > 0:
            passing = self._conservative_for_now
            alike = self.settings.warm_up_updates - self._critic_steps if passing else CHUNK
            size = min(CHUNK, count, alike)
            self._last = self._chunk(size, passing)
            count -= size
        for name, vector in self._state._asdict().items():
            if not torch.isfinite(vector).all():
                raise LearnerError(
                    f"{name} is no longer finite after {self._made} updates; go back to "
                    "the last checkpoint, and lower learning_rate if it happens again"
                )

    def actor_arrays(self) -> list[tuple[Float32s, Float32s]]:
        """Return weight [outputs, inputs] and bias [outputs] of each layer of the averaged actor.

        The forward pass is that of runtime/snapshot.py: x = (normalised observation, base action);
        h = max(W h + b, 0) for all layers but the last, whose output is d means and d logs of the
        spread; u = tanh(mean), in units of the bound. For exploration clip the logs of the spread
        to LOG_STD_LOW and LOG_STD_HIGH of networks.py; u = tanh(mean + exp(log) * noise). TD3 does
        not train the spread: there it stays at initial_log_std.
        """
        parts = [part.numpy() for part in self._networks.actor.split(self._state.average)]
        return [
            (np.ascontiguousarray(weight.T), bias.copy())
            for weight, bias in zip(parts[::2], parts[1::2], strict=True)
        ]

    def diagnostics(self) -> dict[str, float]:
        """Return figures of the present networks on the last batch (update.py names them; none
        before an update), temperature, dual variable of the guard, steps it undid, scale of the
        force cost, whether the compiled update is in use and how long it took to build [s], and
        steps taken.
        """
        figures = self._update.figures(self._state, *self._last) if self._last else {}
        return figures | {
            "temperature": float(self._state.temperature[0].exp()),
            "guard_dual": float(self._state.guard[0]),
            "guard_undone": float(self._state.guard[1]),
            "force_scale": self.replay.force_scale,
            "compiled": float(self._both.ready),
            "compile_s": self._both.seconds,
            "critic_steps": float(self._critic_steps),
            "actor_steps": float(self._actor_steps),
        }

    def values(self, observation: Float32s, base: Float32s, residual: Float32s) -> Float32s:
        """Return Q [critics, rows] of observations [rows, n] and base and residual [rows, d]."""
        with torch.no_grad():
            found: Float32s = self._networks.values(
                self._state.critic,
                torch.from_numpy(observation),
                torch.from_numpy(base),
                torch.from_numpy(residual),
            ).numpy()
        return found

    def calibration(self, episodes: int) -> Calibration:
        """Return what the critics (their mean) promise at the starts of the newest `episodes`
        online ones in which a residual acted, for the averaged actor's action, against the returns
        that were achieved. What the base alone achieves is no measure of what they promise.
        """
        starts = self.replay.starts(episodes, acted=True)
        n, d = self.problem.observation, len(self.problem.bound)
        observation, base = starts[:, :n], starts[:, n : n + d]
        residual, _ = forward(self.actor_arrays(), starts[:, : n + d])
        promised = self.values(observation, base, residual).mean(axis=0)
        return CalibrationMonitor().judge(promised, starts[:, -1])

    def networks(self) -> SavedNetworks:
        """Return what learning has made of the networks so far."""
        return SavedNetworks(
            vectors={k: v.numpy().tobytes() for k, v in self._state._asdict().items()},
            critic_steps=self._critic_steps,
            actor_steps=self._actor_steps,
        )

    def go_back(self, saved: SavedNetworks) -> None:
        """Put the networks back to what `networks` returned; chance and `updates` go on.

        Raises:
            LearnerError: they are of other sizes.
        """
        vectors = {
            name: torch.from_numpy(np.frombuffer(content, dtype=np.float32).copy())
            for name, content in saved.vectors.items()
        }
        sizes = {name: len(vector) for name, vector in self._state._asdict().items()}
        if {name: len(vector) for name, vector in vectors.items()} != sizes:
            raise LearnerError("the checkpoint's vectors have other sizes; it is damaged")
        for name, vector in self._state._asdict().items():
            vector.copy_(vectors[name])
        self._critic_steps, self._actor_steps = saved.critic_steps, saved.actor_steps

    def begin_anew(self) -> None:
        """Forget all that was learnt: other first networks, and a warm-up before candidates."""
        fresh = first_state(self._networks, self.settings, self._chance.rows)
        for vector, first in zip(self._state, fresh, strict=True):
            vector.copy_(first)
        self._critic_steps = self._actor_steps = 0

    def state(self) -> bytes:
        """Return a checkpoint: with the same replay, learning goes on from it bit for bit."""
        rows, noise = self._chance.save()
        return msgspec.msgpack.encode(
            SavedAgent(
                version=STATE_VERSION,
                settings=self.settings.model_dump_json(),
                problem=repr(self.problem),
                networks=self.networks(),
                rows=rows,
                noise=noise,
                made=self._made,
                waived=self._waived,
                force_scale=self.replay.force_scale,
            )
        )

    def restore(self, data: bytes) -> None:
        """Go on from a checkpoint; the replay is the caller's to rebuild. Nothing is changed where
        it cannot be used.

        Raises:
            LearnerError: it is no checkpoint, of another version, or of other settings or sizes.
        """
        try:
            saved = msgspec.msgpack.decode(data, type=SavedAgent)
        except msgspec.MsgspecError as error:
            raise LearnerError(f"{len(data)} bytes are no checkpoint: {error}") from None
        for what, found, wanted in (
            ("version", saved.version, STATE_VERSION),
            ("settings", saved.settings, self.settings.model_dump_json()),
            ("problem", saved.problem, repr(self.problem)),
        ):
            if found != wanted:
                raise LearnerError(
                    f"the checkpoint's {what} {found}; this learner's {wanted}. Start it with the "
                    "checkpoint's, or without the checkpoint"
                )
        self.go_back(saved.networks)
        self._chance.restore(saved.rows, saved.noise)
        self._made, self._waived = saved.made, saved.waived
        self.replay.raise_force_scale(saved.force_scale)

    def _compile(self) -> None:
        """Build what the settings ask for; warm-up alone is not worth a program of its own."""
        steps = [self._both] if self.settings.actor_delay == 1 else [self._both, self._critic]
        if self.settings.compile == "background":
            compile_in_background(steps, self._example)
        elif self.settings.compile == "first":
            for step in steps:
                step.compile(self._example())

    def _example(self) -> Example:
        settings, columns = self.settings, self.problem.columns
        state = first_state(self._networks, settings, np.random.default_rng(0))
        packed = torch.zeros(settings.batch, columns.width)
        rows = settings.update_guard.rows if settings.update_guard else 0
        inputs = np.zeros((rows, columns.observation + columns.action), dtype=np.float32)
        (draws,) = self._draw(Chance.seeded(0), inputs, 1, passing=False)
        return Example(state, packed, draws, torch.ones(RATES))

    def _chunk(self, count: int, passing: bool) -> tuple[torch.Tensor, Draws, torch.Tensor]:
        """Take `count` steps, alike in `passing` (`_conservative_for_now`); return what the last
        one worked on. What chance decides is drawn for all of them at once, which is cheaper.
        """
        settings = self.settings
        share, rng = settings.offline_share, self._chance.rows
        rows = self.replay.sample(settings.batch, rng, share, batches=count)
        guard_inputs = self._guard_inputs()
        all_draws = self._draw(self._chance, guard_inputs, count, passing)
        moves, rates = self._schedule(count)
        for packed, draws, numbers, moving in zip(
            torch.from_numpy(rows).unbind(), all_draws, rates.unbind(), moves, strict=True
        ):
            # what is compiled has no room for what only the warm-up draws
            whole = self._both if moving else self._critic
            step = self._update.critic_step if passing else whole
            step(self._state, packed, draws, numbers)
        return packed, draws, numbers

    @property
    def _conservative_for_now(self) -> bool:
        """Whether Cal-QL's term counts until the warm-up is over: it costs more than all else."""
        cal_ql = self.settings.cal_ql
        return cal_ql is not None and not cal_ql.online and not self.warm

    def _draw(self, chance: Chance, guard: Float32s, count: int, passing: bool) -> list[Draws]:
        cal_ql, actions = self.settings.cal_ql, len(self.problem.bound)
        counts = passing or (cal_ql is not None and cal_ql.online)
        candidates = cal_ql.candidates if cal_ql and counts else 0
        return draw(self.settings, actions, chance, guard, count, candidates)

    def _guard_inputs(self) -> Float32s:
        """Return actor inputs of the newest robot steps; of any steps before there are some."""
        count = self.settings.update_guard.rows if self.settings.update_guard else 0
        width = self.problem.observation + len(self.problem.bound)
        if count == 0:
            return np.zeros((0, width), dtype=np.float32)
        rows = self.replay.latest(count)
        if len(rows) == 0:
            rows = self.replay.sample(count, self._chance.rows)[0]
        # repeated to one size: a compiled update knows no other
        return np.resize(rows[:, :width], (count, width))

    def _schedule(self, count: int) -> tuple[list[bool], torch.Tensor]:
        """Count the next `count` steps; return whether the actor moves in each, and their rates."""
        settings, moves, numbers = self.settings, [], []
        for _ in range(count):
            warming = self._critic_steps < settings.warm_up_updates
            self._critic_steps += 1
            self._made += 1
            moving = not warming and self._critic_steps % settings.actor_delay == 0
            self._actor_steps += moving
            moves.append(moving)
            numbers.append((
                *corrected(settings.learning_rate, self._critic_steps),
                *corrected(settings.learning_rate, max(1, self._actor_steps)),
                0.0 if warming else 1.0,
                float(settings.cal_ql is not None and (warming or settings.cal_ql.online)),
            ))  # fmt: skip
        return moves, torch.tensor(numbers, dtype=torch.float32)

    def _follow_success(self) -> None:
        """Switch the force cost on by success; its scale only ever rises."""
        cost = self.settings.force_cost
        recent = self.replay.outcomes(cost.episodes) if cost else []
        if cost is None or len(recent) < cost.episodes:
            return
        success = float(np.mean([reward >= self.problem.success_reward for reward in recent]))
        scale = (success - cost.from_success) / cost.ramp
        self.replay.raise_force_scale(min(1.0, max(0.0, scale)))
