"""Named mutations of the engine: each breaks one promise, and the simulation must find it.

A mutation of a database function is one of its model; `tests/simulation/test_model.py` compares the two.
"""

from __future__ import annotations

from typing import NamedTuple

_SENDING = "src/marketing_service/sending"
_DELIVERY = "src/marketing_service/delivery"
_MODEL = "simulation/model"


class Mutation(NamedTuple):
    """In `file`, `old` (which occurs once) becomes `new`."""

    name: str
    file: str
    old: str
    new: str


MUTATIONS: tuple[Mutation, ...] = (
    Mutation(
        "mark after write: messages are written while the commit that marks them is under way",
        f"{_SENDING}/commit_loop.py",
        "        commit = await self._committer.commit(results, sends[: allowance.granted])",
        "        from datetime import UTC, datetime\n"
        "        from marketing_service.ledger.commit_results import CommitResult, MarkedSend\n"
        "        sends = sends[: allowance.granted]\n"
        "        asyncio.create_task(self._committer.commit(results, sends))\n"
        "        marked = {send.id: MarkedSend(claim, send, 1, 1, datetime.now(UTC)) for claim, send in sends}\n"
        "        commit = CommitResult(True, marked=marked, recorded=frozenset(r.send_id for r in results))",
    ),
    Mutation(
        "no fence for results: a result is recorded although another worker has claimed the batch",
        f"{_MODEL}/commit_results.py",
        "    is_ours = batch is not None and batch.epoch == epoch\n",
        "    is_ours = batch is not None\n",
    ),
    Mutation(
        "no fence for marks: a send is marked although another worker has claimed the batch",
        f"{_MODEL}/commit_results.py",
        "    if send is None or batch is None or batch.epoch != epoch:\n",
        "    if send is None or batch is None:\n",
    ),
    Mutation(
        "a result is recorded twice",
        f"{_SENDING}/assignment.py",
        "        self._results.append(result)\n",
        "        self._results += [result, result]\n",
    ),
    Mutation(
        "a lease is never renewed",
        f"{_SENDING}/leases.py",
        "        claims = list(self._on_loss)\n",
        "        claims: list[Claim] = []\n",
    ),
    Mutation(
        "a result is lost when its commit is tried again",
        f"{_SENDING}/committer.py",
        "        self._is_again = True\n"
        "        results = [result for result in self._results if result.send_id not in known]\n",
        "        results = [] if self._is_again else list(self._results)\n        self._is_again = True\n",
    ),
    Mutation(
        "a pause is ignored for sends that were tried before",
        f"{_MODEL}/commit_results.py",
        "    if not (campaign.may_mark and is_leased",
        '    if not ((campaign.may_mark or (send.tries and campaign.status == "SENDING")) and is_leased',
    ),
    Mutation(
        "a cancel is ignored when a send is marked",
        f"{_MODEL}/commit_results.py",
        "    is_cancelled = campaign.cancelled_at is not None and send.queued_at <= campaign.cancelled_at\n",
        "    is_cancelled = False\n",
    ),
    Mutation(
        "an opt-out is not looked up when a send is marked",
        f"{_MODEL}/commit_results.py",
        '        return "OPTED_OUT"\n',
        "        return None\n",
    ),
    Mutation(
        "a connection is used again after a time-out",
        f"{_DELIVERY}/connection.py",
        "        except WireBroken as broken:\n"
        "            self._wire.abort()\n"
        "            return Submission(self._outcome_of_loss(transaction)",
        "        except WireBroken as broken:\n            return Submission(self._outcome_of_loss(transaction)",
    ),
    Mutation(
        "a try is counted for a reply about the connection or the relay",
        f"{_SENDING}/batch.py",
        "                return self._postponed_by_relay(marked, submission, scope)\n",
        "                return self._retries.deferred(marked, submission)\n",
    ),
    Mutation(
        "a try is counted for a refused sender",
        f"{_SENDING}/batch.py",
        "                return self._sender_refused(marked, submission)\n",
        "                return self._retries.result(marked, submission, losses=0)\n",
    ),
    Mutation(
        "an unknown outcome is sent again without a request",
        f"{_SENDING}/retries.py",
        "                return _result(marked, submission, SendStatus.UNCONFIRMED,"
        " delay=self.delay_after(marked.tries))\n",
        "                return self.requeued(marked, submission)\n",
    ),
    Mutation(
        "a connection that is lost after the final dot counts as lost before it",
        f"{_DELIVERY}/connection.py",
        "        if transaction.dot_written:\n            return SubmissionOutcome.UNKNOWN\n",
        "",
    ),
    Mutation(
        "a connection that is lost before the final dot counts as lost after it",
        f"{_DELIVERY}/connection.py",
        "        return SubmissionOutcome.NOT_BEGUN if self._refused_in_a_row else SubmissionOutcome.LOST\n",
        "        return SubmissionOutcome.UNKNOWN\n",
    ),
    Mutation(
        "a group that PostgreSQL refuses is not split",
        f"{_SENDING}/committer.py",
        "            if len(results) + len(to_mark) == 1:\n",
        "            if len(results) + len(to_mark) >= 1:\n",
    ),
    Mutation(
        "three marked sends per connection",
        f"{_SENDING}/mark_limit.py",
        "MAX_MARKED_PER_CONNECTION = 2\n",
        "MAX_MARKED_PER_CONNECTION = 3\n",
    ),
    Mutation(
        "a connection takes sends of a campaign before the results of another are recorded",
        f"{_SENDING}/mark_limit.py",
        "connections_open - marked - unrecorded\n",
        "connections_open - marked\n",
    ),
    Mutation(
        "a released batch forgets its marked sends",
        f"{_MODEL}/batches.py",
        '    if "SENDING" in states:',
        '    if "NEVER" in states:',
    ),
    Mutation(
        "the sends of an expired lease are queued again",
        f"{_MODEL}/recipients.py",
        '        (send, replace(send, status="UNCONFIRMED", unconfirmed_at=work.now, error_message=LOST))\n',
        '        (send, replace(send, status="QUEUED"))\n',
    ),
    Mutation(
        "a late proof of delivery is refused",
        f"{_MODEL}/commit_results.py",
        '    is_late_proof = send.status == "UNCONFIRMED" and status == "DELIVERED"\n',
        "    is_late_proof = False\n",
    ),
    Mutation(
        "marked sends without a connection are forgotten",
        f"{_SENDING}/assignment.py",
        "            self.add_result(self.batch_of(marked).not_started(marked))\n",
        "            self.batch_of(marked).drop()\n",
    ),
    Mutation(
        "the rate limiter's answer is ignored",
        f"{_SENDING}/committer.py",
        "            return Allowance(allowance.granted, max(allowance.wait, wait))\n",
        "            return Allowance(max(1, allowance.granted), max(allowance.wait, wait))\n",
    ),
    Mutation(
        "due sends are never gathered",
        "src/marketing_service/launching/sweep.py",
        "        await self._gather_due()\n",
        "",
    ),
    Mutation(
        "an idle session is not told that its connection was lost",
        f"{_SENDING}/dispatcher.py",
        "                if session.assigned or not (session.takes_more and more_may_come):\n",
        "                if session.assigned or not more_may_come:\n",
    ),
)
