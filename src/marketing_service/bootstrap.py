"""From settings to open resources: the only module that knows which adapter implements which port."""

from __future__ import annotations

import asyncio
import socket
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Literal

import structlog
from sqlalchemy.exc import SQLAlchemyError

from marketing_service.audience import CrmAudience, ViewAudience
from marketing_service.auth import ClaimRules, KeySet, KeySetAuthenticator, SecretAuthenticator
from marketing_service.bounded_http import open_client
from marketing_service.campaigns.rules import CampaignRules, SenderRules
from marketing_service.db import Database, WrongSession
from marketing_service.delivery import RelayAddress, SmtpMailer
from marketing_service.errors import SettingsError, Unavailable
from marketing_service.ports import AudienceError, Limit, RelayDown
from marketing_service.queue import ArqJobQueue, connect
from marketing_service.rates import RequestRates, SharedRates, limiter_redis
from marketing_service.redis_access import WrongRedis
from marketing_service.rendering import PostalAddresses
from marketing_service.resolver import DnsTextRecords
from marketing_service.store.server import require_usable
from marketing_service.store.stats import LedgerStats, ledger_stats
from marketing_service.tokens import BounceAddresses, Pseudonyms, TokenKeyring
from marketing_service.tracking import ReportHandler

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    import httpx
    from arq.connections import ArqRedis
    from redis.asyncio import Redis

    from marketing_service.auth import Authenticator
    from marketing_service.db import Call, Transactions
    from marketing_service.ports import AudienceSource, Mailer, RateLimiter, RequestLimiter, TextRecords
    from marketing_service.settings import Settings

log = structlog.get_logger(__name__)

Process = Literal["api", "worker"]

_API_STATEMENT_SECONDS = 4.0
"""The API responds within five seconds, with a 503 if PostgreSQL takes longer."""
_PROBE_SECONDS = 3.0
_DNS_SECONDS = 5.0
_CONSUMER_SECONDS = 5.0
"""Timeout of the Redis commands that take jobs. It is longer than for enqueueing, because no caller waits for them."""


@dataclass(frozen=True, slots=True)
class WorkerLimits:
    """How many jobs a worker process runs at a time, and its intervals in seconds."""

    sending_jobs: int
    audience_jobs: int
    sweep_seconds: float
    drain_seconds: float


@dataclass(frozen=True, slots=True)
class ApiRules:
    """The settings that the HTTP API needs.

    `write_roles` and `bounce_roles` are the roles that may change campaigns and submit delivery reports. `proxy_hops`
    is the number of our own proxies in front of the API. With `confirm_unsubscribe`, a GET of the unsubscribe link
    shows a page with a button instead of opting out at once.
    """

    write_roles: tuple[str, ...]
    bounce_roles: tuple[str, ...]
    proxy_hops: int
    confirm_unsubscribe: bool


def api_rules_of(settings: Settings) -> ApiRules:
    """The rules that the HTTP API applies."""
    return ApiRules(
        write_roles=tuple(settings.write_roles),
        bounce_roles=tuple(settings.bounce_roles),
        proxy_hops=settings.proxy_hops,
        confirm_unsubscribe=settings.unsubscribe_get == "confirm",
    )


def campaign_rules_of(settings: Settings) -> CampaignRules:
    """The rules that campaigns are validated by."""
    return CampaignRules(
        sender=SenderRules(default_address=settings.default_from_email, domains=settings.from_domains),
        public_base_url=settings.public_base_url,
        default_language=settings.default_language,
        postal_addresses=PostalAddresses(settings.postal_addresses),
    )


