"""What refinement costs: the presets against stage 1 alone, and the sampler against a plain Algorithm 1.

All with the network that nnU-Net plans for slices of that size and random weights. What is compared takes
turns in one process: the ratios of the medians are what counts. Peaks of memory are those of fresh processes.

    python benchmarks/speed.py -o benchmarks/speed.md
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import itertools
import math
import multiprocessing
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import torch
from machine import machine, synchronize
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager
from peak_memory import peak, reset_peak
from torch import Tensor
from training_step import LABELS, plans

from nnunetv2_spinesegdiff.diffusion.masks import hard_masks
from nnunetv2_spinesegdiff.diffusion.noise import CaseNoise
from nnunetv2_spinesegdiff.diffusion.settings import EVERYTHING, NOTHING, PRESETS, SamplerSettings
from nnunetv2_spinesegdiff.errors import UserError
from nnunetv2_spinesegdiff.inference.loading import use_group_norms
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
STAGE1 = "stage 1 alone, as stock does it, mirrored"
TOLERANCE = 1e-4
"""Between logits, and between heatmaps, in float32."""
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


SAMPLERS: dict[str, Callable[[TwoStageNetwork, Tensor], object]] = {
    "plain Algorithm 1": plain_algorithm1,
    "this sampler": TwoStageNetwork.refine,
}


def check_equal(network: TwoStageNetwork, image: Tensor) -> None:
    """Raises RuntimeError where the two are not the same algorithm.

    Five chains are more than one batch on a CPU. Without TF32, which rounds more coarsely than that.
    """
    network.configure_sampler(SamplerSettings(num_samples=5, ddim_steps=4, fusion_steps=3))
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        sampled = network.refine(image)
        logits, heatmap = plain_algorithm1(network, image)
    differences = (sampled.logits - logits, sampled.uncertainty() - heatmap)
    largest = max(float(difference.abs().max()) for difference in differences)
    if not largest <= TOLERANCE:
        raise RuntimeError(f"the sampler and the plain Algorithm 1 differ by {largest}")


# --- measuring -------------------------------------------------------------------------------------------


def take_turns(works: dict[str, Work], repeats: int, device: torch.device) -> dict[str, list[float]]:
    """Seconds of every repeat; all work is done once before the next repeat, so noise hits all alike."""
    seconds: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(repeats):
        for name, work in works.items():
            seconds[name].append(timed(work, device))
    return seconds


def timed(work: Work, device: torch.device) -> float:
    synchronize(device)
    started = time.perf_counter()
    work()
    synchronize(device)
    return time.perf_counter() - started


def megabytes_afresh(*arguments: Any) -> float:
    """`megabytes` in a process of its own, where no earlier work left anything behind."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as fresh:
        return fresh.submit(megabytes, *arguments).result()


@torch.inference_mode()
def megabytes(width: int, size: int, device: torch.device, threads: int, sampler: str, chains: int) -> float:
    """Peak of a float32 run with n = 2 above what the model takes, in this process, behind a warm-up.

    Not with `getrusage`: a new process starts with the peak of the one that started it.
    """
    torch.set_num_threads(threads)
    keep_freed_memory()
    network, image = build(width, size, device), make_image(size, device)
    sampling_work(network, image, SamplerSettings(), "float32", SAMPLERS[sampler])()
    work = sampling_work(network, image, SamplerSettings(num_samples=chains), "float32", SAMPLERS[sampler])
    before = reset_peak(device)
    work()
    return (peak(device) - before) / 1e6


def make_image(size: int, device: torch.device) -> Tensor:
    return torch.randn(1, 1, size, size, generator=torch.Generator().manual_seed(0)).to(device)


def precisions(device: torch.device) -> list[str]:
    """What the device computes in; float32 first. On CUDA, "auto" is nnU-Net's float16."""
    names = ["float32"]
    with contextlib.suppress(UserError):
        check_precision("bfloat16", device)
        names.append("bfloat16")
    return [*names, "auto"] if device.type == "cuda" else names


@contextlib.contextmanager
def as_predicted(precision: str, device: torch.device) -> Iterator[None]:
    """The contexts in which `nnUNetv2_predict` calls the network: nnU-Net's autocast, in it ours."""
    with torch.autocast(device.type, enabled=device.type == "cuda"), autocast(precision, device):
        yield


def stage1_alone(network: TwoStageNetwork, image: Tensor) -> Work:
    """nnU-Net's own prediction with stage 1, as it is before `use_group_norms`."""
    predictor = nnUNetPredictor(device=image.device)
    predictor.network, predictor.allowed_mirroring_axes = copy.deepcopy(network.stage1), MIRROR_AXES

    def work() -> None:
        with as_predicted("auto", image.device):
            predictor._internal_maybe_mirror_and_predict(image)

    return work


