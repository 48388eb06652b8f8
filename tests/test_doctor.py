"""Findings of `spinesegdiff doctor`, what is printed, and the exit status."""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from packaging.specifiers import SpecifierSet

from nnunetv2_spinesegdiff import __version__, doctor
from nnunetv2_spinesegdiff.cli import main
from nnunetv2_spinesegdiff.doctor import Finding, as_json, as_text, diagnose, installation, machine, speed
from nnunetv2_spinesegdiff.doctor.findings import OURS
from nnunetv2_spinesegdiff.doctor.installation import EVAL, PREDICT
from nnunetv2_spinesegdiff.environment import COMMANDS, TRAINERS

OK = Finding("ok", "disk", "20 GB are free")
WARNING = Finding("warning", "disk", "1 GB is free " + "for something " * 12, "free some space")
PROBLEM = Finding("problem", "memory", "0.1 GB of main memory are free", "close other programs")


def found(check: Callable, *args: Any, **options: Any) -> list[Finding]:
    """The findings of a check; it fails if one lacks advice, or a check fails."""
    return [Finding(level, "", *texts) for level, *texts in check(*args, **options)]


def levels(check: Callable, *args: Any) -> list[str]:
    return [finding.level for finding in found(check, *args)]


# --- all checks together ---------------------------------------------------------------------------------


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


# --- versions --------------------------------------------------------------------------------------------


def installed_version(monkeypatch, version: str | None) -> None:
    """Let every package have this version, or none be installed."""

    def version_of(name: str) -> str:
        if version is None:
            raise metadata.PackageNotFoundError(name)
        return version

    monkeypatch.setattr(metadata, "version", version_of)


def finding_of(name: str) -> Finding:
    (finding,) = [f for f in found(installation.check_versions) if re.match(rf"{name}\b", f.seen)]
    return finding


@pytest.mark.parametrize("minor", range(8, 17))
def test_python_is_judged_as_pip_does(minor, monkeypatch):
    supported = SpecifierSet(metadata.metadata(OURS)["Requires-Python"])
    monkeypatch.setattr(sys, "version_info", (3, minor, 1, "final", 0))
    finding = finding_of("Python")
    assert finding.seen == f"Python 3.{minor}.1"
    assert finding.level == ("ok" if f"3.{minor}.1" in supported else "problem")


@pytest.mark.parametrize(
    ("name", "works", "fails"),
    [
        ("nnunetv2", ["2.8.0", "2.8.1rc1", "2.8.10"], ["2.5", "2.7.0", "2.9.0", "2.10", "3"]),
        ("torch", ["2.6.0", "2.10", "10.0+cu1"], ["2.5", "2.5.9+cu1"]),
        ("numpy", ["1.0", "3"], []),
    ],
)
def test_versions_are_judged_as_pip_does(name, works, fails, monkeypatch):
    for version in [*works, *fails]:
        installed_version(monkeypatch, version)
        finding = finding_of(name)
        assert finding.seen == f"{name} {version}"
        assert finding.level == ("ok" if version in works else "problem")
        assert version in works or f'pip install "{name}' in finding.advice


def test_packages_that_are_missing(monkeypatch):
    installed_version(monkeypatch, None)
    assert (finding_of("nnunetv2").level, finding_of("numpy").level) == ("problem", "problem")
    ours = finding_of(OURS)
    assert ours.level == "warning"
    assert "not installed" in ours.seen


@pytest.mark.parametrize(("version", "level"), [(__version__, "ok"), ("0.0.7", "warning")])
def test_this_package_runs_as_it_is_installed(version, level, monkeypatch):
    installed_version(monkeypatch, version)
    ours = finding_of(OURS)
    assert ours.level == level
    assert version in ours.seen


@pytest.fixture
def site(tmp_path, monkeypatch):
    """Two folders on the path; the package `made_up` is importable from the first."""
    folders = [tmp_path / "one", tmp_path / "two"]
    for folder in folders:
        folder.mkdir()
    (folders[0] / "made_up").mkdir()
    (folders[0] / "made_up" / "__init__.py").touch()
    monkeypatch.setattr(sys, "path", [*map(str, folders), *sys.path])
    return SimpleNamespace(one=folders[0], two=folders[1])


