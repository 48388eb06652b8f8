"""Running what is missing, with commands that take no time."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from nnunetv2_spinesegdiff.errors import UserError
from nnunetv2_spinesegdiff.experiments import command
from nnunetv2_spinesegdiff.experiments.jobs import RecordedJob, Shell
from nnunetv2_spinesegdiff.experiments.plan import Choices, Plan
from nnunetv2_spinesegdiff.experiments.runner import log_of, run_job, run_missing


@dataclass(frozen=True)
class Line(RecordedJob):
    """A line for the shell."""

    line: str

    def command(self) -> list[str]:
        return ["sh", "-c", self.line]

    def variables(self) -> dict[str, str]:
        return {"spinesegdiff_stage1": "of this job"}

    def recipe(self) -> dict[str, Any]:
        return {}

    def work(self, made_of: Mapping[str, Any], shell: Shell) -> None:
        shell(self.command(), self.variables())


@pytest.fixture
def lines(plan: Plan) -> Plan:
    """c needs a and b; d needs c; e needs nothing. Each adds its name to the file `ran`."""
    needs = {"a": (), "b": (), "c": ("a", "b"), "d": ("c",), "e": ()}
    plan.jobs = {name: line(plan, name, f"echo {name} >> {plan.out}/ran", n) for name, n in needs.items()}
    return plan


def line(plan: Plan, name: str, text: str, needs: tuple[str, ...] = ()) -> Line:
    return Line(name, needs, plan.out, text)


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


def test_what_is_made_of_a_result_is_made_again_with_it(lines):
    run_missing(lines)
    (lines.out / "jobs" / "b.json").unlink()
    run_missing(lines)
    assert ran(lines) == "abcde" + "bcd"


def test_a_failure_stops_only_those_that_need_it(lines, capsys):
    lines.jobs["a"] = line(lines, "a", "echo why; exit 3")
    assert run_missing(lines) == ["a", "c", "d"]
    assert ran(lines) == "be"
    told = capsys.readouterr().out
    assert f"failed: {log_of(lines, 'a')}: sh ended with status 3 (why)" in told
    assert "c: not run, it needs a" in told
    lines.jobs["a"] = line(lines, "a", f"echo a >> {lines.out}/ran")
    assert run_missing(lines) == []
    assert ran(lines) == "be" + "acd"


def test_logs_hold_the_command_and_all_attempts(lines):
    for text in ("echo first; exit 1", "echo second >&2"):
        lines.jobs["a"] = line(lines, "a", text)
        run_missing(lines)
    expected = "$ sh -c 'echo first; exit 1'\nfirst\n$ sh -c 'echo second >&2'\nsecond\n"
    assert log_of(lines, "a").read_text() == expected


def test_a_command_that_is_not_there_is_one_line(lines):
    class Unknown(Line):
        def command(self) -> list[str]:
            return ["no-such-command"]

    lines.jobs["a"] = Unknown("a", (), lines.out, "")
    with pytest.raises(UserError, match="no-such-command cannot be started"):
        run_job(lines, "a")


def test_ctrl_c_is_one_line(lines):
    class Stopped(Line):
        def work(self, made_of: Mapping[str, Any], shell: Shell) -> None:
            raise KeyboardInterrupt

    lines.jobs["b"] = Stopped("b", (), lines.out, "")
    with pytest.raises(UserError, match="stopped in b; the same command goes on"):
        run_missing(lines)
    assert ran(lines) == "a"


def test_a_full_disk_stops_one_job(lines, capsys):
    class Full(Line):
        def work(self, made_of: Mapping[str, Any], shell: Shell) -> None:
            raise OSError(28, "No space left on device")

    lines.jobs["b"] = Full("b", (), lines.out, "")
    assert run_missing(lines) == ["b", "c", "d"]
    assert "failed: [Errno 28] No space left on device" in capsys.readouterr().out


@pytest.mark.parametrize("error", [ValueError("Expecting value:\nline 1"), KeyError("file_ending")], ids=repr)
def test_a_malformed_file_stops_one_job(lines, capsys, error):
    class Malformed(Line):
        def work(self, made_of: Mapping[str, Any], shell: Shell) -> None:
            raise error

    lines.jobs["b"] = Malformed("b", (), lines.out, "")
    assert run_missing(lines) == ["b", "c", "d"]
    assert ran(lines) == "ae"
    told = next(line for line in capsys.readouterr().out.splitlines() if "failed" in line)
    assert type(error).__name__ in told
    assert told.endswith("look into dataset.json and splits")


def test_one_job_alone_needs_what_it_needs(lines):
    with pytest.raises(UserError, match="c: needs a, which is not finished"):
        run_job(lines, "c")
    for name in "abcc":
        run_job(lines, name)
    assert ran(lines) == "abc"


def test_commands_have_the_jobs_own_stage_1_and_not_the_users(lines, monkeypatch):
    monkeypatch.setenv("spinesegdiff_stage1", "of the user")
    text = f'echo "$spinesegdiff_stage1" > {lines.out}/stage1'
    lines.jobs["a"] = line(lines, "a", text)
    run_job(lines, "a")
    assert (lines.out / "stage1").read_text() == "of this job\n"


def test_two_processes_do_not_run_one_job(lines):
    lock = lines.jobs["a"].lock
    lock.parent.mkdir(parents=True)
    with lock.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(UserError, match="another process is at this job"):
            run_job(lines, "a")
        run_job(lines, "b")
    run_job(lines, "a")
    assert ran(lines) == "ba"


def test_a_file_system_without_locks_is_no_obstacle(lines, monkeypatch):
    def refuse(*words: Any) -> None:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", refuse)
    assert run_missing(lines) == []
    assert ran(lines) == "abcde"


def test_a_command_that_outlives_its_runner_keeps_the_lock(lines):
    """As a training does whose runner was killed alone."""
    lines.jobs["a"] = line(lines, "a", f"sleep 20 & echo $! > {lines.out}/pid")
    run_job(lines, "a")
    (lines.out / "jobs" / "a.json").unlink()
    with pytest.raises(UserError, match="another process is at this job"):
        run_job(lines, "a")
    os.kill(int((lines.out / "pid").read_text()), 9)


def test_jobs_that_failed_make_the_exit_status(lines, monkeypatch, small):
    lines.jobs["a"] = line(lines, "a", "exit 1")
    monkeypatch.setattr(command, "Plan", lambda choices: lines)
    with pytest.raises(UserError, match="3 of 5 jobs are not finished, a is the first"):
        command.reproduce(Choices(small, [501], Path("out"), device="cpu"))
