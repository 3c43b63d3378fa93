"""What the statements read on a large ledger: the rows that they change or return, whatever the statistics say.


`statement_cases.py` calls every function of `ledger/` and `store/` that runs a statement. Each call is measured with
the counters of its own transaction, then rolled back. Of each table, a call may read four pages for each row that it
changes or returns: three of an index and one of the table.
"""

from __future__ import annotations

import asyncio
import importlib
import inspect
import itertools
import pkgutil
import re
import sys
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest
from sqlalchemy import TextClause, event, text

import marketing_service.ledger
import marketing_service.store
from marketing_service.db import Database
from marketing_service.ledger.functions import FUNCTIONS
from marketing_service.store.batches import Claim
from marketing_service.store.page import Page
from tests.integration.ledger import large_ledger
from tests.integration.ledger.costs import Cost, Meter
from tests.integration.ledger.statement_calls import API, WORKER, Case, Known, Session, known
from tests.integration.ledger.statement_cases import CASES
from tests.support.ledger import ORG

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import CodeType, FrameType, ModuleType

    from sqlalchemy.engine import Connection, ExecutionContext

    from marketing_service.devstack.postgres import PostgresServer

QUICK, FULL = 200_000, 1_000_000
PER_ROW = 4
CONSTANT = 40
FEW_PAGES = 20
"""PostgreSQL may read a table that is not larger as a whole."""
STATISTICS = ("of other campaigns", "none")
PLANS = ("force_custom_plan", "force_generic_plan")
_NO_STATISTICS = (
    "DELETE FROM pg_statistic",
    """
    SELECT pg_clear_relation_stats('public', relname) FROM pg_class
    WHERE relname LIKE '%marketing%' AND relkind IN ('r', 'i')
    """,
)
_STATEMENT = re.compile(r"\s*(WITH|SELECT|INSERT|UPDATE|DELETE)\b")


class _RollBackError(Exception):
    """Ends the transaction of a case."""


@dataclass
class Measured:
    """What the cases have run, and the calls that have read too much, by statistics and plan."""

    statements: set[str] = field(default_factory=set)
    functions: set[CodeType] = field(default_factory=set)
    expensive: dict[tuple[str, str], list[str]] = field(default_factory=dict)

    @contextmanager
    def noting(self, database: Database) -> Iterator[None]:
        """Note each statement that SQLAlchemy runs, and each Python function that is called."""
        engine = database._engine.sync_engine
        event.listen(engine, "before_cursor_execute", self._note_statement)
        sys.setprofile(self._note_function)
        try:
            yield
        finally:
            sys.setprofile(None)
            event.remove(engine, "before_cursor_execute", self._note_statement)

    def _note_statement(
        self, _: Connection, _cursor: Any, sql: str, _values: Any, context: ExecutionContext, _many: bool
    ) -> None:
        compiled: Any = context.compiled
        statement = None if compiled is None else compiled.statement
        self.statements.add(statement.text if isinstance(statement, TextClause) else sql)

    def _note_function(self, frame: FrameType, kind: str, _: Any) -> None:
        if kind == "call":
            self.functions.add(frame.f_code)


@pytest.fixture(scope="module")
def measured(postgres: PostgresServer, template: str, request: pytest.FixtureRequest) -> Iterator[Measured]:
    postgres.create_database("statement_costs", template=template)
    url = postgres.url("statement_costs")
    sends = FULL if request.config.getoption("--full") else QUICK
    yield asyncio.run(_measure_all(url, sends))
    postgres.drop_database("statement_costs")


async def _measure_all(url: str, sends: int) -> Measured:
    measured = Measured()
    owner = await asyncpg.connect(url)
    try:
        await large_ledger.build(owner, sends)
        rows = await known(owner, sends)
        for statistics in STATISTICS:
            if statistics == "none":
                for statement in _NO_STATISTICS:
                    await owner.execute(statement)
            for plans in PLANS:
                measured.expensive[statistics, plans] = await _expensive(url, measured, rows, plans)
    finally:
        await owner.close()
    return measured


