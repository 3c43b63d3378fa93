"""Transactions of the model: what each sees, which rows it has locked, and who waits for whom.

As in PostgreSQL's READ COMMITTED: a statement sees what is committed when it runs, and what its own transaction wrote.
A row that a transaction has written or locked stays locked until it ends. The one difference: a statement that had to
wait runs again from its start, so it sees what was committed meanwhile in all rows, not only in the locked one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar, cast

from simulation.model.rows import Batch, Campaign, Send, Table, Tables, key_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from uuid import UUID

    from simulation.model.rows import Key, Row

    Handler = Callable[["Work", Any], Any]

T = TypeVar("T", bound="Row")


class Blocked(Exception):
    """The statement needs a row that another transaction has locked."""

    def __init__(self, holder: Work) -> None:
        super().__init__("a row is locked")
        self.holder = holder


class Deadlock(Exception):
    """Two transactions wait for each other: this one must end."""


class Ended(Exception):
    """The transaction was ended by the server."""


class Work:
    """One transaction."""

    def __init__(self, ledger: Ledger, owner: object) -> None:
        self.owner = owner
        """Who runs it: for the story and the invariants."""
        self.started = self.now = ledger.clock()
        """`now()` and `clock_timestamp()`."""
        self.is_ended = False
        self.waits_for: Work | None = None
        self._ledger = ledger
        self._written: dict[Key, Row | None] = {}
        self._statement: dict[Key, Row | None] = {}
        self._changes: list[tuple[Row | None, Row | None]] = []
        self._locks: set[Key] = set()
        self._on_end: list[Callable[[], None]] = []

    # ── for statements ──

    def find(self, table: Table, key: Any) -> Any:
        """The row with this primary key; None if there is none."""
        for written in (self._statement, self._written):
            if (table, key) in written:
                return written[table, key]
        return self._ledger.tables.rows[table].get(key)

    def campaign(self, campaign_id: UUID) -> Campaign | None:
        return cast("Campaign | None", self.find(Table.CAMPAIGNS, campaign_id))

    def batch(self, campaign_id: UUID, number: int) -> Batch | None:
        return cast("Batch | None", self.find(Table.BATCHES, (campaign_id, number)))

    def every(self, table: Table) -> Iterator[Any]:
        """All rows of a table that this transaction sees."""
        committed = self._ledger.tables.rows[table]
        keys = dict.fromkeys(committed)
        for written in (self._written, self._statement):
            keys |= dict.fromkeys(key for kind, key in written if kind is table)
        for key in keys:
            row = self.find(table, key)
            if row is not None:
                yield row

    @property
    def refused_values(self) -> set[str]:
        """See Ledger."""
        return self._ledger.refused_values

    def sends(self, campaign_id: UUID) -> list[Send]:
        """The campaign's sends, by id."""
        return sorted(
            (send for send in self.every(Table.SENDS) if send.campaign_id == campaign_id), key=lambda send: send.id.int
        )

    def batches(self, campaign_id: UUID) -> list[Batch]:
        """The campaign's batches, by number."""
        return sorted(
            (batch for batch in self.every(Table.BATCHES) if batch.campaign_id == campaign_id),
            key=lambda batch: batch.number,
        )

    def lock(self, row: T) -> T:
        """Lock a row that exists."""
        self._lock(key_of(row))
        return row

    def put(self, row: Row) -> None:
        """Insert the row, or replace the one with its key."""
        key = key_of(row)
        self._lock(key)
        self._statement[key] = row

    def delete(self, row: Row) -> None:
        key = key_of(row)
        self._lock(key)
        self._statement[key] = None

    def _lock(self, key: Key) -> None:
        holder = self._ledger.locks.get(key)
        if holder is None:
            self._ledger.locks[key] = self
            self._locks.add(key)
        elif holder is not self:
            raise Blocked(holder)

    # ── for the server ──

    def run(self, handler: Handler, parameters: Any) -> Any:
        """Run one statement. Raises Blocked, and has then written nothing; Deadlock; Ended."""
        if self.is_ended:
            raise Ended
        self.waits_for = None
        self.now = self._ledger.clock()
        self._statement = {}
        try:
            answer = handler(self, parameters)
        except Blocked as blocked:
            self._statement = {}
            self._wait_for(blocked.holder)
            raise
        for key, row in self._statement.items():
            self._changes.append((self._before(key), row))
            self._written[key] = row
        self._statement = {}
        return answer

    def _before(self, key: Key) -> Row | None:
        return self._written[key] if key in self._written else self._ledger.tables.rows[key[0]].get(key[1])

    def _wait_for(self, holder: Work) -> None:
        after: Work | None = holder
        while after is not None:
            if after is self:
                raise Deadlock
            after = after.waits_for
        self.waits_for = holder

    def on_end(self, call: Callable[[], None]) -> None:
        """Call this when the transaction has ended, and its locks are free."""
        self._on_end.append(call)

    def commit(self) -> None:
        """Make what was written visible to all."""
        if self.is_ended:
            raise Ended
        for (table, key), row in self._written.items():
            rows = self._ledger.tables.rows[table]
            if row is None:
                rows.pop(key, None)
            else:
                rows[key] = row
        self._end()
        if self._changes:
            self._ledger.committed(self.owner, self._changes)

    def roll_back(self) -> None:
        """Forget what was written. Does nothing if the transaction has ended."""
        if not self.is_ended:
            self._end()

    def _end(self) -> None:
        self.is_ended = True
        self.waits_for = None
        for key in self._locks:
            del self._ledger.locks[key]
        self._ledger.open.pop(self, None)
        calls, self._on_end = self._on_end, []
        for call in calls:
            call()


class Ledger:
    """The committed rows, the locks, and the open transactions. `clock` is in seconds.

    `committed` is called after each commit with its owner and the changes of its statements, in order: the old and the
    new row, None for no row.
    """

    def __init__(
        self,
        clock: Callable[[], float],
        committed: Callable[[Any, list[tuple[Row | None, Row | None]]], None] = lambda _owner, _changes: None,
    ) -> None:
        self.tables = Tables()
        self.clock = clock
        self.committed = committed
        self.refused_values: set[str] = set()
        """The addresses for which the values of results are refused."""
        self.locks: dict[Key, Work] = {}
        self.open: dict[Work, None] = {}

    def is_waited_for(self, work: Work) -> bool:
        """Whether another transaction waits for this one."""
        return any(other.waits_for is work for other in self.open)

    def begin(self, owner: object = None) -> Work:
        """Start a transaction."""
        work = Work(self, owner)
        self.open[work] = None
        return work
