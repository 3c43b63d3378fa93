"""The inbox over HTTP: its messages as JSON, and a web page to read them."""

from __future__ import annotations

import re
from html import escape
from importlib.resources import files
from itertools import islice
from string import Template
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import urlencode

from fastapi import FastAPI, HTTPException, Query
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse, Response

from marketing_service.devstack.inbox import body, header

if TYPE_CHECKING:
    from email.message import Message

    from marketing_service.devstack.inbox import Inbox, ReceivedMessage

_MAX_LISTED = 200
_PAGE_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; frame-src 'self'; form-action 'self' http: https:; "
    "base-uri 'none'; frame-ancestors 'none'"
)
# The HTML of a mail is untrusted: no scripts, no origin, and no requests until the reader asks for the images.
_MAIL_POLICY = (
    "sandbox allow-popups allow-popups-to-escape-sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src {}"
)
_SANDBOX = "allow-popups allow-popups-to-escape-sandbox"

To = Annotated[str | None, Query(description="Only messages to this address.")]


def create_inbox_app(inbox: Inbox) -> FastAPI:
    """The inbox's web application."""
    app = FastAPI(
        title="Inbox", description="The messages that the SMTP inbox has received.", docs_url=None, redoc_url=None
    )
    _add_messages(app, inbox)
    _add_pages(app, inbox)
    return app


def _message_or_404(inbox: Inbox, message_id: str) -> ReceivedMessage:
    message = inbox.get(message_id)
    if message is None:
        raise HTTPException(404, "There is no such message. The inbox deletes the oldest messages.")
    return message


def _add_messages(app: FastAPI, inbox: Inbox) -> None:
    @app.get("/messages")
    def list_messages(to: To = None, limit: Annotated[int, Query(ge=1, le=20_000)] = 1000) -> Response:
        return JSONResponse({"items": [message.item for message in islice(inbox.newest(to), limit)]})

    @app.delete("/messages", status_code=204)
    async def delete_messages() -> None:
        inbox.clear()

    @app.get("/messages/{message_id}")
    def read_message(message_id: str) -> Response:
        return JSONResponse(_message_or_404(inbox, message_id).item)

    @app.get("/messages/{message_id}/raw")
    async def read_source(message_id: str) -> Response:
        return Response(_message_or_404(inbox, message_id).source, media_type="message/rfc822")

    @app.get("/messages/{message_id}/html")
    def show_html(message_id: str, *, images: bool = False) -> Response:
        html = body(_message_or_404(inbox, message_id).parsed(), "text/html") or ""
        policy = _MAIL_POLICY.format("data: http: https:" if images else "data:")
        return HTMLResponse(_with_links_in_new_tabs(html), headers={"Content-Security-Policy": policy})


def _add_pages(app: FastAPI, inbox: Inbox) -> None:
    @app.get("/")
    def show_list(to: To = None) -> Response:
        return _page(inbox, to, None, images=False)

    @app.get("/read/{message_id}")
    def show_message(message_id: str, to: To = None, *, images: bool = False) -> Response:
        return _page(inbox, to, _message_or_404(inbox, message_id), images=images)

    @app.post("/clear")
    async def clear() -> Response:
        inbox.clear()
        return RedirectResponse("/", status_code=303)


def _with_links_in_new_tabs(html: str) -> str:
    """The mail's HTML, changed so that its links open in a new tab, as in a mail client."""
    base = '<base target="_blank">'
    found = re.search(r"<head\b[^>]*>", html, re.IGNORECASE)
    if found is None:
        return f"<!doctype html>{base}{html}"
    return html[: found.end()] + base + html[found.end() :]


def _page(inbox: Inbox, to: str | None, selected: ReceivedMessage | None, *, images: bool) -> Response:
    page = Template(files(__package__).joinpath("inbox_page.html").read_text(encoding="utf-8"))
    query = f"?{urlencode({'to': to})}" if to else ""
    html = page.substitute(
        title=escape(selected.item["subject"] if selected else "Inbox"),
        view="reading" if selected else "list",
        to=escape(to or ""),
        here=escape(f"/read/{selected.id}{query}" if selected else f"/{query}"),
        messages=_list(inbox, to, query, selected),
        article=_article(selected, query, images=images) if selected else _no_selection(),
    )
    return HTMLResponse(html, headers={"Content-Security-Policy": _PAGE_POLICY, "Referrer-Policy": "no-referrer"})


