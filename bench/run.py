"""The benchmark: how fast mail goes out, beside others on the same sink. `make bench`, or `python -m bench.run --help`.

Every round runs every column once, one after the other, so that what the machine does meanwhile hits all of them;
ratios are taken within a round, and the median over the rounds is printed. Nothing is asserted on time; that the sink
took exactly as many messages as were recorded as delivered is.
"""

from __future__ import annotations

import argparse
import json
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

from bench import machine, relays
from bench.drawing import draw_bars
from bench.service import Run, Service

if TYPE_CHECKING:
    from collections.abc import Callable

CONNECTIONS = 20
ROUND_TRIP = 0.05
RESULTS = Path("bench/results")
_LENGTH = 8192


@dataclass(slots=True)
class Bench:
    """What was measured: messages a second, by column, one for each round; and the whole of our own runs."""

    service: Service
    folder: Path
    recipients: int
    rates: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    runs: dict[str, list[dict[str, Any]]] = field(default_factory=lambda: defaultdict(list))

    def note(self, column: str, rate: float) -> None:
        self.rates[column].append(round(rate, 1))
        print(f"  {column:<44} {rate:>9,.0f} messages/s", flush=True)

    # ── others ──

    def source(self, column: str, *, keep: bool) -> None:
        """Postfix's load generator: it renders nothing and records nothing."""
        count = min(self.recipients, 30_000)
        with relays.smtp_sink(self.folder) as sink:
            options = ["-d"] if keep else []
            command = [str(relays.SMTP_SOURCE), *options, "-s", str(CONNECTIONS), "-l", str(_LENGTH), "-m", str(count)]
            began = datetime.now(UTC)
            subprocess.run([*command, f"127.0.0.1:{sink.port}"], check=True)
            self.note(column, count / (datetime.now(UTC) - began).total_seconds())

    def client(self, column: str, who: str, count: int, *, round_trip: float = 0.0) -> None:
        with relays.smtp_sink(self.folder) as sink:
            if not round_trip:
                self.note(column, count / _client(who, sink.port, count))
                return
            with relays.distant(sink.port, self.folder, round_trip=round_trip) as port:
                self.note(column, count / _client(who, port, count))

    # ── ours ──

    def ours(self, column: str, *, workers: int = 1, recipients: int | None = None) -> None:
        with relays.smtp_sink(self.folder) as sink:
            self._noted(column, self._run(sink, workers=workers, recipients=recipients))

    def ours_on_own_sink(self, column: str, *, deferred: int = 0, refused: int = 0) -> None:
        with relays.own_sink(self.folder, deferred=deferred, refused=refused) as sink:
            self._noted(column, self._run(sink))

    def ours_at_a_distance(self, column: str, recipients: int) -> None:
        with (
            relays.smtp_sink(self.folder) as sink,
            relays.distant(sink.port, self.folder, round_trip=ROUND_TRIP) as port,
        ):
            self._noted(column, self._run(sink, port=port, recipients=recipients))

    def _run(
        self, sink: relays.Sink, *, workers: int = 1, recipients: int | None = None, port: int | None = None
    ) -> Run:
        count = recipients or self.recipients
        return self.service.run(sink, port=port, recipients=count, connections=CONNECTIONS, workers=workers)

    def _noted(self, column: str, run: Run) -> None:
        if run.accepted_by_sink != run.counters["delivered"]:
            raise SystemExit(f"{column}: the sink took {run.accepted_by_sink}, the ledger says {run.counters}")
        self.runs[column].append(run.as_json())
        self.note(column, run.rate)

    # ── where the time goes ──

    def profile(self, recipients: int) -> dict[str, float]:
        """Microseconds of processor time for one message, by stage of the worker and by process."""
        samples = self.folder / "samples"
        with relays.smtp_sink(self.folder) as sink:
            run = self.service.run(sink, recipients=recipients, connections=CONNECTIONS, samples=samples)
        found: Counter[str] = Counter()
        for file in self.folder.glob("samples.*.json"):
            found.update(json.loads(file.read_text(encoding="utf-8"))["stages"])
        share = run.cpu_seconds["worker"] / recipients * 1e6 / sum(found.values())
        stages = {f"worker: {stage}": round(count * share, 1) for stage, count in found.most_common()}
        others = {part: round(used / recipients * 1e6, 1) for part, used in run.cpu_seconds.items()}
        return stages | others


def _client(who: str, port: int, count: int) -> float:
    command = [sys.executable, "-m", "bench.clients", who]
    command += [f"--port={port}", f"--messages={count}", f"--connections={CONNECTIONS}"]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


SOURCE, SOURCE_KEPT = "smtp-source -s 20 -l 8192", "smtp-source -d -s 20 -l 8192"
PLAIN, CEILING = "aiosmtplib + EmailMessage", "our connection, ready messages, no ledger"
OURS, OURS_2 = "ours, 1 worker", "ours, 2 workers"
OWN, FAULTY = "ours, 1 worker, own sink", "ours, own sink, 2 % 4xx and 1 % 5xx"
PLAIN_FAR, OURS_FAR = "aiosmtplib + EmailMessage, 50 ms away", "ours, 1 worker, 50 ms away"