def install(folder: Path, editable: Path | None = None, form: str = "dist-info") -> None:
    """Write pip's record of `made_up` into a folder; with `editable`, as of a clone there."""
    record = folder / f"made_up-1.0.{form}"
    record.mkdir()
    (record / ("METADATA" if form == "dist-info" else "PKG-INFO")).write_text("Name: made_up\nVersion: 1.0\n")
    if editable is not None:
        url = {"url": editable.as_uri(), "dir_info": {"editable": True}}
        (record / "direct_url.json").write_text(json.dumps(url))


def test_packages_that_are_installed_once(site):
    assert levels(installation.check_installed_once, "made_up") == []
    assert levels(installation.check_installed_once, "nothing_of_that_name") == []
    install(site.one, form="egg-info")  # as clones have one, and the record of `pip install -e` elsewhere
    install(site.two, editable=site.one)
    assert levels(installation.check_installed_once, "made_up") == []


@pytest.mark.parametrize("clone", [True, False])
def test_packages_that_are_installed_twice(site, clone):
    install(site.one)
    install(site.two, editable=site.two if clone else None)
    (finding,) = found(installation.check_installed_once, "made_up")
    assert finding.level == "warning"
    assert str(site.one) in finding.seen
    assert str(site.two) in finding.seen
    assert "pip uninstall made_up" in finding.advice


def test_leftovers_of_pip(site):
    before = found(installation.check_leftovers)
    (site.two / "~nunetv2-2.5.dist-info").mkdir()
    (site.two / "~umpy").mkdir()
    (finding,) = [finding for finding in found(installation.check_leftovers) if finding not in before]
    assert finding.level == "warning"
    assert str(site.two / "~nunetv2-2.5.dist-info") in finding.seen


# --- environment variables -------------------------------------------------------------------------------


@pytest.mark.parametrize("variable", ["nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"])
@pytest.mark.parametrize(
    ("value", "level", "cause"),
    [
        (".", "ok", ""),
        (None, "warning", "not set"),
        ("", "warning", "not set"),
        ("gone", "problem", "not there"),
        ("file", "problem", "a file"),
        ("read_only", "warning", "not written"),
    ],
)
def test_folders_of_nnunet(variable, value, level, cause, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    (tmp_path / "read_only").mkdir()
    usual = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: "read_only" not in str(path) and usual(path, mode))
    for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
        monkeypatch.setenv(name, str(tmp_path))
    if value:
        monkeypatch.setenv(variable, str(tmp_path / value))
    elif value is None:
        monkeypatch.delenv(variable)
    else:
        monkeypatch.setenv(variable, "")
    (finding,) = [
        finding for finding in found(installation.check_folders) if finding.seen.startswith(variable)
    ]
    assert finding.level == level
    assert cause in finding.seen


def test_folders_of_trainers(tmp_path, monkeypatch):
    def level_of(*folders: object) -> dict[str, str]:
        monkeypatch.setenv("nnUNet_extTrainer", os.pathsep.join(map(str, folders)))
        return {finding.seen: finding.level for finding in found(installation.check_external_trainers)}

    link, copy, gone = tmp_path / "link", tmp_path / "copy", tmp_path / "gone"
    link.symlink_to(TRAINERS)
    copy.mkdir()
    (copy / "spinesegdiff_trainers.py").touch()
    ours = level_of(TRAINERS)
    assert list(ours.values()) == ["ok"]
    assert level_of(tmp_path, TRAINERS) == level_of(f"{link}/") == ours
    assert list(level_of().values()) == list(level_of(tmp_path).values()) == ["warning"]
    (other,) = other_copy = level_of(copy)
    assert str(copy) in other
    assert "another copy" in other
    several = level_of(gone, copy, TRAINERS)
    assert other_copy.items() | ours.items() <= several.items()
    (missing,) = several.keys() - other_copy.keys() - ours.keys()
    assert (str(gone) in missing, several[missing]) == (True, "warning")


# --- commands and trainers -------------------------------------------------------------------------------

