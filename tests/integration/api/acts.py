"""The acts of the audit trail: for each route that changes or exports data, a request that does it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from marketing_service.campaigns.audit import digest
from marketing_service.store.audit import Action
from tests.integration.api.support import (
    CAMPAIGNS,
    MESSAGE,
    path,
    saved,
)
from tests.integration.api.test_idempotency import failed_send
from tests.support.ledger import launched

if TYPE_CHECKING:
    import httpx

    from marketing_service.db import Database

AUDIT = "/api/marketing/audit"
SUPPRESSIONS = "/api/marketing/suppressions"
ANN = "ann@example.com"
CSV = {"Content-Type": "text/csv"}
SECRET_BODY = "<p>Only for recipients {{firstName}}</p>"


@dataclass
class Act:
    """A request that is an act, and the entry that it leaves."""

    method: str
    address: str
    action: Action
    details: dict[str, Any]
    campaign_id: str | None = None
    json: Any = None
    content: bytes | None = None
    headers: dict[str, str] = field(default_factory=dict)

    async def perform(self, client: httpx.AsyncClient, **headers: str) -> httpx.Response:
        return await client.request(
            self.method, self.address, json=self.json, content=self.content, headers=self.headers | headers
        )


Prepare = "Callable[[httpx.AsyncClient, Database], Awaitable[Act]]"
ALL = {"type": "ALL", "statuses": []}


async def create(_: httpx.AsyncClient, __: Database) -> Act:
    return Act("POST", CAMPAIGNS, Action.CREATED, {"name": MESSAGE["name"], "audience": ALL}, json=MESSAGE)


async def change(admin: httpx.AsyncClient, _: Database) -> Act:
    campaign = await saved(admin)
    changes = {"name": "May newsletter", "htmlBody": SECRET_BODY, "subject": MESSAGE["subject"]}
    fields = {
        "name": {"from": MESSAGE["name"], "to": "May newsletter"},
        "htmlBody": {"from": digest(MESSAGE["htmlBody"]), "to": digest(SECRET_BODY)},
    }
    details = {"version": 2, "fields": fields}
    return Act("PATCH", path(campaign), Action.CHANGED, details, campaign["id"], json=changes)


async def delete(admin: httpx.AsyncClient, _: Database) -> Act:
    campaign = await saved(admin)
    details = {"name": MESSAGE["name"], "status": "DRAFT", "version": 1}
    return Act("DELETE", path(campaign), Action.DELETED, details, campaign["id"])


async def duplicate(admin: httpx.AsyncClient, _: Database) -> Act:
    campaign = await saved(admin)
    details = {"name": f"Copy of {MESSAGE['name']}", "audience": ALL, "copyOf": campaign["id"]}
    return Act("POST", path(campaign, "/duplicate"), Action.CREATED, details)


async def check(admin: httpx.AsyncClient, _: Database) -> Act:
    campaign = await saved(admin)
    return Act("POST", path(campaign, "/check"), Action.CHECKED, {"version": 1}, campaign["id"])


async def send_test(admin: httpx.AsyncClient, _: Database) -> Act:
    campaign = await saved(admin)
    body = {"to": ["ann@example.com", "bob@example.com"]}
    return Act("POST", path(campaign, "/test"), Action.TESTED, {"recipients": 2}, campaign["id"], json=body)


async def schedule(admin: httpx.AsyncClient, _: Database) -> Act:
    campaign, at = await saved(admin), _in_an_hour()
    details = {"scheduledAt": at, "scheduledTimeZone": None}
    return Act("POST", path(campaign, "/schedule"), Action.SCHEDULED, details, campaign["id"], json={"at": at})


async def unschedule(admin: httpx.AsyncClient, _: Database) -> Act:
    campaign, at = await saved(admin), _in_an_hour()
    assert (await admin.post(path(campaign, "/schedule"), json={"at": at})).status_code == 200
    details = {"scheduledAt": at, "scheduledTimeZone": None}
    return Act("DELETE", path(campaign, "/schedule"), Action.UNSCHEDULED, details, campaign["id"])


def _in_an_hour() -> str:
    return (datetime.now(UTC) + timedelta(hours=1)).isoformat()


async def launch(admin: httpx.AsyncClient, _: Database) -> Act:
    campaign = await saved(admin)
    audience = {"type": "BY_STATUS", "statuses": ["LEAD"]}
    details = {"audience": audience, "version": 1, "force": False}
    return Act("POST", path(campaign, "/launch"), Action.LAUNCHED, details, campaign["id"], json={"audience": audience})


async def pause(_: httpx.AsyncClient, owner: Database) -> Act:
    campaign = await launched(owner)
    return Act("POST", path(campaign, "/pause"), Action.PAUSED, {"pauseReason": "USER"}, str(campaign))


async def resume(admin: httpx.AsyncClient, owner: Database) -> Act:
    campaign = await launched(owner)
    assert (await admin.post(path(campaign, "/pause"))).status_code == 200
    return Act("POST", path(campaign, "/resume"), Action.RESUMED, {"pauseReason": "USER"}, str(campaign))


async def cancel(_: httpx.AsyncClient, owner: Database) -> Act:
    campaign = await launched(owner)
    return Act("POST", path(campaign, "/cancel"), Action.CANCELLED, {}, str(campaign))


async def resend(admin: httpx.AsyncClient, owner: Database) -> Act:
    campaign, send = await failed_send(owner, admin)
    details = {"sendId": send, "status": "FAILED"}
    return Act("POST", path(campaign, f"/sends/{send}/resend"), Action.RESENT, details, str(campaign))


async def resend_many(admin: httpx.AsyncClient, owner: Database) -> Act:
    campaign, _ = await failed_send(owner, admin)
    body = {"status": ["FAILED"], "reason": ["REJECTED"]}
    details = {**body, "matching": 1}
    return Act("POST", path(campaign, "/resend"), Action.RESENT, details, str(campaign), json=body)


async def export_sends(_: httpx.AsyncClient, owner: Database) -> Act:
    campaign = await launched(owner)
    details = {"export": "sends", "filters": {"status": ["QUEUED"], "q": digest(ANN)}}
    address = path(campaign, f"/sends.csv?status=QUEUED&q={ANN}")
    return Act("GET", address, Action.EXPORTED, details, str(campaign))


async def suppress(_: httpx.AsyncClient, __: Database) -> Act:
    body = {"email": "Ann@Example.com", "note": "by phone"}
    return Act("POST", SUPPRESSIONS, Action.SUPPRESSED, {"address": digest(ANN)}, json=body)


async def unsuppress(admin: httpx.AsyncClient, _: Database) -> Act:
    entry = (await admin.post(SUPPRESSIONS, json={"email": ANN})).json()["id"]
    details = {"suppressionId": entry, "address": digest(ANN)}
    return Act("DELETE", f"{SUPPRESSIONS}/{entry}", Action.UNSUPPRESSED, details)


async def export_suppressions(_: httpx.AsyncClient, __: Database) -> Act:
    details = {"export": "suppressions", "filters": {"reason": ["MANUAL"], "q": None}}
    return Act("GET", f"{SUPPRESSIONS}.csv?reason=MANUAL", Action.EXPORTED, details)


async def import_suppressions(_: httpx.AsyncClient, __: Database) -> Act:
    file = b"email\nann@example.com\nbob@example.com\nnobody\n"
    details = {"file": digest(file), "rows": 3, "rejected": 1, "added": 2, "known": 0}
    return Act("POST", f"{SUPPRESSIONS}.csv", Action.IMPORTED, details, content=file, headers=CSV)


ONE = CAMPAIGNS + "/{id}"
ACTS: dict[tuple[str, str], Any] = {
    ("POST", CAMPAIGNS): create,
    ("PATCH", ONE): change,
    ("DELETE", ONE): delete,
    ("POST", ONE + "/duplicate"): duplicate,
    ("POST", ONE + "/check"): check,
    ("POST", ONE + "/test"): send_test,
    ("POST", ONE + "/schedule"): schedule,
    ("DELETE", ONE + "/schedule"): unschedule,
    ("POST", ONE + "/launch"): launch,
    ("POST", ONE + "/pause"): pause,
    ("POST", ONE + "/resume"): resume,
    ("POST", ONE + "/cancel"): cancel,
    ("POST", ONE + "/sends/{sendId}/resend"): resend,
    ("POST", ONE + "/resend"): resend_many,
    ("GET", ONE + "/sends.csv"): export_sends,
    ("POST", SUPPRESSIONS): suppress,
    ("DELETE", SUPPRESSIONS + "/{suppressionId}"): unsuppress,
    ("GET", SUPPRESSIONS + ".csv"): export_suppressions,
    ("POST", SUPPRESSIONS + ".csv"): import_suppressions,
}
NO_ACTS = {
    ("POST", "/api/marketing/preview"): "It saves nothing: its POST only carries a body.",
    ("POST", "/api/marketing/unsubscribe/{token}"): "The recipient acts, who is no user of an organisation.",
    ("POST", "/api/marketing/bounces"): "A mail system reports; the send and the suppression list show the effect.",
}
HTTP_METHODS = {"post", "put", "patch", "delete"}


async def entries(client: httpx.AsyncClient, **query: Any) -> list[dict[str, Any]]:
    response = await client.get(AUDIT, params=query)
    assert response.status_code == 200, response.text
    items: list[dict[str, Any]] = response.json()["items"]
    return items
