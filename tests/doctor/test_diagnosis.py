"""All checks together, what people and machines read of them, and the exit status."""

from __future__ import annotations

import getpass
import json
import re
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from nnunetv2_spinesegdiff import __version__
from nnunetv2_spinesegdiff.cli import main
from nnunetv2_spinesegdiff.doctor import commands, devices, diagnosis, resources, speed, trainers
from nnunetv2_spinesegdiff.doctor.diagnosis import diagnose, stops_work
from nnunetv2_spinesegdiff.doctor.finding import Finding
from nnunetv2_spinesegdiff.doctor.text import as_json, as_text, without_names

OK = Finding("ok", "disk", "20 GB are free")
WARNING = Finding("warning", "disk", "1 GB is free " + "for something " * 12, "free some space")
PROBLEM = Finding("problem", "memory", "0.1 GB of main memory are free", "close other programs")


@pytest.fixture
def quick(monkeypatch):
    """Checks that start processes or compute answer at once, and memory and disks stay as they are."""
    for module, name in (
        (trainers, "check_trainers"),
        (commands, "check_predict_command"),
        (speed, "check_speed"),
    ):
        monkeypatch.setattr(module, name, lambda *args, topic=module.TOPIC: Finding("ok", topic, "fine"))
    monkeypatch.setattr(devices, "best_device", lambda: "cpu")
    monkeypatch.setattr(resources, "free_memory", lambda: 20e9)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=30e9, total=90e9))


def test_a_finding_needs_advice_unless_all_is_well():
    with pytest.raises(ValueError, match="advice"):
        Finding("ok", "disk", "x", "do something")
    with pytest.raises(ValueError, match="advice"):
        Finding("warning", "disk", "x")


def test_every_topic_is_looked_at(quick):
    topics = list(dict.fromkeys(finding.topic for finding in diagnose()))
    assert topics == ["versions", "variables", "commands", "trainers", "memory", "disk", "device", "speed"]


def test_unset_folders_stop_nothing(quick, monkeypatch):
    for variable in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results", "nnUNet_extTrainer"):
        monkeypatch.delenv(variable, raising=False)
    unset = [finding for finding in diagnose() if finding.topic == "variables"]
    assert [finding.level for finding in unset] == ["warning"] * 4
    assert not stops_work(unset)
    assert stops_work([*unset, PROBLEM])


@pytest.mark.parametrize("number", range(len(diagnosis._checks()) + 5))
def test_a_check_that_fails_is_a_finding_and_stops_no_other(number, quick, monkeypatch):
    """Each check in turn raises; all others find what they found before."""
    before = diagnose()
    real = (diagnosis._checks, diagnosis._checks_of)

    def broken_check():
        raise KeyError("broken\nbadly")

    def checks():
        return replaced(real[0](), number)

    def checks_of(device):
        return replaced(real[1](device), number - len(real[0]()))

    def replaced(all_checks, index):
        if 0 <= index < len(all_checks):
            all_checks[index] = (all_checks[index][0], broken_check)
        return all_checks

    monkeypatch.setattr(diagnosis, "_checks", checks)
    monkeypatch.setattr(diagnosis, "_checks_of", checks_of)
    findings = diagnose()
    failed = [finding for finding in findings if "failed itself" in finding.seen]
    assert [finding.level for finding in failed] == ["warning"]
    assert "broken_check failed itself: KeyError: 'broken\\nbadly'" in failed[0].seen
    assert "--json" in failed[0].advice
    others = {finding.topic for finding in before} - {failed[0].topic}
    assert [f for f in findings if f.topic in others] == [f for f in before if f.topic in others]


def test_the_name_of_a_check_with_arguments_is_told(monkeypatch):
    def fails(*args):
        raise OSError("no such device")

    monkeypatch.setattr(resources, "free_memory", fails)
    told = [finding.seen for finding in diagnosis._run("memory", resources.check_memory)]
    assert told == ["check_memory failed itself: OSError: no such device"]


def test_without_torch_the_rest_is_told(quick, monkeypatch):
    broken = Finding("problem", devices.TOPIC, "torch does not load", "install it")
    monkeypatch.setattr(devices, "check_torch", lambda: [broken])
    monkeypatch.setattr(devices, "check_cpu", lambda: 1 / 0)
    findings = diagnose()
    assert findings[-1] == broken
    assert {"versions", "variables", "disk"} < {finding.topic for finding in findings}