STOCK = "import sys\nfrom nnunetv2.inference.predict_from_raw_data import predict_entry_point\n"


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """A folder that is on the PATH before the system's."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    monkeypatch.delenv("spinesegdiff_python", raising=False)
    return folder


def script(path: Path, text: str = "#!/bin/sh\necho /somewhere/else\n") -> Path:
    """By default, a Python of another environment."""
    path.write_text(text)
    path.chmod(0o755)
    return path


def prediction() -> tuple[str, str]:
    (finding,) = found(installation.check_predict_command)
    return finding.level, finding.seen


def test_our_command_and_its_python(folder, monkeypatch):
    monkeypatch.setenv("PATH", f"{COMMANDS}:{folder}:/usr/bin:/bin")
    monkeypatch.setenv("spinesegdiff_python", sys.executable)
    assert prediction()[0] == "ok"
    monkeypatch.setenv("spinesegdiff_python", str(folder / "gone"))
    assert prediction()[0] == "warning"
    other = script(folder / "python3")
    for variable in (str(other), None):  # of the variable, or the first one on the PATH
        if variable:
            monkeypatch.setenv("spinesegdiff_python", variable)
        else:
            monkeypatch.delenv("spinesegdiff_python")
        level, seen = prediction()
        assert level == "warning"
        assert f"{other} of another environment" in seen


@pytest.mark.parametrize("first", ["#!{}\n", "#!/bin/sh\n'''exec' \"{}\" \"$0\" \"$@\"\n' '''\n"])
@pytest.mark.parametrize("here", [True, False])
def test_the_stock_command_and_its_python(folder, first, here):
    python = sys.executable if here else script(folder / "python3")
    script(folder / PREDICT, first.format(python) + STOCK)
    level, seen = prediction()
    assert level == "warning"
    assert ("this" if here else "another") + " environment" in seen


def test_other_commands_and_none(folder, monkeypatch):
    script(folder / PREDICT, (COMMANDS / PREDICT).read_text())
    assert "another copy" in prediction()[1]
    (folder / PREDICT).write_bytes(b"\x7fELF\xff\xfe")
    assert "another environment" in prediction()[1]
    monkeypatch.setenv("PATH", str(folder.parent))
    level, seen = prediction()
    assert level == "warning"
    assert f"no {PREDICT}" in seen


def test_the_trainer_is_found_after_env_but_not_now(monkeypatch, capfd):
    """nnU-Net is really asked; it prints where it looks, and none of that is shown."""
    monkeypatch.delenv("nnUNet_extTrainer", raising=False)
    (finding,) = found(installation.check_trainers, seconds=600)
    assert finding.level == "warning"
    assert "after" in finding.seen
    assert capfd.readouterr() == ("", "")


ANSWER = "print('printed by others'); print('{}')"


@pytest.mark.parametrize(
    ("code", "level", "cause"),
    [
        (ANSWER.format('["", ""]'), "ok", ""),
        (ANSWER.format('["UserError: not found", ""]'), "warning", EVAL),
        (ANSWER.format('["", "ImportError: no torch"]'), "problem", "ImportError: no torch"),
        (ANSWER.format('["UserError: no", "ImportError: no torch"]'), "problem", "ImportError: no torch"),
        ("raise SystemExit(7)", "problem", "exit status 7"),
        (
            "import sys; print('a', file=sys.stderr); raise ValueError('broken')",
            "problem",
            "ValueError: broken",
        ),
        ("import time; time.sleep(600)", "warning", "within 0.9 s"),  # which may be due to a busy machine
    ],
)
def test_answers_of_the_process_that_asks_nnunet(code, level, cause, monkeypatch):
    monkeypatch.setattr(installation, "ASK", code)
    (finding,) = found(installation.check_trainers, seconds=0.9 if "sleep" in code else 60)
    assert finding.level == level
    assert cause in finding.seen


def test_the_first_answer_is_about_the_environment_as_it_is(monkeypatch):
    """The question with a check that answers by the variable."""
    quick = installation.ASK.replace(
        "from nnunetv2_spinesegdiff.preflight import check_trainer",
        "import os\n"
        "def check_trainer(name):\n"
        f"    assert {str(TRAINERS)!r} in os.environ.get('nnUNet_extTrainer', ''), name",
    )
    assert quick != installation.ASK
    monkeypatch.setattr(installation, "ASK", quick)
    monkeypatch.delenv("nnUNet_extTrainer", raising=False)
    assert levels(installation.check_trainers) == ["warning"]
    monkeypatch.setenv("nnUNet_extTrainer", str(TRAINERS))
    assert levels(installation.check_trainers) == ["ok"]


# --- cores, memory and disks -----------------------------------------------------------------------------


@pytest.fixture
def system(tmp_path, monkeypatch) -> Path:
    """A machine of eight cores without container: files of the system are in a temporary folder."""
    monkeypatch.setattr(machine, "CGROUP", tmp_path)
    monkeypatch.setattr(machine, "MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(machine, "SHARED", tmp_path / "shm")
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(8)), raising=False)
    monkeypatch.delenv("nnUNet_results", raising=False)
    return tmp_path


@pytest.mark.parametrize(
    ("quota", "cores"),
    [("max 100000", 8), ("250000 100000", 3), ("50000 100000", 1), ("3200000 100000", 8), ("?", 8), ("", 8)],
)
def test_cores_of_a_container(quota, cores, system, monkeypatch):
    (system / "cpu.max").write_text(quota + "\n")
    assert machine.usable_cores() == cores
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    assert machine.usable_cores() == 1


@pytest.mark.parametrize(
    ("gigabytes", "level"), [(0.5, "problem"), (1.5, "warning"), (3.9, "warning"), (4.1, "ok"), (64, "ok")]
)
def test_memory(gigabytes, level, system):
    (system / "meminfo").write_text(f"MemTotal: 99 kB\n\nMemAvailable:   {gigabytes * 1e9 / 1024:.0f} kB\n")
    (finding,) = found(machine.check_memory)
    assert finding.level == level
    assert finding.seen.startswith(f"{gigabytes:.1f} GB")


def test_memory_of_a_container(system):
    (system / "meminfo").write_text("MemAvailable: 64000000 kB\n")
    (system / "memory.max").write_text("8000000000\n")
    (system / "memory.current").write_text("6500000000\n")
    assert machine.free_memory() == 1.5e9
    (system / "memory.max").write_text("max\n")
    assert machine.free_memory() == 64e6 * 1024


def test_memory_without_proc(system, monkeypatch):
    monkeypatch.setattr(os, "sysconf", {"SC_AVPHYS_PAGES": 1000, "SC_PAGE_SIZE": 4096}.__getitem__)
    assert machine.free_memory() == 4096000

    def unknown(name):
        raise ValueError(name)

    monkeypatch.setattr(os, "sysconf", unknown)
    assert machine.free_memory() is None
    assert levels(machine.check_memory) == ["ok"]


@pytest.mark.parametrize(
    ("free", "shared", "expected"),
    [
        (0.05e9, None, ["problem"]),
        (1e9, 8e9, ["warning"]),
        (2.5e9, 8e9, ["ok"]),
        (64e9, 64e6, ["ok", "warning"]),
    ],
)
def test_disks(free, shared, expected, system, monkeypatch):
    if shared:
        (system / "shm").mkdir()
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=free, total=shared))
    assert levels(machine.check_disks) == expected
    monkeypatch.setenv("nnUNet_results", str(system))
    assert levels(machine.check_disks) == [expected[0], *expected]
    monkeypatch.setenv("nnUNet_results", str(system / "gone"))
    assert levels(machine.check_disks) == expected


def test_no_folder_for_temporary_files(system, monkeypatch):
    def none():
        raise FileNotFoundError("no usable temporary directory found")

    monkeypatch.setattr(tempfile, "gettempdir", none)
    (finding,) = found(machine.check_disks)
    assert finding.level == "problem"
    assert "TMPDIR" in finding.advice


# --- devices ---------------------------------------------------------------------------------------------


@pytest.fixture
def card(monkeypatch):
    """Let torch see no card; call it to let it see two with that many free bytes."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    monkeypatch.setattr(shutil, "which", lambda name: None)

    def there(free: float) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda index: (free, 80e9))
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda index: f"Card {index}")

    return there


