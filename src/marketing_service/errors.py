"""The errors that this service raises, as one tree. None of them depends on HTTP.

    MarketingError
    ├── Unauthenticated      the caller is not identified
    ├── Forbidden            the caller is identified, but not allowed to do this
    ├── NotFound             it does not exist, or belongs to another organisation
    ├── WrongState           its state does not allow this
    ├── StaleVersion         somebody else has changed it
    ├── InvalidInput         one or more fields are wrong; nothing was changed
    ├── PreflightFoundErrors the check of this version found errors
    ├── RequestInFlight      the same request is still being processed
    ├── KeyReused            the idempotency key belongs to another request
    ├── RateLimited          the caller has used up a limit; try again later
    └── Unavailable          a required component is down; try again later

The text of an error is shown to users: it says what is wrong and, if possible, what to do.
"""

from __future__ import annotations

from dataclasses import dataclass


class MarketingError(Exception):
    """The base class of all errors that this service raises on purpose."""

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


class Unauthenticated(MarketingError):
    """There is no token, or it is not valid."""


class Forbidden(MarketingError):
    """The token is valid, but does not allow this. `code` is stable: `no-organisation`, `feature`, `role`."""

    def __init__(self, detail: str, code: str) -> None:
        super().__init__(detail)
        self.code = code


class NotFound(MarketingError):
    """It does not exist, or it belongs to another organisation. The caller cannot tell which."""


class WrongState(MarketingError):
    """The state of the campaign, or of another object, does not allow this."""


class StaleVersion(MarketingError):
    """The caller read a version that is not the current one."""


@dataclass(frozen=True, slots=True)
class FieldError:
    """One wrong field: its path as the caller wrote it (`audience.statuses[0]`), a message, and a stable code."""

    field: str
    message: str
    code: str


MAX_ERRORS = 100
"""The number of wrong fields that are listed."""
MAX_FIELD = 200
MAX_MESSAGE = 1_000
"""Characters of a message. The longest honest one lists the statuses of a CRM."""


class InvalidInput(MarketingError):
    """One or more fields are wrong, and nothing was changed. `errors` are the first of them, with long texts cut."""

    def __init__(self, *errors: FieldError) -> None:
        self.errors = tuple(_shortened(error) for error in errors[:MAX_ERRORS])
        more = f"; and {len(errors) - MAX_ERRORS:,} more" if len(errors) > MAX_ERRORS else ""
        super().__init__("; ".join(f"{error.field}: {error.message}" for error in self.errors) + more)


def _shortened(error: FieldError) -> FieldError:
    return FieldError(_cut(error.field, MAX_FIELD), _cut(error.message, MAX_MESSAGE), error.code)


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"


class PreflightFoundErrors(MarketingError):
    """The check of this version found errors, and the caller did not ask to launch in spite of them."""


class RequestInFlight(MarketingError):
    """A request with the same idempotency key is still being processed."""


class KeyReused(MarketingError):
    """The idempotency key belongs to a request of another kind, or with another body."""


class RateLimited(MarketingError):
    """The caller has used up a limit. After `retry_after` seconds the same request is allowed."""

    def __init__(self, detail: str, retry_after: int) -> None:
        super().__init__(detail)
        self.retry_after = retry_after


class Unavailable(MarketingError):
    """A required component, named by `part`, cannot be used now. `retry_after` is in seconds. `cause` is for operators:
    what the component itself, or its driver, said."""

    def __init__(self, part: str, detail: str | None = None, retry_after: int = 5, *, cause: str | None = None) -> None:
        super().__init__(detail or f"{part} does not answer; try again in a few seconds.")
        self.part = part
        self.retry_after = retry_after
        self.cause = cause or self.detail


class SettingsError(Exception):
    """The service cannot start with its settings. The text is one line that names each setting that is wrong.

    It is no MarketingError: it ends the process at its start, and no caller of the API sees it.
    """