def test_a_device_that_is_not_there_is_not_timed(quick, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    findings = diagnose("cuda")
    assert (findings[-1].level, findings[-1].topic) == ("problem", "device")
    assert [finding.topic for finding in diagnose("cpu")][-1] == "speed"


def test_a_torch_that_fails_when_asked_for_devices(quick, monkeypatch):
    def fails():
        raise RuntimeError("CUDA driver initialization failed")

    monkeypatch.setattr(devices, "best_device", fails)
    last = diagnose()[-1]
    assert (last.level, last.topic) == ("warning", "speed")
    assert last.seen == "_timed failed itself: RuntimeError: CUDA driver initialization failed"


def test_text():
    text = as_text([OK, WARNING, Finding("ok", "disk", "30 GB are free"), PROBLEM])
    assert "\033" not in text
    assert max(map(len, text.splitlines())) < 100
    lines = text.splitlines()
    assert lines[0] == "disk       ok       20 GB are free; 30 GB are free"
    assert lines[1].startswith("           warning  1 GB is free")
    assert re.search(r"memory     problem  0.1 GB.*\n {20}-> close other programs", text)
    assert lines[-1] == "1 problem and 1 warning."
    said = " ".join(text.split())
    for finding in (OK, WARNING, PROBLEM):
        assert " ".join(finding.seen.split()) in said
        assert finding.advice in said


def test_the_summary_says_what_it_means_for_segment():
    assert as_text([OK]).endswith("\nAll is well.")
    assert as_text([WARNING, WARNING]).endswith("\n2 warnings; none of them stops spinesegdiff segment.")
    assert as_text([PROBLEM]).endswith("\n1 problem.")


def test_colours_change_nothing_else():
    findings = [OK, WARNING, PROBLEM]
    coloured = as_text(findings, colour=True)
    assert coloured.count("\033[0m") == 3
    assert re.sub(r"\033\[\d+m", "", coloured) == as_text(findings)


def test_json():
    content = json.loads(as_json([OK, WARNING], "1.2.3"))
    assert content["version"] == "1.2.3"
    assert [Finding(**finding) for finding in content["findings"]] == [OK, WARNING]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("nnUNet_raw=/home/anna/data is not there", "nnUNet_raw=~/data is not there"),
        ('"/home/anna", /home/anna/x:/home/anna', '"~", ~/x:~'),
        ("/home/annabel/x and /home/anna.old", "/home/annabel/x and /home/anna.old"),
        ("/scratch/anna/x and /scratch/anna", "/scratch/USER/x and /scratch/USER"),
        ("anna is a word, /mnt/home/anna too", "anna is a word, /mnt/home/USER too"),
    ],
)
def test_names_are_left_out(text, expected, monkeypatch):
    monkeypatch.setenv("HOME", "/home/anna")
    monkeypatch.setattr(getpass, "getuser", lambda: "anna")
    assert without_names(text) == expected


def test_a_user_without_a_name(monkeypatch):
    def nobody():
        raise KeyError("getpwuid(): uid not found: 1234")

    monkeypatch.setattr(getpass, "getuser", nobody)
    monkeypatch.setenv("HOME", "/")
    assert without_names("/data/x") == "/data/x"


@pytest.mark.parametrize(("findings", "status"), [([OK], 0), ([OK, WARNING], 0), ([WARNING, PROBLEM], 1)])
@pytest.mark.parametrize("words", [[], ["--json"], ["-device", "cpu"]])
def test_exit_status(findings, status, words, monkeypatch, capsys):
    asked: list[str | None] = []

    def diagnosed(device: str | None) -> list[Finding]:
        asked.append(device)
        return findings

    monkeypatch.setattr(diagnosis, "diagnose", diagnosed)
    assert main(["doctor", *words]) == status
    assert asked == (["cpu"] if "cpu" in words else [None])
    output = capsys.readouterr()
    assert output.err == ""
    if words == ["--json"]:
        assert json.loads(output.out)["version"] == __version__
    else:
        assert output.out == as_text(findings) + "\n"


def test_json_of_this_machine_holds_no_home(quick, monkeypatch, tmp_path, capsys):
    home = tmp_path / "anna"
    (home / "raw").mkdir(parents=True)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("nnUNet_raw", str(home / "raw"))
    assert main(["doctor", "--json"]) in (0, 1)
    output = capsys.readouterr().out
    assert "nnUNet_raw=~/raw" in output
    assert str(Path(home)) not in output
    json.loads(output)