@pytest.mark.parametrize(
    ("threads", "cores", "level", "advice"),
    [
        (2, 2, "ok", ""),
        (1, 1, "ok", ""),
        (8, 16, "ok", ""),
        (1, 2, "warning", "unset OMP_NUM_THREADS"),
        (7, 16, "warning", "OMP_NUM_THREADS=16"),
        (16, 4, "warning", "OMP_NUM_THREADS=4"),
    ],
)
def test_threads_and_cores(threads, cores, level, advice, monkeypatch, tmp_path):
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    monkeypatch.setattr(machine, "usable_cores", lambda: cores)
    monkeypatch.setattr(machine, "CPUINFO", tmp_path / "cpuinfo")
    assert levels(machine.check_cpu) == [level]
    (tmp_path / "cpuinfo").write_text("processor : 0\nmodel name\t: Some  CPU @ 2 GHz\nflags : x\n")
    (finding,) = found(machine.check_cpu)
    assert finding.seen.startswith("Some CPU @ 2 GHz, with")
    assert advice in finding.advice


@pytest.mark.parametrize(
    ("variable", "value", "fine"),
    [
        *(("OMP_NUM_THREADS", value, True) for value in ("4", "4,2")),
        *(("OMP_NUM_THREADS", value, False) for value in ("", "0", "all")),
        ("MKL_NUM_THREADS", "-1", False),
        ("OMP_PROC_BIND", "false", True),
        ("OMP_PROC_BIND", "close", False),
        ("KMP_AFFINITY", "granularity=fine,compact", False),
        ("KMP_AFFINITY", "disabled", True),
        ("GOMP_CPU_AFFINITY", "0-3", False),
    ],
)
def test_variables_of_openmp(variable, value, fine, monkeypatch):
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", *machine.PINNING):
        monkeypatch.delenv(name, raising=False)
    assert found(machine.check_threading) == []
    monkeypatch.setenv(variable, value)
    findings = found(machine.check_threading)
    assert [finding.level for finding in findings] == ([] if fine else ["warning"])
    assert all(f"{variable}={value}" in finding.seen for finding in findings)


