"""Processor time and memory of processes, and the machine's name, read from /proc."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

_TICK = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class _Stat:
    parent: int
    ticks: int
    ended_children_ticks: int


def _stat(pid: int) -> _Stat | None:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return _Stat(int(fields[1]), int(fields[11]) + int(fields[12]), int(fields[13]) + int(fields[14]))


def cpu_seconds(pid: int) -> float:
    """Seconds of processor time that a process and all of its descendants have used since they started."""
    stats = {int(path.name): _stat(int(path.name)) for path in Path("/proc").iterdir() if path.name.isdigit()}
    family = {pid}
    while more := {p for p, stat in stats.items() if stat and stat.parent in family and p not in family}:
        family |= more
    # A child that its parent has waited for is part of the parent's sum. A running child has its own entry.
    return sum(s.ticks + s.ended_children_ticks for p in family if (s := stats.get(p)) is not None) / _TICK


def resident_megabytes(pid: int) -> float:
    """Resident memory of a process in MiB, or 0.0 if the process does not exist."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace").splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS:")), 0.0)


def describe() -> str:
    """Return the number of usable processors and their model, in one line."""
    names = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
        if line.startswith("model name")
    ]
    return f"{len(os.sched_getaffinity(0))} x {names[0] if names else 'processor of unknown name'}"
