"""The command line: every command and every option explains itself."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

import pytest

from marketing_service.cli import create_parser, main

if TYPE_CHECKING:
    from collections.abc import Iterator


def parsers(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    yield parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            assert {choice.dest for choice in action._choices_actions if choice.help} == set(action.choices)
            for command in action.choices.values():
                yield from parsers(command)


def test_every_command_and_every_option_has_help() -> None:
    for parser in parsers(create_parser()):
        for action in parser._actions:
            if not isinstance(action, argparse._SubParsersAction):
                assert action.help, f"{parser.prog} {action.option_strings or action.dest}"


@pytest.mark.parametrize("arguments", [["worker", "--processes", "0"], ["serve", "--port", "65536"], ["bounces"], []])
def test_wrong_arguments_exit_with_code_2(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as exited:
        main(arguments)
    assert exited.value.code == 2
