"""How long a slice takes."""

from __future__ import annotations

import re
import time
from typing import Any

import pytest
import torch

from nnunetv2_spinesegdiff.doctor import machine, speed

from ..helpers.doctor_findings import found


def test_a_small_network_runs():
    (finding,) = found(speed.check_speed, "cpu", seconds=0.05, size=64, features=(4, 8, 8))
    assert "64 x 64" in finding.seen
    assert re.search(r"about [\d.]+ m?s for a slice and [\d.]+ m?s for 15 slices", finding.seen)


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
        ("cpu", 0.16, True, True, "ok", ["346 ms", "5.2 s for 15 slices", "bfloat16"]),
        ("cpu", 0.16, True, False, "ok", ["346 ms", "5.2 s for 15 slices"]),
        ("cpu", 0.16, False, False, "warning", ["other programs"]),
        ("cpu", 3.0, True, False, "warning", ["6.5 s", "97 s for 15 slices"]),
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
