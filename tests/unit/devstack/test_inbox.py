import json

import pytest

from marketing_service.devstack.inbox import Inbox

PLAIN = b"Subject: x\r\n\r\ntext\r\n"


def test_only_the_newest_messages_are_stored() -> None:
    inbox = Inbox(max_messages=2)
    for number in range(3):
        inbox.add("a@example.com", [f"{number}@example.com"], PLAIN)
    assert [message.recipients[0] for message in inbox.newest()] == ["2@example.com", "1@example.com"]


def test_old_messages_are_deleted_when_the_total_size_is_too_large() -> None:
    inbox = Inbox(max_bytes=2 * len(PLAIN))
    for _ in range(3):
        inbox.add("a@example.com", ["b@example.com"], PLAIN)
    assert len(inbox) == 2


@pytest.mark.parametrize(
    "source",
    [
        b"",
        b"no header at all",
        b"Subject: =?nonsense?Q?=FF?=\r\nFrom: \xff\r\nContent-Type: text/plain; charset=nonsense\r\n\r\n\xff\r\n",
        b"Content-Type: multipart/alternative\r\n\r\n--\r\n",
        b"Subject: =?utf-8?B?x?=\r\n\r\n",
    ],
)
def test_a_broken_message_is_shown_as_well_as_it_can_be(source: bytes) -> None:
    inbox = Inbox()
    item = inbox.add("a@example.com", ["\udcff@example.com"], source).item
    assert item["envelopeFrom"] == "a@example.com"
    assert item["to"] == "?@example.com"
    assert json.dumps(item, ensure_ascii=False).encode()
