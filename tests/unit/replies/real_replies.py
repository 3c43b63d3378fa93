"""Loads `replies.toml`: replies of real systems, with what they mean."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path

from marketing_service.replies import Cause, Phase, Reply, ReplyClass, Scope

_FILE = Path(__file__).parent / "replies.toml"
_CLASSES = {2: ReplyClass.ACCEPTED, 4: ReplyClass.TRANSIENT, 5: ReplyClass.PERMANENT}
_BLAMES = {"hard": (Cause.ADDRESS,), "soft": (Cause.MAILBOX,), "no": (Cause.POLICY, Cause.OTHER)}


@dataclass(frozen=True, slots=True)
class RealReply:
    """One reply and the expected classification. Several causes are possible where the file says only "no"."""

    system: str
    source: str
    phase: Phase
    code: int
    text: str
    scope: Scope
    causes: tuple[Cause, ...]
    is_login: bool
    is_known: bool

    @property
    def id(self) -> str:
        return f"{self.system}-{self.phase}-{self.code}-{self.text[:40]}"

    @property
    def reply(self) -> Reply:
        return Reply.of(self.code, self.text)

    @property
    def reply_class(self) -> ReplyClass:
        return _CLASSES.get(self.code // 100, ReplyClass.TRANSIENT)

    @property
    def counts_against_address(self) -> bool:
        return self.causes in {_BLAMES["hard"], _BLAMES["soft"]}


def real_replies() -> list[RealReply]:
    """All replies of the file. Raises KeyError if a source is not listed."""
    content = tomllib.loads(_FILE.read_text(encoding="utf-8"))
    return [
        RealReply(
            system,
            content["sources"][entry["source"]],
            Phase(entry["phase"]),
            entry["code"],
            entry["text"],
            Scope(entry["about"]),
            _BLAMES[entry["blames"]],
            entry.get("login", False),
            not entry.get("unknown", False),
        )
        for system, entries in content["systems"].items()
        for entry in entries
    ]
