"""Finds the function of the model for a statement of the engine.

The engine's own functions run unchanged, down to `connection.execute`. So the model has the same seams as PostgreSQL:
each statement is one await, and each transaction and each call is one commit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import Delete, Insert

from marketing_service.ledger import commit_results as ledger_commit_results
from marketing_service.ledger import expired_leases, lifecycle, opt_outs, resend, suppressions
from marketing_service.store import batches as store_batches
from marketing_service.store import campaigns as store_campaigns
from marketing_service.store import expansions, preflights, relay_pauses, suppression_imports, test_mails
from marketing_service.store import opt_outs as store_opt_outs
from marketing_service.store import suppressions as store_suppressions
from simulation.model import batches, campaigns, commit_results, recipients
from simulation.model.answers import Answer

if TYPE_CHECKING:
    from simulation.model.work import Handler, Work


def nothing(_work: Work, _parameters: object) -> Answer:
    """A statement that the model leaves out: about expansions, checks, test mails, imports, old data or plans."""
    return Answer()


HANDLERS: dict[object, Handler] = {
    store_campaigns._LOCK: campaigns.lock,
    store_campaigns._ACTIVE: campaigns.active,
    lifecycle._PAUSE: campaigns.pause,
    lifecycle._RESUME: campaigns.resume,
    lifecycle._RESUME_AFTER_RELAY: campaigns.resume_after_relay,
    lifecycle._CANCEL: campaigns.cancel,
    lifecycle._SKIP_WITH_DUE_TIME: campaigns.skip_cancelled_with_due_time,
    lifecycle._SKIP_IN_BATCHES: campaigns.skip_cancelled_in_batches,
    lifecycle._DROP_BATCHES: batches.drop_empty,
    relay_pauses._RECORD: campaigns.record_pause,
    relay_pauses._LEASE: campaigns.lease_probe,
    relay_pauses._RELEASE: campaigns.release_probe,
    relay_pauses._DUE: campaigns.due_probes,
    relay_pauses._POSTPONE: campaigns.postpone_probe,
    relay_pauses._THROTTLED: campaigns.report_throttle,
    relay_pauses._FREE: campaigns.end_throttle,
    store_batches._TAKE: batches.take,
    store_batches._CLAIM: batches.claim,
    store_batches._WAITING: batches.waiting,
    store_batches._RENEW: batches.renew,
    store_batches._RELEASE: batches.release,
    store_batches._NEXT: batches.release_and_claim_next,
    store_batches._REQUEUE_LATER: batches.requeue_later,
    store_batches._POSTPONE: batches.postpone,
    store_batches._EXPIRED: batches.campaigns_with_expired_leases,
    store_batches._DUE_CAMPAIGNS: batches.campaigns_with_due_sends,
    store_batches._GATHER: batches.gather,
    expired_leases._SETTLE_BATCHES: batches.settle_batches,
    expired_leases._SETTLE_SENDS: recipients.settle_sends,
    expired_leases._DROP_EMPTY: batches.drop_empty,
    ledger_commit_results._COMMIT_RESULTS: commit_results.commit_results,
    ledger_commit_results._STATES: commit_results.states,
    ledger_commit_results._REQUEUE: commit_results.requeue_unconfirmed,
    resend._REQUEUE: recipients.requeue,
    opt_outs._OTHER_CAMPAIGNS: recipients.other_campaigns,
    opt_outs._SKIP: recipients.skip_opted_out,
    opt_outs._NOTE: recipients.note_opt_out,
    store_opt_outs._ADD: recipients.add_opt_out,
    suppressions._CAMPAIGNS: recipients.campaigns_waiting_for,
    suppressions._SKIP: recipients.skip_suppressed,
    store_suppressions._ADD: recipients.add_suppressions,
    expansions._DUE: nothing,
    expansions._ENDED: nothing,
    test_mails._DUE: nothing,
    preflights._DUE: nothing,
    suppression_imports._FORGET: nothing,
}


def handler_of(statement: Any) -> Handler:
    """The function for a statement. An audit entry is an INSERT, and old responses go with a DELETE: both are left out.

    Raises NotImplementedError if the model does not know the statement.
    """
    if isinstance(statement, Insert | Delete):
        return nothing
    handler = HANDLERS.get(statement)
    if handler is None:
        raise NotImplementedError(f"The model does not have this statement: {statement}")
    return handler
