"""An API that is called again and again while a fault lasts, and what it answers."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import httpx

from marketing_service.api.app import create_app, create_internal_app
from marketing_service.api.metrics import Metrics
from marketing_service.auth.mint import mint_token
from marketing_service.bootstrap import Resources
from marketing_service.settings import load_settings
from tests.support.ledger import ORG
from tests.support.workers import worker_environment
from tests.support.world import ISSUER, JWT_SECRET, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

_PAUSE = 0.05
_DRAFT = {"name": "During", "subject": "During", "fromEmail": "news@acme.example"}


@dataclass
class Answers:
    """What the API has answered."""

    statuses: Counter[int] = field(default_factory=Counter)
    """To requests that write."""
    details: set[str] = field(default_factory=set)
    """The texts of the 503 responses."""
    causes: set[str] = field(default_factory=set)
    """What /readyz has said about PostgreSQL; empty: it could be used."""

    async def until_it_is_named(self, cause: str) -> None:
        """Wait until both a response and /readyz have named the cause."""

        async def is_named() -> bool:
            return all(any(cause in text for text in texts) for texts in (self.details, self.causes))

        try:
            await until(is_named)
        except AssertionError:
            raise AssertionError(f"{cause!r} is not in both {self.details} and {self.causes}") from None


@asynccontextmanager
async def calling_api(database_url: str, redis_url: str) -> AsyncIterator[Answers]:
    """Call the API while the block runs. Fails if a response was neither a success nor a 503."""
    environment = worker_environment(
        database_url=database_url, redis_url=redis_url, smtp_url="smtp://127.0.0.1:9", database_pool="3"
    )
    prefix = "MARKETING_"
    values = {name.removeprefix(prefix).lower(): value for name, value in environment.items() if prefix in name}
    answers = Answers()
    async with Resources.open(load_settings(**values), process="api") as resources:
        public = create_app(resources, health=False)
        internal = create_internal_app(resources, metrics=Metrics())
        token = mint_token(
            JWT_SECRET, ISSUER, "marketing",
            subject="ada", org_id=ORG, roles=["ADMIN"], features=["marketing"], lifetime_seconds=3600,
        )  # fmt: skip
        headers = {"Authorization": f"Bearer {token}"}
        async with (
            httpx.AsyncClient(transport=httpx.ASGITransport(public), base_url="http://api", headers=headers) as user,
            httpx.AsyncClient(transport=httpx.ASGITransport(internal), base_url="http://api") as operator,
        ):
            calling = asyncio.create_task(_call(user, operator, answers))
            try:
                yield answers
            finally:
                calling.cancel()
                with suppress(asyncio.CancelledError):
                    await calling
    assert answers.statuses.keys() <= {201, 503}, answers.statuses
    assert answers.statuses[201] > 0


async def _call(user: httpx.AsyncClient, operator: httpx.AsyncClient, answers: Answers) -> None:
    while True:
        response = await user.post("/api/marketing/campaigns", json=_DRAFT)
        answers.statuses[response.status_code] += 1
        if not response.is_success:
            answers.details.add(response.json()["detail"])
        readiness = (await operator.get("/readyz")).json()
        answers.causes.add(readiness["causes"].get("postgresql", ""))
        await asyncio.sleep(_PAUSE)