@dataclass(frozen=True, slots=True)
class Resources:
    """Everything that a process needs from outside, open and ready. `mailer` is None if no relay is configured,
    `rates` if no limit is, `bounces` if no domain for return paths is."""

    settings: Settings
    api_rules: ApiRules
    campaign_rules: CampaignRules
    transactions: Transactions
    call: Call
    audience: AudienceSource
    mailer: Mailer | None
    job_queue: ArqJobQueue
    rates: RateLimiter | None
    limiter: RequestLimiter
    records: TextRecords
    tokens: TokenKeyring
    pseudonyms: Pseudonyms
    bounces: BounceAddresses | None
    authenticator: Authenticator
    http: httpx.AsyncClient
    verify: Callable[[], Awaitable[None]]
    """Uses PostgreSQL and Redis once, before the process starts. Raises SettingsError if one of them cannot be used as
    it is. Only logs it if one is down, refuses writes or is not migrated now: it is used as soon as it can be."""

    @staticmethod
    @asynccontextmanager
    async def open(settings: Settings, *, process: Process) -> AsyncIterator[Resources]:
        """Open what the process needs, and close it when the block ends. It connects to nothing yet, so the process
        starts while a part is down, and uses the part as soon as it is up again."""
        async with AsyncExitStack() as stack:
            database = database_of(settings, process)
            stack.push_async_callback(database.close)
            redis = connect(settings.redis_url.get_secret_value())
            job_queue = ArqJobQueue(redis)
            stack.push_async_callback(redis.aclose, close_connection_pool=True)
            http = await stack.enter_async_context(open_client())
            limiter = await stack.enter_async_context(_limiter(settings))
            mailer = _mailer(settings)
            if mailer is not None:
                stack.push_async_callback(mailer.close)
            keys = [key.get_secret_value().encode() for key in settings.token_keys]
            tokens = TokenKeyring(keys)
            yield Resources(
                settings=settings,
                api_rules=api_rules_of(settings),
                campaign_rules=campaign_rules_of(settings),
                transactions=database.transaction,
                call=database.call,
                audience=await stack.enter_async_context(_audience(settings, http)),
                mailer=mailer,
                job_queue=job_queue,
                rates=_rates(settings, redis),
                limiter=limiter,
                records=DnsTextRecords(settings.dns_resolver, timeout=_DNS_SECONDS),
                tokens=tokens,
                pseudonyms=Pseudonyms(keys),
                bounces=None if settings.bounce_domain is None else BounceAddresses(tokens, settings.bounce_domain),
                authenticator=_authenticator(settings, http),
                http=http,
                verify=partial(_verify, database, job_queue),
            )

    @property
    def worker_limits(self) -> WorkerLimits:
        return WorkerLimits(
            sending_jobs=self.settings.worker_jobs,
            audience_jobs=self.settings.worker_audiences,
            sweep_seconds=self.settings.sweep_seconds,
            drain_seconds=self.settings.drain_seconds,
        )

    def consumer_redis(self) -> ArqRedis:
        """A client for taking jobs from the queue; the caller closes it."""
        return connect(self.settings.redis_url.get_secret_value(), timeout=_CONSUMER_SECONDS)

    def report_handler(self) -> ReportHandler | None:
        """Handles bounces and complaints. None if MARKETING_BOUNCE_DOMAIN is not set."""
        if self.bounces is None:
            return None
        return ReportHandler(
            self.transactions,
            self.job_queue,
            tokens=self.tokens,
            addresses=self.bounces,
            soft_bounces=self.settings.soft_bounces,
        )

    async def stats(self) -> LedgerStats:
        """Totals over the whole ledger. Raises Unavailable."""
        async with self.transactions() as tx:
            return await ledger_stats(tx.connection)

    async def check_database(self) -> None:
        """Raises Unavailable if PostgreSQL does not respond, takes no writes, or has an older schema than this version
        needs."""
        await require_usable(self.transactions)

    async def missing(self) -> dict[str, str]:
        """The parts that cannot be used now, each with the cause: `postgresql`, `redis`, `crm`, `relay`. Returns within
        `_PROBE_SECONDS`."""
        parts: dict[str, Callable[[], Awaitable[None]]] = {
            "postgresql": self.check_database,
            "redis": self.job_queue.ping,
            "crm": self.audience.probe,
            "relay": self._reach_relay,
        }
        probes = [asyncio.create_task(_problem(reach)) for reach in parts.values()]
        _, late = await asyncio.wait(probes, timeout=_PROBE_SECONDS)
        for probe in late:
            probe.cancel()  # not awaited: if a server hangs, the cancelled probe takes seconds to end
        causes = {
            name: f"does not answer within {_PROBE_SECONDS:g} seconds" if probe in late else probe.result()
            for name, probe in zip(parts, probes, strict=True)
        }
        return {name: cause for name, cause in causes.items() if cause is not None}

    async def _reach_relay(self) -> None:
        if self.mailer is not None:
            await self.mailer.probe()


