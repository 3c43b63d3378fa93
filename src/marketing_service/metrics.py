"""A process's metrics for Prometheus, on a port of their own."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

from prometheus_client import CollectorRegistry, ProcessCollector, start_http_server

from marketing_service.settings import SettingsError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prometheus_client.registry import Collector


class Endpoint(NamedTuple):
    """Where the metrics are to be had; port 0 is nowhere."""

    host: str
    port: int


NOWHERE = Endpoint("127.0.0.1", 0)


@contextmanager
def exposed(endpoint: Endpoint, *collectors: Collector) -> Iterator[None]:
    """Answer scrapes at `endpoint` while the block runs, where there is one: with what the collectors say, and the
    process's own figures. They are asked in the scrape's own thread. Raises SettingsError when nobody can listen there.
    """
    if not endpoint.port:
        yield
        return
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    for collector in collectors:
        registry.register(collector)
    try:
        server, thread = start_http_server(endpoint.port, endpoint.host, registry)
    except OSError as error:
        raise SettingsError(
            f"metrics cannot be shown at {endpoint.host} port {endpoint.port}: {error.strerror}"
        ) from error
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
