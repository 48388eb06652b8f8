"""What torch sees, and what it should see."""

from __future__ import annotations

import shutil
import sys
import warnings

import pytest
import torch

from nnunetv2_spinesegdiff.doctor import devices
from nnunetv2_spinesegdiff.doctor.devices import (
    best_device,
    check_chosen,
    check_cpu,
    check_cuda,
    check_mps,
    check_threading,
    check_torch,
    has_bfloat16,
)


@pytest.fixture(autouse=True)
def no_variables(monkeypatch):
    for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", *devices.PINNING):
        monkeypatch.delenv(variable, raising=False)


@pytest.fixture
def card(monkeypatch):
    """Let torch see no card; call it to let it see one with that many free bytes."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)

    def there(free: float) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda index: (free, 80e9))
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda index: f"Card {index}")

    return there


def on_the_path(monkeypatch, there: bool) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}" if there else None)


def test_torch_loads():
    assert check_torch() == []


def test_torch_that_does_not_load(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    (finding,) = check_torch()
    assert finding.level == "problem"
    assert "torch does not load: ModuleNotFoundError" in finding.seen


@pytest.mark.parametrize(
    ("threads", "cores", "level", "advice"),
    [
        (2, 2, "ok", ""),
        (1, 1, "ok", ""),
        (8, 16, "ok", ""),
        (1, 2, "warning", "unset OMP_NUM_THREADS"),
        (7, 16, "warning", "export OMP_NUM_THREADS=16"),
        (16, 4, "warning", "export OMP_NUM_THREADS=4"),
    ],
)
def test_threads_and_cores(threads, cores, level, advice, monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    monkeypatch.setattr(devices, "usable_cores", lambda: cores)
    (finding,) = check_cpu()
    assert finding.level == level
    assert advice in finding.advice
    assert f"{threads} thread{'s' * (threads > 1)} on {cores} core{'s' * (cores > 1)}" in finding.seen


def test_the_name_of_the_processor(tmp_path, monkeypatch):
    monkeypatch.setattr(devices, "CPUINFO", tmp_path / "cpuinfo")
    assert check_cpu()[0].seen.split(",")[0]
    (tmp_path / "cpuinfo").write_text("processor : 0\nmodel name\t: Some  CPU @ 2 GHz\nflags : x\n")
    assert check_cpu()[0].seen.startswith("Some CPU @ 2 GHz, with")


@pytest.mark.parametrize(
    ("variable", "value", "fine"),
    [
        ("OMP_NUM_THREADS", "4", True),
        ("OMP_NUM_THREADS", "4,2", True),
        ("OMP_NUM_THREADS", "", False),
        ("OMP_NUM_THREADS", "0", False),
        ("OMP_NUM_THREADS", "all", False),
        ("MKL_NUM_THREADS", "-1", False),
        ("OMP_PROC_BIND", "false", True),
        ("OMP_PROC_BIND", "close", False),
        ("KMP_AFFINITY", "granularity=fine,compact", False),
        ("KMP_AFFINITY", "disabled", True),
        ("GOMP_CPU_AFFINITY", "0-3", False),
    ],
)
def test_variables_of_openmp(variable, value, fine, monkeypatch):
    assert check_threading() == []
    monkeypatch.setenv(variable, value)
    findings = check_threading()
    assert [finding.level for finding in findings] == ([] if fine else ["warning"])
    assert all(f"{variable}={value}" in finding.seen for finding in findings)


def test_cards(card, monkeypatch):
    card(40e9)
    findings = check_cuda()
    assert [finding.level for finding in findings] == ["ok", "ok"]
    assert findings[1].seen == "cuda:1 is Card 1, 40.0 of 80.0 GB are free"
    card(3e9)
    assert [finding.level for finding in check_cuda()] == ["warning", "warning"]


def test_no_card(card, monkeypatch):
    on_the_path(monkeypatch, False)
    assert check_cuda() == []
    assert check_mps() == []


def test_torch_without_cuda(card, monkeypatch):
    on_the_path(monkeypatch, True)
    monkeypatch.setattr(torch.version, "cuda", None)
    (finding,) = check_cuda()
    assert finding.level == "warning"
    assert "was built without CUDA" in finding.seen


@pytest.mark.parametrize("tells", [True, False])
def test_a_driver_that_is_too_old(card, tells, monkeypatch):
    on_the_path(monkeypatch, True)
    monkeypatch.setattr(torch.version, "cuda", "13.0")

    def asked() -> bool:
        if tells:
            warnings.warn("The NVIDIA driver on your system is too old\n(found version 11).", stacklevel=1)
        return False

    monkeypatch.setattr(torch.cuda, "is_available", asked)
    (finding,) = check_cuda()
    assert finding.level == "warning"
    assert "torch with CUDA 13.0 finds no card" in finding.seen
    assert ("too old (found version 11)." in finding.seen) == tells
    assert "update the driver" in finding.advice


def test_mps(card, monkeypatch):
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert [finding.level for finding in check_mps()] == ["ok"]
    assert best_device() == "mps"


def test_the_best_device(card):
    assert best_device() == "cpu"
    card(40e9)
    assert best_device() == "cuda"


@pytest.mark.parametrize("device", ["cuda", "mps"])
def test_a_device_that_is_not_there(device, card):
    (finding,) = check_chosen(device)
    assert finding.level == "problem"
    assert finding.seen == f"no {device.upper()} device was found"
    assert "-device cpu" in finding.advice
    assert check_chosen("cpu") == []


@pytest.mark.parametrize("there", [True, False])
def test_bfloat16_is_what_predictions_accept(there, monkeypatch):
    from nnunetv2_spinesegdiff.inference import settings

    monkeypatch.setattr(settings, "_cpu_has_bfloat16", lambda: there)
    assert has_bfloat16("cpu") == there
    assert ("with bfloat16" in check_cpu()[0].seen) == there
    assert not has_bfloat16("mps")
