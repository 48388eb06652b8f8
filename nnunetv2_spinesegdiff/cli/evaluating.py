"""Scores, statistics, figures and the report."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import UserError
from ..evaluation.columns import METRICS
from .words import add_command, add_processes, positive

if TYPE_CHECKING:
    from ..evaluation.report.evaluation_folder import Evaluation
    from ..evaluation.report.sources import Source


def add_evaluate(commands: argparse._SubParsersAction) -> None:
    p = add_command(
        commands,
        "evaluate",
        "Score masks against labels: Dice, Jaccard and surface distances of every case, the paper's "
        "tables, and differences between systems. Masks and labels must have the same grid.",
        extra="evaluation",
    )
    add_sources(p)
    p.add_argument("-o", type=Path, required=True, metavar="DIR", help="folder for scores and tables")
    p.set_defaults(run=_evaluate)


def add_sources(p: argparse.ArgumentParser) -> argparse._MutuallyExclusiveGroup:
    """Add options that name what is scored and tabulated; return the group of which one is required."""
    which = p.add_mutually_exclusive_group(required=True)
    which.add_argument(
        "-s",
        nargs="+",
        metavar="NAME=PATH",
        help="a system and its masks: a folder of masks (with -l), a trained model's folder (the validation "
        "masks of its folds), or a summary.json; NAME@DATA=PATH names what it was trained on. Repeat a "
        "name to add masks to that system",
    )
    which.add_argument(
        "--reproduced", type=Path, metavar="DIR", help="output folder of spinesegdiff reproduce instead of -s"
    )
    p.add_argument(
        "--control",
        nargs="+",
        default=[],
        metavar="NAME=PATH",
        help="like -s, systems to compare the others with: stage 1 trained for longer, for example",
    )
    p.add_argument(
        "-l", type=Path, metavar="DIR", help="folder of the labels; without it the masks of --instances"
    )
    for flag, metavar, text in (
        ("--images", "DIR", "folder of the scans; without it that of the dataset"),
        ("--cases", "FILE", "cases.csv of convert; without it that of the dataset"),
        (
            "--instances",
            "DIR",
            "folder of masks with SPIDER's numbers, for example SPIDER's own; vertebrae and discs are then "
            "also scored one by one",
        ),
    ):
        p.add_argument(flag, type=Path, metavar=metavar, help=text)
    p.add_argument("--title", metavar="TEXT", help="title of the table of Dice")
    p.add_argument("--transposed", action="store_true", help="tables with one column per system")
    p.add_argument("--metric", choices=METRICS, default="dice", help="metric by which systems are compared")
    p.add_argument("--against", metavar="NAME", help="compare the others with this system only")
    add_processes(p)
    return which


def _evaluate(options: argparse.Namespace) -> int:
    evaluation = _score(options, _sources(options), options.o)
    printed = ["dice"]
    printed += [] if evaluation.instances.empty else ["panoptic"]
    printed += ["comparisons"] if len(evaluation.systems) > 1 else []
    for name in printed:
        print((options.o / "tables" / f"{name}.md").read_text(encoding="utf-8"))
    print(f"{evaluation.cases['case'].nunique()} cases of {len(evaluation.systems)} systems in {options.o}")
    return _list_left_out(evaluation)


def _sources(options: argparse.Namespace) -> list[Source]:
    """Resolve the options of `add_sources`; sets the title of --reproduced."""
    from ..evaluation.report.sources import gather, parse_system, reproduced

    raw = os.environ.get("nnUNet_raw")
    named = [parse_system(words) for words in options.s or []]
    named += [parse_system(words, control=True) for words in options.control]
    sources, title = reproduced(options.reproduced) if options.reproduced else ([], None)
    options.title = options.title or title
    return sources + gather(named, options.l, Path(raw) if raw else None, options.instances)


def _score(options: argparse.Namespace, sources: list[Source], out: Path) -> Evaluation:
    from ..evaluation.report.evaluate import Choices, run_evaluation

    choices = Choices(
        out=out,
        title=options.title or Choices.title,
        images=options.images,
        cases_csv=options.cases,
        instances=options.instances,
        metric=options.metric,
        against=options.against,
        transposed=options.transposed,
        num_processes=options.np,
    )
    return run_evaluation(sources, choices, _command(options))


def _list_left_out(evaluation: Evaluation) -> int:
    """Print every case that could not be scored; the exit status is 1 if there is one."""
    for line in evaluation.left_out:
        print(f"error: {line}", file=sys.stderr)
    return 1 if evaluation.left_out else 0


def add_cohort(commands: argparse._SubParsersAction) -> None:
    p = add_command(
        commands,
        "cohort",
        "Describe a cohort: findings (the paper's table 3), contrasts, spacings, sex, scanners, folds.",
        extra="evaluation",
    )
    _add_gradings(p, required=True)
    _add_overview(p, required=True)
    _add_pfirrmann(p)
    p.add_argument("-o", type=Path, required=True, metavar="DIR", help="folder for the tables")
    p.set_defaults(run=_cohort)


def _cohort(options: argparse.Namespace) -> None:
    from ..evaluation.report.cohort import run_cohort

    run_cohort(options.gradings, options.overview, options.o, options.splits, pfirrmann=options.pfirrmann)
    print((options.o / "cohort.md").read_text(encoding="utf-8"))


def add_pathology(commands: argparse._SubParsersAction) -> None:
    p = add_command(
        commands,
        "pathology",
        "Test whether Dice differs between patients with and without each finding: Welch's t-test, "
        "Benjamini-Hochberg over all tests, effect sizes.",
        extra="evaluation",
    )
    _add_evaluation(p, "pathology")
    _add_gradings(p, required=True)
    _add_statistics(p)
    p.set_defaults(run=_pathology)


def _pathology(options: argparse.Namespace) -> None:
    from ..evaluation.report.pathology import TEXT, run_pathology

    done = run_pathology(options.i, options.gradings, options.o, **_statistics(options))
    print((done.folder / TEXT).read_text(encoding="utf-8"))


def add_figures(commands: argparse._SubParsersAction) -> None:
    p = add_command(
        commands,
        "figures",
        "Draw the figures of an evaluation as PNG and PDF: findings, cases, systems, depths, and stage 1 "
        "against refined.",
        extra="evaluation",
    )
    _add_evaluation(p, "figures")
    which = p.add_mutually_exclusive_group()
    which.add_argument("--cases", nargs="+", metavar="CASE", help="cases to show instead of the worst")
    which.add_argument("--worst", type=positive, default=6, metavar="K", help="how many cases to show")
    p.add_argument(
        "--pair",
        nargs=2,
        metavar=("FIRST", "SECOND"),
        help="systems to show case by case, instead of the first and the last",
    )
    p.set_defaults(run=_figures)


def _figures(options: argparse.Namespace) -> None:
    from ..evaluation.report.figures import run_figures

    figures = run_figures(options.i, options.o, cases=options.cases, worst=options.worst, pair=options.pair)
    for entry in figures.entries:
        print(f"{entry.path}: {entry.title}")
    for note in figures.notes:
        print(note)


def add_report(commands: argparse._SubParsersAction) -> None:
    p = add_command(
        commands,
        "report",
        "Write one HTML file about an evaluation: tables, differences and controls, figures, findings, "
        "cases. With -s or --reproduced instead of -i, masks are evaluated first.",
        extra="evaluation",
    )
    p.add_argument("-o", type=Path, required=True, metavar="FILE", help="HTML file to write")
    add_sources(p).add_argument(
        "-i", type=Path, metavar="EVALUATION", help="folder of spinesegdiff evaluate instead of -s"
    )
    _add_gradings(p)
    _add_overview(p)
    _add_statistics(p)
    p.add_argument(
        "--gallery", type=int, default=40, metavar="K", help="number of cases with a picture, the worst first"
    )
    p.add_argument("--order_by", metavar="NAME", help="system whose Dice orders the cases")
    p.add_argument("--whole_paths", action="store_true", help="write full paths instead of file names")
    p.set_defaults(run=_report)


def _report(options: argparse.Namespace) -> int:
    from ..evaluation.report.evaluation_folder import read_evaluation
    from ..evaluation.report.study import Study, check_study, make_report

    folder = options.i or options.o.with_name(f"{options.o.stem}_files")
    page = {name: getattr(options, name) for name in ("gallery", "order_by", "whole_paths")}
    study = Study(
        evaluation=folder,
        gradings=options.gradings,
        overview=options.overview,
        splits=options.splits,
        statistics=_statistics(options),
        page=page | ({"title": options.title} if options.title else {}),
        command=_command(options),
    )
    if options.i:
        _refuse_with_i(options)
        evaluation = read_evaluation(folder)
        check_study(study, options.o, evaluation.systems)
    else:
        sources = _sources(options)
        check_study(study, options.o, [source.system for source in sources])
        evaluation = _score(options, sources, folder)
    status = _list_left_out(evaluation)
    make_report(study, options.o)
    print(f"{options.o}: {options.o.stat().st_size / 1e6:.1f} MB; tables and figures in {folder}")
    return status


def _refuse_with_i(options: argparse.Namespace) -> None:
    """Reject options that would have no effect on a finished evaluation."""
    names = {"l": "-l", "cases": "--cases", "images": "--images", "instances": "--instances"}
    names |= {"control": "--control", "against": "--against", "transposed": "--transposed"}
    given = [flag for name, flag in names.items() if getattr(options, name)]
    given += ["--metric"] if options.metric != "dice" else []
    if given:
        raise UserError(given[0], f"{options.i} was already evaluated", "give it to spinesegdiff evaluate")


def _add_evaluation(p: argparse.ArgumentParser, command: str) -> None:
    p.add_argument(
        "-i", type=Path, required=True, metavar="EVALUATION", help="folder of spinesegdiff evaluate"
    )
    p.add_argument("-o", type=Path, metavar="DIR", help=f"folder instead of EVALUATION/{command}")


def _add_gradings(p: argparse.ArgumentParser, required: bool = False) -> None:
    text = "SPIDER's radiological_gradings.csv"
    p.add_argument("--gradings", type=Path, required=required, metavar="FILE", help=text)


def _add_overview(p: argparse.ArgumentParser, required: bool = False) -> None:
    p.add_argument("--overview", type=Path, required=required, metavar="FILE", help="SPIDER's overview.csv")
    p.add_argument(
        "--splits", type=Path, nargs="+", default=[], metavar="FILE", help="splits_final.json with the folds"
    )


def _add_pfirrmann(p: argparse.ArgumentParser) -> None:
    p.add_argument(
        "--pfirrmann", type=int, default=4, metavar="GRADE", help="lowest grade that counts as degeneration"
    )


def _add_statistics(p: argparse.ArgumentParser) -> None:
    _add_pfirrmann(p)
    p.add_argument(
        "--mixed",
        action="store_true",
        help="use a mixed model of all cases instead of Welch's test of patients",
    )
    p.add_argument("--systems", nargs="+", metavar="NAME", help="systems to test instead of all")
    p.add_argument(
        "--fewest",
        type=positive,
        default=5,
        metavar="N",
        help="minimum number of patients in each group of a test",
    )


def _statistics(options: argparse.Namespace) -> dict[str, Any]:
    return {name: getattr(options, name) for name in ("pfirrmann", "mixed", "systems", "fewest")}


def _command(options: argparse.Namespace) -> str:
    return shlex.join(["spinesegdiff", *options.words])
