"""What refinement costs: the presets against stage 1 alone, and the sampler against a plain Algorithm 1.

All with the network that nnU-Net plans for slices of that size and random weights, in one process, taking
turns: the ratios of the medians are what counts.

    python benchmarks/speed.py -o benchmarks/speed.md
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import math
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager
from peak_memory import peak, reset_peak
from torch import Tensor
from training_step import LABELS, plans

from nnunetv2_spinesegdiff.diffusion.masks import hard_masks
from nnunetv2_spinesegdiff.diffusion.noise import CaseNoise
from nnunetv2_spinesegdiff.diffusion.settings import PRESETS, SamplerSettings
from nnunetv2_spinesegdiff.errors import UserError
from nnunetv2_spinesegdiff.inference.memory import keep_freed_memory
from nnunetv2_spinesegdiff.inference.mirrored import predict_mirrored
from nnunetv2_spinesegdiff.inference.settings import autocast, check_precision
from nnunetv2_spinesegdiff.network.two_stage import TwoStageNetwork
from nnunetv2_spinesegdiff.training import trainers

WIDTHS: dict[int, Any] = {
    100: trainers.nnUNetTrainerSpineSegDiff,
    50: trainers.nnUNetTrainerSpineSegDiff_width50,
}
MIRROR_AXES = (0, 1)
Work = Callable[[], object]


def build(width: int, size: int, device: torch.device) -> TwoStageNetwork:
    manager = PlansManager(plans(2, size))
    torch.manual_seed(0)
    network = WIDTHS[width].build_network_architecture(
        manager, manager.get_configuration("2d"), 1, len(LABELS), False
    )
    return network.to(device).eval()


# --- a plain Algorithm 1 ---------------------------------------------------------------------------------


def plain_algorithm1(network: TwoStageNetwork, image: Tensor) -> tuple[Tensor, Tensor]:
    """Logits and heatmap of one image (1, C, H, W), as the paper writes Algorithm 1 down.

    One chain after another, the whole network at every step, every map kept until the end.
    """
    s, bars = network.sampler, network.alphas_cumprod
    x_pre = hard_masks(network.presegment(image), False) * 2 - 1
    times = [round(s.t_start * (s.ddim_steps - i) / s.ddim_steps) for i in range(s.ddim_steps + 1)]
    maps = []
    for chain in range(s.num_samples):
        noise = CaseNoise(image, s.seed, [chain]).draw(tuple(x_pre.shape[1:]))
        x_t = float(bars[s.t_start]) ** 0.5 * x_pre + float(1 - bars[s.t_start]) ** 0.5 * noise
        for t, t_prev in itertools.pairwise(times):
            step = torch.full((1,), t, device=image.device)
            logits = network.denoiser(x_t, step, image, network.denoiser.encode_image(image)).float()
            maps.append(logits)
            pred_x0 = logits.softmax(1) * 2 - 1
            now, before = float(bars[t]), float(bars[t_prev])
            epsilon = (x_t - now**0.5 * pred_x0) / (1 - now) ** 0.5
            x_t = before**0.5 * pred_x0 + (1 - before) ** 0.5 * epsilon
    means = torch.stack(maps).view(s.num_samples, s.ddim_steps, *x_pre.shape).mean(0)[-s.fusion_steps :]
    count = s.fusion_steps
    weights = torch.tensor([math.exp(-count / 2 * (count - t) / count) for t in range(1, count + 1)])
    fused = (means * (weights / weights.sum()).view(-1, 1, 1, 1, 1).to(means)).sum(0)
    p = means.softmax(2)
    return fused, (-p * p.clamp_min(1e-30).log()).amax(0)


def check_equal(network: TwoStageNetwork, image: Tensor) -> None:
    """Raises where the two are not the same algorithm."""
    network.configure_sampler(SamplerSettings(num_samples=3, ddim_steps=4, fusion_steps=3))
    sampled = network.refine(image)
    logits, heatmap = plain_algorithm1(network, image)
    difference = float((sampled.logits - logits).abs().max())
    difference = max(difference, float((sampled.uncertainty() - heatmap).abs().max()))
    if difference > 1e-4 * max(1.0, float(logits.abs().max())):
        raise RuntimeError(f"the sampler and the plain Algorithm 1 differ by {difference}")


# --- measuring -------------------------------------------------------------------------------------------


def medians(works: dict[str, Work], repeats: int, device: torch.device) -> dict[str, float]:
    """Median seconds; they take turns, so that a busy machine slows all alike."""
    seconds: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(repeats):
        for name, work in works.items():
            seconds[name].append(timed(work, device))
    return {name: statistics.median(values) for name, values in seconds.items()}


def timed(work: Work, device: torch.device) -> float:
    started = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - started


def megabytes(work: Work, device: torch.device) -> float:
    before = reset_peak(device)
    work()
    return (peak(device) - before) / 1e6


def precisions(device: torch.device) -> list[str]:
    with contextlib.suppress(UserError):
        check_precision("bfloat16", device)
        return ["float32", "bfloat16"]
    return ["float32"]


def stage1_alone(network: TwoStageNetwork, image: Tensor, device: torch.device) -> Work:
    """nnU-Net's own mirroring of stage 1."""
    predictor = nnUNetPredictor(device=device)
    predictor.network, predictor.allowed_mirroring_axes = network.stage1, MIRROR_AXES
    return lambda: predictor._internal_maybe_mirror_and_predict(image)


