"""The model with the interface of `marketing_service.db.Database`: transactions, and calls in one round trip."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Protocol, cast

import asyncpg

from marketing_service.db import Transaction
from marketing_service.errors import Unavailable
from simulation.model.statements import handler_of, nothing
from simulation.model.work import Blocked, Deadlock, Ended

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from sqlalchemy.ext.asyncio import AsyncConnection

    from simulation.model.answers import Record
    from simulation.model.work import Handler, Ledger, Work

    Done = Callable[[Any], None]
    """Gets the answer, or the error."""


class Request(StrEnum):
    """What is asked of the server: a statement in a transaction, its commit, or a call that is a transaction."""

    STATEMENT = "statement"
    COMMIT = "commit"
    CALL = "call"


class Link(Protocol):
    """The way to the server and back."""

    async def request(self, work: Work, run: Callable[[Done], None], kind: Request) -> Any:
        """Let the server `run` something in a transaction, and return the answer. Raises Unavailable."""
        ...


class DirectLink:
    """A server in the same process, that is never away."""

    async def request(self, work: Work, run: Callable[[Done], None], kind: Request) -> Any:
        del work, kind
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        run(answer.set_result)
        return answered(await answer)


def answered(answer: Any) -> Any:
    """The answer. Raises it if it is an error."""
    if isinstance(answer, Exception):
        raise answer
    return answer


def execute(work: Work, handler: Handler, parameters: Any, done: Done) -> None:
    """Run a statement as soon as no other transaction has locked a row that it needs."""
    try:
        answer = work.run(handler, parameters)
    except Blocked as blocked:
        blocked.holder.on_end(lambda: execute(work, handler, parameters, done))
    except (Deadlock, Ended) as error:
        work.roll_back()
        done(Unavailable("PostgreSQL", cause=type(error).__name__))
    except asyncpg.PostgresError as refused:
        work.roll_back()
        done(refused)
    else:
        done(answer)


def commit(work: Work, done: Done) -> None:
    try:
        work.commit()
    except Ended:
        done(Unavailable("PostgreSQL", cause="Ended"))
    else:
        done(None)


class ModelConnection:
    """What the statements' callers use of an AsyncConnection, and of asyncpg's connection behind it."""

    def __init__(self, link: Link, work: Work) -> None:
        self._link = link
        self._work = work

    async def execute(self, statement: Any, parameters: Any = None) -> Any:
        handler = handler_of(statement)
        if handler is nothing:
            return nothing(self._work, parameters)
        return await self._link.request(
            self._work, lambda done: execute(self._work, handler, parameters, done), Request.STATEMENT
        )

    async def fetchrow(self, statement: str, *arguments: object) -> Record:
        return cast("Record", await self.execute(statement, arguments))

    async def get_raw_connection(self) -> ModelConnection:
        return self

    @property
    def driver_connection(self) -> ModelConnection:
        return self


class ModelDatabase:
    """`owner` is who uses it: the ledger passes it on with each commit."""

    def __init__(self, ledger: Ledger, link: Link, owner: object = None) -> None:
        self._ledger = ledger
        self._link = link
        self._owner = owner

    @asynccontextmanager
    async def transaction(self, org_id: str | None = None) -> AsyncIterator[Transaction]:
        """See marketing_service.db.Transactions."""
        del org_id
        work = self._ledger.begin(self._owner)
        transaction = Transaction(cast("AsyncConnection", ModelConnection(self._link, work)))
        try:
            yield transaction
        except BaseException:
            work.roll_back()
            raise
        await self._link.request(work, lambda done: commit(work, done), Request.COMMIT)
        await transaction._make_calls()

    async def call(self, statement: str, *arguments: object) -> Any:
        """See marketing_service.db.Call."""
        work = self._ledger.begin(self._owner)

        def run(done: Done) -> None:
            def ran(answer: Any) -> None:
                if not isinstance(answer, Exception):
                    work.commit()
                done(answer)

            execute(work, handler_of(statement), arguments, ran)

        return await self._link.request(work, run, Request.CALL)
