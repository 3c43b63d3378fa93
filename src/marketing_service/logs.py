"""Structured logs on standard error: one line per event, in UTC, without addresses, tokens or passwords.

Code that logs passes ids only. The masking in this module is a second protection: it removes secrets from the texts of
exceptions and from the messages of libraries.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

import structlog

if TYPE_CHECKING:
    from structlog.typing import EventDict, Processor, WrappedLogger

ADDRESS = "[address]"
SECRET = "[secret]"  # noqa: S105 - the text that replaces a secret

# The handlers and levels of these libraries are removed, so that every event goes through this module.
_LIBRARIES = ("uvicorn", "uvicorn.error", "uvicorn.access", "arq", "alembic", "sqlalchemy")
# These log every request or statement with its path, query or values. The API logs its requests itself.
# arq logs each job twice, with a delay that it calculates from a time stamp that is no time (queue/job_queue.py).
_NOISY = ("arq", "uvicorn.access", "httpx", "httpcore", "aiosmtplib", "asyncio", "sqlalchemy", "mail.log")
# This library logs every error that it also raises, and it parses messages from unknown senders.
_SILENT = ("flufl.bounce",)

_SECRET_KEYS = frozenset({"authorization", "cookie", "set-cookie", "email", "recipient", "password", "secret", "token"})

# An atom of RFC 5322 §3.2.3 in any script, no longer than RFC 5321 §4.5.3.1.1 allows. Without this bound, a long run of
# letters without an @ would take quadratic time.
_LOCAL_PART = r"(?:\"[^\"\s]{1,64}\"|[\w.!#$%&'*+/=?^`{|}~-]{1,64})"
_MASKS: tuple[tuple[re.Pattern[str], str], ...] = (
    # user:password@ of a URL. It is masked first, because `password@host` looks like an address.
    (re.compile(r"([a-z][a-z0-9+.-]{1,30}://)[^\s/?#\"'<>]{1,512}@", re.IGNORECASE), rf"\1{SECRET}@"),
    (
        re.compile(r"([?&;](?:[a-z_-]{0,20}token|key|secret|password)=)[^&\s\"']+", re.IGNORECASE),
        rf"\1{SECRET}",
    ),
    # RFC 6750 §2.1 and RFC 7617
    (re.compile(r"\b(bearer|basic)\s+[\w.~+/=-]{8,}", re.IGNORECASE), rf"\1 {SECRET}"),
    # A JWT starts with the base64url of `{"`.
    (re.compile(r"\beyJ[\w-]{4,}(?:\.[\w-]*){1,4}"), SECRET),
    # The tokens of the public links: 32 bytes in base64url. Names that contain a UUID can have the same length.
    (re.compile(r"(?<![\w-])(?![\w-]{0,7}[0-9a-f]{8}-[0-9a-f]{4}-)[\w-]{43}(?![\w-])"), SECRET),
    (re.compile(rf"{_LOCAL_PART}(?:@|%40)(?:\[[^\]\s]{{1,255}}\]|\w[\w.-]{{0,254}})"), ADDRESS),
)


def mask(text: str) -> str:
    """The text with everything replaced that looks like an address, a token or the password of a URL."""
    for pattern, replacement in _MASKS:
        text = pattern.sub(replacement, text)
    return text


def mask_values(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """The structlog processor that masks every value of an event, at any depth."""
    return {key: _masked(value, key) for key, value in event.items()}


def _masked(value: Any, key: object = None) -> Any:
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if isinstance(key, str) and key.lower() in _SECRET_KEYS:
        return SECRET
    if isinstance(value, Mapping):
        return {mask(str(inner)): _masked(item, inner) for inner, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_masked(item, key) for item in value]
    if isinstance(value, bytes):
        return mask(value.decode("utf-8", "backslashreplace"))
    return mask(str(value))


def configure_logging(level: str = "INFO", log_format: Literal["json", "console"] = "json") -> None:
    """Send the events of this service and of its libraries to standard error, through one chain of processors.

    Every event includes the values in `structlog.contextvars`: the request, the campaign, the batch.
    """
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.stdlib.LoggerFactory(),
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                # Tracebacks are plain text without local variables. They quote messages, so masking comes after this.
                structlog.processors.format_exc_info,
                mask_values,
                _renderer(log_format),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for name in _LIBRARIES:
        library = logging.getLogger(name)
        library.handlers.clear()
        library.propagate = True
        library.setLevel(logging.NOTSET)
    for name in _NOISY:
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))
    for name in _SILENT:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    logging.captureWarnings(capture=True)


def _renderer(log_format: Literal["json", "console"]) -> Processor:
    if log_format == "json":
        return structlog.processors.JSONRenderer()
    return structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback)


class LogThrottle:
    """Allows one line per cause in `seconds`, so that a failure that repeats does not fill the log."""

    MAX_CAUSES = 100

    def __init__(self, seconds: float = 60.0) -> None:
        self._seconds = seconds
        self._logged_at: dict[object, float] = {}

    def allows(self, cause: object, now: float) -> bool:
        """Whether a line about this cause may be logged at `now`, in seconds by any monotonic clock."""
        last = self._logged_at.get(cause)
        if last is not None and now - last < self._seconds:
            return False
        if len(self._logged_at) >= self.MAX_CAUSES:
            self._logged_at.clear()
        self._logged_at[cause] = now
        return True
