"""Run one command and make sure that it never outlives the process that wanted it.

Started by file name in an isolated interpreter, so it imports the standard library alone. It reads a plan
(JSON) from its first argument, starts the command, prints the command's process id, and then waits: when
standard input ends, because its owner closed it or died in whatever way, the command gets its stop signal, and
SIGKILL after the grace. It ends with the command's exit status, a signal as 128 + its number, as a shell does.

A watcher, rather than the kernel's parent-death signal in the command itself, because that signal is sent
when the *thread* that forked ends, is lost when the user changes, and is Linux only. Here it is the second
net, for the case that this process is killed itself.
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
_CANNOT_START = 127


def main() -> int:
    plan = json.loads(sys.argv[1])
    woken = _wake_on(signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    guard = os.getpid()
    pid = os.fork()
    if pid == 0:
        _become(plan, guard)
    # The pipe's other end gone is seen below, as the end of standard input.
    with contextlib.suppress(BrokenPipeError):
        os.write(1, f"{pid}\n".encode())
    os.close(1)

    kill_at: float | None = None
    while True:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return _as_exit_code(status)
        patience = None if kill_at is None else max(0.0, kill_at - time.monotonic())
        if patience == 0.0:
            os.kill(pid, signal.SIGKILL)
            patience = None
        watched = [woken] if kill_at is not None else [woken, 0]
        ready, _, _ = select.select(watched, [], [], patience)
        told = {signal.Signals(number) for number in os.read(woken, 64)} if woken in ready else set()
        if kill_at is None and (0 in ready or told - {signal.SIGCHLD}):
            os.kill(pid, plan["stop_signal"])
            kill_at = time.monotonic() + plan["grace"]


def _wake_on(*signals: signal.Signals) -> int:
    """A descriptor that can be read whenever one of the signals has come; each byte is a signal's number."""
    read, write = os.pipe()
    os.set_blocking(write, False)
    signal.set_wakeup_fd(write, warn_on_full_buffer=False)
    for number in signals:
        signal.signal(number, lambda *_: None)
    return read


def _become(plan: dict[str, Any], guard: int) -> NoReturn:
    """Turn this forked process into the command."""
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
        for number in (
            signal.SIGPIPE,
            signal.SIGXFSZ,
        ):  # Python ignores these two, and exec would pass that on
            signal.signal(number, signal.SIG_DFL)
        if sys.platform == "linux":
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, plan["stop_signal"], 0, 0, 0)
        if os.getppid() == guard:
            os.execv(plan["command"][0], plan["command"])  # noqa: S606 - no shell is wanted
    except OSError as error:
        os.write(2, f"{plan['command'][0]}: {error}\n".encode())
    finally:
        os._exit(_CANNOT_START)


def _as_exit_code(status: int) -> int:
    return 128 + os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)


if __name__ == "__main__":
    sys.exit(main())
