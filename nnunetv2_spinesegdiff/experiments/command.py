"""`spinesegdiff reproduce`: list the jobs, run one, or run all that are missing."""

from __future__ import annotations

import os
import shlex
from collections import Counter
from pathlib import Path

from ..errors import UserError
from ..preflight import check_device, check_trainer
from .datasets import check_datasets
from .plan import Choices, Plan
from .predicting import Prediction
from .runner import run_job, run_missing
from .training import Training


def reproduce(choices: Choices, *, dry_run: bool = False, job: str | None = None) -> None:
    """List jobs (`dry_run`), run the one called `job`, or all that are missing.

    Raises:
        UserError: the description, a dataset, a trainer or the device cannot be used, or jobs failed.
    """
    plan = Plan(choices)
    if dry_run:
        print("\n".join(listing(plan)))
        return
    check_datasets(plan.description, plan.ids)
    if job is not None:
        run_job(plan, job)
        return
    _check_before_hours_of_work(plan, choices.device)
    lost = run_missing(plan)
    if lost:
        raise UserError(f"{len(lost)} of {len(plan.jobs)} jobs are not finished, {lost[0]} is the first")
    print((plan.out / "table.md").read_text(encoding="utf-8"), end="")


def _check_before_hours_of_work(plan: Plan, device: str) -> None:
    """Raises UserError where the device is not there, or a trainer that is to be trained is unknown."""
    waiting = [plan.jobs[name] for name in plan.unfinished()]
    if any(isinstance(job, Training | Prediction) for job in waiting):
        check_device(device)
    for trainer in sorted({job.model.trainer for job in waiting if isinstance(job, Training)}):
        check_trainer(trainer)


def listing(plan: Plan) -> list[str]:
    """A line a job, with its command, and one that counts them."""
    finished = {name for name in plan.jobs if plan.result(name) is not None}
    here = f"{Path.cwd()}{os.sep}"
    lines = []
    for name, job in plan.jobs.items():
        variables = [f"{key}={shlex.quote(value)}" for key, value in job.variables().items()]
        words = " ".join([*variables, shlex.join(job.command()).replace(here, "")])
        lines.append(f"{'finished' if name in finished else 'to do':8}  {name}  {words}".rstrip())
    kinds = Counter(job.kind for job in plan.jobs.values())
    counted = ", ".join(f"{number} {kind}" for kind, number in kinds.items())
    return [*lines, f"{len(plan.jobs)} jobs ({counted}), {len(finished)} finished"]
