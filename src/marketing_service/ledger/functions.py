"""The database functions: `ledger/sql/*.sql` has their current text, generated from `ledger/sql/templates/*.sql`.

`make sql` writes the files, `make lint` checks them (`python -m marketing_service.ledger.functions [--check]`). A
migration runs a copy of a file, frozen in `migrations/versions/`; docs/development.md says how to change a function.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from marketing_service.ledger import counters, reasons
from marketing_service.store import rules

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

SQL = Path(__file__).with_name("sql")

_PLACEHOLDER = re.compile(r"\{\{(\w+)\}\}")


def _moving(names: Sequence[str], timeline: Sequence[str], *, org_id: str, campaign_id: str) -> dict[str, str]:
    """The fragments of a function that moves the named counters."""
    return {
        "counter_names": ",\n".join(names),
        "counter_deltas": counters.deltas(names),
        "counter_sums": counters.sums(names),
        "counter_increments": counters.increments(names),
        "any_counter_moves": "\nOR ".join(f"total.{name} <> 0" for name in names),
        "timeline_firsts": counters.firsts(timeline),
        "timeline_upsert": counters.timeline_upsert(timeline, org_id=org_id, campaign_id=campaign_id),
    }


_COMMIT_RESULTS: Mapping[str, str] = {
    **_moving(
        (*counters.STATES, "opens_delivered", "machine_opens_delivered"),
        ("delivered",),
        org_id="campaign.org_id",
        campaign_id="this_campaign",
    ),
    "unsettled_count": rules.unsettled_count("c"),
    "unsettled_delta": rules.unsettled_count("moved"),
    "state_when_finished": counters.state_when("is_finished"),
    "may_mark": rules.may_mark("campaign"),
    "is_waiting": rules.is_waiting("s"),
    "predates_cancel": rules.predates_cancel("s", "campaign"),
    "opt_out_blocks": rules.opt_out_blocks("o", read_at="coalesce(s.consent_read_at, campaign.audience_read_at)"),
}
# A function computes only the counters that it can move: each costs time in every call.
FUNCTIONS: Mapping[str, Mapping[str, str]] = {
    "commit_results_v1": _COMMIT_RESULTS,
    "commit_results_v2": {
        **_COMMIT_RESULTS,
        "old_reason": reasons.reason_of("old", reasons.OLD),
        "new_reason": reasons.reason_of("new", reasons.NEW),
        "old_key": reasons.key_of_move(reasons.OLD),
        "new_key": reasons.key_of_move(reasons.NEW),
        "reasons_upsert": reasons.reasons_upsert(org_id="campaign.org_id", campaign_id="this_campaign"),
    },
    "record_opens_v1": {
        **_moving(
            ("opens", "opens_delivered", "machine_opens", "machine_opens_delivered", "delivered", "unconfirmed"),
            ("delivered", "opens"),
            org_id="org_id",
            campaign_id="campaign_id",
        ),
        "proves_delivery": rules.proves_delivery("s"),
    },
    "release_batch_v1": {"has_unsettled_sends": rules.has_unsettled_sends("b")},
    "release_and_claim_batch_v1": {"may_mark": rules.may_mark("c"), "is_waiting": rules.is_waiting("w")},
    "send_organisation_v1": {},
    "ledger_stats_v1": {
        "state_sums": ",\n".join(f"coalesce(sum(c.{name}), 0)" for name in counters.STATES),
        "may_mark": rules.may_mark("c"),
    },
}
"""Each function, and what its template's placeholders stand for. The function's name in the database has the prefix
`marketing_`."""


def rendered(name: str) -> str:
    """The function's text. Raises KeyError for a placeholder without a definition."""
    template = (SQL / "templates" / f"{name}.sql").read_text(encoding="utf-8")

    def fragment(found: re.Match[str]) -> str:
        column = found.start() - (template.rfind("\n", 0, found.start()) + 1)
        return FUNCTIONS[name][found[1]].replace("\n", "\n" + " " * column)

    body = _PLACEHOLDER.sub(fragment, template)
    return f"-- Generated from templates/{name}.sql by `make sql`; change the template, not this file.\n--\n{body}"


def outdated() -> list[Path]:
    """The files that are not what their templates render to, and files of functions that are not in FUNCTIONS."""
    expected = {SQL / f"{name}.sql": rendered(name) for name in FUNCTIONS}
    present = {path: path.read_text(encoding="utf-8") for path in SQL.glob("*.sql")}
    return sorted(path for path in expected.keys() | present.keys() if expected.get(path) != present.get(path))


def main(arguments: Sequence[str]) -> int:
    """Write the files, or with `--check` only say which are out of date; returns the exit code."""
    if "--check" in arguments:
        for path in outdated():
            sys.stderr.write(f"{path} is not what its template renders to; run `make sql`.\n")
        return 1 if outdated() else 0
    for path in outdated():
        if path.stem in FUNCTIONS:
            path.write_text(rendered(path.stem), encoding="utf-8")
        else:
            path.unlink()
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
