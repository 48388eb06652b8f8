"""The paper's experiments."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..environment import make_trainers_known
from .words import add_command, add_device, positive


def add_reproduce(commands: argparse._SubParsersAction) -> None:
    from ..experiments import TABLES

    p = add_command(
        commands,
        "reproduce",
        "Run the trainings, predictions and evaluations of a table of the paper, or of an experiment of your "
        "own, and write the table. Finished jobs are skipped and interrupted ones are continued.",
        extra="reproduce",
    )
    which = p.add_mutually_exclusive_group(required=True)
    which.add_argument("--table", type=int, choices=list(TABLES), help="table of the paper")
    which.add_argument(
        "--description", type=Path, metavar="FILE", help="YAML file that describes an experiment of your own"
    )
    p.add_argument(
        "-d",
        type=positive,
        nargs="+",
        required=True,
        metavar="ID",
        help="dataset id of T1w, if T2w and T1w+T2w have the next two ids; or the ids of all three. "
        "Table 2 needs only the id of T1w+T2w",
    )
    p.add_argument(
        "-o",
        type=Path,
        metavar="DIR",
        help="folder for masks, logs and table; without it ./table1, or ./NAME for a description NAME.yaml",
    )
    p.add_argument(
        "--num_parts",
        type=positive,
        default=1,
        metavar="N",
        help="number of jobs into which every prediction is split; with another number, predictions are "
        "made again",
    )
    add_device(p, "where to train and predict", "cuda")
    how = p.add_mutually_exclusive_group()
    how.add_argument("--dry_run", action="store_true", help="list the jobs without running them")
    how.add_argument("--job", metavar="NAME", help="run only this job, unless it is finished")
    p.set_defaults(run=_reproduce)


def _reproduce(options: argparse.Namespace) -> None:
    from ..experiments.command import reproduce
    from ..experiments.plan import Plan

    which = options.table if options.table is not None else options.description
    plan = Plan(which, options.d, options.o, options.num_parts, options.device)
    if not options.dry_run:
        make_trainers_known()
    reproduce(plan, dry_run=options.dry_run, job=options.job)
