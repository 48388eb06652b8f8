"""Findings on cores, memory, disks and devices."""

from __future__ import annotations

import os
import shutil
import tempfile
import warnings
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from nnunetv2_spinesegdiff.doctor import machine, speed

from ..helpers.doctor_findings import found, levels


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