def test_the_best_device_and_its_memory(card, monkeypatch):
    assert (levels(machine.check_cuda), levels(machine.check_mps), machine.best_device()) == ([], [], "cpu")
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert (levels(machine.check_mps), machine.best_device()) == (["ok"], "mps")
    card(40e9)
    assert (levels(machine.check_cuda), machine.best_device()) == (["ok", "ok"], "cuda")
    assert "Card 1, 40.0 of 80.0 GB" in found(machine.check_cuda)[1].seen
    card(3e9)
    assert levels(machine.check_cuda) == ["warning", "warning"]


@pytest.mark.parametrize(
    ("cuda", "reason", "cause"),
    [
        (None, None, "without CUDA"),
        ("13.0", "The NVIDIA driver is too old\n(found version 11).", "too old (found version 11)."),
        ("13.0", None, "no card"),
    ],
)
def test_a_card_that_torch_does_not_find(card, cuda, reason, cause, monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(torch.version, "cuda", cuda)

    def asked() -> bool:
        if reason:
            warnings.warn(reason, stacklevel=1)
        return False

    monkeypatch.setattr(torch.cuda, "is_available", asked)
    (finding,) = found(machine.check_cuda)
    assert finding.level == "warning"
    assert cause in finding.seen


@pytest.mark.parametrize("device", ["cuda", "mps"])
def test_a_chosen_device_that_is_missing_is_a_problem_and_not_timed(device, card):
    (finding,) = found(machine.check_chosen, device)
    assert finding.level == "problem"
    assert device.upper() in finding.seen
    assert found(speed.check_speed, device) == found(machine.check_chosen, "cpu") == []


@pytest.mark.parametrize("there", [True, False])
def test_bfloat16_is_what_predictions_accept(there, monkeypatch):
    from nnunetv2_spinesegdiff.inference import settings

    monkeypatch.setattr(settings, "_cpu_has_bfloat16", lambda: there)
    assert machine.has_bfloat16("cpu") == there
    assert ("with bfloat16" in found(machine.check_cpu)[0].seen) == there
    assert not machine.has_bfloat16("mps")


# --- speed -----------------------------------------------------------------------------------------------


def test_a_small_network_runs():
    (finding,) = found(speed.check_speed, "cpu", seconds=0.05, size=64, features=(4, 8, 8))
    assert "64 x 64" in finding.seen
    assert re.search(r"a slice takes about [\d.]+ m?s, a scan of 15 slices [\d.]+ m?s", finding.seen)


def test_the_network_is_that_of_nnunets_planner():
    """Stages, strides and kernels by nnU-Net's own rule, features as it doubles them up to 512."""
    from nnunetv2.experiment_planning.experiment_planners.network_topology import get_pool_and_conv_props

    _, strides, kernels, *_ = get_pool_and_conv_props([1.0, 1.0], [320, 320], 4, 999999)
    network: Any = speed.planned_network(speed.FEATURES)
    assert [list(stride) for stride in strides] == [list(s) for s in network.encoder.strides]
    assert [list(kernel) for kernel in kernels] == [[3, 3]] * len(speed.FEATURES)
    assert {tuple(p.shape[2:]) for p in network.encoder.parameters() if p.ndim == 4} == {(3, 3)}
    assert list(speed.FEATURES) == [min(512, 32 * 2**stage) for stage in range(len(strides))]
    assert sum(parameter.numel() for parameter in network.parameters()) == pytest.approx(33e6, rel=0.02)


@pytest.fixture
def clock(monkeypatch) -> dict[str, float]:
    """Clocks that stand still unless they are moved: of the wall, and of the processor."""
    now = {"wall": 100.0, "processor": 7.0}
    monkeypatch.setattr(time, "perf_counter", lambda: now["wall"])
    monkeypatch.setattr(time, "process_time", lambda: now["processor"])
    return now


@pytest.mark.parametrize(
    ("takes", "seconds", "fastest", "calls"),
    [
        ([0.125, 0.75, 0.25, 0.5], 3.0, 0.25, 7),  # the first one does not count
        ([1.0, 0.75, 0.25, 0.5], 3.0, 0.25, 5),
        ([30.0], 0.0, 30.0, 1),
        ([30.0], 2.0, 30.0, 1),
    ],
)
def test_the_fastest_forward_counts(takes, seconds, fastest, calls, clock):
    made: list[float] = []

    def forward() -> None:
        made.append(takes[min(len(made), len(takes) - 1)])
        clock["wall"] += made[-1]

    assert speed.best_time(forward, seconds)[0] == fastest
    assert len(made) == calls


@pytest.mark.parametrize("threads", [1, 16])
@pytest.mark.parametrize(("share", "undisturbed"), [(1.0, True), (0.75, True), (0.5, False), (0.0, False)])
def test_threads_without_their_cores_are_noticed(threads, share, undisturbed, clock, monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)

    def forward() -> None:
        clock["wall"] += 0.25
        clock["processor"] += 0.25 * threads * share

    assert speed.best_time(forward, 2.0)[1] == undisturbed


@pytest.mark.parametrize(
    ("device", "seconds", "undisturbed", "bfloat16", "level", "words"),
    [
        ("cpu", 0.16, True, True, "ok", ["0.9 s", "15 slices 13 s", "bfloat16"]),
        ("cpu", 0.16, True, False, "ok", ["0.9 s", "15 slices 13 s"]),
        ("cpu", 0.16, False, False, "warning", ["other programs"]),
        ("cpu", 1.0, True, False, "warning", ["5.6 s", "15 slices 84 s"]),
        ("cuda", 0.004, False, False, "ok", ["4.0 ms on cuda"]),
    ],
)
def test_time_for_a_scan(device, seconds, undisturbed, bfloat16, level, words, monkeypatch):
    monkeypatch.setattr(machine, "is_available", lambda device: True)
    monkeypatch.setattr(speed, "_forward", lambda *args: None)
    monkeypatch.setattr(speed, "best_time", lambda *args: (seconds, undisturbed))
    monkeypatch.setattr(machine, "has_bfloat16", lambda device: bfloat16)
    (finding,) = found(speed.check_speed, device)
    assert finding.level == level
    assert all(word in finding.seen for word in words)
    assert ("bfloat16" in finding.seen) == bfloat16


def test_a_network_that_does_not_run_is_a_problem(monkeypatch):
    def fails(*args):
        raise RuntimeError("CUDA error:\nno kernel image is available")

    monkeypatch.setattr(speed, "_forward", fails)
    (finding,) = found(speed.check_speed, "cpu")
    assert finding.level == "problem"
    assert "RuntimeError: CUDA error: no kernel image" in finding.seen


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.0042, "4.2 ms"), (0.14, "140 ms"), (0.94, "0.9 s"), (9.4, "9.4 s"), (14, "14 s"), (300, "5 min")],
)
def test_durations(seconds, words):
    assert speed.duration(seconds) == words


# --- output ----------------------------------------------------------------------------------------------


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
    assert "2 warnings; none of them stops spinesegdiff segment" in as_text([WARNING, WARNING])


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
