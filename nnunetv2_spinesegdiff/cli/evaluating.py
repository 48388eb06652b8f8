"""Scores, statistics, figures and the report."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import UserError
from .words import add_command, add_processes, positive

if TYPE_CHECKING:
    from ..evaluation.report.evaluation_folder import Evaluation
    from ..evaluation.report.sources import Source
    from ..evaluation.report.study import Study

METRICS = ("dice", "jaccard", "assd_mm", "hd95_mm")


def add_evaluate(commands: argparse._SubParsersAction) -> None:
    p = add_command(
        commands,
        "evaluate",
        "Score masks against labels: Dice, Jaccard and surface distances of every case, the paper's tables, "
        "and differences between systems. Geometry is compared first.",
        extra="evaluation",
    )
    add_sources(p)
    p.add_argument("-o", type=Path, required=True, metavar="DIR", help="folder for scores and tables")
    p.set_defaults(run=_evaluate)


def add_sources(p: argparse.ArgumentParser) -> argparse._MutuallyExclusiveGroup:
    """Options that name what is scored, and how it is tabulated; gives the group of which one is needed."""
    which = p.add_mutually_exclusive_group(required=True)
    which.add_argument(
        "-s",
        nargs="+",
        metavar="NAME=PATH",
        help="a system and its masks: a folder of masks (with -l), a trained model's folder (the validation "
        "masks of its folds), or a summary.json; NAME@DATA=PATH states what it was trained on. The same name "
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
    p.add_argument("--transposed", action="store_true", help="tables with one column per system")
    p.add_argument("--metric", choices=METRICS, default="dice", help="what systems are compared by")
    p.add_argument("--against", metavar="NAME", help="compare the others with this system only")
    add_processes(p)
    return which


def _evaluate(options: argparse.Namespace) -> int:
    evaluation = evaluate(options, sources_of(options), options.o)
    print((options.o / "tables" / "dice.md").read_text(encoding="utf-8"))
    if len(evaluation.systems) > 1:
        print((options.o / "tables" / "comparisons.md").read_text(encoding="utf-8"))
    print(f"{evaluation.cases['case'].nunique()} cases of {len(evaluation.systems)} systems in {options.o}")
    return tell_left_out(evaluation)


def sources_of(options: argparse.Namespace) -> list[Source]:
    """What the options of `add_sources` name; sets the title that --reproduced knows."""
    from ..evaluation.report.sources import gather, parse_system, reproduced

    raw = os.environ.get("nnUNet_raw")
    named = [parse_system(words) for words in options.s or []]
    named += [parse_system(words, control=True) for words in options.control]
    sources, title = reproduced(options.reproduced) if options.reproduced else ([], None)
    options.title = options.title or title
    return sources + gather(named, options.l, Path(raw) if raw else None)


def evaluate(options: argparse.Namespace, sources: list[Source], out: Path) -> Evaluation:
    """Score and tabulate."""
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


def tell_left_out(evaluation: Evaluation) -> int:
    """Name every case that could not be scored; the exit status says whether there was one."""
    for line in evaluation.left_out:
        print(f"error: {line}", file=sys.stderr)
    return 1 if evaluation.left_out else 0


def add_cohort(commands: argparse._SubParsersAction) -> None:
    p = add_command(
        commands,
        "cohort",
        "Count a cohort: findings (the paper's table 3), contrasts, spacings, sex, scanners, folds.",
        extra="evaluation",
    )
    p.add_argument(
        "--gradings", type=Path, required=True, metavar="FILE", help="SPIDER's radiological_gradings.csv"
    )
    p.add_argument("--overview", type=Path, required=True, metavar="FILE", help="SPIDER's overview.csv")
    _add_splits(p)
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
    _add_evaluation(p)
    p.add_argument(
        "--gradings", type=Path, required=True, metavar="FILE", help="SPIDER's radiological_gradings.csv"
    )
    _add_statistics(p)
    p.add_argument(
        "-o",
        type=Path,
        metavar="DIR",
        default=argparse.SUPPRESS,
        help="folder instead of EVALUATION/pathology",
    )
    p.set_defaults(run=_pathology)


def _pathology(options: argparse.Namespace) -> None:
    from ..evaluation.report.pathology import TEXT, run_pathology

    out = getattr(options, "o", None)
    done = run_pathology(options.i, options.gradings, out, **_statistics(options))
    print((done.folder / TEXT).read_text(encoding="utf-8"))


def add_figures(commands: argparse._SubParsersAction) -> None:
    p = add_command(
        commands,
        "figures",
        "Draw an evaluation: findings, cases, systems, depths, and stage 1 against refined, as PNG and PDF.",
        extra="evaluation",
    )
    _add_evaluation(p)
    which = p.add_mutually_exclusive_group()
    which.add_argument(
        "--cases",
        nargs="+",
        metavar="CASE",
        default=argparse.SUPPRESS,
        help="show these instead of the worst",
    )
    which.add_argument("--worst", type=positive, default=6, metavar="K", help="how many cases to show")
    p.add_argument(
        "--pair",
        nargs=2,
        metavar=("FIRST", "SECOND"),
        default=argparse.SUPPRESS,
        help="systems to show case by case, instead of the first and the last",
    )
    p.add_argument(
        "-o", type=Path, metavar="DIR", default=argparse.SUPPRESS, help="folder instead of EVALUATION/figures"
    )
    p.set_defaults(run=_figures)


def _figures(options: argparse.Namespace) -> None:
    from ..evaluation.report.study import figures_of

    words = vars(options)
    pair = tuple(words["pair"]) if "pair" in words else None
    figures = figures_of(options.i, words.get("o"), cases=words.get("cases"), worst=options.worst, pair=pair)
    for entry in figures.entries:
        print(f"{entry.path}: {entry.title}")
    for note in figures.notes:
        print(note)


def add_report(commands: argparse._SubParsersAction) -> None:
    p = add_command(
        commands,
        "report",
        "Write one HTML file about an evaluation: tables, differences and controls, figures, findings, "
        "cases. Evaluates first where -s or --reproduced is given instead of -i.",
        extra="evaluation",
    )
    p.add_argument("-o", type=Path, required=True, metavar="FILE", help="the page, .html")
    add_sources(p).add_argument(
        "-i", type=Path, metavar="EVALUATION", help="folder of spinesegdiff evaluate instead of -s"
    )
    p.add_argument("--gradings", type=Path, metavar="FILE", help="SPIDER's radiological_gradings.csv")
    p.add_argument("--overview", type=Path, metavar="FILE", help="SPIDER's overview.csv")
    _add_splits(p)
    _add_statistics(p)
    p.add_argument(
        "--gallery", type=int, default=40, metavar="K", help="cases with a picture, the worst first"
    )
    p.add_argument("--order_by", metavar="NAME", help="system by which the worst cases are chosen")
    p.add_argument("--whole_paths", action="store_true", help="write whole paths, not only names of files")
    p.set_defaults(run=_report)


def _report(options: argparse.Namespace) -> int:
    from ..evaluation.report.evaluation_folder import read_evaluation
    from ..evaluation.report.study import check_study, make_report

    folder = options.i or options.o.with_name(f"{options.o.stem}_files")
    study = _study(options, folder)
    if options.i:
        _refuse_with_i(options)
        evaluation = read_evaluation(folder)
        check_study(study, options.o, evaluation.systems)
    else:
        sources = sources_of(options)
        check_study(study, options.o, [source.system for source in sources])
        evaluation = evaluate(options, sources, folder)
    status = tell_left_out(evaluation)
    make_report(study, options.o)
    print(f"{options.o}: {options.o.stat().st_size / 1e6:.1f} MB; tables and figures in {folder}")
    return status


def _study(options: argparse.Namespace, folder: Path) -> Study:
    from ..evaluation.report.study import Study

    page = {name: getattr(options, name) for name in ("gallery", "order_by", "whole_paths")}
    return Study(
        evaluation=folder,
        gradings=options.gradings,
        overview=options.overview,
        splits=options.splits,
        statistics=_statistics(options),
        page=page | ({"title": options.title} if options.title else {}),
        command=_command(options),
    )


def _refuse_with_i(options: argparse.Namespace) -> None:
    """Options of an evaluation would change nothing of one that is finished."""
    names = {"l": "-l", "cases": "--cases", "images": "--images", "instances": "--instances"}
    names |= {"control": "--control", "against": "--against", "transposed": "--transposed"}
    given = [flag for name, flag in names.items() if getattr(options, name)]
    if given or options.metric != "dice":
        flag = (given or ["--metric"])[0]
        raise UserError(flag, f"{options.i} is evaluated already", "give it to spinesegdiff evaluate")


def _add_evaluation(p: argparse.ArgumentParser) -> None:
    p.add_argument(
        "-i", type=Path, required=True, metavar="EVALUATION", help="folder of spinesegdiff evaluate"
    )


def _add_splits(p: argparse.ArgumentParser) -> None:
    p.add_argument(
        "--splits", type=Path, nargs="+", default=[], metavar="FILE", help="folds, splits_final.json"
    )


def _add_pfirrmann(p: argparse.ArgumentParser) -> None:
    p.add_argument(
        "--pfirrmann", type=int, default=4, metavar="GRADE", help="lowest grade that counts as degeneration"
    )


def _add_statistics(p: argparse.ArgumentParser) -> None:
    _add_pfirrmann(p)
    p.add_argument(
        "--mixed", action="store_true", help="a mixed model of all cases instead of Welch's test of patients"
    )
    p.add_argument(
        "--systems", nargs="+", metavar="NAME", default=argparse.SUPPRESS, help="test these instead of all"
    )
    p.add_argument(
        "--fewest", type=positive, default=5, metavar="N", help="patients that each group of a test must have"
    )


def _statistics(options: argparse.Namespace) -> dict[str, Any]:
    return {
        "pfirrmann": options.pfirrmann,
        "mixed": options.mixed,
        "systems": getattr(options, "systems", None),
        "fewest": options.fewest,
    }


def _command(options: argparse.Namespace) -> str:
    return shlex.join(["spinesegdiff", *options.words])