async def _expensive(url: str, measured: Measured, rows: Known, plans: str) -> list[str]:
    """What reads too much, in sessions of their own: a session keeps its plans."""
    databases = {role: Database(url, role=role, pool_size=1, connect_timeout=60) for role in (API, WORKER)}
    try:
        found = []
        for case in CASES:
            with measured.noting(databases[case.role]):
                costs, returned = await _measure(databases[case.role], measured, case, rows, plans)
            found += [f"{case.name}: {line}" for line in _too_much(case, costs, returned)]
        return found
    finally:
        for database in databases.values():
            await database.close()


async def _measure(
    database: Database, measured: Measured, case: Case, rows: Known, plans: str
) -> tuple[dict[str, Cost], int]:
    """The costs of the case by table, and how many rows it has returned."""
    try:
        async with database.transaction(ORG if case.role == API else None) as tx:
            # This also begins the transaction, which calls of the driver do not.
            await tx.connection.execute(text(f"SET LOCAL plan_cache_mode = {plans}"))
            driver: Any = (await tx.connection.get_raw_connection()).driver_connection

            async def call(statement: str, *arguments: object) -> asyncpg.Record:
                measured.statements.add(statement)
                row: asyncpg.Record | None = await driver.fetchrow(statement, *arguments)
                assert row is not None
                return row

            meter = Meter(driver)
            await meter.start()
            result = await case.run(Session(tx.connection, call, rows))
            costs = await meter.stop()
            raise _RollBackError  # noqa: TRY301 - the only way to roll back
    except _RollBackError:
        return costs, _rows_in(result)


def _rows_in(result: object) -> int:
    """How many rows a function has returned, in whatever it returns."""
    if isinstance(result, Page):
        return len(result.items)
    if isinstance(result, Claim) or not isinstance(result, list | dict | set | tuple):
        return 1
    return sum(_rows_in(one) for one in result)


def _too_much(case: Case, costs: dict[str, Cost], returned: int) -> Iterator[str]:
    rows = sum(cost.changed for cost in costs.values()) + returned
    allowed = PER_ROW * rows + CONSTANT + case.also
    for table, cost in costs.items():
        if cost.read > allowed or (cost.looked_at > allowed and cost.read > FEW_PAGES):
            yield (
                f"{cost.read} pages and {cost.looked_at} rows of {table} for {rows} rows, {allowed} are allowed;"
                f" in all{cost.parts}"
            )


@pytest.mark.parametrize(("statistics", "plans"), list(itertools.product(STATISTICS, PLANS)))
def test_a_statement_reads_the_rows_that_it_changes_or_returns(measured: Measured, statistics: str, plans: str) -> None:
    expensive = measured.expensive[statistics, plans]
    assert not expensive, "\n".join(expensive)


def _modules() -> Iterator[ModuleType]:
    """Without those that only `migrate` and `doctor` call: they read PostgreSQL's own catalogs."""
    for room in (marketing_service.ledger, marketing_service.store):
        for found in pkgutil.iter_modules(room.__path__):
            if found.name in {"access", "server"}:
                continue
            yield importlib.import_module(f"{room.__name__}.{found.name}")


def test_every_statement_is_measured(measured: Measured) -> None:
    """The statements are those of the modules' constants. Other statements are made in functions."""
    missing = []
    members = [(module, *member) for module in _modules() for member in vars(module).items()]
    for module, name, value in members:
        sql = value.text if isinstance(value, TextClause) else value
        if isinstance(sql, str) and _STATEMENT.match(sql) and sql not in measured.statements:
            missing.append(f"{module.__name__}.{name}")
        if (
            inspect.iscoroutinefunction(value)
            and value.__module__ == module.__name__
            and value.__code__ not in measured.functions
        ):
            missing.append(f"{module.__name__}.{name}()")
    missing += [
        f"marketing_{name}"
        for name in FUNCTIONS
        if not any(f"marketing_{name}(" in statement for statement in measured.statements)
    ]
    assert not missing, f"statement_cases.py needs a case for: {', '.join(missing)}"
