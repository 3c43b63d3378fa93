import os
import signal
import sys
import time
from pathlib import Path

import pytest

from marketing_service.devstack.process import DevstackError, GuardedProcess, file_lock, write_private


def python(tmp_path: Path, script: str, *, grace: float = 5.0) -> GuardedProcess:
    return GuardedProcess(
        "Python", [sys.executable, "-c", script], log=tmp_path / "a log", cwd=tmp_path, grace_seconds=grace
    )


def started(process: GuardedProcess) -> None:
    process.wait_until(lambda: "started" in process.last_lines(), 10)


@pytest.mark.parametrize(
    ("script", "code"), [("pass", 0), ("raise SystemExit(3)", 3), ("import os; os.kill(os.getpid(), 9)", 137)]
)
def test_a_process_that_ends_by_itself_reports_its_exit_status(tmp_path: Path, script: str, code: int) -> None:
    process = python(tmp_path, script)
    while process.poll() is None:
        time.sleep(0.01)
    assert process.poll() == process.stop() == code


def test_stopping_sends_the_stop_signal_and_waits(tmp_path: Path) -> None:
    script = (
        "import signal, sys, time\n"
        "signal.signal(signal.SIGTERM, lambda *_: (print('tidied'), sys.exit(7)))\n"
        "print('started', flush=True); time.sleep(60)"
    )
    process = python(tmp_path, script)
    started(process)
    assert process.stop() == 7
    assert process.last_lines(1) == "tidied"


def test_a_process_that_does_not_stop_is_killed_after_the_grace_period(tmp_path: Path) -> None:
    script = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "print('started', flush=True); time.sleep(60)"
    )
    process = python(tmp_path, script, grace=0.2)
    started(process)
    assert process.stop() == 128 + signal.SIGKILL


def test_kill_sends_sigkill_at_once(tmp_path: Path) -> None:
    process = python(tmp_path, "import time; print('started', flush=True); time.sleep(60)")
    started(process)
    assert process.kill() == 128 + signal.SIGKILL
    with pytest.raises(ProcessLookupError):
        os.kill(process.pid, 0)


def test_a_process_that_ends_during_its_start_is_an_error_with_its_last_lines(tmp_path: Path) -> None:
    (tmp_path / "a log").write_text("of an earlier run\n")
    process = python(tmp_path, "raise SystemExit('no room')")
    with pytest.raises(DevstackError, match=r"^Python ended with exit code 1 during its start:\nno room$"):
        process.wait_until(lambda: False, 10)


def test_a_missing_command_is_an_error_that_names_it(tmp_path: Path) -> None:
    process = GuardedProcess("Nothing", [tmp_path / "missing"], log=tmp_path / "log")
    with pytest.raises(DevstackError, match=r"missing: .*No such file"):
        process.wait_until(lambda: False, 10)


def test_a_process_that_is_not_ready_in_time_is_an_error(tmp_path: Path) -> None:
    process = python(tmp_path, "import time; time.sleep(60)")
    with pytest.raises(DevstackError, match=r"was not ready after 0\.1 s"):
        process.wait_until(lambda: False, 0.1)
    process.kill()


def test_a_file_lock_is_exclusive_and_kept_by_processes_that_inherited_it(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with file_lock(path, timeout=0, message="taken") as descriptor:
        with pytest.raises(DevstackError, match="taken"), file_lock(path, timeout=0, message="taken"):
            pass
        child = GuardedProcess(
            "Child", [sys.executable, "-c", "import time; time.sleep(60)"], log=tmp_path / "log", keep_open=[descriptor]
        )  # fmt: skip
    with pytest.raises(DevstackError, match="taken"), file_lock(path, timeout=0.1, message="taken"):
        pass
    child.kill()
    with file_lock(path, timeout=0, message="taken"):
        pass


def test_a_private_file_is_replaced_atomically_and_readable_by_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_text("much longer than the new text")
    write_private(path, "new")
    assert path.read_text() == "new"
    assert path.stat().st_mode & 0o777 == 0o600
    assert [entry.name for entry in tmp_path.iterdir()] == ["secret"]
