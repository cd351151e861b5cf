"""The gate: `python -m runtime.gate_process`. Judges what the learner sends; control hears only it.

It builds everything from the record's header, as a replay does. Sockets live in the main thread,
which beats and answers at all times; a candidate is judged in a second one.
"""

import argparse
import hashlib
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from policies.experience import Experience
from policies.gate import Gate, GateSettings
from policies.gate_replay import CandidateReplay, MeanActor
from policies.gate_window import RecentPast
from policies.governor import Governor, Terms
from policies.governor_record import Earned
from policies.lineage import Lineage
from runtime.config import resolve
from runtime.errors import ConfigError, TrimtabError
from runtime.faults import tighten
from runtime.feed import FeedReader
from runtime.gate_client import gate_rules, lost_after_s
from runtime.gate_office import GateOffice, OfficeSettings
from runtime.gate_simulation import SimulationCheck
from runtime.gate_trust import Home, Trust, earned_before
from runtime.interfaces import BasePolicy
from runtime.messages import new_record
from runtime.realtime import die_with_parent
from runtime.record_format import RecorderPlace, RecordHeader
from runtime.rerun import unpacked
from runtime.snapshot import Snapshot, interface_hash
from runtime.wiring import Deployment, build_tick, load_base, sizes_for

_HEADER_WAIT_S = 0.2
_NICENESS = 10
_KEEP_S = 10.0
_KEEP_STEPS = 400
_AROUND_SNAPSHOT_BYTES = 10_000


def _arguments(given: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="runtime.gate_process", description=__doc__)
    parser.add_argument("--run", required=True)
    parser.add_argument("--folder", required=True, type=Path)
    parser.add_argument("--sockets", required=True, type=Path)
    parser.add_argument("--lineage", required=True, type=Path)
    parser.add_argument("--parent", required=True, type=int)
    parser.add_argument("--learner", action="store_true")
    parser.add_argument("--shadow", action="store_true")
    return parser.parse_args(given)


class GateProcess:
    """One gate from its first word to its last."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options
        self._place = RecorderPlace(options.run, options.folder, options.sockets)
        self._office: GateOffice | None = None
        self._ended = False

    def end(self) -> None:
        """Ask for the end. Safe in signal handlers."""
        self._ended = True
        if self._office is not None:
            self._office.end()

    def run(self) -> None:
        """Serve until the end is asked for.

        Raises:
            TrimtabError: the header describes nothing that a gate could be made from.
        """
        feed = FeedReader(self._place, after_tick=None)
        try:
            header = None
            while header is None and not self._ended:
                header = feed.wait_header(_HEADER_WAIT_S)
            if header is not None:
                self._serve(feed, header)
        finally:
            feed.close()

    def _serve(self, feed: FeedReader, header: RecordHeader) -> None:
        with unpacked(header) as deployment:
            base = load_base(deployment)
            past = compose_past(deployment, base)
            gate = compose_gate(deployment, base, header, past.feature_count)
            rules, residual = gate_rules(deployment.config), deployment.config.residual
            # a gate needs a residual, or the config is refused
            assert residual is not None
            settings = OfficeSettings(
                run=self._options.run,
                actions=len(base.contract.action.names),
                learner=self._options.learner,
                lost_after_s=lost_after_s(rules, lockstep=header.clock == "lockstep"),
                message_bytes_max=residual.max_snapshot_bytes + _AROUND_SNAPSHOT_BYTES,
                lag_steps=rules.lockstep_lag_steps if header.clock == "lockstep" else None,
            )
            lineage = Lineage(self._options.lineage)
            kept = lineage.last_good()
            home = home_of(deployment, base, header, lineage)
            options = self._options
            governor = compose_governor(
                deployment,
                base,
                earned_before(home, kept),
                learner=options.learner,
                shadow_only=options.shadow,
            )
            if kept is not None:
                governor.hear_live(kept.snapshot.version)
            experience = Experience(
                sizes_for(deployment, base.contract), base.contract.action, residual.terms
            )
            trust = Trust(governor, experience, home, settings.lag_steps, lineage.digest)
            self._office = GateOffice(settings, self._place, feed, past, gate, lineage, trust)
            if self._ended:
                self._office.end()
            self._office.run()


def compose_past(deployment: Deployment, base: BasePolicy) -> RecentPast:
    """Return what keeps the recent past for a gate of this deployment."""
    residual, config = deployment.config.residual, deployment.config
    assert residual is not None
    return RecentPast(
        sizes_for(deployment, base.contract),
        residual.terms,
        base.contract.action.kind,
        keep_ticks=round((gate_rules(config).replay_s + _KEEP_S) * config.control.servo_hz),
        keep_steps=residual.recent_steps + _KEEP_STEPS,
    )


def home_of(
    deployment: Deployment, base: BasePolicy, header: RecordHeader, lineage: Lineage
) -> Home:
    """Return whose evidence this run's is. The field's name is all that is known of it here."""
    residual = deployment.config.residual
    assert residual is not None
    place = f"{deployment.config.robot_id}/{header.link.get('field', '')}"
    weights = resolve(deployment.config.base.file, deployment.config_file).read_bytes()
    interface = f"{interface_hash(base.contract, residual)}/{hashlib.sha256(weights).hexdigest()}"
    return Home(place, interface, lineage.folder, header.run)


def compose_governor(
    deployment: Deployment,
    base: BasePolicy,
    earned: Earned | None,
    *,
    learner: bool,
    shadow_only: bool,
) -> Governor:
    """Return the governor of a deployment that `compose_past` accepted."""
    config = deployment.config
    # a gate needs both, or the config is refused
    assert config.governor is not None
    assert config.residual is not None
    terms = Terms(
        actions=len(base.contract.action.names),
        pressed_n=config.residual.watch.pressed_n,
        learner=learner,
        shadow_only=shadow_only,
    )
    return Governor(config.governor, terms, earned)


def compose_gate(
    deployment: Deployment, base: BasePolicy, header: RecordHeader, features: int
) -> Gate:
    """Return the judge for a deployment that `compose_past` accepted."""
    config, contract = deployment.config, base.contract
    residual, asked = config.residual, gate_rules(config)
    assert residual is not None
    sizes = sizes_for(deployment, contract)
    replay = CandidateReplay(build_tick(deployment, contract), sizes, contract, residual)
    simulate = None
    if asked.simulation_field is not None and asked.simulation_episodes:
        if header.link.get("field") == asked.simulation_field:
            raise ConfigError(
                f"gate.simulation_field {asked.simulation_field!r} is the very field that the "
                "robot works in: what the gate may not know; name the nominal one, or null"
            )
        simulated = header.link.get("simulated") == str(True)
        check = SimulationCheck(deployment, base, tighten(config.faults), simulated=simulated)
        record = new_record(sizes)

        def simulate(snapshot: Snapshot) -> str:
            trial, zero = (
                MeanActor(one, contract, residual, record) for one in (snapshot, None)
            )
            return check.compare(trial, zero)

    return Gate(
        GateSettings(contract, residual, round(asked.replay_s * config.control.servo_hz)),
        features,
        replay,
        simulate,
    )


def main(given: Sequence[str] | None = None) -> int:
    """Run the gate; return its exit code."""
    # what is judged must not take the processor from what runs
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    options = _arguments(sys.argv[1:] if given is None else given)
    process = GateProcess(options)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: process.end())
    try:
        die_with_parent(options.parent, signal.SIGTERM)
        os.nice(_NICENESS)
        process.run()
    except TrimtabError as error:
        sys.stderr.write(f"gate: {error}\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
