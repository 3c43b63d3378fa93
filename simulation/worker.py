"""A worker process: the real engine, with what `worker/process.py` does around it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, cast

from marketing_service.delivery.address import Encryption, RelayAddress
from marketing_service.delivery.pool import SmtpMailer
from marketing_service.errors import Unavailable
from marketing_service.launching import RelayProbes, Sweep
from marketing_service.ledger.lifecycle import probe_schedules
from marketing_service.sending import (
    RENEWALS_PER_LEASE,
    BatchEnqueuer,
    DomainThrottle,
    Messages,
    RetryPolicy,
    Sender,
    SendingRules,
)
from marketing_service.sending.render_pacing import RenderPacing
from simulation.model.database import ModelDatabase
from simulation.services import Messages as SimulatedMessages

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from simulation.loop import Process
    from simulation.world import World

_ADDRESS = RelayAddress("127.0.0.1", 25, Encryption.NONE)
_TIMEOUT = 5.0
_DATA_TIMEOUT = 10.0
_DOMAIN_BACKOFF = 2.0
_PROBE_SECONDS = 2.0
_DRAIN_SECONDS = 4.0
_RENDER_SECONDS = 0.004


class Worker:
    """One incarnation of a worker."""

    def __init__(self, world: World, process: Process) -> None:
        setup = world.scenario.setup
        self.process = process
        self._world = world
        database = ModelDatabase(world.ledger, world.database, process)
        self.mailer = SmtpMailer(
            _ADDRESS,
            connections=setup.connections,
            messages_per_connection=setup.messages_per_connection,
            idle_seconds=3.0,
            timeout=_TIMEOUT,
            data_timeout=_DATA_TIMEOUT,
            hello_name="worker.example",
        )
        enqueuer = BatchEnqueuer(database.transaction, world.queue, window=setup.window, requeue_after=setup.requeue)
        retries = RetryPolicy(setup.retry_delays)
        probes = probe_schedules(_PROBE_SECONDS)
        clock = _render_clock(world) if setup.costly else world.loop.time
        self.sender = Sender(
            database.transaction,
            database.call,
            mailer=self.mailer,
            messages=cast("Messages", SimulatedMessages(are_large=setup.large)),
            tokens=world.tokens,
            bounces=world.bounces,
            enqueuer=enqueuer,
            retries=retries,
            rates=world.rates,
            throttle=DomainThrottle(first_backoff=_DOMAIN_BACKOFF),
            rules=SendingRules(
                max_connections=setup.connections,
                lease=setup.lease,
                resend_ambiguous=setup.resend_ambiguous,
                probes=probes,
            ),
            pacing=RenderPacing(clock, clock),
        )
        self._sweep = Sweep(
            database.transaction,
            job_queue=world.queue,
            enqueuer=enqueuer,
            probes=RelayProbes(
                database.transaction,
                self.mailer,
                schedules=probes,
                sender_of=lambda campaign: world.bounces.of(campaign.id, 0),
            ),
            retries=retries,
            resend_ambiguous=setup.resend_ambiguous,
        )
        self._consumers: list[asyncio.Task[None]] = []
        self._jobs: dict[asyncio.Task[None], None] = {}
        self._background: list[asyncio.Task[None]] = []
        self._renewing: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Work, as a process of its own."""
        setup, run = self._world.scenario.setup, self._world.loop.run_in
        self._consumers = [run(self.process, self._consume()) for _ in range(setup.jobs)]
        every = setup.sweep
        self._background = [
            run(self.process, self._repeat(every, self._sweep.sweep)),
            run(self.process, self._repeat(every, self.sender.report_throttle)),
        ]
        leases = self.sender.leases
        self._renewing = run(self.process, self._repeat(leases.seconds / RENEWALS_PER_LEASE, leases.renew))

    async def _consume(self) -> None:
        while True:
            job = await self._world.queue.take()
            task = asyncio.create_task(self._send(job.campaign_id, job.number))
            self._jobs[task] = None
            await asyncio.wait((task,))
            del self._jobs[task]

    async def _send(self, campaign_id: Any, number: int) -> None:
        try:
            await self.sender.send_batch(campaign_id, number)
        except Unavailable:
            pass  # the sweep enqueues it again
        except Exception as error:  # noqa: BLE001 - the world must know
            self._world.failed(self.process, "a job", error)

    async def _repeat(self, seconds: float, work: Callable[[], Awaitable[None]]) -> None:
        while True:
            try:
                await work()
            except Unavailable:
                pass
            except Exception as error:  # noqa: BLE001 - the world must know
                self._world.failed(self.process, "a background task", error)
            await asyncio.sleep(seconds)

    async def drain(self) -> None:
        """Stop as after SIGTERM: mark nothing more, wait for the replies, then cancel what is unfinished."""
        self.sender.drain()
        for task in (*self._consumers, *self._background):
            task.cancel()
        await asyncio.gather(*self._consumers, *self._background, return_exceptions=True)
        if self._jobs:
            await asyncio.wait(tuple(self._jobs), timeout=_DRAIN_SECONDS)
        unfinished = [job for job in self._jobs if not job.done()]
        for job in unfinished:
            job.cancel()
        await asyncio.gather(*unfinished, return_exceptions=True)
        if self._renewing is not None:
            self._renewing.cancel()
        await self.mailer.close()

    @property
    def is_idle(self) -> bool:
        """Whether it sends no batch. Jobs for batches that are gone may still come."""
        return not self.sender.batches_running


def _render_clock(world: World) -> Callable[[], float]:
    """A clock that moves a little each time that it is read: so messages take long to render."""
    spent = 0.0

    def now() -> float:
        nonlocal spent
        spent += world.order.random() * _RENDER_SECONDS
        return world.loop.time() + spent

    return now
