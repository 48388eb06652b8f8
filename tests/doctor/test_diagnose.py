"""All checks of `spinesegdiff doctor`, what is printed, and the exit status."""

from __future__ import annotations

import json
import re
import shutil
import sys
from types import SimpleNamespace

import pytest

from nnunetv2_spinesegdiff import __version__, doctor
from nnunetv2_spinesegdiff.cli import main
from nnunetv2_spinesegdiff.doctor import Finding, as_json, as_text, diagnose, installation, machine, speed

from ..helpers.doctor_findings import found

OK = Finding("ok", "disk", "20 GB are free")
WARNING = Finding("warning", "disk", "1 GB is free " + "for something " * 12, "free some space")
PROBLEM = Finding("problem", "memory", "0.1 GB of main memory are free", "close other programs")


@pytest.fixture
def quick(monkeypatch):
    """Checks that start processes or compute answer at once, and memory and disks stay as they are."""
    for module, name in (
        (installation, "check_trainers"),
        (installation, "check_predict_command"),
        (speed, "check_speed"),
    ):
        monkeypatch.setattr(module, name, lambda *args: [("ok", "fine", "")])
    monkeypatch.setattr(machine, "free_memory", lambda: 20e9)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=30e9, total=90e9))


@pytest.mark.parametrize(("level", "advice"), [("ok", "do something"), ("warning", "")])
def test_a_finding_needs_advice_unless_all_is_well(level, advice):
    with pytest.raises(ValueError, match="advice"):
        Finding(level, "disk", "x", advice)


def test_every_topic_is_checked_and_unset_folders_stop_nothing(quick, monkeypatch):
    for variable in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results", "nnUNet_extTrainer"):
        monkeypatch.delenv(variable, raising=False)
    findings = diagnose()
    topics = list(dict.fromkeys(finding.topic for finding in findings))
    assert topics == ["versions", "variables", "commands", "trainers", "memory", "disk", "device", "speed"]
    unset = [finding for finding in findings if finding.topic == "variables"]
    assert [finding.level for finding in unset] == ["warning"] * 4
    assert not doctor.stops_work(unset)
    assert doctor.stops_work([*unset, PROBLEM])


def test_a_check_that_fails_is_a_finding_and_stops_no_other(quick, monkeypatch):
    """Each check in turn raises; all others find what they found before."""
    before, usual = diagnose(), doctor.checks(None)

    def broken_check():
        raise KeyError("broken\nbadly")

    for number, (topic, _) in enumerate(usual):
        replaced = [*usual[:number], (topic, broken_check), *usual[number + 1 :]]
        monkeypatch.setattr(doctor, "checks", lambda device, replaced=replaced: replaced)
        findings = diagnose()
        (failed,) = [finding for finding in findings if "broken_check" in finding.seen]
        assert (failed.level, failed.topic) == ("warning", topic)
        assert "KeyError: 'broken\\nbadly'" in failed.seen
        assert "--json" in failed.advice
        assert [f for f in findings if f.topic != topic] == [f for f in before if f.topic != topic]


def test_without_torch_the_rest_is_checked(quick, monkeypatch):
    assert found(machine.check_torch) == []
    monkeypatch.setitem(sys.modules, "torch", None)
    findings = diagnose()
    assert (findings[-1].level, findings[-1].topic) == ("problem", "device")
    assert "torch does not load: ModuleNotFoundError" in findings[-1].seen
    assert {"versions", "variables", "disk"} < {finding.topic for finding in findings}


def test_text():
    findings = [OK, WARNING, Finding("ok", "disk", "30 GB are free"), PROBLEM]
    text = as_text(findings)
    lines = text.splitlines()
    assert max(map(len, lines)) < 100
    assert lines[0] == "disk       ok       20 GB are free; 30 GB are free"
    assert lines[1].startswith("           warning  1 GB is free")
    assert re.search(r"memory     problem  0.1 GB.*\n {20}-> close other programs", text)
    assert lines[-1] == "1 problem and 1 warning."
    for finding in (OK, WARNING, PROBLEM):
        assert " ".join(finding.seen.split()) in " ".join(text.split())
        assert finding.advice in " ".join(text.split())
    colored = as_text(findings, color=True)
    assert colored.count("\033[0m") == 3
    assert re.sub(r"\033\[\d+m", "", colored) == text
    assert as_text([OK]).endswith("\nNo problem was found.")
    assert "2 warnings, none of which prevents spinesegdiff segment" in as_text([WARNING, WARNING])


@pytest.mark.parametrize(("findings", "status"), [([OK], 0), ([OK, WARNING], 0), ([WARNING, PROBLEM], 1)])
@pytest.mark.parametrize("words", [[], ["--json"], ["-device", "cpu"]])
def test_exit_status_and_output(findings, status, words, monkeypatch, capsys):
    asked: list[str | None] = []

    def diagnosed(device: str | None) -> list[Finding]:
        asked.append(device)
        return findings

    monkeypatch.setattr(doctor, "diagnose", diagnosed)
    assert main(["doctor", *words]) == status
    assert asked == (["cpu"] if "cpu" in words else [None])
    output = capsys.readouterr()
    assert output.err == ""
    assert output.out == (as_json(findings) if words == ["--json"] else as_text(findings)) + "\n"


def test_json_of_this_machine_holds_no_home(quick, monkeypatch, tmp_path, capsys):
    home = tmp_path / "anna"
    (home / "raw").mkdir(parents=True)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("nnUNet_raw", str(home / "raw"))
    assert main(["doctor", "--json"]) in (0, 1)
    output = capsys.readouterr().out
    assert "nnUNet_raw=~/raw" in output
    assert str(home) not in output
    content = json.loads(output)
    assert content["version"] == __version__
    assert all(Finding(**finding) for finding in content["findings"])
