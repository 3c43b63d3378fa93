"""Benchmark of the sending rate, compared with other SMTP clients: `make bench`, or `python -m bench.run --help`.

A column is one client on one sink. Every round runs every column once, one after the other, so that other load on the
machine affects all columns. Ratios are computed within a round, and the median of the rounds is printed. The benchmark
asserts no times. It asserts that the sink accepted exactly as many messages as the ledger has delivered sends.
"""

from __future__ import annotations

import argparse
import json
import math
import platform
import statistics
import subprocess
import sys
import tempfile
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench import campaign as content
from bench import machine, postfix, relays
from bench.drawing import draw_bars
from bench.service import Run, Service

if TYPE_CHECKING:
    from collections.abc import Callable

CONNECTIONS = 20
FEW_CONNECTIONS = 5
ROUND_TRIP = 0.05
RESULTS = Path("bench/results")
_LENGTH = 8192


@dataclass(slots=True)
class Bench:
    """Runs the columns and stores the measurements.

    `rates` has messages per second by column, one value for each round. `runs` has all data of our own runs.
    """

    service: Service
    folder: Path
    recipients: int
    rates: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    runs: dict[str, list[dict[str, Any]]] = field(default_factory=lambda: defaultdict(list))

    def note(self, column: str, rate: float) -> None:
        self.rates[column].append(round(rate, 1))
        print(f"  {column:<44} {rate:>9,.0f} messages/s", flush=True)

    # ── other clients ──

    def source(self, column: str, *, keep: bool) -> None:
        """Measure Postfix's load generator. It renders nothing and writes nothing to a database.

        With `keep`, it sends all messages of a connection in one SMTP session.
        """
        with relays.smtp_sink(self.folder) as sink:
            options = ["-d"] if keep else []
            self._run_source(
                column, sink, *options, "-l", str(_LENGTH), count=min(self.recipients, 30_000), connections=CONNECTIONS
            )

    def _run_source(self, column: str, sink: relays.Sink, *options: str, count: int, connections: int) -> None:
        command = [str(relays.SMTP_SOURCE), *options, "-s", str(connections), "-m", str(count)]
        started = datetime.now(UTC)
        subprocess.run([*command, f"127.0.0.1:{sink.port}"], check=True)
        self.note(column, count / (datetime.now(UTC) - started).total_seconds())

    def source_to_postfix(self, column: str, *, connections: int, on_disk: bool = False) -> None:
        """Measure Postfix's load generator with one of our messages and a recipient for each, in as few sessions."""
        message = self.folder / "message"
        message.write_bytes(content.message())
        options = ("-d", "-N", "-F", str(message), "-f", content.FROM_EMAIL, "-t", "person@example.org")
        with postfix.postfix(self.folder, on_disk=on_disk) as relay:
            self._run_source(column, relay, *options, count=min(self.recipients, 20_000), connections=connections)

    def client(self, column: str, client: str, count: int, *, round_trip: float = 0.0) -> None:
        """Measure a client of `bench.clients` with `count` messages."""
        with relays.smtp_sink(self.folder) as sink:
            if not round_trip:
                self.note(column, count / _client_seconds(client, sink.port, count))
                return
            with relays.with_round_trip(sink.port, self.folder, round_trip=round_trip) as port:
                self.note(column, count / _client_seconds(client, port, count))

    # ── this service ──

    def ours(self, column: str, *, workers: int = 1, recipients: int | None = None) -> None:
        with relays.smtp_sink(self.folder) as sink:
            self._check_and_note(column, self._run(sink, workers=workers, recipients=recipients))

    def ours_to_postfix(self, column: str, *, connections: int, workers: int = 1, on_disk: bool = False) -> None:
        count = min(self.recipients, 20_000)
        with postfix.postfix(self.folder, on_disk=on_disk) as relay:
            run = self.service.run(relay, recipients=count, connections=connections, workers=workers)
            self._check_and_note(column, run)

    def ours_on_own_sink(self, column: str, *, deferred: int = 0, refused: int = 0) -> None:
        with relays.own_sink(self.folder, deferred=deferred, refused=refused) as sink:
            self._check_and_note(column, self._run(sink))

    def ours_at_a_distance(self, column: str, recipients: int) -> None:
        with (
            relays.smtp_sink(self.folder) as sink,
            relays.with_round_trip(sink.port, self.folder, round_trip=ROUND_TRIP) as port,
        ):
            self._check_and_note(column, self._run(sink, port=port, recipients=recipients))

    def _run(
        self, sink: relays.Sink, *, workers: int = 1, recipients: int | None = None, port: int | None = None
    ) -> Run:
        count = recipients or self.recipients
        return self.service.run(sink, port=port, recipients=count, connections=CONNECTIONS, workers=workers)

    def _check_and_note(self, column: str, run: Run) -> None:
        if run.accepted_by_sink != run.counters["delivered"]:
            raise SystemExit(
                f"{column}: the sink accepted {run.accepted_by_sink} messages, but the ledger has {run.counters}"
            )
        self.runs[column].append(run.as_json())
        self.note(column, run.rate)

    # ── processor time ──

    def profile(self, sink: relays.Sink, recipients: int) -> dict[str, float]:
        """Return for one message the microseconds of processor time, by stage of the worker and by process, and of
        waiting, by what a connection waits for; and the messages per commit."""
        samples = self.folder / f"samples-{sink.name}"
        run = self.service.run(sink, recipients=recipients, connections=CONNECTIONS, samples=samples)
        stages: Counter[str] = Counter()
        waits: Counter[str] = Counter()
        commits = 0
        for file in self.folder.glob(f"{samples.name}.*.json"):
            measured = json.loads(file.read_text(encoding="utf-8"))
            stages.update(measured["stages"])
            waits.update(measured["waits"])
            commits += measured["commits"]
        per_sample = run.cpu_seconds["worker"] / sum(stages.values())
        seconds = (
            {f"worker: {stage}": count * per_sample for stage, count in stages.most_common()}
            | run.cpu_seconds
            | {f"waits: {what}": waited for what, waited in waits.most_common()}
        )
        return {what: round(used / recipients * 1e6, 1) for what, used in seconds.items()} | {
            "messages per commit": round(recipients / max(commits, 1), 1)
        }


