"""The HTTP endpoint on which a process exposes its Prometheus metrics."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

from prometheus_client import CollectorRegistry, ProcessCollector, start_http_server

from marketing_service.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prometheus_client.registry import Collector


class Endpoint(NamedTuple):
    """The address and port that serve the metrics. Port 0 means that no metrics are served."""

    host: str
    port: int


NO_METRICS = Endpoint("127.0.0.1", 0)


@contextmanager
def serve_metrics(endpoint: Endpoint, *collectors: Collector) -> Iterator[None]:
    """Serve the metrics of the collectors and of the process at `endpoint` while the block runs.

    Prometheus' requests are handled in threads of their own, which call the collectors. Raises SettingsError if the
    address or port cannot be used.
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
            f"metrics cannot be served at {endpoint.host} port {endpoint.port}: {error.strerror}"
        ) from error
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