def preset_work(network: TwoStageNetwork, image: Tensor, name: str, precision: str) -> Work:
    def work() -> None:
        network.configure_sampler(PRESETS[name].applied_to(SamplerSettings()))
        with as_predicted(precision, image.device):
            predict_mirrored(
                network,
                image,
                None if PRESETS[name].mirrored == NOTHING else MIRROR_AXES,
                mirror_refinement=PRESETS[name].mirrored == EVERYTHING,
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
        with as_predicted(precision, image.device):
            run(network, image)

    return work


# --- tables ----------------------------------------------------------------------------------------------


def presets_table(network: TwoStageNetwork, image: Tensor, options: argparse.Namespace) -> Iterable[str]:
    works: dict[str, Work] = {STAGE1: stage1_alone(network, image)}
    if image.device.type == "cpu":
        use_group_norms(network)
    slow: dict[str, Work] = {}
    for precision, name in itertools.product(precisions(image.device), options.presets):
        # Hundreds of steps even each other out: once is enough, and long enough.
        kind = slow if name == "paper" else works
        kind[f"{name}, {shown(precision)}"] = preset_work(network, image, name, precision)
    take_turns(works, 1, image.device)  # the first call of each has more to do
    seconds = take_turns(works, options.repeats, image.device) | take_turns(slow, 1, image.device)
    yield from header("prediction", "seconds per slice, lowest to highest", "stage 1 alone = 1")
    for name, values in seconds.items():
        yield f"| {name} | {spread(values)} | {times(values, seconds[STAGE1])} |"


def sampler_table(network: TwoStageNetwork, image: Tensor, options: argparse.Namespace) -> Iterable[str]:
    s = SamplerSettings(num_samples=options.num_samples, ddim_steps=10, fusion_steps=10)
    names = list(itertools.product(precisions(image.device), SAMPLERS))
    works = {
        f"{name}, {shown(precision)}": sampling_work(network, image, s, precision, SAMPLERS[name])
        for precision, name in names
    }
    seconds = take_turns(works, (options.repeats + 1) // 2, image.device)
    columns = ("seconds per slice, lowest to highest", "times as fast", "than plain in that precision")
    yield from header(f"S = {s.num_samples}, n = 10, not mirrored", *columns)
    plain = seconds["plain Algorithm 1, float32"]
    for (precision, _), (name, values) in zip(names, seconds.items(), strict=True):
        alike = seconds[f"plain Algorithm 1, {shown(precision)}"]
        yield f"| {name} | {spread(values)} | {times(plain, values)} | {times(alike, values)} |"


def memory_table(width: int, device: torch.device, options: argparse.Namespace) -> Iterable[str]:
    yield from header("S, n = 2, float32", *(f"peak MB, {name}" for name in SAMPLERS))
    for chains in options.samples:
        peaks = (
            megabytes_afresh(width, options.size, device, torch.get_num_threads(), name, chains)
            for name in SAMPLERS
        )
        yield f"| {chains} | {' | '.join(f'{mb:.0f}' for mb in peaks)} |"


def shown(precision: str) -> str:
    return "float16" if precision == "auto" else precision


def spread(seconds: list[float]) -> str:
    """Median, lowest and highest: a machine that did something else meanwhile shows."""
    middle, lowest, highest = (f"{of(seconds):#.3g}" for of in (statistics.median, min, max))
    return middle if len(seconds) == 1 else f"{middle} ({lowest} to {highest})"


def times(seconds: list[float], unit: list[float]) -> str:
    return f"{statistics.median(seconds) / statistics.median(unit):.2f}"


def header(*names: str) -> list[str]:
    return ["", f"| {' | '.join(names)} |", "|" + " --- |" * len(names)]


@torch.inference_mode()
def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("-o", type=Path, required=True, help="the tables, Markdown")
    p.add_argument("-device", default="cpu", choices=["cpu", "cuda"])
    p.add_argument("--size", type=int, default=320, help="height and width, pixels")
    p.add_argument("--widths", type=int, nargs="+", default=[100, 50], choices=[100, 50], help="percent")
    p.add_argument("--presets", nargs="+", default=list(PRESETS), choices=list(PRESETS))
    p.add_argument("--threads", type=int, help="of the CPU; torch's choice where not given")
    p.add_argument("--repeats", type=int, default=9, help="of the presets; half as many of the sampler")
    p.add_argument("--num_samples", type=int, default=15, help="S of the sampler")
    p.add_argument("--samples", type=int, nargs="+", default=[1, 4, 15, 60], help="S of the memory table")
    options = p.parse_args()
    if options.size < 128 or options.size % 64:
        p.error("--size: the network halves six times; give 128, 192, 256, ...")
    if options.threads:
        torch.set_num_threads(options.threads)
    keep_freed_memory()
    device = torch.device(options.device)
    image = make_image(options.size, device)
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
        lines += [f"Both samplers give the same logits and heatmap, within {TOLERANCE}, in float32."]
        lines += presets_table(network, image, options)
        lines += sampler_table(network, image, options)
        lines += memory_table(width, device, options)
    options.o.write_text("\n".join(lines) + "\n")
    print(options.o.read_text())


if __name__ == "__main__":
    main()