def _client_seconds(client: str, port: int, count: int) -> float:
    command = [sys.executable, "-m", "bench.clients", client]
    command += [f"--port={port}", f"--messages={count}", f"--connections={CONNECTIONS}"]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


SOURCE, SOURCE_ONE_SESSION = "smtp-source -s 20 -l 8192", "smtp-source -d -s 20 -l 8192"
PLAIN, CEILING = "aiosmtplib + EmailMessage", "our connection, ready messages, no ledger"
OURS, OURS_2 = "ours, 1 worker", "ours, 2 workers"
OWN, FAULTY = "ours, 1 worker, own sink", "ours, own sink, 2 % 4xx and 1 % 5xx"
PLAIN_FAR, OURS_FAR = "aiosmtplib + EmailMessage, 50 ms away", "ours, 1 worker, 50 ms away"
POSTFIX, POSTFIX_FEW, POSTFIX_DISK = (
    "Postfix, 20 connections",
    "Postfix, 5 connections",
    "Postfix on disk, 20 connections",
)
SOURCE_POSTFIX, OURS_POSTFIX = f"smtp-source -d -N -F, {POSTFIX}", f"ours, 1 worker, {POSTFIX}"
SOURCE_POSTFIX_FEW, OURS_POSTFIX_FEW = f"smtp-source -d -N -F, {POSTFIX_FEW}", f"ours, 1 worker, {POSTFIX_FEW}"
SOURCE_POSTFIX_DISK, OURS_POSTFIX_DISK = f"smtp-source -d -N -F, {POSTFIX_DISK}", f"ours, 1 worker, {POSTFIX_DISK}"
OURS_2_POSTFIX = f"ours, 2 workers, {POSTFIX}"


