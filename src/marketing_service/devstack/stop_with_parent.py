"""Runs one command, and stops it when the parent process ends.

`GuardedProcess` starts this file by its name in an isolated interpreter, so it imports only the standard library.
It reads a plan (JSON) from its first argument, starts the command, prints the command's process id, and waits.
When standard input ends, because the parent closed it or has ended, the command gets its stop signal, and SIGKILL
after the grace period. The exit status is that of the command; a signal is 128 + its number, as in a shell.

Why not only the kernel's parent-death signal in the command? That signal is sent when the *thread* that forked
ends, is lost when the user changes, and exists on Linux only. It is set as well, for the case that this guard
process itself is killed.
"""

import contextlib
import ctypes
import json
import os
import select
import signal
import sys
import time
from typing import Any, NoReturn

_PR_SET_PDEATHSIG = 1
_EXIT_CANNOT_START = 127


def main() -> int:
    plan = json.loads(sys.argv[1])
    wakeup = _wakeup_fd(signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    guard = os.getpid()
    pid = os.fork()
    if pid == 0:
        _exec(plan, guard)
    # If the parent has gone, the loop below sees that as the end of standard input.
    with contextlib.suppress(BrokenPipeError):
        os.write(1, f"{pid}\n".encode())
    os.close(1)

    kill_at: float | None = None
    while True:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return _as_exit_code(status)
        timeout = None if kill_at is None else max(0.0, kill_at - time.monotonic())
        if timeout == 0.0:
            os.kill(pid, signal.SIGKILL)
            timeout = None
        watched = [wakeup] if kill_at is not None else [wakeup, 0]
        ready, _, _ = select.select(watched, [], [], timeout)
        received = {signal.Signals(number) for number in os.read(wakeup, 64)} if wakeup in ready else set()
        if kill_at is None and (0 in ready or received - {signal.SIGCHLD}):
            os.kill(pid, plan["stop_signal"])
            kill_at = time.monotonic() + plan["grace"]


def _wakeup_fd(*signals: signal.Signals) -> int:
    """A file descriptor that becomes readable when one of the signals arrives. Each byte is a signal's number."""
    read, write = os.pipe()
    os.set_blocking(write, False)
    signal.set_wakeup_fd(write, warn_on_full_buffer=False)
    for number in signals:
        signal.signal(number, lambda *_: None)
    return read


def _exec(plan: dict[str, Any], guard: int) -> NoReturn:
    """Replaces this forked process with the command."""
    try:
        log = os.open(plan["log"], os.O_WRONLY | os.O_APPEND)
        os.chdir(plan["cwd"])
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(log, 1)
        os.dup2(log, 2)
        if plan["user"] is not None:
            uid, gid = plan["user"]
            os.setgroups([])
            os.setgid(gid)
            os.setuid(uid)
        # Python ignores these two signals, and exec would pass that on to the command.
        for number in (signal.SIGPIPE, signal.SIGXFSZ):
            signal.signal(number, signal.SIG_DFL)
        if sys.platform == "linux":
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, plan["stop_signal"], 0, 0, 0)
        if os.getppid() == guard:
            os.execv(plan["command"][0], plan["command"])  # noqa: S606 - no shell is needed
    except OSError as error:
        os.write(2, f"{plan['command'][0]}: {error}\n".encode())
    finally:
        os._exit(_EXIT_CANNOT_START)


def _as_exit_code(status: int) -> int:
    return 128 + os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)


if __name__ == "__main__":
    sys.exit(main())
