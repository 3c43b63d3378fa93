"""A Python process whose wall clock is wrong by a number of seconds. The code that it runs is the real one."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_SHIFT = """\
import datetime, time
_time, _datetime = time.time, datetime.datetime
time.time = lambda: _time() + {seconds}
time.time_ns = lambda: int(time.time() * 1_000_000_000)
class _Shifted(type(_datetime)):
    def __instancecheck__(cls, value):
        return isinstance(value, _datetime)
class datetime_(_datetime, metaclass=_Shifted):
    @classmethod
    def now(cls, tz=None):
        return _datetime.now(tz) + datetime.timedelta(seconds={seconds})
datetime.datetime = datetime_
"""


def with_shifted_clock(environment: Mapping[str, str], folder: Path, seconds: int) -> dict[str, str]:
    """The environment of a Python process, extended so that its clock is ahead by `seconds`.

    Python imports `sitecustomize` before everything else. The clocks that measure durations stay right.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "sitecustomize.py").write_text(_SHIFT.format(seconds=seconds), encoding="utf-8")
    return {**environment, "PYTHONPATH": str(folder)}