def _columns(bench: Bench) -> dict[str, Callable[[], None]]:
    """Return the columns of a round, in the order in which they run."""
    columns: dict[str, Callable[[], None]] = {}
    if relays.SMTP_SOURCE and relays.SMTP_SINK:
        columns[SOURCE] = partial(bench.source, SOURCE, keep=False)
    columns[OURS] = partial(bench.ours, OURS)
    if relays.SMTP_SOURCE and relays.SMTP_SINK:
        columns[SOURCE_ONE_SESSION] = partial(bench.source, SOURCE_ONE_SESSION, keep=True)
    columns[OURS_2] = partial(bench.ours, OURS_2, workers=2)
    if relays.SMTP_SOURCE and postfix.missing() is None:
        for source, ours, connections, on_disk in (
            (SOURCE_POSTFIX, OURS_POSTFIX, CONNECTIONS, False),
            (SOURCE_POSTFIX_FEW, OURS_POSTFIX_FEW, FEW_CONNECTIONS, False),
            (SOURCE_POSTFIX_DISK, OURS_POSTFIX_DISK, CONNECTIONS, True),
        ):
            columns[source] = partial(bench.source_to_postfix, source, connections=connections, on_disk=on_disk)
            columns[ours] = partial(bench.ours_to_postfix, ours, connections=connections, on_disk=on_disk)
        columns[OURS_2_POSTFIX] = partial(bench.ours_to_postfix, OURS_2_POSTFIX, connections=CONNECTIONS, workers=2)
    columns[PLAIN] = partial(bench.client, PLAIN, "plain", 2_000)
    columns[CEILING] = partial(bench.client, CEILING, "ceiling", min(bench.recipients, 30_000))
    columns[OWN] = partial(bench.ours_on_own_sink, OWN)
    columns[FAULTY] = partial(bench.ours_on_own_sink, FAULTY, deferred=2, refused=1)
    columns[PLAIN_FAR] = partial(bench.client, PLAIN_FAR, "plain", 1_000, round_trip=ROUND_TRIP)
    columns[OURS_FAR] = partial(bench.ours_at_a_distance, OURS_FAR, 5_000)
    return columns


# Column, the column that it is divided by, and the goal for the ratio, if there is one.
RATIOS = (
    (OURS, SOURCE, 1.0),
    (OURS, SOURCE_ONE_SESSION, 0.5),
    (OURS_2, SOURCE, 1.0),
    (OURS_2, SOURCE_ONE_SESSION, 0.5),
    (OURS_2, OURS, 0.95),
    (OURS_POSTFIX, SOURCE_POSTFIX, 0.75),
    (OURS_POSTFIX_FEW, SOURCE_POSTFIX_FEW, 0.75),
    (OURS_POSTFIX_DISK, SOURCE_POSTFIX_DISK, None),
    (OURS_2_POSTFIX, OURS_POSTFIX, 1.0),
    (OURS_FAR, PLAIN_FAR, 3.8),
    (OURS, PLAIN, None),
    (OURS, CEILING, None),
    (FAULTY, OWN, None),
)


def _ratios(rates: dict[str, list[float]]) -> list[dict[str, Any]]:
    ratios = []
    for column, other, goal in RATIOS:
        if rates.get(column) and rates.get(other):
            each = [a / b for a, b in zip(rates[column], rates[other], strict=False)]
            ratios.append({"of": column, "to": other, "ratio": round(statistics.median(each), 2), "goal": goal})
    return ratios


