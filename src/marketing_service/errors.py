"""Everything this service refuses or cannot do, as one tree. None of it knows HTTP.

    MarketingError
    ├── Unauthenticated      who is asking is not proven
    ├── Forbidden            proven, and still not allowed
    ├── NotFound             not there, or another organisation's
    ├── WrongState           it is not in the state this needs
    ├── StaleVersion         somebody else changed it meanwhile
    ├── InvalidInput         one or more fields are wrong; nothing was changed
    ├── PreflightFoundErrors     the campaign's check advises against launching it
    ├── RequestInFlight      the same request is being worked on right now
    ├── KeyReused            an idempotency key that belongs to another request
    └── Unavailable          a part we need is down; try again later

The sentence given to an error is shown to a person: it says what is wrong and, where it can, what to do.
"""

from __future__ import annotations

from dataclasses import dataclass


class MarketingError(Exception):
    """The root: catch it to catch everything this service raises on purpose."""

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


class Unauthenticated(MarketingError):
    """No token, or one that proves nothing."""


class Forbidden(MarketingError):
    """The token is good, and does not allow this. `code` is stable: `no-organisation`, `feature`, `role`."""

    def __init__(self, detail: str, code: str) -> None:
        super().__init__(detail)
        self.code = code


class NotFound(MarketingError):
    """Not there, or another organisation's: the two are not told apart."""


class WrongState(MarketingError):
    """The thing is not in a state that allows this."""


class StaleVersion(MarketingError):
    """The caller's version is not the current one."""


@dataclass(frozen=True, slots=True)
class FieldError:
    """One wrong field: its path as the caller wrote it (`audience.statuses[0]`), a sentence, a stable code."""

    field: str
    message: str
    code: str


class InvalidInput(MarketingError):
    """One or more fields are wrong, and nothing was changed."""

    def __init__(self, *errors: FieldError) -> None:
        super().__init__("; ".join(f"{error.field}: {error.message}" for error in errors))
        self.errors = errors


class PreflightFoundErrors(MarketingError):
    """The check of this very version found errors, and the caller did not insist."""


class RequestInFlight(MarketingError):
    """A request with the same idempotency key is being worked on right now."""


class KeyReused(MarketingError):
    """The idempotency key belongs to a request of another kind, or with another body."""


class Unavailable(MarketingError):
    """A part that is needed does not answer. `retry_after` is in seconds."""

    def __init__(self, part: str, detail: str | None = None, retry_after: int = 5) -> None:
        super().__init__(detail or f"{part} does not answer; try again in a few seconds.")
        self.part = part
        self.retry_after = retry_after


class SettingsError(Exception):
    """The service cannot start with its settings. The text is one line that names each setting that is wrong.

    It is no MarketingError: it ends the process at its start, and no caller of the API sees it.
    """
