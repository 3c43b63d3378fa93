"""The processes that are left after their parent was killed."""

import subprocess
import sys
import time
from pathlib import Path


def run_until_started(script: str, *arguments: str) -> tuple[subprocess.Popen[str], list[int]]:
    """Start a Python program; returns it and the process ids in the first line of its output."""
    program = subprocess.Popen([sys.executable, "-c", script, *arguments], stdout=subprocess.PIPE, text=True)
    assert program.stdout is not None
    return program, [int(word) for word in program.stdout.readline().split()]


def wait_until_gone(*pids: int, seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    left = list(pids)
    while left and time.monotonic() < deadline:
        left = [pid for pid in left if _runs(pid)]
        time.sleep(0.02)
    assert not left, f"still running: {left}"


def _runs(pid: int) -> bool:
    """Whether the process still runs. A zombie does not: it only waits until its parent reads its exit code."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def descendants(pid: int) -> list[int]:
    """The ids of all processes below this one that still exist."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = entry.read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        children.setdefault(int(fields[1]), []).append(int(entry.parent.name))
    found, left = [], [pid]
    while left:
        of_one = children.get(left.pop(), [])
        found += of_one
        left += of_one
    return found
