"""Cores, memory and disks: of the machine, or of the container."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from types import SimpleNamespace

import pytest

from nnunetv2_spinesegdiff.doctor import resources
from nnunetv2_spinesegdiff.doctor.resources import check_disks, check_memory, free_memory, usable_cores


@pytest.fixture
def machine(tmp_path, monkeypatch) -> Path:
    """A machine of eight cores without container: files of the system are made up in a folder."""
    monkeypatch.setattr(resources, "CGROUP", tmp_path)
    monkeypatch.setattr(resources, "MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(resources, "SHARED", tmp_path / "shm")
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(8)), raising=False)
    monkeypatch.delenv("nnUNet_results", raising=False)
    return tmp_path


def test_cores_here():
    assert 1 <= usable_cores() <= (os.cpu_count() or 1)


@pytest.mark.parametrize(
    ("quota", "cores"),
    [("max 100000", 8), ("250000 100000", 3), ("50000 100000", 1), ("3200000 100000", 8), ("?", 8), ("", 8)],
)
def test_cores_of_a_container(quota, cores, machine):
    (machine / "cpu.max").write_text(quota + "\n")
    assert usable_cores() == cores


def test_cores_where_there_is_no_affinity(machine, monkeypatch):
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 5)
    assert usable_cores() == 5


@pytest.mark.parametrize(
    ("gigabytes", "level"), [(0.5, "problem"), (1.5, "warning"), (3.9, "warning"), (4.1, "ok"), (64, "ok")]
)
def test_memory(gigabytes, level, machine):
    (machine / "meminfo").write_text(f"MemTotal: 99 kB\n\nMemAvailable:   {gigabytes * 1e9 / 1024:.0f} kB\n")
    finding = check_memory()
    assert finding.level == level
    assert finding.seen.startswith(f"{gigabytes:.1f} GB")


def test_memory_of_a_container(machine):
    (machine / "meminfo").write_text("MemAvailable: 64000000 kB\n")
    (machine / "memory.max").write_text("8000000000\n")
    (machine / "memory.current").write_text("6500000000\n")
    assert free_memory() == 1.5e9
    (machine / "memory.max").write_text("max\n")
    assert free_memory() == 64e6 * 1024


def test_memory_where_there_is_no_proc(machine, monkeypatch):
    monkeypatch.setattr(os, "sysconf", {"SC_AVPHYS_PAGES": 1000, "SC_PAGE_SIZE": 4096}.__getitem__)
    assert free_memory() == 4096000

    def unknown(name):
        raise ValueError(name)

    monkeypatch.setattr(os, "sysconf", unknown)
    assert free_memory() is None
    assert check_memory().level == "ok"


@pytest.mark.parametrize(("gigabytes", "level"), [(0.05, "problem"), (1.0, "warning"), (2.5, "ok")])
def test_disks(gigabytes, level, machine, monkeypatch):
    usage = SimpleNamespace(free=gigabytes * 1e9, total=1e12)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage)
    monkeypatch.setenv("nnUNet_results", str(machine))
    findings = check_disks()
    assert [finding.level for finding in findings] == [level] * 2
    assert "nnUNet_results" in findings[0].seen
    assert "temporary files" in findings[1].seen
    monkeypatch.setenv("nnUNet_results", str(machine / "gone"))
    assert len(check_disks()) == 1


def test_no_folder_for_temporary_files(machine, monkeypatch):
    def none():
        raise FileNotFoundError("no usable temporary directory found")

    monkeypatch.setattr(tempfile, "gettempdir", none)
    (finding,) = check_disks()
    assert finding.level == "problem"
    assert "TMPDIR" in finding.advice


def test_little_shared_memory(machine, monkeypatch):
    (machine / "shm").mkdir()
    usage = SimpleNamespace(free=64e9, total=64e6)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage)
    assert [finding.level for finding in check_disks()] == ["ok", "warning"]
    usage.total = 8e9
    assert [finding.level for finding in check_disks()] == ["ok"]
