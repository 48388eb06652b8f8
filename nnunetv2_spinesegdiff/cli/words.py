"""How subcommands and the options that several of them have are declared."""

from __future__ import annotations

import argparse
import os
from typing import Any


class _StatedDefaults(argparse.ArgumentDefaultsHelpFormatter):
    """Tells the defaults that say something."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        says_nothing = action.required or action.default is None or isinstance(action.default, bool)
        return action.help if says_nothing else super()._get_help_string(action)


def add_command(
    commands: argparse._SubParsersAction, name: str, text: str, **kwargs: Any
) -> argparse.ArgumentParser:
    return commands.add_parser(
        name,
        help=text,
        description=text,
        allow_abbrev=False,
        formatter_class=_StatedDefaults,
        **kwargs,
    )


def add_processes(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-np", type=positive, default=os.cpu_count() or 1, metavar="N", help="worker processes"
    )


def positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a positive whole number")
    return number


def fold(text: str) -> str:
    if text != "all" and not text.isdigit():
        raise argparse.ArgumentTypeError(f"{text} is neither a fold (0, 1, ...) nor all")
    return text
