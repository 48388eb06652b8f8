"""`spinesegdiff reproduce`: list the jobs, run one, or run all that are missing, one after the other."""

from __future__ import annotations

import os
import shlex
import subprocess
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from ..environment import command_environment
from ..errors import UserError
from ..locks import held
from ..preflight import check_device, check_trainer
from .datasets import check_datasets
from .jobs import Prediction
from .plan import Plan
from .training import Training

EXPECTED = (UserError, OSError, ValueError, LookupError, TypeError)
"""Errors of a job; the last three are caused by files such as dataset.json with unexpected content."""


def reproduce(plan: Plan, *, dry_run: bool = False, job: str | None = None) -> None:
    """List jobs (`dry_run`), run the one called `job`, or run all that are missing.

    Raises:
        UserError: a dataset, a trainer or the device cannot be used, or jobs failed.
    """
    if dry_run:
        print("\n".join(listing(plan)))
        return
    check_datasets(plan.description, plan.ids)
    if job is not None:
        run_job(plan, job)
        return
    waiting = [plan.jobs[name] for name in plan.unfinished()]
    if any(isinstance(job, Training | Prediction) for job in waiting):
        check_device(plan.device)
    for trainer in sorted({job.model.trainer for job in waiting if isinstance(job, Training)}):
        check_trainer(trainer)
    if failed := run_missing(plan):
        raise UserError(
            plan.out, f"{len(failed)} of {len(plan.jobs)} jobs are not finished, first {failed[0]}"
        )
    print((plan.out / "table.md").read_text(encoding="utf-8"), end="")


def listing(plan: Plan) -> list[str]:
    """Return one line for each job, with its command, and one that counts them."""
    finished = {name for name in plan.jobs if plan.result(name) is not None}
    here = f"{Path.cwd()}{os.sep}"
    lines = []
    for name, job in plan.jobs.items():
        variables = [f"{key}={shlex.quote(value)}" for key, value in job.variables().items()]
        words = " ".join([*variables, shlex.join(job.command()).replace(here, "")])
        lines.append(f"{'finished' if name in finished else 'to do':8}  {name}  {words}".rstrip())
    kinds = Counter(job.kind for job in plan.jobs.values())
    counts = ", ".join(f"{number} {kind}" for kind, number in kinds.items())
    return [*lines, f"{len(plan.jobs)} jobs ({counts}), {len(finished)} finished"]


def run_missing(plan: Plan) -> list[str]:
    """Run all unfinished jobs, and print when one begins and ends; a failure stops only those that need it.

    Returns:
        Jobs that failed or were not run.

    Raises:
        UserError: Ctrl-C was pressed.
    """
    waiting = plan.unfinished()
    print(f"{len(plan.jobs) - len(waiting)} of {len(plan.jobs)} jobs are finished already", flush=True)
    failed: list[str] = []
    for number, name in enumerate(waiting, start=1):
        head = f"[{number}/{len(waiting)}] {name}"
        if missing := [need for need in plan.jobs[name].needs if need in failed]:
            print(f"{head}: not run, it needs {missing[0]}", flush=True)
            failed.append(name)
            continue
        print(f"{head}: log {log_file(plan, name)}", flush=True)
        began = time.monotonic()
        try:
            run_job(plan, name)
            print(f"  finished in {time.monotonic() - began:.0f} s", flush=True)
        except EXPECTED as error:
            cause = str(error)
            if not isinstance(error, UserError | OSError):
                cause = " ".join(f"{type(error).__name__}: {error}".split())
                cause = f"a file has unexpected content ({cause}); look into dataset.json and splits"
            print(f"  failed: {cause}", flush=True)
            failed.append(name)
        except KeyboardInterrupt:
            raise UserError(name, "interrupted", "the same command continues from there") from None
    return failed


def run_job(plan: Plan, name: str) -> None:
    """Run one job, unless it is finished.

    Raises:
        UserError: the job is unknown, something that it needs is not finished, another process runs it, or
            its command fails.
    """
    if name not in plan.jobs:
        raise UserError(name, "no such job", "--dry_run lists them")
    job, results = plan.jobs[name], {}
    for need, result in plan.results_of_needs(name).items():
        if result is None:
            raise UserError(name, f"needs {need}, which is not finished", "run it first")
        results[need] = result
    job.lock.parent.mkdir(parents=True, exist_ok=True)
    busy = UserError(
        job.lock,
        "another process runs this job, or a command of one that was killed",
        f"wait for it, or find it with `fuser {job.lock}` and end it",
    )
    with held(job.lock, busy) as lock:
        if job.result(results) is None:
            job.run(results, lambda words, variables: _run(words, variables, log_file(plan, name), lock))


def log_file(plan: Plan, name: str) -> Path:
    """Return the log of a job."""
    return plan.out / "logs" / f"{name}.txt"


def _run(words: Sequence[str], variables: Mapping[str, str], log: Path, lock: int | None) -> None:
    """Run a command and append its output to a log.

    It inherits the lock: a training whose runner was killed is not joined by a second one in its folder.

    Raises:
        UserError: it cannot be started, or its status is not 0; the message has the last line of the log.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    inherited = (lock,) if lock is not None and os.name == "posix" else ()
    with log.open("a", encoding="utf-8") as stream:
        stream.write(f"$ {shlex.join(words)}\n")
        stream.flush()
        try:
            status = subprocess.run(
                words,
                env=command_environment(**variables),
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                pass_fds=inherited,
                check=False,
            ).returncode
        except OSError as error:
            raise UserError(log, f"{words[0]} cannot be started ({error.strerror})") from None
    if status != 0:
        last = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-1].strip()
        raise UserError(log, f"{words[0]} ended with status {status} ({last})")
