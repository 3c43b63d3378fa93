"""The progress of a campaign as a line of text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from collections.abc import Mapping

_WIDTH = 30
_STEP = 10
"""Without a terminal, a line is written each time so many percent more are done."""
_CLEAR = "\r\x1b[K"
_MINUTE, _HOUR = 60, 3600
_WAITING = ("queued", "sending", "deferred")
_WORDS = {"DRAFT": "Draft", "SENDING": "Sending", "SENT": "Sent", "FAILED": "Failed"}


def line(stats: Mapping[str, Any]) -> str:
    """The stats of an event as one line: a bar, the rate, and the time left."""
    word = _WORDS.get(stats["status"], stats["status"])
    recipients = stats["recipients"]
    if not recipients:
        fetched = stats.get("expanding", {}).get("fetched")
        return f"{word:8}" + ("" if fetched is None else f"reads the recipients: {fetched:,} so far")
    done = recipients - sum(stats[name] for name in _WAITING)
    percent = percent_done(stats)
    bar = ("#" * (_WIDTH * done // recipients)).ljust(_WIDTH, "-")
    parts = [f"{word:8}[{bar}] {percent:3} %", f"{done:,} of {recipients:,}"]
    if stats["status"] == "SENDING":
        parts += _speed(stats)
    parts += [f"{stats[name]:,} {name}" for name in ("failed", "unconfirmed", "deferred") if stats[name]]
    return "  ".join(parts)


def percent_done(stats: Mapping[str, Any]) -> int:
    """Rounded down, so that 100 means that nothing waits."""
    recipients = stats["recipients"]
    waiting = sum(stats[name] for name in _WAITING)
    return 100 * (recipients - waiting) // recipients if recipients else 0


def _speed(stats: Mapping[str, Any]) -> list[str]:
    if (since := stats.get("stalledSince")) is not None:
        return [f"nothing sent since {since}"]
    rate, left = stats.get("ratePerSecond"), stats.get("secondsLeft")
    found = [] if rate is None else [f"{rate:,.1f} a second"]
    return found if left is None else [*found, f"{duration(left)} left"]


def duration(seconds: int) -> str:
    """`45 s`, `3 min 5 s`, `2 h 10 min`."""
    if seconds < _MINUTE:
        return f"{seconds} s"
    if seconds < _HOUR:
        return f"{seconds // _MINUTE} min {seconds % _MINUTE} s"
    return f"{seconds // _HOUR} h {seconds % _HOUR // _MINUTE} min"


class ProgressBar:
    """Shows lines at one place of a terminal; elsewhere it writes a line where the progress is worth one."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._is_terminal = out.isatty()
        self._last: tuple[str, int] | None = None
        self._is_open = False

    def show(self, stats: Mapping[str, Any]) -> None:
        if self._is_terminal:
            self._out.write(_CLEAR + line(stats))
            self._is_open = True
        else:
            step = (stats["status"], percent_done(stats) // _STEP)
            if step == self._last:
                return
            self._last = step
            self._out.write(line(stats) + "\n")
        self._out.flush()

    def end(self) -> None:
        """The next text begins on a line of its own."""
        if self._is_open:
            self._out.write("\n")
            self._out.flush()
            self._is_open = False
