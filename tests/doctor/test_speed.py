"""The network is run, the fastest forward counts, and what it costs is told in words."""

from __future__ import annotations

import re
import time

import pytest
import torch

from nnunetv2_spinesegdiff.doctor import speed
from nnunetv2_spinesegdiff.doctor.speed import FEATURES, best_time, check_speed, duration


def test_a_small_network_runs():
    finding = check_speed("cpu", seconds=0.05, size=64, features=(4, 8, 8))
    assert "a forward of a slice of 64 x 64 takes" in finding.seen
    assert re.search(r"with --preset fast a slice takes about [\d.]+ m?s, a scan of 15 slices", finding.seen)


def test_the_network_is_that_of_nnunets_planner():
    """Stages, strides and kernels by nnU-Net's own rule, features as it doubles them up to 512."""
    from nnunetv2.experiment_planning.experiment_planners.network_topology import get_pool_and_conv_props
    from nnunetv2.utilities.get_network_from_plans import get_network_from_plans

    _, strides, kernels, *_ = get_pool_and_conv_props([1.0, 1.0], [320, 320], 4, 999999)
    network, planned, to_import = speed.planned_architecture(FEATURES)
    assert [list(stride) for stride in strides] == planned["strides"]
    assert [list(kernel) for kernel in kernels] == planned["kernel_sizes"]
    assert planned["features_per_stage"] == [min(512, 32 * 2**stage) for stage in range(len(strides))]
    built = get_network_from_plans(network, planned, to_import, 1, 4, deep_supervision=False)
    assert sum(parameter.numel() for parameter in built.parameters()) == pytest.approx(33e6, rel=0.02)


@pytest.fixture
def clock(monkeypatch) -> dict[str, float]:
    """Clocks that stand still unless they are moved: of the wall, and of the processor."""
    told = {"wall": 100.0, "processor": 7.0}
    monkeypatch.setattr(time, "perf_counter", lambda: told["wall"])
    monkeypatch.setattr(time, "process_time", lambda: told["processor"])
    return told


@pytest.mark.parametrize("first", [0.125, 1.0])
def test_the_fastest_counts_and_the_first_does_not(first, clock):
    took: list[float] = []

    def forward() -> None:
        took.append([first, 0.75, 0.25, 0.5][min(len(took), 3)])
        clock["wall"] += took[-1]

    assert best_time(forward, 3.0)[0] == 0.25
    assert 2.5 < sum(took) <= 3.5


@pytest.mark.parametrize("seconds", [0.0, 2.0])
def test_a_slow_forward_is_made_once(seconds, clock):
    calls: list[int] = []

    def forward() -> None:
        calls.append(1)
        clock["wall"] += 30.0

    assert best_time(forward, seconds)[0] == 30.0
    assert len(calls) == 1


@pytest.mark.parametrize("threads", [1, 2, 16])
@pytest.mark.parametrize(("share", "undisturbed"), [(1.0, True), (0.75, True), (0.5, False), (0.0, False)])
def test_threads_that_do_not_get_their_cores_are_noticed(threads, share, undisturbed, clock, monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)

    def forward() -> None:
        clock["wall"] += 0.25
        clock["processor"] += 0.25 * threads * share

    assert best_time(forward, 2.0)[1] == undisturbed


@pytest.mark.parametrize(
    ("seconds", "undisturbed", "bfloat16", "level", "says"),
    [
        (
            0.16,
            True,
            True,
            "ok",
            "about 0.9 s, a scan of 15 slices 13 s, about half with --precision bfloat16",
        ),
        (0.16, True, False, "ok", "about 0.9 s, a scan of 15 slices 13 s"),
        (0.16, False, False, "warning", "but other programs are computing on these cores"),
        (1.0, True, False, "warning", "about 5.6 s, a scan of 15 slices 84 s"),
    ],
)
def test_what_is_told(seconds, undisturbed, bfloat16, level, says, monkeypatch):
    monkeypatch.setattr(speed, "_forward", lambda *args: None)
    monkeypatch.setattr(speed, "best_time", lambda *args: (seconds, undisturbed))
    monkeypatch.setattr(speed, "has_bfloat16", lambda device: bfloat16)
    finding = check_speed("cpu")
    assert finding.level == level
    assert says in finding.seen
    assert ("bfloat16" in finding.seen) == bfloat16


def test_other_programs_do_not_matter_to_a_card(monkeypatch):
    monkeypatch.setattr(speed, "_forward", lambda *args: None)
    monkeypatch.setattr(speed, "best_time", lambda *args: (0.004, False))
    finding = check_speed("cuda")
    assert finding.level == "ok"
    assert "takes 4.0 ms on cuda" in finding.seen


def test_a_network_that_does_not_run_is_a_problem(monkeypatch):
    def fails(*args):
        raise RuntimeError("CUDA error:\nno kernel image is available")

    monkeypatch.setattr(speed, "_forward", fails)
    finding = check_speed("cuda")
    assert finding.level == "problem"
    assert "RuntimeError: CUDA error: no kernel image" in finding.seen
    assert "-device" in finding.advice


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.0042, "4.2 ms"), (0.14, "140 ms"), (0.94, "0.9 s"), (9.4, "9.4 s"), (14, "14 s"), (300, "5 min")],
)
def test_durations(seconds, words):
    assert duration(seconds) == words
