"""Running what is missing, with commands that take no time."""

from __future__ import annotations

import fcntl
import multiprocessing
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from nnunetv2_spinesegdiff.errors import UserError
from nnunetv2_spinesegdiff.experiments import command
from nnunetv2_spinesegdiff.experiments.command import log_file, run_job, run_missing
from nnunetv2_spinesegdiff.experiments.jobs import RecordedJob, Shell
from nnunetv2_spinesegdiff.experiments.plan import Plan
from nnunetv2_spinesegdiff.locks import held


@dataclass(frozen=True)
class Line(RecordedJob):
    """A line for the shell, or an error."""

    line: str | BaseException

    def command(self) -> list[str]:
        return ["sh", "-c", str(self.line)]

    def variables(self) -> dict[str, str]:
        return {"spinesegdiff_stage1": "of this job"}

    def recipe(self) -> dict[str, Any]:
        return {}

    def work(self, made_of: Mapping[str, Any], shell: Shell) -> None:
        if isinstance(self.line, BaseException):
            raise self.line
        shell(self.command(), self.variables())


@pytest.fixture
def lines(plan: Plan) -> Plan:
    """c needs a and b; d needs c; e needs nothing. Each adds its name to the file `ran`."""
    needs = {"a": (), "b": (), "c": ("a", "b"), "d": ("c",), "e": ()}
    plan.jobs = {name: Line(name, n, plan.out, f"echo {name} >> {plan.out}/ran") for name, n in needs.items()}
    return plan


def replace(plan: Plan, name: str, line: str | BaseException) -> None:
    plan.jobs[name] = Line(name, (), plan.out, line)


def ran(plan: Plan) -> str:
    file = plan.out / "ran"
    return "".join(file.read_text().split()) if file.exists() else ""


def test_what_is_missing_runs_once_in_order(lines, capsys):
    assert run_missing(lines) == []
    assert ran(lines) == "abcde"
    assert "0 of 5 jobs are finished already" in capsys.readouterr().out
    assert run_missing(lines) == []
    assert ran(lines) == "abcde"
    assert capsys.readouterr().out == "5 of 5 jobs are finished already\n"
    (lines.out / "jobs" / "b.json").unlink()
    run_missing(lines)
    assert ran(lines) == "abcde" + "bcd"  # what is made from b, too


def test_a_failure_stops_only_those_that_need_it(lines, capsys):
    replace(lines, "a", "echo why; exit 3")
    assert run_missing(lines) == ["a", "c", "d"]
    assert ran(lines) == "be"
    output = capsys.readouterr().out
    assert f"failed: {log_file(lines, 'a')}: sh ended with status 3 (why)" in output
    assert "c: not run, it needs a" in output
    replace(lines, "a", f"echo a >> {lines.out}/ran")
    assert run_missing(lines) == []
    assert ran(lines) == "be" + "acd"


@pytest.mark.parametrize(
    ("error", "causes"),
    [
        (OSError(28, "No space left on device"), ["No space left on device"]),
        (ValueError("Expecting value:\nline 1"), ["ValueError", "dataset.json"]),
        (KeyError("file_ending"), ["KeyError", "dataset.json"]),
    ],
    ids=repr,
)
def test_an_error_in_this_process_stops_one_job(lines, capsys, error, causes):
    replace(lines, "b", error)
    assert run_missing(lines) == ["b", "c", "d"]
    assert ran(lines) == "ae"
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "failed" in line]
    assert all(cause in line for cause in causes)


def test_logs_hold_the_command_and_all_attempts(lines):
    for text in ("echo first; exit 1", "echo second >&2"):
        replace(lines, "a", text)
        run_missing(lines)
    expected = "$ sh -c 'echo first; exit 1'\nfirst\n$ sh -c 'echo second >&2'\nsecond\n"
    assert log_file(lines, "a").read_text() == expected


def test_errors_of_a_command_are_one_line(lines, monkeypatch):
    replace(lines, "b", KeyboardInterrupt())
    with pytest.raises(UserError, match="b: interrupted"):
        run_missing(lines)
    assert ran(lines) == "a"
    monkeypatch.setattr(Line, "command", lambda job: ["no-such-command"])
    with pytest.raises(UserError, match="no-such-command cannot be started"):
        run_job(lines, "e")


def test_one_job_alone_needs_what_it_needs(lines):
    with pytest.raises(UserError, match="c: needs a"):
        run_job(lines, "c")
    with pytest.raises(UserError, match=r"train-x: .*--dry_run"):
        run_job(lines, "train-x")
    for name in "abcc":
        run_job(lines, name)
    assert ran(lines) == "abc"


def test_commands_have_the_jobs_own_stage_1_and_not_the_users(lines, monkeypatch):
    monkeypatch.setenv("spinesegdiff_stage1", "of the user")
    replace(lines, "a", f'echo "$spinesegdiff_stage1" > {lines.out}/stage1')
    run_job(lines, "a")
    assert (lines.out / "stage1").read_text() == "of this job\n"


def test_two_processes_do_not_run_one_job(lines):
    lock = lines.jobs["a"].lock
    lock.parent.mkdir(parents=True)
    with held(lock, OSError()):
        with pytest.raises(UserError, match=f"{lock}: another process"):
            run_job(lines, "a")
        run_job(lines, "b")
    run_job(lines, "a")
    assert ran(lines) == "ba"


@pytest.mark.parametrize("number", [38, 37])
@pytest.mark.filterwarnings("ignore:flock")
def test_a_file_system_without_locks_is_no_obstacle(lines, monkeypatch, number):
    """Function not implemented, or no locks available."""

    def refuse(*words: Any) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refuse)
    assert run_missing(lines) == []
    assert ran(lines) == "abcde"


def wait_until(happened: Callable[[], Any]) -> None:
    deadline = time.monotonic() + 60
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_command_that_outlives_its_killed_runner_keeps_the_lock(lines):
    """As a training does. The open file is taken from inside filelock's lock."""
    replace(lines, "a", f"echo $$ > {lines.out}/pid; exec sleep 60")
    runner = multiprocessing.get_context("fork").Process(target=run_job, args=(lines, "a"))
    runner.start()
    pid_file: Path = lines.out / "pid"
    wait_until(lambda: pid_file.exists() and pid_file.read_text())
    runner.kill()
    runner.join()
    try:
        with pytest.raises(UserError, match="another process"):
            run_job(lines, "a")
    finally:
        os.kill(int(pid_file.read_text()), 9)
    replace(lines, "a", f"echo a >> {lines.out}/ran")
    wait_until(lambda: not run_missing(lines))


def test_jobs_that_failed_make_the_exit_status(lines):
    replace(lines, "a", "exit 1")
    with pytest.raises(UserError, match=r"3 of 5 jobs .*a$"):
        command.reproduce(lines)
