"""The command `spinesegdiff`: every subcommand parses its words and calls one function."""

from __future__ import annotations

import argparse
import io
import sys
from collections.abc import Sequence

from .. import __version__
from ..errors import UserError
from . import data, doctoring, downloading, evaluating, experiments, nnunet, segmenting
from .words import check_extra

# Imports of torch and SimpleITK wait until a subcommand needs them: `spinesegdiff -h` answers at once.


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one subcommand; exit status 0, 1 for a user's mistake (told in one line), or 2 for wrong words."""
    _print_every_character()
    parser = build_parser()
    options, rest = parser.parse_known_args(arguments)
    if rest and not getattr(options, "passes_on", False):
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    options.rest = rest
    options.words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        check_extra(options.extra)
        return options.run(options) or 0
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130


def _print_every_character() -> None:
    """Escape what the terminal has no sign for, as that of Windows for many, instead of failing on it."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="spinesegdiff",
        allow_abbrev=False,
        description="SpineSegDiff for nnU-Net v2: lumbar spine MR segmentation, refined by diffusion.",
    )
    parser.add_argument("--version", action="version", version=f"spinesegdiff {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for add in COMMANDS:
        add(commands)
    return parser


COMMANDS = (
    segmenting.add_segment,
    segmenting.add_models,
    data.add_demo,
    data.add_demo_train,
    data.add_phantom,
    downloading.add_download,
    data.add_convert,
    nnunet.add_train,
    nnunet.add_presegment,
    nnunet.add_calibrate,
    nnunet.add_predict,
    nnunet.add_uncertainty,
    segmenting.add_export,
    evaluating.add_evaluate,
    evaluating.add_cohort,
    evaluating.add_pathology,
    evaluating.add_figures,
    evaluating.add_report,
    experiments.add_reproduce,
    doctoring.add_doctor,
    nnunet.add_env,
)
