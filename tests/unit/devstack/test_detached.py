"""`make run` ends with the shell that has started it, unless `nohup` or `setsid` has."""

from __future__ import annotations

import subprocess
import sys

import pytest

QUESTION = "from marketing_service.devstack.dev import _is_detached; print(_is_detached())"


@pytest.mark.parametrize(
    ("before", "expected"), [((), "False"), (("nohup",), "True"), (("setsid", "--wait"), "True")], ids=str
)
def test_a_run_that_is_to_outlive_its_shell_is_recognised(before: tuple[str, ...], expected: str) -> None:
    answer = subprocess.run(
        [*before, sys.executable, "-c", QUESTION], capture_output=True, text=True, check=True, stdin=subprocess.DEVNULL
    )
    assert answer.stdout.strip() == expected
