"""Structured logs on standard error: one line an event, in UTC, without an address, a token or a password.

Whoever logs passes ids alone. The masking here is the second line of defence: it catches what an exception's
text or a library's message carries along.
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
SECRET = "[secret]"  # noqa: S105 - what a secret is replaced by

# Their own handlers and levels would print beside ours.
_LIBRARIES = ("uvicorn", "uvicorn.error", "uvicorn.access", "arq", "alembic", "sqlalchemy")
# They log a line for every request or statement, with its path, query or values in it; the API writes its own.
_NOISY = ("uvicorn.access", "httpx", "httpcore", "aiosmtplib", "asyncio", "sqlalchemy", "mail.log")
# It logs what it then raises, and is asked about messages that strangers write.
_SILENT = ("flufl.bounce",)

_SECRET_KEYS = frozenset({"authorization", "cookie", "set-cookie", "email", "recipient", "password", "secret", "token"})

# An atom of RFC 5322 §3.2.3, in any script, at most as long as RFC 5321 §4.5.3.1.1 lets it be: unbounded, a
# long run of letters without an @ would take quadratic time.
_LOCAL_PART = r"(?:\"[^\"\s]{1,64}\"|[\w.!#$%&'*+/=?^`{|}~-]{1,64})"
_MASKS: tuple[tuple[re.Pattern[str], str], ...] = (
    # user:password@ of any URL, first: what is left of it no longer looks like an address
    (re.compile(r"([a-z][a-z0-9+.-]{1,30}://)[^\s/?#\"'<>]{1,512}@", re.IGNORECASE), rf"\1{SECRET}@"),
    (
        re.compile(r"([?&;](?:[a-z_-]{0,20}token|key|secret|password)=)[^&\s\"']+", re.IGNORECASE),
        rf"\1{SECRET}",
    ),
    # RFC 6750 §2.1 and RFC 7617
    (re.compile(r"\b(bearer|basic)\s+[\w.~+/=-]{8,}", re.IGNORECASE), rf"\1 {SECRET}"),
    # A JWT starts with the base64url of `{"`.
    (re.compile(r"\beyJ[\w-]{4,}(?:\.[\w-]*){1,4}"), SECRET),
    # The tokens of our own public links: 32 bytes in base64url. A name made from a UUID can be as long.
    (re.compile(r"(?<![\w-])(?![\w-]{0,7}[0-9a-f]{8}-[0-9a-f]{4}-)[\w-]{43}(?![\w-])"), SECRET),
    (re.compile(rf"{_LOCAL_PART}(?:@|%40)(?:\[[^\]\s]{{1,255}}\]|\w[\w.-]{{0,254}})"), ADDRESS),
)


def mask(text: str) -> str:
    """The same text, with whatever looks like an address, a token or a URL's password replaced."""
    for pattern, replacement in _MASKS:
        text = pattern.sub(replacement, text)
    return text


def mask_values(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """The structlog processor that masks every value of an event, however deep."""
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
    """Send the events of this service and of its libraries to standard error, through one chain.

    Every event carries what `structlog.contextvars` holds: the request, the campaign, the batch.
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
                # As plain text, without the frames' variables, and before the masking: it quotes messages.
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
