"""Scores, statistics, figures and the report."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from .words import add_command, add_processes

if TYPE_CHECKING:
    from ..reporting.evaluation_folder import Evaluation

METRICS = ("dice", "jaccard", "assd_mm", "hd95_mm")


def add_evaluate(commands: argparse._SubParsersAction) -> None:
    p = add_command(
        commands,
        "evaluate",
        "Score masks against labels: Dice, Jaccard and surface distances of every case, the paper's tables, "
        "and differences between systems. Geometry is compared first.",
    )
    add_sources(p)
    p.add_argument("-o", type=Path, required=True, metavar="DIR", help="folder for scores and tables")
    p.set_defaults(run=_evaluate)


def add_sources(p: argparse.ArgumentParser, required: bool = True) -> None:
    """The options that name what is scored, and how it is tabulated."""
    which = p.add_mutually_exclusive_group(required=required)
    which.add_argument(
        "-s",
        nargs="+",
        metavar="NAME=PATH",
        help="a system and its masks: a folder of masks (with -l), a trained model's folder (the validation "
        "masks of its folds), or a summary.json; NAME@DATA=PATH tells what it was trained on. The same name "
        "again adds to it",
    )
    which.add_argument(
        "--reproduced", type=Path, metavar="DIR", help="output folder of spinesegdiff reproduce instead of -s"
    )
    p.add_argument(
        "--control",
        nargs="+",
        default=[],
        metavar="NAME=PATH",
        help="like -s, systems to hold the others against: stage 1 trained for longer, for example",
    )
    p.add_argument("-l", type=Path, metavar="DIR", help="folder of the labels")
    p.add_argument("--images", type=Path, metavar="DIR", help="folder of the scans; without it the dataset's")
    p.add_argument(
        "--cases",
        type=Path,
        metavar="FILE",
        help="cases.csv of convert; without it the dataset's",
    )
    p.add_argument(
        "--instances",
        type=Path,
        metavar="DIR",
        help="SPIDER's masks: discs are scored one by one, too",
    )
    p.add_argument("--title", metavar="TEXT", help="of the table of Dice")
    p.add_argument("--transposed", action="store_true", help="tables with a column a system")
    p.add_argument("--metric", choices=METRICS, default="dice", help="what systems are compared by")
    p.add_argument("--against", metavar="NAME", help="compare the others with this system only")
    add_processes(p)


def _evaluate(options: argparse.Namespace) -> int:
    evaluation = evaluate(options, options.o)
    print((options.o / "tables" / "dice.md").read_text(encoding="utf-8"))
    if len(evaluation.systems) > 1:
        print((options.o / "tables" / "comparisons.md").read_text(encoding="utf-8"))
    print(f"{evaluation.cases['case'].nunique()} cases of {len(evaluation.systems)} systems in {options.o}")
    return tell_left_out(evaluation)


def evaluate(options: argparse.Namespace, out: Path) -> Evaluation:
    """Score what the options of `add_sources` name."""
    from ..reporting.evaluate import Choices, run_evaluation
    from ..reporting.sources import gather, parse_system, reproduced

    raw = os.environ.get("nnUNet_raw")
    named = [parse_system(words) for words in options.s or []]
    named += [parse_system(words, control=True) for words in options.control]
    sources, title = reproduced(options.reproduced) if options.reproduced else ([], None)
    sources += gather(named, options.l, Path(raw) if raw else None)
    choices = Choices(
        out=out,
        title=options.title or title or Choices.title,
        images=options.images,
        cases_csv=options.cases,
        instances=options.instances,
        metric=options.metric,
        against=options.against,
        transposed=options.transposed,
        num_processes=options.np,
    )
    return run_evaluation(sources, choices, shlex.join(["spinesegdiff", *sys.argv[1:]]))


def tell_left_out(evaluation: Evaluation) -> int:
    """Name every case that could not be scored; the exit status says whether there was one."""
    for line in evaluation.left_out:
        print(f"error: {line}", file=sys.stderr)
    return 1 if evaluation.left_out else 0
