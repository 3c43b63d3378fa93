"""Opening a connection: aiosmtplib connects, negotiates TLS and logs in. Then this service takes over the transport."""

from __future__ import annotations

import asyncio
import re
import ssl
from typing import TYPE_CHECKING, NamedTuple, cast

import aiosmtplib
from aiosmtplib import SMTPException, SMTPHeloError, SMTPResponseException, SMTPServerDisconnected, SMTPTimeoutError

from marketing_service.delivery.address import Encryption
from marketing_service.open_files import TOO_MANY_OPEN_FILES, too_many_open_files
from marketing_service.ports import RelayDown
from marketing_service.replies import Phase, Reply

if TYPE_CHECKING:
    from collections.abc import Mapping

    from marketing_service.delivery.address import RelayAddress

# aiosmtplib limits each step and this module limits the whole attempt. The limit of a step should fire first, because
# its error names the step.
_GRACE_SECONDS = 0.5


class OpenedTransport(NamedTuple):
    """A transport that is ready for MAIL, and the relay's extensions: EHLO keyword in lower case → parameters."""

    transport: asyncio.Transport
    extensions: Mapping[str, str]


class ConnectionAttempt:
    """One attempt to open a connection. It tracks its phase, so that an error can name the phase that failed."""

    def __init__(
        self, address: RelayAddress, tls_context: ssl.SSLContext | None, *, seconds: float, hello_name: str
    ) -> None:
        self._address = address
        self._seconds = seconds
        self._phase = Phase.CONNECT
        self._smtp = aiosmtplib.SMTP(
            hostname=address.host,
            port=address.port,
            local_hostname=hello_name,
            timeout=seconds,
            use_tls=address.encryption is Encryption.IMPLICIT,
            start_tls=False,
            tls_context=tls_context,
        )

    async def run(self) -> OpenedTransport:
        """Open the connection, within about `seconds` in all. Raises RelayDown with the phase that failed."""
        opened = None
        try:
            async with asyncio.timeout(self._seconds + _GRACE_SECONDS):
                opened = await self._open()
        except (SMTPException, OSError, ValueError) as error:
            raise self._down(error) from None
        else:
            return opened
        finally:
            if opened is None and self._smtp.transport is not None:
                self._smtp.transport.close()

    async def _open(self) -> OpenedTransport:
        smtp, encryption = self._smtp, self._address.encryption
        await smtp.connect()
        await self._hello()
        if encryption in (Encryption.IF_OFFERED, Encryption.REQUIRED):
            offered = smtp.supports_extension("starttls")
            if offered:
                self._phase = Phase.TLS
                await smtp.starttls()
                # RFC 3207 §4.2: everything the relay said before TLS must be discarded.
                await self._hello()
            elif encryption is Encryption.REQUIRED:
                self._phase = Phase.TLS
                raise SMTPException("the relay does not offer STARTTLS, which MARKETING_SMTP_URL requires")
        if self._address.username is not None:
            self._phase = Phase.AUTH
            await smtp.login(self._address.username, self._address.password or "")
        if smtp.transport is None:
            raise SMTPException("the relay closed the connection")
        # uvloop's transports have the whole interface of asyncio.Transport, but do not inherit from it.
        return OpenedTransport(cast("asyncio.Transport", smtp.transport), dict(smtp.esmtp_extensions))

    async def _hello(self) -> None:
        self._phase = Phase.EHLO
        try:
            await self._smtp.ehlo()
        except SMTPHeloError:
            # RFC 5321 §3.2: a relay that does not support EHLO may still support HELO.
            if not self._smtp.is_connected:
                raise
            await self._smtp.helo()

    def _down(self, error: Exception) -> RelayDown:
        phase, cause = self._phase, error
        if phase is Phase.CONNECT:
            # `connect` wraps the original error. An SMTP error means that the TCP connection was already open.
            cause = error.__cause__ if isinstance(error.__cause__, Exception) else error
            if isinstance(cause, ssl.SSLError):
                phase = Phase.TLS
            elif isinstance(error, SMTPResponseException) or isinstance(cause, SMTPException) or cause is error:
                phase = Phase.BANNER
        detail = TOO_MANY_OPEN_FILES if too_many_open_files(error) else self._without_secrets(self._detail(cause))
        reply = None
        if isinstance(cause, SMTPResponseException) and cause.code > 0:
            reply = Reply.of(cause.code, self._without_secrets(cause.message))
        return RelayDown(phase, detail, reply)

    def _detail(self, error: Exception) -> str:
        if isinstance(error, SMTPResponseException):
            reply = Reply.of(error.code, error.message)
            return f"{reply.code} {reply.text}" if reply.code > 0 else "the relay sent data that is not an SMTP reply"
        if isinstance(error, (TimeoutError, SMTPTimeoutError)):
            return f"no reply within {self._seconds:g} s"
        if isinstance(error, SMTPServerDisconnected):
            return "the relay closed the connection"
        if isinstance(error, ssl.SSLCertVerificationError):
            return f"the relay's certificate is not trusted: {error.verify_message}"
        if isinstance(error, OSError) and error.strerror:
            return error.strerror
        return str(error) or type(error).__name__

    def _without_secrets(self, text: str) -> str:
        """Mask the user name and the password: relays often repeat them when a log-in fails."""
        for secret in (self._address.password, self._address.username):
            if secret:
                text = re.sub(rf"(?<!\w){re.escape(secret)}(?!\w)", "…", text)
        return text
