"""The users and the recipients: they pause, resume, cancel, opt out, suppress and resend."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING
from uuid import UUID

from marketing_service.addresses import mailbox_key
from marketing_service.errors import Unavailable
from marketing_service.ledger import lifecycle
from marketing_service.ledger.opt_outs import record_opt_out
from marketing_service.ledger.resend import requeue
from marketing_service.ledger.suppressions import lock_campaigns_waiting_for, suppress
from marketing_service.store.campaigns import lock_campaign
from marketing_service.store.states import SuppressionOrigin, SuppressionReason
from marketing_service.store.suppressions import SuppressionEntry
from simulation.loop import WORLD
from simulation.model.database import ModelDatabase
from simulation.model.rows import Send, Table
from simulation.scenario import Wish

if TYPE_CHECKING:
    from collections.abc import Sequence

    from simulation.model.rows import Campaign
    from simulation.scenario import UserAct
    from simulation.world import World

_ORG = "acme"
_NO_SEND = UUID(int=0)


class Users:
    """The people of one world. They use the same statements as the API."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._database = ModelDatabase(world.ledger, world.database, WORLD)

    def start(self) -> None:
        for act in self._world.scenario.user_acts:
            self._world.loop.call_in(WORLD, act.at, self._begin, act)

    def _begin(self, act: UserAct) -> None:
        self._world.loop.run_in(WORLD, self._act(act))

    async def _act(self, act: UserAct) -> None:
        campaign_id = self._world.campaigns[act.campaign]
        email = self._world.scenario.people[act.person].email
        about = f" {email}" if act.wish in (Wish.OPT_OUT, Wish.SUPPRESS, Wish.RESEND) else ""
        self._world.tell("Somebody {}{}, campaign {}.", act.wish.value, about, act.campaign + 1)
        try:
            await self._do(act.wish, campaign_id, email)
        except Unavailable:
            self._world.tell("The request fails.")

    async def _do(self, wish: Wish, campaign_id: UUID, email: str) -> None:
        async with self._database.transaction() as tx:
            match wish:
                case Wish.PAUSE:
                    await lock_campaign(tx.connection, campaign_id)
                    await lifecycle.pause(tx.connection, campaign_id, lifecycle.PauseReason.USER)
                case Wish.RESUME:
                    await lock_campaign(tx.connection, campaign_id)
                    await lifecycle.resume(tx.connection, campaign_id)
                case Wish.CANCEL:
                    await lifecycle.cancel(tx.connection, campaign_id)
                case Wish.OPT_OUT:
                    await record_opt_out(
                        tx.connection,
                        org_id=_ORG,
                        campaign_id=campaign_id,
                        send_id=self._received(campaign_id, email),
                        address=mailbox_key(email),
                    )
                case Wish.SUPPRESS:
                    address = mailbox_key(email)
                    locked = await lock_campaigns_waiting_for(tx.connection, org_id=_ORG, addresses=[address])
                    await suppress(
                        tx.connection,
                        org_id=_ORG,
                        entries=[SuppressionEntry(address)],
                        reason=SuppressionReason.MANUAL,
                        origin=SuppressionOrigin.API,
                        locked=locked,
                    )
                case Wish.RESEND:
                    send = self._send(campaign_id, email)
                    send_id = _NO_SEND if send is None else send.id
                    read_at = datetime.fromtimestamp(self._world.ledger.clock(), UTC)
                    await requeue(tx.connection, campaign_id=campaign_id, send_id=send_id, read_at=read_at)
        if wish is Wish.CANCEL:
            async with self._database.transaction() as tx:
                await lock_campaign(tx.connection, campaign_id)
                await lifecycle.skip_cancelled(tx.connection, campaign_id, limit=lifecycle.CANCEL_AT_ONCE)

    def _send(self, campaign_id: UUID, email: str) -> Send | None:
        for send in self._world.ledger.tables.rows[Table.SENDS].values():
            if isinstance(send, Send) and (send.campaign_id, send.email) == (campaign_id, email):
                return send
        return None

    def _received(self, campaign_id: UUID, email: str) -> UUID:
        """The send whose link the recipient follows: only who has the message has its link."""
        send = self._send(campaign_id, email)
        return send.id if send is not None and self._world.inspector.is_accepted(send) else _NO_SEND

    def resume(self, campaigns: Sequence[Campaign]) -> None:
        """Resume the campaigns that only a person can resume."""
        for campaign in campaigns:
            if campaign.pause_reason is not None and not campaign.pause_reason.startswith("RELAY"):
                self._world.loop.run_in(WORLD, self._do(Wish.RESUME, campaign.id, ""))