def database_of(settings: Settings, process: Process) -> Database:
    """The database with the role of this process. Opens no connection yet; the caller closes it."""
    return Database(
        settings.database_url.get_secret_value(),
        role="marketing_api" if process == "api" else "marketing_worker",
        pool_size=settings.database_pool,
        statement_timeout=_API_STATEMENT_SECONDS if process == "api" else None,
    )


async def verify_servers(settings: Settings, *, process: Process) -> None:
    """As `Resources.verify`, for a process that opens no resources."""
    database = database_of(settings, process)
    redis = connect(settings.redis_url.get_secret_value())
    try:
        await _verify(database, ArqJobQueue(redis))
    finally:
        await database.close()
        await redis.aclose(close_connection_pool=True)


async def _verify(database: Database, job_queue: ArqJobQueue) -> None:
    try:
        await database.verify()
    except WrongSession as error:
        raise SettingsError(f"MARKETING_DATABASE_URL: {error}") from None
    try:
        await job_queue.verify()
    except WrongRedis as error:
        raise SettingsError(f"MARKETING_REDIS_URL: Redis {error}.") from None


async def _problem(reach: Callable[[], Awaitable[None]]) -> str | None:
    """Why the part cannot be used; None if it can."""
    try:
        await reach()
    except (Unavailable, AudienceError, RelayDown, SQLAlchemyError, OSError, TimeoutError) as error:
        cause = f"{error.detail} ({error.cause})" if isinstance(error, Unavailable) else str(error)
        log.warning("probe_failed", error=f"{type(error).__name__}: {cause}")
        return cause
    return None


def _mailer(settings: Settings) -> SmtpMailer | None:
    url = settings.smtp_url.get_secret_value()
    if not url:
        return None
    return SmtpMailer(
        RelayAddress.parse(url),
        connections=settings.smtp_connections,
        messages_per_connection=settings.smtp_messages_per_connection,
        idle_seconds=settings.smtp_idle_seconds,
        timeout=settings.smtp_timeout,
        data_timeout=settings.smtp_data_timeout,
        hello_name=socket.gethostname(),
    )


def _rates(settings: Settings, redis: Redis) -> RateLimiter | None:
    if not (settings.rate_relay or settings.rate_org):
        return None
    return SharedRates(redis, relay=settings.rate_relay, organisation=settings.rate_org)


@asynccontextmanager
async def _limiter(settings: Settings) -> AsyncIterator[RequestLimiter]:
    redis = limiter_redis(settings.redis_url.get_secret_value())
    limiter = RequestRates(
        redis,
        {
            Limit.TOKEN: settings.api_rate_token,
            Limit.PUBLIC: settings.api_rate_public,
            Limit.TEST: settings.api_rate_test,
        },
    )
    try:
        yield limiter
    finally:
        await limiter.aclose()
        await redis.aclose(close_connection_pool=True)


@asynccontextmanager
async def _audience(settings: Settings, http: httpx.AsyncClient) -> AsyncIterator[AudienceSource]:
    database_url = settings.crm_database_url.get_secret_value()
    if database_url:
        async with ViewAudience.open(database_url, timeout=settings.crm_timeout) as views:
            yield views
        return
    yield CrmAudience(
        http,
        settings.crm_url,
        settings.crm_token.get_secret_value(),
        page_size=settings.crm_page_size,
        timeout=settings.crm_timeout,
    )


def _authenticator(settings: Settings, http: httpx.AsyncClient) -> Authenticator:
    rules = ClaimRules(
        issuer=settings.jwt_issuer,
        audience=settings.jwt_audience,
        write_roles=frozenset(settings.write_roles),
        feature=settings.feature,
        org_claim=settings.jwt_org_claim,
        roles_claim=settings.jwt_roles_claim,
        features_claim=settings.jwt_features_claim,
    )
    if settings.jwt_secret is not None:
        return SecretAuthenticator(settings.jwt_secret.get_secret_value().encode(), rules)
    if settings.jwt_jwks_url is None:
        raise ValueError("neither a secret nor a key set is configured")
    return KeySetAuthenticator(KeySet(http, settings.jwt_jwks_url), rules)