def _list(inbox: Inbox, to: str | None, query: str, selected: ReceivedMessage | None) -> str:
    shown = list(islice(inbox.newest(to), _MAX_LISTED))
    if not shown:
        return f'<p class="hint">{"No mail to this address." if to else "No mail yet."}</p>'
    rows = []
    for message in shown:
        current = ' aria-current="true"' if selected is not None and message.id == selected.id else ""
        rows.append(
            f'<li><a href="/read/{message.id}{escape(query)}"{current}>'
            f"<b>{escape(message.item['subject'] or '(no subject)')}</b>{_time(message)}"
            f"<span>{escape(message.item['to'])}</span></a></li>"
        )
    return f'<p class="hint">{_count(inbox, to, len(shown))}</p><ol>{"".join(rows)}</ol>'


def _count(inbox: Inbox, to: str | None, shown: int) -> str:
    if to:
        return f"{shown} to {escape(to)}"
    return f"{len(inbox)} messages" if shown == len(inbox) else f"The newest {shown} of {len(inbox)} messages"


def _time(message: ReceivedMessage) -> str:
    at = message.received_at.astimezone()
    return f'<time datetime="{at.isoformat()}">{at:%H:%M:%S}</time>'


def _no_selection() -> str:
    return '<p class="hint">Select a message to read it.</p>'


def _article(message: ReceivedMessage, query: str, *, images: bool) -> str:
    item, parsed = message.item, message.parsed()
    fields = {
        "From": header(parsed, "From"),
        "To": header(parsed, "To") or item["to"],
        "Date": header(parsed, "Date"),
    }
    return "".join(
        [
            f'<a class="back" href="/{escape(query)}">All mail</a>',
            f"<h2>{escape(item['subject'] or '(no subject)')}</h2><dl>",
            *(f"<dt>{name}</dt><dd>{escape(value)}</dd>" for name, value in fields.items() if value),
            f'</dl><div class="actions">{_actions(message, parsed, query, images=images)}</div>',
            _rendered(message, item, images=images),
            *_details("Plain text", item["text"], is_open=item["html"] is None),
            *_details("Headers", "\n".join(f"{name}: {value}" for name, value in item["headers"])),
        ]
    )


def _actions(message: ReceivedMessage, parsed: Message, query: str, *, images: bool) -> str:
    loading = urlencode({"images": "true"})
    show = (
        f'<a class="button" href="/read/{message.id}{escape(query + "&" if query else "?")}{loading}">Load images</a>'
    )
    source = f'<a class="button" href="/messages/{message.id}/raw">Source</a>'
    return f"{'' if images else show}{source}{_one_click(parsed)}"


def _one_click(parsed: Message) -> str:
    """A button that unsubscribes in one click, as a mail client does (RFC 8058 §3.2)."""
    found = re.search(r"<(https?://[^>]+)>", header(parsed, "List-Unsubscribe"))
    if found is None or "List-Unsubscribe-Post" not in parsed:
        return ""
    return (
        f'<form method="post" target="_blank" action="{escape(found.group(1))}">'
        '<input type="hidden" name="List-Unsubscribe" value="One-Click"><button>Unsubscribe</button></form>'
    )


def _rendered(message: ReceivedMessage, item: dict[str, Any], *, images: bool) -> str:
    if item["html"] is None:
        return ""
    query = "?images=true" if images else ""
    return f'<iframe title="The message" sandbox="{_SANDBOX}" src="/messages/{message.id}/html{query}"></iframe>'


def _details(title: str, text: str | None, *, is_open: bool = False) -> list[str]:
    if text is None:
        return []
    return [f"<details{' open' if is_open else ''}><summary>{title}</summary><pre>{escape(text)}</pre></details>"]
