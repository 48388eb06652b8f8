"""How subcommands and the options that several of them have are declared."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ..errors import UserError

_EVALUATION = ("monai", "statsmodels", "jinja2")
EXTRAS = {
    "evaluation": _EVALUATION,
    "download": ("pooch", "requests"),
    "reproduce": (*_EVALUATION, "yaml", "pydantic"),
}
"""Modules of the extras in setup.cfg without which a command cannot run."""

BEST_DEVICE = "device for the prediction; without it a CUDA device if there is one, otherwise the CPU"


class _StatedDefaults(argparse.ArgumentDefaultsHelpFormatter):
    """Shows defaults, except None, flags, lists and those of required options."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        hidden = action.required or action.default is None or isinstance(action.default, bool | list)
        return action.help if hidden else super()._get_help_string(action)


def add_command(
    commands: argparse._SubParsersAction, name: str, text: str, extra: str | None = None, **kwargs: Any
) -> argparse.ArgumentParser:
    """Add a subcommand.

    Args:
        name, text: of the command, and what it does.
        extra: of setup.cfg, without which it cannot run.
        kwargs: for `add_parser`.
    """
    parser = commands.add_parser(
        name,
        help=text.replace("%", "%%"),  # argparse formats it, but not the description
        description=text,
        allow_abbrev=False,
        formatter_class=_StatedDefaults,
        **kwargs,
    )
    parser.set_defaults(extra=extra)
    return parser


def check_extra(extra: str | None) -> None:
    """Raise a UserError if a package of an extra is missing."""
    missing = [module for module in EXTRAS.get(extra or "", ()) if find_spec(module) is None]
    if missing:
        advice = f"pip install 'nnunetv2_spinesegdiff[{extra}]'"
        raise UserError(", ".join(missing), "not installed, but needed by this command", advice)


def add_output(parser: argparse.ArgumentParser, text: str) -> None:
    parser.add_argument("-o", type=Path, required=True, metavar="DIR", help=text)


def add_device(parser: argparse.ArgumentParser, purpose: str, default: str | None = None) -> None:
    parser.add_argument("-device", choices=["cpu", "cuda", "mps"], default=default, help=purpose)


def add_plans(parser: argparse.ArgumentParser, trainer: str = "") -> None:
    """Add the options that name a configuration of a dataset and, with a default for it, a trainer."""
    parser.add_argument("-d", required=True, metavar="DATASET", help="dataset id or name")
    parser.add_argument("-c", default="2d", metavar="CONFIGURATION", help="configuration of the plans")
    if trainer:
        parser.add_argument("-tr", default="nnUNetTrainerSpineSegDiff", metavar="TRAINER", help=trainer)
    parser.add_argument("-p", default="nnUNetPlans", metavar="PLANS", help="plans identifier")


def add_processes(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-np", type=positive, default=os.cpu_count() or 1, metavar="N", help="worker processes"
    )


def print_failures(failures: Iterable[object]) -> int:
    """Print one line per failure; return the exit status, 1 if there is one."""
    lines = [f"error: {failure}" for failure in failures]
    print("".join(f"{line}\n" for line in lines), end="", file=sys.stderr)
    return 1 if lines else 0


def positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a positive whole number")
    return number


def fold(text: str) -> str:
    if text != "all" and not text.isdigit():
        raise argparse.ArgumentTypeError(f"{text} is neither a fold (0, 1, ...) nor all")
    return text