def preset_work(network: TwoStageNetwork, image: Tensor, name: str, precision: str) -> Work:
    def work() -> None:
        network.configure_sampler(PRESETS[name].applied_to(SamplerSettings()))
        with autocast(precision, image.device):
            predict_mirrored(
                network,
                image,
                MIRROR_AXES,
                mirror_refinement=PRESETS[name].mirror_refinement,
                side_by_side=image.device.type == "cuda" or precision == "bfloat16",
            )

    return work


def sampling_work(
    network: TwoStageNetwork,
    image: Tensor,
    settings: SamplerSettings,
    precision: str,
    run: Callable[[TwoStageNetwork, Tensor], object],
) -> Work:
    def work() -> None:
        network.configure_sampler(settings)
        with autocast(precision, image.device):
            run(network, image)

    return work


# --- tables ----------------------------------------------------------------------------------------------


def presets_table(network: TwoStageNetwork, image: Tensor, options: argparse.Namespace) -> Iterable[str]:
    device = image.device
    works: dict[str, Work] = {"stage 1 alone, as stock does it": stage1_alone(network, image, device)}
    slow: dict[str, Work] = {}
    for precision, name in itertools.product(precisions(device), options.presets):
        # Hundreds of steps even each other out: once is enough, and long enough.
        (slow if name == "paper" else works)[f"{name}, {precision}"] = preset_work(
            network, image, name, precision
        )
    seconds = {**medians(works, options.repeats, device), **medians(slow, 1, device)}
    first = next(iter(seconds.values()))
    yield from header("with both axes mirrored", "seconds a slice", "stage 1 alone = 1")
    for name, value in seconds.items():
        yield f"| {name} | {value:.2f} | {value / first:.2f} |"


def sampler_table(network: TwoStageNetwork, image: Tensor, options: argparse.Namespace) -> Iterable[str]:
    s = SamplerSettings(num_samples=options.num_samples, ddim_steps=10, fusion_steps=10)
    works: dict[str, Work] = {}
    for precision in precisions(image.device):
        for name, run in (("plain Algorithm 1", plain_algorithm1), ("this sampler", TwoStageNetwork.refine)):
            works[f"{name}, {precision}"] = sampling_work(network, image, s, precision, run)
    seconds = medians(works, max(1, options.repeats // 3), image.device)
    slowest = next(iter(seconds.values()))
    yield from header(f"S = {s.num_samples}, n = 10, not mirrored", "seconds a slice", "times as fast")
    for name, value in seconds.items():
        yield f"| {name} | {value:.2f} | {slowest / value:.2f} |"


def memory_table(network: TwoStageNetwork, image: Tensor, samples: Sequence[int]) -> Iterable[str]:
    yield from header("S, n = 2, float32", "peak MB, this sampler", "peak MB, plain Algorithm 1")
    for count in samples:
        s = SamplerSettings(num_samples=count)
        ours, plain = (
            megabytes(sampling_work(network, image, s, "float32", run), image.device)
            for run in (TwoStageNetwork.refine, plain_algorithm1)
        )
        yield f"| {count} | {ours:.0f} | {plain:.0f} |"


def header(*names: str) -> list[str]:
    return ["", f"| {' | '.join(names)} |", "|" + " --- |" * len(names)]


def machine(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return f"{line.split(':')[1].strip()}, {torch.get_num_threads()} threads"
    return f"{platform.processor()}, {torch.get_num_threads()} threads"


@torch.inference_mode()
def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("-o", type=Path, required=True, help="the tables, Markdown")
    p.add_argument("-device", default="cpu", choices=["cpu", "cuda"])
    p.add_argument("--size", type=int, default=320, help="height and width, pixels")
    p.add_argument("--widths", type=int, nargs="+", default=[100, 50], choices=[100, 50], help="percent")
    p.add_argument("--presets", nargs="+", default=list(PRESETS), choices=list(PRESETS))
    p.add_argument("--repeats", type=int, default=9, help="of the presets; a third as many of the sampler")
    p.add_argument("--num_samples", type=int, default=15, help="S of the sampler")
    p.add_argument("--samples", type=int, nargs="+", default=[1, 4, 15, 60], help="S of the memory table")
    options = p.parse_args()
    keep_freed_memory()
    device = torch.device(options.device)
    image = torch.randn(1, 1, options.size, options.size, device=device)
    command = " ".join(["python", *sys.argv])
    lines = [
        "# What refinement costs",
        "",
        f"`{command}` on {machine(device)}, torch {torch.__version__}; "
        f"slices of {options.size} x {options.size}.",
    ]
    for width in options.widths:
        network = build(width, options.size, device)
        check_equal(network, image)
        lines += ["", f"## Width {width} percent", ""]
        lines += ["Both samplers give the same logits and heatmap."]
        lines += presets_table(network, image, options)
        lines += sampler_table(network, image, options)
        lines += memory_table(network, image, options.samples)
    options.o.write_text("\n".join(lines) + "\n")
    print(options.o.read_text())


if __name__ == "__main__":
    main()
