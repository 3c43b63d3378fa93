"""The inbox, over SMTP and over HTTP."""

import asyncio
from collections.abc import AsyncIterator
from email.message import EmailMessage

import aiosmtplib
import httpx
import pytest

from marketing_service.devstack.inbox import Inbox, serve_inbox
from marketing_service.devstack.inbox_app import create_inbox_app


@pytest.fixture
def inbox() -> Inbox:
    return Inbox()


@pytest.fixture
async def port(inbox: Inbox) -> AsyncIterator[int]:
    server = await serve_inbox(inbox, 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


@pytest.fixture
async def relay(port: int) -> AsyncIterator[aiosmtplib.SMTP]:
    client = aiosmtplib.SMTP(hostname="127.0.0.1", port=port, start_tls=False, local_hostname="localhost")
    await client.connect()
    yield client
    client.close()


@pytest.fixture
async def http(inbox: Inbox) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(create_inbox_app(inbox))
    async with httpx.AsyncClient(transport=transport, base_url="http://inbox.localhost") as client:
        yield client


def mail(to: str = "zoe@example.com", html: str = "<p>Grüße</p>") -> EmailMessage:
    message = EmailMessage()
    message["From"] = "Ännchen <news@example.com>"
    message["To"] = to
    message["Subject"] = "Grüße <b>"
    message["X-Twice"] = "one"
    message["X-Twice"] = "two"
    message.set_content(".Grüße\n")
    message.add_alternative(html, subtype="html")
    return message


async def test_a_message_can_be_read_as_json_with_repeated_headers_and_decoded_words(
    relay: aiosmtplib.SMTP, http: httpx.AsyncClient
) -> None:
    await relay.send_message(mail(), sender="bounce@example.com", recipients=["Zoe@example.com"])

    (item,) = (await http.get("/messages")).json()["items"]

    assert (item["from"], item["to"], item["subject"]) == ("news@example.com", "Zoe@example.com", "Grüße <b>")
    assert item["envelopeFrom"] == "bounce@example.com"
    assert item["text"] == ".Grüße\n"
    assert item["html"].strip() == "<p>Grüße</p>"
    assert [value for name, value in item["headers"] if name == "X-Twice"] == ["one", "two"]
    assert (await http.get(f"/messages/{item['id']}")).json() == item


async def test_the_source_is_stored_octet_for_octet(relay: aiosmtplib.SMTP, http: httpx.AsyncClient) -> None:
    source = b"Subject: one\r\n\r\n..two dots\r\n\x20trailing \r\nGr\xc3\xbc\xc3\x9fe\r\n"
    await relay.sendmail("a@example.com", ["b@example.com"], source, mail_options=["BODY=8BITMIME"])
    (item,) = (await http.get("/messages")).json()["items"]
    assert (await http.get(f"/messages/{item['id']}/raw")).content == source


async def test_messages_are_listed_newest_first_with_a_limit_and_by_address_in_any_case(
    relay: aiosmtplib.SMTP, http: httpx.AsyncClient
) -> None:
    for to in ("one@example.com", "two@example.com", "ONE@example.com"):
        await relay.send_message(mail(to))

    async def recipients(**query: str) -> list[str]:
        items = (await http.get("/messages", params=query)).json()["items"]
        return [item["to"] for item in items]

    assert await recipients() == ["ONE@example.com", "two@example.com", "one@example.com"]
    assert await recipients(limit="1") == ["ONE@example.com"]
    assert await recipients(to="one@EXAMPLE.com") == ["ONE@example.com", "one@example.com"]
    assert (await http.delete("/messages")).status_code == 204
    assert await recipients() == []


async def test_ehlo_announces_the_extensions(relay: aiosmtplib.SMTP) -> None:
    await relay.ehlo()
    for extension in ("PIPELINING", "8BITMIME", "SMTPUTF8", "SIZE"):
        assert relay.supports_extension(extension), extension


async def test_pipelined_commands_get_their_replies_in_order(port: int, inbox: Inbox) -> None:
    """RFC 2920: the next envelope may begin in the write that ends a message."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    await reader.readline()
    writer.write(b"EHLO localhost\r\n")
    while (await reader.readline())[3:4] == b"-":
        pass
    envelope = b"MAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.com>\r\nDATA\r\n"
    writer.write(envelope)
    assert [(await reader.readline())[:3] for _ in range(3)] == [b"250", b"250", b"354"]
    writer.write(b"Subject: one\r\n\r\n1\r\n.\r\n" + envelope)
    assert [(await reader.readline())[:3] for _ in range(4)] == [b"250", b"250", b"250", b"354"]
    writer.write(b"Subject: two\r\n\r\n2\r\n.\r\nQUIT\r\n")
    assert [(await reader.readline())[:3] for _ in range(2)] == [b"250", b"221"]
    writer.close()
    assert [message.item["subject"] for message in inbox.newest()] == ["two", "one"]


async def test_reject_550_gets_a_permanent_error(relay: aiosmtplib.SMTP, inbox: Inbox) -> None:
    with pytest.raises(aiosmtplib.SMTPRecipientsRefused) as refused:
        await relay.send_message(mail("reject-550.nobody@example.com"))
    (reply,) = refused.value.recipients
    assert reply.code == 550
    assert reply.message.startswith("5.1.1 ")
    assert len(inbox) == 0


async def test_defer_451_is_refused_twice_and_then_accepted_for_each_message(
    relay: aiosmtplib.SMTP, inbox: Inbox
) -> None:
    for _ in range(2):
        for _ in range(2):
            with pytest.raises(aiosmtplib.SMTPRecipientsRefused) as refused:
                await relay.send_message(mail("defer-451@example.com"))
            (reply,) = refused.value.recipients
            assert (reply.code, reply.message[:6]) == (451, "4.7.1 ")
        await relay.send_message(mail("defer-451@example.com"))
    assert len(inbox) == 2


async def test_drop_closes_the_connection_after_the_final_dot_and_stores_the_message(
    relay: aiosmtplib.SMTP, inbox: Inbox
) -> None:
    with pytest.raises(aiosmtplib.SMTPServerDisconnected):
        await relay.send_message(mail("drop@example.com"))
    assert [message.recipients for message in inbox.newest()] == [("drop@example.com",)]


async def test_a_mail_is_shown_without_scripts_origin_or_requests_until_images_are_loaded(
    relay: aiosmtplib.SMTP, http: httpx.AsyncClient
) -> None:
    await relay.send_message(
        mail(html='<html><head></head><script>x</script><img src="https://example.com/p.gif"></html>')
    )
    (item,) = (await http.get("/messages")).json()["items"]

    page = await http.get(f"/read/{item['id']}")
    shown = await http.get(f"/messages/{item['id']}/html")

    assert "Grüße &lt;b&gt;" in page.text
    assert '<iframe title="The message" sandbox="allow-popups allow-popups-to-escape-sandbox"' in page.text
    assert "default-src 'none'" in page.headers["content-security-policy"]
    policy = shown.headers["content-security-policy"]
    assert policy.startswith("sandbox allow-popups")
    assert "allow-scripts" not in policy
    assert policy.endswith("img-src data:")
    assert '<head><base target="_blank">' in shown.text
    asked_for = await http.get(f"/messages/{item['id']}/html?images=true")
    assert asked_for.headers["content-security-policy"].endswith("img-src data: http: https:")


async def test_the_page_lists_mail_escaped_and_offers_to_unsubscribe(
    relay: aiosmtplib.SMTP, http: httpx.AsyncClient
) -> None:
    message = mail()
    message["List-Unsubscribe"] = "<https://example.com/u/1>"
    message["List-Unsubscribe-Post"] = "List-Unsubscribe=One-Click"
    assert "No mail yet." in (await http.get("/")).text
    await relay.send_message(message)

    assert "Grüße &lt;b&gt;" in (await http.get("/")).text
    assert "No mail to this address." in (await http.get("/", params={"to": '"><script>'})).text
    assert "<script" not in (await http.get("/", params={"to": '"><script>'})).text
    assert 'action="https://example.com/u/1"' in (await http.get("/read/1")).text
    assert (await http.post("/clear")).headers["location"] == "/"
    assert (await http.get("/read/1")).status_code == 404
