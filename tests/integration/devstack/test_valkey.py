import signal
import socket
from pathlib import Path

import pytest
from redis.asyncio import Redis

from marketing_service.devstack.process import DevstackError
from marketing_service.devstack.valkey import ValkeyServer
from tests.support.orphans import run_until_started, wait_until_gone


async def test_it_is_empty_and_on_the_same_port_after_a_restart(tmp_path: Path) -> None:
    server = ValkeyServer(tmp_path / "a space")
    with server:
        async with Redis.from_url(server.url()) as redis:
            await redis.set("key", "value")
            assert await redis.get("key") == b"value"
        url = server.url()
        server.kill()
        server.start()
        assert server.url() == url
        async with Redis.from_url(url) as redis:
            assert await redis.get("key") is None


def test_a_port_that_is_taken_is_an_error_that_says_so(tmp_path: Path) -> None:
    with (
        ValkeyServer(tmp_path / "one") as server,
        pytest.raises(DevstackError, match="Address already in use"),
    ):
        ValkeyServer(tmp_path / "two", port=server.port).start()


def test_nothing_listens_on_its_port_after_a_stop(tmp_path: Path) -> None:
    with ValkeyServer(tmp_path) as server:
        pass
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", server.port))


def test_it_ends_with_the_process_that_started_it(tmp_path: Path) -> None:
    script = (
        "import sys, time; from pathlib import Path\n"
        "from marketing_service.devstack.valkey import ValkeyServer\n"
        "server = ValkeyServer(Path(sys.argv[1])); server.start()\n"
        "print(server.pid, flush=True); time.sleep(60)"
    )
    program, (pid,) = run_until_started(script, str(tmp_path))
    with program:
        program.send_signal(signal.SIGKILL)
    wait_until_gone(pid)
