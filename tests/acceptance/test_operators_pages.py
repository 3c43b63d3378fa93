"""Every command of the pages for later days (upgrade, restore, key rotation, failover), in order, on empty servers."""

from __future__ import annotations

import json
import re
import time
from contextlib import asynccontextmanager
from email import message_from_bytes
from typing import TYPE_CHECKING, Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from fastapi import FastAPI
from starlette.responses import JSONResponse

from marketing_service.devstack.web import serving
from tests.acceptance.pages import (
    ABSENT,
    BY_HAND,
    FILES,
    ONLY_BY_HAND,
    PAGES,
    RUN,
    TEAM,
    Installation,
    Shell,
    blocks,
    installation,
    shell,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from starlette.requests import Request

EVERYBODY = {f"p{number}@example.net" for number in range(TEAM)}

# Not in the pages: a campaign like the first one, as the script of the test creates it.
LAUNCH = """\
ID=$(curl -fsS -H "$AUTH" -H 'content-type: application/json' "$API/campaigns" -d '{
    "name": "NAME", "subject": "NAME", "htmlBody": "<p>Hello</p>", "audience": {"type": "ALL"}
  }' | jq -r .id)
curl -fsS -H "$AUTH" -X POST "$API/campaigns/$ID/launch" > /dev/null
"""
UNTIL_SENT = """\
until curl -fsS -H "$AUTH" "$API/campaigns/$ID/stats" | jq -e '.status == "SENT"' > /dev/null; do sleep 0.2; done
"""
FREEZE, THAW = 'kill -STOP "$WORKER"\n', 'kill -CONT "$WORKER"\n'


@pytest.mark.parametrize("page", PAGES)
def test_a_page_names_each_block_that_nobody_runs(page: str) -> None:
    for block in blocks(page):
        assert block.language in {RUN, BY_HAND, *FILES}, f"{block.place}: how is {block.language!r} run?"
        by_hand = [line.split()[0] in ONLY_BY_HAND for line in block.text.splitlines() if line.split()]
        if block.language == BY_HAND:
            assert all(by_hand), f"{block.place}: a test can run some of this, so it must"
        elif block.language == RUN:
            assert not any(by_hand), f"{block.place}: no test can run this; say that it is run by hand"


@pytest.mark.skipif(bool(ABSENT), reason=f"not installed: {', '.join(ABSENT)}")
async def test_the_pages_lead_through_later_days_and_nobody_gets_a_message_twice(tmp_path: Path) -> None:
    async with installation(tmp_path) as installed, portal(installed), shell(installed) as commands:
        *beginning, stop = blocks("first-production")
        for block in beginning:
            await commands.block(block)

        await commands.run(FREEZE + LAUNCH.replace("NAME", "Upgraded"), "the launch before the upgrade")
        await walk(commands, "upgrade", {"OLD_WORKER=$WORKER": THAW})
        await commands.run(UNTIL_SENT, "the campaign during the upgrade")
        await everybody_got(installed, "Upgraded")

        await commands.run(FREEZE + LAUNCH.replace("NAME", "Not from a copy"), "the launch before the backup")
        await commands.page("restore")
        assert commands.output.count("cancelled: Not from a copy") == 2, "in the dump, and in the base backup"
        assert not received(installed, "Not from a copy"), "no copy has sent anything"
        await commands.run(THAW + UNTIL_SENT, "the campaign whose copies were cancelled")
        await everybody_got(installed, "Not from a copy")

        installed.places["https://news.example.com/api/marketing/unsubscribe/OLD-TOKEN"] = installed.located(
            f"http://127.0.0.1:8000/api/marketing/unsubscribe/{token_of(installed)}"
        )
        old = token_of(installed)
        await commands.page("key-rotation")
        await commands.run(LAUNCH.replace("NAME", "New key") + UNTIL_SENT, "the campaign with the new key")
        await everybody_got(installed, "New key")
        assert token_of(installed) != old

        # The failover page has the password of the first day.
        installed.places = {">REDIS-PASSWORD": ">NEW-REDIS-PASSWORD", **installed.places}
        await walk(
            commands,
            "failover",
            {
                "pg_ctl -D /var/lib/postgresql/primary": FREEZE + LAUNCH.replace("NAME", "Failover"),
                "ALTER SYSTEM RESET": THAW + UNTIL_SENT,
            },
        )
        await everybody_got(installed, "Failover")
        await commands.run(LAUNCH.replace("NAME", "Second relay") + UNTIL_SENT, "the campaign at the second relay")
        await installed.second_inbox.until(lambda: len(installed.second_inbox.accepted) == TEAM)
        await commands.block(stop)
    assert set(installed.inbox.recipients) == {"you@example.com", *EVERYBODY}
    assert installed.inbox.recipients["p1@example.net"] == 1 + 4, "the first campaign and the four others, once each"
    assert "error  " not in commands.output, "doctor found nothing wrong"
    assert " corrected" not in commands.output
    assert "0 differed" in commands.output


async def walk(commands: Shell, page: str, before: dict[str, str]) -> None:
    """Run the blocks of a page. `before` has what the test does before the block with this text."""
    left = dict(before)
    for block in blocks(page):
        for text in [text for text in left if text in block.text and block.language == RUN]:
            await commands.run(left.pop(text), f"what the test does before {block.place}")
        await commands.block(block)
    assert not left, f"docs/{page}.md has no {', '.join(left)}"


async def everybody_got(installed: Installation, subject: str) -> None:
    await installed.inbox.until(lambda: len(received(installed, subject)) >= TEAM)
    assert sorted(received(installed, subject)) == sorted(EVERYBODY)


def received(installed: Installation, subject: str) -> list[str]:
    """The recipients of the messages with this subject, in the order of their arrival."""
    mails = installed.inbox.accepted
    return [mail.recipients[0] for mail in mails if message_from_bytes(mail.content)["Subject"] == subject]


def token_of(installed: Installation) -> str:
    """The unsubscribe token of the newest message."""
    link = message_from_bytes(installed.inbox.accepted[-1].content)["List-Unsubscribe"]
    found = re.search(r"/unsubscribe/([\w-]+)", link)
    assert found is not None
    return found[1]


@asynccontextmanager
async def portal(installed: Installation) -> AsyncIterator[None]:
    """A portal with a key set of an old key and a new one. Its tokens are signed with the new one."""
    keys = {kid: Ed25519PrivateKey.generate() for kid in ("old", "new")}
    algorithm = jwt.get_algorithm_by_name("EdDSA")

    async def key_set(_: Request) -> JSONResponse:
        public = [json.loads(algorithm.to_jwk(key.public_key())) | {"kid": kid} for kid, key in keys.items()]
        return JSONResponse({"keys": public})

    async def token(_: Request) -> JSONResponse:
        claims: dict[str, Any] = {"iss": "https://portal.example.com", "aud": "marketing", "sub": "ops"}
        claims |= {"exp": int(time.time()) + 900, "orgId": "acme", "roles": ["ADMIN"]}
        return JSONResponse({"access_token": jwt.encode(claims, keys["new"], "EdDSA", {"kid": "new"})})

    app = FastAPI()
    app.add_route("/.well-known/jwks.json", key_set)
    app.add_route("/oauth2/token", token, methods=["POST"])
    async with serving(app, 0) as port:
        for path in ("/.well-known/jwks.json", "/oauth2/token"):
            installed.places[f"https://portal.example.com{path}"] = f"http://127.0.0.1:{port}{path}"
        yield
