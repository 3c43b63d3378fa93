"""What an SMTP reply means: its class, what it is about (its scope), and whether it counts against the address."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class ReplyClass(StrEnum):
    """What the first digit of the code says (RFC 5321 §4.2.1)."""

    ACCEPTED = "ACCEPTED"
    """The relay took responsibility."""
    TRANSIENT = "TRANSIENT"
    """The same command may succeed later."""
    PERMANENT = "PERMANENT"
    """The same command would fail again as long as nothing changes."""


class Scope(StrEnum):
    """What a reply is about. The scope decides what happens to the send and to its campaign."""

    RECIPIENT = "RECIPIENT"
    """This recipient: the mailbox, greylisting, or the policy of one receiver. The send uses up a try or fails."""
    DOMAIN = "DOMAIN"
    """The receiving domain, whose reply the relay passes on. The send uses up a try, and the domain backs off."""
    CONNECTION = "CONNECTION"
    """This connection to the relay, such as its number of messages. Another connection can take the send at once."""
    RELAY = "RELAY"
    """The relay has too much to do, or gets too much from us: fewer connections and a lower rate are needed."""
    ACCOUNT = "ACCOUNT"
    """The quota of our account at the relay is used up."""
    MESSAGE = "MESSAGE"
    """The message is larger than the relay accepts. All recipients of the campaign would get the same reply."""
    SENDER = "SENDER"
    """The sender, our log-in, or our set-up at the relay is refused."""


class Cause(StrEnum):
    """Why a recipient is refused."""

    ADDRESS = "ADDRESS"
    """The address does not exist or accepts no mail: a hard bounce if the refusal is permanent."""
    MAILBOX = "MAILBOX"
    """The mailbox cannot take the message at the moment, for example because it is full: a soft bounce."""
    POLICY = "POLICY"
    """The message or its origin is not wanted. This says nothing about the address."""
    OTHER = "OTHER"
    """Anything else, or a reply that gives no cause."""


@dataclass(frozen=True, slots=True)
class Classification:
    """What a reply means. `cause` is OTHER if the scope is not RECIPIENT. An accepted reply has the scope RECIPIENT."""

    reply_class: ReplyClass
    scope: Scope
    cause: Cause = Cause.OTHER
    is_known: bool = True
    """Whether a rule knows the reply. If not, only its first digit and its phase gave the classification."""
    is_login: bool = False
    """Whether the relay refuses our log-in, or requires one. Only with the scope SENDER."""
    closes_connection: bool = False
    """Whether the relay closes the connection after this reply (RFC 5321 §3.8)."""
    backs_off_domain: bool = False
    """Whether the receiving domain must back off. This is so for DOMAIN, and for a CONNECTION after the recipient."""

    @property
    def counts_against_address(self) -> bool:
        """Whether the reply positively says that this address or mailbox is the problem."""
        return self.cause in {Cause.ADDRESS, Cause.MAILBOX}

    @property
    def refuses_sender(self) -> bool:
        """Whether no send may fail because of this reply, and the campaign is paused."""
        return self.scope in {Scope.SENDER, Scope.ACCOUNT}