def _columns(bench: Bench) -> dict[str, Callable[[], None]]:
    """One round, in its order."""
    columns: dict[str, Callable[[], None]] = {}
    if relays.SMTP_SOURCE and relays.SMTP_SINK:
        columns[SOURCE] = partial(bench.source, SOURCE, keep=False)
    columns[OURS] = partial(bench.ours, OURS)
    if relays.SMTP_SOURCE and relays.SMTP_SINK:
        columns[SOURCE_KEPT] = partial(bench.source, SOURCE_KEPT, keep=True)
    columns[OURS_2] = partial(bench.ours, OURS_2, workers=2)
    columns[PLAIN] = partial(bench.client, PLAIN, "plain", 2_000)
    columns[CEILING] = partial(bench.client, CEILING, "ceiling", min(bench.recipients, 30_000))
    columns[OWN] = partial(bench.ours_on_own_sink, OWN)
    columns[FAULTY] = partial(bench.ours_on_own_sink, FAULTY, deferred=2, refused=1)
    columns[PLAIN_FAR] = partial(bench.client, PLAIN_FAR, "plain", 1_000, round_trip=ROUND_TRIP)
    columns[OURS_FAR] = partial(bench.ours_at_a_distance, OURS_FAR, 5_000)
    return columns


RATIOS = (
    (OURS, SOURCE, 1.0),
    (OURS, SOURCE_KEPT, 0.5),
    (OURS_2, SOURCE, 1.0),
    (OURS_2, SOURCE_KEPT, 0.5),
    (OURS_FAR, PLAIN_FAR, 3.8),
    (OURS, PLAIN, None),
    (OURS, CEILING, None),
    (FAULTY, OWN, None),
)


def _ratios(rates: dict[str, list[float]]) -> list[dict[str, Any]]:
    found = []
    for ours, theirs, wanted in RATIOS:
        if rates.get(ours) and rates.get(theirs):
            each = [a / b for a, b in zip(rates[ours], rates[theirs], strict=False)]
            found.append({"of": ours, "to": theirs, "ratio": round(statistics.median(each), 2), "wanted": wanted})
    return found


def _print(bench: Bench, results: dict[str, Any]) -> None:
    print(
        f"\n{results['machine']}, Python {results['python']}, {len(next(iter(bench.rates.values())))} rounds, medians"
    )
    for column, rates in bench.rates.items():
        print(f"{column:<44} {statistics.median(rates):>9,.0f} messages/s")
    for column, runs in bench.runs.items():
        whole = statistics.median(run["launch_to_sent_seconds"] for run in runs)
        print(f"{column}: launch to SENT {whole:,.1f} s for {runs[0]['recipients']:,} recipients")
    print()
    for ratio in results["ratios"]:
        wanted = f" (wanted: {ratio['wanted']:.1f})" if ratio["wanted"] else ""
        print(f"{ratio['ratio']:>7.2f} x  {ratio['of']}  /  {ratio['to']}{wanted}")
    if results["profile"]:
        print("\nmicroseconds of processor time for one message")
        for stage, spent in results["profile"].items():
            print(f"{spent:>9.1f}  {stage}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recipients", type=int, default=100_000)
    parser.add_argument("--quick", action="store_true", help="10,000 recipients, one round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", action="append", default=[], help="columns whose name contains this")
    parser.add_argument(
        "--memory", type=int, metavar="N", help="instead: a worker's memory at 10,000 and at N recipients"
    )
    parser.add_argument("--no-profile", action="store_true")
    options = parser.parse_args()
    recipients, rounds = (10_000, 1) if options.quick else (options.recipients, options.rounds)
    if relays.SMTP_SINK is None:
        print(relays.MISSING)
    with tempfile.TemporaryDirectory(prefix="marketing-bench-") as place:
        folder = Path(place)
        folder.chmod(0o755)  # PostgreSQL, started by root, runs as somebody else
        with Service.started(folder) as service:
            bench = Bench(service, folder, recipients)
            if options.memory:
                _memory(bench, options.memory)
                return
            columns = _columns(bench)
            chosen = [c for c in columns if not options.only or any(part in c for part in options.only)]
            for number in range(rounds):
                print(f"round {number + 1} of {rounds}", flush=True)
                for column in chosen:
                    columns[column]()
            profile = {} if options.no_profile else bench.profile(min(recipients, 20_000))
    results = {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine.describe(),
        "python": platform.python_version(),
        "recipients": recipients,
        "rounds": rounds,
        "rates": bench.rates,
        "ratios": _ratios(bench.rates),
        "profile": profile,
        "runs": bench.runs,
    }
    _print(bench, results)
    RESULTS.mkdir(exist_ok=True)
    stem = RESULTS / f"{datetime.now(UTC):%Y%m%dT%H%M%S}"
    stem.with_suffix(".json").write_text(json.dumps(results, indent=1), encoding="utf-8")
    bars = {column: statistics.median(rates) for column, rates in bench.rates.items()}
    stem.with_suffix(".svg").write_text(draw_bars("Messages a second", bars), encoding="utf-8")
    print(f"\n{stem}.json, {stem}.svg")


def _memory(bench: Bench, most: int) -> None:
    for count in (10_000, most):
        bench.ours(f"ours, {count:,} recipients", recipients=count)
    for column, runs in bench.runs.items():
        print(f"{column}: {runs[0]['memory']} MB")


if __name__ == "__main__":
    main()
