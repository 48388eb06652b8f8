"""What is missing is run, one job after the other; a job that fails stops only those that need it."""

from __future__ import annotations

import os
import shlex
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from ..environment import command_environment
from ..errors import UserError
from ..locks import lock
from .plan import Plan

EXPECTED = (UserError, OSError, ValueError, LookupError, TypeError)
"""What a job may fail with; the last three come of files such as dataset.json that hold something else."""


def run_missing(plan: Plan) -> list[str]:
    """Run all jobs that are not finished; returns those that are not finished then, either.

    Prints a line when a job begins and one when it ends.

    Raises:
        UserError: Ctrl-C was pressed.
    """
    waiting = plan.unfinished()
    print(f"{len(plan.jobs) - len(waiting)} of {len(plan.jobs)} jobs are finished already", flush=True)
    lost: list[str] = []
    for number, name in enumerate(waiting, start=1):
        hindered = [need for need in plan.jobs[name].needs if need in lost]
        start = f"[{number}/{len(waiting)}] {name}"
        if hindered:
            print(f"{start}: not run, it needs {hindered[0]}", flush=True)
            lost.append(name)
            continue
        print(f"{start}: log {log_of(plan, name)}", flush=True)
        began = time.monotonic()
        try:
            run_job(plan, name)
            print(f"  finished in {time.monotonic() - began:.0f} s", flush=True)
        except EXPECTED as error:
            print(f"  failed: {_in_one_line(error)}", flush=True)
            lost.append(name)
        except KeyboardInterrupt:
            raise UserError(f"stopped in {name}; the same command goes on from there") from None
    return lost


def run_job(plan: Plan, name: str) -> None:
    """Run one job, unless it is finished.

    Raises:
        UserError: something that it needs is not finished, another process runs it, or its command fails.
    """
    job = plan.job(name)
    needed = {need: plan.result(need) for need in job.needs}
    missing = [need for need, result in needed.items() if result is None]
    if missing:
        raise UserError(f"{name}: needs {missing[0]}, which is not finished; run it first")
    results = {need: result for need, result in needed.items() if result is not None}
    with _held(job.lock) as lock:
        if job.result(results) is None:
            job.run(results, lambda words, variables: _run(words, variables, log_of(plan, name), lock))


def log_of(plan: Plan, name: str) -> Path:
    return plan.out / "logs" / f"{name}.txt"


@contextmanager
def _held(path: Path) -> Iterator[int]:
    """Hold a lock that lasts as long as this process or the command that it started; gives its descriptor.

    Raises:
        UserError: another process holds it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        if not lock(descriptor):
            raise UserError(
                f"{path}: another process is at this job, or a command of one that was killed; "
                f"wait for it, or find it with `fuser {path}` and end it"
            )
        yield descriptor
    finally:
        os.close(descriptor)


def _run(words: Sequence[str], variables: Mapping[str, str], log: Path, lock: int) -> None:
    """Run a command; what it prints is added to a log.

    It keeps the lock: a training whose runner was killed is not joined by a second one in its folder.

    Raises:
        UserError: it cannot be started, or ends with another status than 0; the message has the last line.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
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
                pass_fds=(lock,),
                check=False,
            ).returncode
        except OSError as error:
            raise UserError(f"{log}: {words[0]} cannot be started ({error.strerror})") from None
    if status != 0:
        raise UserError(f"{log}: {words[0]} ended with status {status} ({_last_line(log)})")


def _in_one_line(error: BaseException) -> str:
    if isinstance(error, UserError | OSError):
        return str(error)
    text = " ".join(f"{type(error).__name__}: {error}".split())
    return (
        f"a file that it reads holds something else than expected ({text}); look into dataset.json and splits"
    )


def _last_line(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return lines[-1].strip()