def _print(bench: Bench, results: dict[str, Any]) -> None:
    print(
        f"\n{results['machine']}, Python {results['python']}, {len(next(iter(bench.rates.values())))} rounds, medians"
    )
    for column, rates in bench.rates.items():
        print(f"{column:<44} {statistics.median(rates):>9,.0f} messages/s")
    for column, runs in bench.runs.items():
        seconds = statistics.median(run["launch_to_sent_seconds"] for run in runs)
        print(f"{column}: launch to SENT {seconds:,.1f} s for {runs[0]['recipients']:,} recipients")
    print()
    for ratio in results["ratios"]:
        goal = f" (goal: {ratio['goal']:.2f})" if ratio["goal"] else ""
        print(f"{ratio['ratio']:>7.2f} x  {ratio['of']}  /  {ratio['to']}{goal}")
    if latency := results["latency"]:
        print("\nseconds from the launch of a campaign of 100 contacts to its first message (goal: p95 of 0.5)")
        print(", ".join(f"{name} {seconds:.3f}" for name, seconds in latency.items()))
    for relay, figures in results["profile"].items():
        print(f"\nmicroseconds for one message, {relay}")
        for what, microseconds in figures.items():
            print(f"{microseconds:>9.1f}  {what}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipients", type=int, default=100_000, help="default: %(default)s")
    parser.add_argument("--quick", action="store_true", help="10,000 recipients, one round")
    parser.add_argument("--rounds", type=int, default=3, help="default: %(default)s")
    parser.add_argument(
        "--only",
        action="append",
        default=[],
        metavar="TEXT",
        help="run only the columns whose name contains TEXT; may be repeated",
    )
    parser.add_argument(
        "--memory", type=int, metavar="N", help="measure only the memory of a worker, with 10,000 and with N recipients"
    )
    parser.add_argument(
        "--latency", action="store_true", help="measure only the time from a launch to its first message"
    )
    parser.add_argument("--no-profile", action="store_true", help="do not measure the processor time by stage")
    options = parser.parse_args()
    recipients, rounds = (10_000, 1) if options.quick else (options.recipients, options.rounds)
    if relays.SMTP_SINK is None:
        print(relays.MISSING)
    with tempfile.TemporaryDirectory(prefix="marketing-bench-") as path:
        folder = Path(path)
        folder.chmod(0o755)  # root starts PostgreSQL as another account, which must reach the folder
        with Service.started(folder) as service:
            bench = Bench(service, folder, recipients)
            if options.memory:
                _memory(bench, options.memory)
                return
            if options.latency:
                print(_latency(bench))
                return
            columns = _columns(bench)
            chosen = [c for c in columns if not options.only or any(part in c for part in options.only)]
            for number in range(rounds):
                print(f"round {number + 1} of {rounds}", flush=True)
                for column in chosen:
                    columns[column]()
            latency = {} if options.only else _latency(bench)
            profile = {} if options.no_profile else _profile(bench, min(recipients, 20_000))
    results = {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine.describe(),
        "python": platform.python_version(),
        "recipients": recipients,
        "rounds": rounds,
        "rates": bench.rates,
        "ratios": _ratios(bench.rates),
        "latency": latency,
        "profile": profile,
        "runs": bench.runs,
    }
    _print(bench, results)
    RESULTS.mkdir(exist_ok=True)
    stem = RESULTS / f"{datetime.now(UTC):%Y%m%dT%H%M%S}"
    stem.with_suffix(".json").write_text(json.dumps(results, indent=1), encoding="utf-8")
    bars = {column: statistics.median(rates) for column, rates in bench.rates.items()}
    stem.with_suffix(".svg").write_text(draw_bars("Messages per second", bars), encoding="utf-8")
    print(f"\n{stem}.json, {stem}.svg")


def _profile(bench: Bench, recipients: int) -> dict[str, dict[str, float]]:
    with relays.smtp_sink(bench.folder) as sink:
        profiles = {sink.name: bench.profile(sink, recipients)}
    if postfix.missing() is None:
        with postfix.postfix(bench.folder, on_disk=False) as relay:
            profiles[relay.name] = bench.profile(relay, recipients)
    return profiles


def _latency(bench: Bench, campaigns: int = 50) -> dict[str, float]:
    """Return the seconds from the launch of a campaign of 100 contacts to its first message."""
    with relays.smtp_sink(bench.folder) as sink:
        seconds = sorted(bench.service.latencies(sink, recipients=100, campaigns=campaigns))
    return {
        "median": round(statistics.median(seconds), 3),
        "p95": round(seconds[math.ceil(0.95 * len(seconds)) - 1], 3),
        "longest": round(seconds[-1], 3),
    }


def _memory(bench: Bench, recipients: int) -> None:
    for count in (10_000, recipients):
        bench.ours(f"ours, {count:,} recipients", recipients=count)
    for column, runs in bench.runs.items():
        print(f"{column}: {runs[0]['memory']} MB")


if __name__ == "__main__":
    main()
