"""On an NVIDIA card, where most people train: float16, torch.compile, DDP's start-up, memory that runs out.

Where both can be had, the card is held against the CPU.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch

from nnunetv2_spinesegdiff import SpineSegmenter
from nnunetv2_spinesegdiff.diffusion.batching import Attempt

from ..helpers.model_commands import DATASET, TRAINER, Workspace, log_of
from .conftest import SYSTEMS

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]

COMPILED = "nnUNetTrainerSpineSegDiff_2epochs_31iters_width25"
IN_DDP = "nnUNetTrainerSpineSegDiff_1epochs_3iters_width25"
DDP = """
import os
from nnunetv2.run.run_training import run_ddp
os.environ.update(MASTER_ADDR="localhost", MASTER_PORT="{port}")
run_ddp(0, "{dataset}", "2d", 0, "{trainer}", "nnUNetPlans", False, False, False, None, False, False, 1)
"""
"""What `nnUNetv2_train -num_gpus` starts once a card, here for one: NCCL takes no card twice."""


def predict(
    workspace: Workspace, images: Path, flags: str, trainer: str = TRAINER, compiled: bool = False
) -> dict[str, np.ndarray]:
    """Masks, and heatmaps where the flags ask for them."""
    out = workspace.root / f"on_card_{len(list(workspace.root.iterdir()))}"
    model = f"-d {DATASET} -c 2d -f 0 -tr {trainer} -npp 1 -nps 1"
    workspace.shell(f"nnUNetv2_predict -i {images} -o {out} {model} {flags}", nnUNet_compile=str(compiled))
    files = [*out.glob("*.nii.gz"), *out.glob("uncertainty/*_uncertainty.nii.gz")]
    assert files
    return {path.name: sitk.GetArrayFromImage(sitk.ReadImage(str(path))) for path in files}


def assert_alike(found: dict[str, np.ndarray], expected: dict[str, np.ndarray], agreement: float) -> None:
    """Masks that agree in that share of what either says is foreground; maps that nearly do."""
    assert found.keys() == expected.keys()
    for name, values in found.items():
        if "uncertainty" in name:
            assert np.abs(values - expected[name]).mean() < 0.01, name
        else:
            inside = (values > 0) | (expected[name] > 0)
            assert inside.any(), name
            assert (values == expected[name])[inside].mean() >= agreement, name


@pytest.fixture(scope="module")
def on_card(trained: Workspace) -> Workspace:
    """A training on the card as nnU-Net does it where nothing is said: compiled, in float16."""
    trained.shell(f"nnUNetv2_train {DATASET} 2d 0 -tr {COMPILED}", nnUNet_compile="true")
    return trained


def test_a_compiled_training_learns_validates_and_predicts(on_card: Workspace, two_cases: Path):
    log = log_of(on_card.results(COMPILED) / "fold_0")
    assert "Using torch.compile" in log
    assert "Dice on" in log  # of both stages, by the final validation
    fold = on_card.results(COMPILED) / "fold_0"
    assert (fold / "refinement.json").is_file()
    masks = predict(on_card, two_cases, "--refine", COMPILED)
    again = predict(on_card, two_cases, "--refine", COMPILED)
    assert_alike(again, masks, 0.99)  # cuDNN may choose other algorithms the second time


@pytest.mark.parametrize("stage", ["--refine --save_uncertainty", "--preset fast", "--no_refine"])
def test_in_float32_the_card_says_what_the_cpu_says(trained: Workspace, two_cases: Path, stage: str):
    """The noise is drawn alike for both; what is left are TF32 and the order of sums."""
    expected = predict(trained, two_cases, f"{stage} -device cpu")
    assert_alike(predict(trained, two_cases, f"{stage} --precision float32"), expected, 0.98)


@pytest.mark.parametrize("precision", ["auto", "bfloat16"])
def test_half_precision_and_compiled_parts_hardly_change_a_mask(
    trained: Workspace, two_cases: Path, precision: str
):
    flags = "--refine --save_uncertainty"
    expected = predict(trained, two_cases, f"{flags} --precision float32")
    for compiled in (False, True):
        found = predict(trained, two_cases, f"{flags} --precision {precision}", compiled=compiled)
        assert_alike(found, expected, 0.96)


@pytest.mark.parametrize("system", SYSTEMS)
def test_every_system_trains_compiled(system: str, planned: Workspace, two_cases: Path):
    name = f"{system}_1epochs_3iters{SYSTEMS[system]}"
    planned.shell(f"nnUNetv2_train {DATASET} 2d 0 -tr {name}", nnUNet_compile="true")
    assert "Using torch.compile" in log_of(planned.results(name) / "fold_0")
    assert (planned.results(name) / "fold_0" / "validation" / "summary.json").is_file()
    assert len(predict(planned, two_cases, "", name)) == 2


def test_ddp_starts_on_the_card(planned: Workspace, two_cases: Path, tmp_path: Path):
    script = tmp_path / "one_rank.py"
    # nnU-Net's worker processes import the file again.
    body = DDP.format(port=29517, dataset=DATASET, trainer=IN_DDP).strip().replace("\n", "\n    ")
    script.write_text(f"if __name__ == '__main__':\n    {body}\n")
    planned.shell(f"python {script}", nnUNet_compile="true")
    assert (planned.results(IN_DDP) / "fold_0" / "validation" / "summary.json").is_file()
    assert len(predict(planned, two_cases, "--refine", IN_DDP)) == 2


def test_a_scan_is_segmented_on_the_card_unless_told_otherwise(trained: Workspace, cohort: Path):
    scan = cohort / "images" / "2_t2.mha"
    masks = {}
    for device in ("cpu", None):
        with SpineSegmenter(trained.results(), precision="float32", device=device) as segmenter:
            masks[device] = sitk.GetArrayFromImage(segmenter.segment(scan).mask)
    assert torch.cuda.max_memory_allocated() > 0
    assert_alike({"mask": masks[None]}, {"mask": masks["cpu"]}, 0.98)


def test_less_memory_than_planned_with_gives_the_same(trained: Workspace, two_cases: Path, monkeypatch):
    """All chains side by side do not fit: they are halved until they do."""
    scan = sorted(two_cases.iterdir())[0]
    fitted, leave = [], Attempt.__exit__

    def watched(attempt: Attempt, *error) -> bool:
        ran_out = leave(attempt, *error)
        fitted.append(not ran_out)
        return ran_out

    monkeypatch.setattr(Attempt, "__exit__", watched)
    with SpineSegmenter(trained.results(), precision="float32", num_samples=32) as segmenter:
        torch.backends.cudnn.benchmark = False  # in search of the fastest algorithm it takes what it likes
        expected = sitk.GetArrayFromImage(segmenter.segment(scan).mask)
        assert all(fitted)
        torch.cuda.empty_cache()
        weights = torch.cuda.memory_reserved()
        torch.cuda.reset_peak_memory_stats()
        segmenter.segment(scan)
        room = (torch.cuda.max_memory_allocated() - torch.cuda.memory_allocated()) / 2
        torch.cuda.empty_cache()
        torch.cuda.set_per_process_memory_fraction((weights + room) / torch.cuda.mem_get_info()[1])
        try:
            found = sitk.GetArrayFromImage(segmenter.segment(scan).mask)
        finally:
            torch.cuda.set_per_process_memory_fraction(1.0)
    assert not all(fitted)
    assert_alike({"mask": found}, {"mask": expected}, 0.99)
