"""Our predictor: which models it takes, what its flag does to the network, and which cases it leaves out."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from nnunetv2_spinesegdiff.diffusion.settings import PRESETS
from nnunetv2_spinesegdiff.errors import UserError
from nnunetv2_spinesegdiff.inference import settings as settings_module
from nnunetv2_spinesegdiff.inference.predictor import SpineSegDiffPredictor
from nnunetv2_spinesegdiff.inference.settings import PredictionSettings

from ..helpers.model_plans import LABELS, small_plans

CPU = torch.device("cpu")
RECORD = {"trainer": "nnUNetTrainerSpineSegDiff", "refine": True}
DATASET_JSON = {"channel_names": {"0": "MRI"}, "labels": LABELS, "file_ending": ".nii.gz"}


@pytest.fixture
def model_folder(make_model) -> Path:
    """A trained two-stage model; fold 1 is a stock one."""
    folder = make_model().folder
    checkpoint = torch.load(folder / "fold_0" / "checkpoint_final.pth", weights_only=True)
    weights = {
        key.removeprefix("stage1."): value
        for key, value in checkpoint["network_weights"].items()
        if key.startswith("stage1.")
    }
    stock = {**checkpoint, "network_weights": weights, "trainer_name": "nnUNetTrainer"}
    torch.save(stock, folder / "fold_1" / "checkpoint_final.pth")
    return folder


def initialised(folder: Path, *, fold: int = 0, **settings_of: Any) -> SpineSegDiffPredictor:
    settings = PredictionSettings(**settings_of)
    predictor = SpineSegDiffPredictor(device=CPU, allow_tqdm=False, settings=settings)
    predictor.initialize_from_trained_model_folder(str(folder), (fold,))
    return predictor


def scan(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(100, 20, (1, 1, 21, 30)).astype(np.float32)


def logits_of(predictor: nnUNetPredictor, seed: int = 0) -> torch.Tensor:
    return predictor.predict_logits_from_preprocessed_data(torch.from_numpy(scan(seed)))


def test_refined_and_unrefined_logits_are_those_of_the_stock_predictor(model_folder):
    """Stock prediction of the two-stage model refines, of stage 1 it is what --no_refine gives."""
    refined = logits_of(initialised(model_folder, refine=True))
    unrefined = logits_of(initialised(model_folder, refine=False))
    assert not torch.allclose(refined, unrefined)
    for fold, expected in ((0, refined), (1, unrefined)):
        stock = nnUNetPredictor(device=CPU, allow_tqdm=False)
        stock.initialize_from_trained_model_folder(str(model_folder), (fold,))
        assert torch.equal(logits_of(stock), expected)


def test_the_sampler_is_what_was_asked_for_and_stage_1_alone_has_none(model_folder):
    made = initialised(model_folder, preset="paper", changes={"num_samples": 2, "seed": 7})
    sampler = made.network.sampler
    assert (sampler.num_samples, sampler.ddim_steps, sampler.fusion_steps, sampler.seed) == (2, 10, 10, 7)
    assert made.record["sampler"] == vars(sampler)
    assert json.loads(json.dumps(made.record)) == made.record  # as a later run reads it
    assert initialised(model_folder, refine=False).record["sampler"] is None


def test_what_model_or_machine_cannot_do_is_refused_before_any_computing(model_folder, tmp_path, monkeypatch):
    for refine in (True, False):
        with pytest.raises(UserError, match=r"nnUNetTrainer.*no refiner"):
            initialised(model_folder, refine=refine, fold=1)
    with pytest.raises(UserError, match="nothing: "):
        initialised(tmp_path / "nothing")
    with pytest.raises(UserError, match=r"fold_3/checkpoint_final\.pth: "):
        initialised(model_folder, fold=3)
    with pytest.raises(UserError, match="t_start 31"):
        initialised(model_folder, changes={"t_start": 31})
    monkeypatch.setattr(settings_module, "_cpu_has_bfloat16", lambda: False)
    with pytest.raises(UserError, match="precision bfloat16"):
        initialised(model_folder, precision="bfloat16")
    plans = json.loads((model_folder / "plans.json").read_text())
    (model_folder / "plans.json").write_text(json.dumps({**plans, "image_reader_writer": "NaturalImage2DIO"}))
    initialised(model_folder)
    with pytest.raises(UserError, match="NaturalImage2DIO: "):
        initialised(model_folder, save_uncertainty=True)


@pytest.mark.parametrize("refine", [True, False])
def test_bfloat16_changes_little_but_something(model_folder, monkeypatch, refine):
    monkeypatch.setattr(settings_module, "_cpu_has_bfloat16", lambda: True)
    kwargs = {"refine": refine, "save_uncertainty": True}
    exact, rough = (
        initialised(model_folder, **kwargs),
        initialised(model_folder, precision="bfloat16", **kwargs),
    )
    difference = (logits_of(exact).float() - logits_of(rough).float()).abs()
    assert 0 < difference.mean() < 0.02
    maps = [np.asarray(predictor.maps.uncertainty) for predictor in (exact, rough)]
    assert np.abs(maps[0] - maps[1]).mean() < 0.01


# --- cases -----------------------------------------------------------------------------------------------


@pytest.fixture
def predictor() -> SpineSegDiffPredictor:
    made = SpineSegDiffPredictor(device=CPU, allow_tqdm=False)
    made.plans_manager = PlansManager(small_plans())
    made.dataset_json = DATASET_JSON
    made.record = RECORD
    return made


@pytest.fixture
def folder(tmp_path) -> SimpleNamespace:
    """Three cases, of which the middle one is constant."""
    (tmp_path / "in").mkdir()
    for name, factor in (("a", 1), ("b", 0), ("c", 1)):
        pixels = scan(ord(name))[0] * factor
        sitk.WriteImage(sitk.GetImageFromArray(pixels), str(tmp_path / "in" / f"{name}_0000.nii.gz"))
    return SimpleNamespace(images=str(tmp_path / "in"), output=str(tmp_path / "out"))


def names(inputs: list[list[str]]) -> list[str]:
    return [Path(files[0]).name[0] for files in inputs]


def masks_in(folder) -> list[str]:
    return sorted(path.name for path in Path(folder.output).glob("*.nii.gz"))


def finished(predictor, folder, names: str) -> None:
    """As a prediction leaves its folder."""
    predictor._manage_input_and_output_lists(folder.images, folder.output)
    predictor.failures.clear()
    for name in names:
        image = sitk.GetImageFromArray(np.zeros((1, 21, 30), np.uint8))
        sitk.WriteImage(image, str(Path(folder.output) / f"{name}.nii.gz"))


def test_unfit_cases_are_left_out_of_all_lists(predictor, folder):
    inputs, outputs, previous = predictor._manage_input_and_output_lists(folder.images, folder.output)
    assert names(inputs) == ["a", "c"]
    assert [Path(o).name for o in outputs or []] == ["a", "c"]
    assert previous == [None, None]
    assert len(predictor.failures) == 1
    assert "b_0000.nii.gz: is constant" in predictor.failures[0]
    files = [[str(p)] for p in sorted(Path(folder.images).iterdir())]
    inputs, outputs, _ = predictor._manage_input_and_output_lists(files, None)
    assert names(inputs) == ["a", "c"]
    assert outputs is None
    finished(predictor, folder, "ab")  # a mask from before is not one of a scan that is left out now
    predictor._manage_input_and_output_lists(folder.images, folder.output)
    assert masks_in(folder) == ["a.nii.gz"]


@pytest.mark.parametrize("earlier", ["of another kind", "by the stock predictor"])
def test_masks_of_another_kind_go_before_they_are_overwritten(predictor, folder, earlier):
    """Else a run that is stopped at once and gone on with takes them for its own."""
    finished(predictor, folder, "ac")
    foreign = Path(folder.output) / "z.nii.gz"  # of a scan that is not predicted now
    foreign.write_bytes((Path(folder.output) / "a.nii.gz").read_bytes())
    if earlier == "of another kind":
        predictor.record = {**RECORD, "refine": False}
    else:
        (Path(folder.output) / "spinesegdiff_args.json").unlink()
    predictor._manage_input_and_output_lists(folder.images, folder.output)
    assert masks_in(folder) == ["z.nii.gz"]
    inputs, _, _ = predictor._manage_input_and_output_lists(folder.images, folder.output, None, False)
    assert names(inputs) == ["a", "c"]


def test_a_folder_without_cases_is_refused(predictor, folder, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "a_0000.mha").touch()
    with pytest.raises(UserError, match=r"empty.*_0000\.nii\.gz"):
        predictor._manage_input_and_output_lists(str(tmp_path / "empty"), folder.output)


def test_nothing_left_to_do_is_no_error(predictor, folder):
    """`--continue_prediction` after everything was predicted, and a part of more parts than cases."""
    finished(predictor, folder, "abc")
    inputs, _, _ = predictor._manage_input_and_output_lists(folder.images, folder.output, None, False)
    assert inputs == []
    inputs, _, _ = predictor._manage_input_and_output_lists(
        folder.images, folder.output, None, True, part_id=5, num_parts=6
    )
    assert inputs == []
    assert not predictor.failures


def test_going_on_predicts_what_is_missing_or_truncated(predictor, folder):
    finished(predictor, folder, "ac")
    mask = Path(folder.output) / "c.nii.gz"
    mask.write_bytes(mask.read_bytes()[:-9])
    inputs, _, _ = predictor._manage_input_and_output_lists(folder.images, folder.output, None, False)
    assert names(inputs) == ["c"]
    assert len(predictor.failures) == 1  # b is still constant


def test_going_on_in_another_way_is_refused(predictor, folder):
    finished(predictor, folder, "a")
    predictor.record = {**RECORD, "refine": False}
    with pytest.raises(UserError, match="refine True instead of False"):
        predictor._manage_input_and_output_lists(folder.images, folder.output, None, False)
    (Path(folder.output) / "spinesegdiff_args.json").unlink()
    with pytest.raises(UserError, match=r"out: "):
        predictor._manage_input_and_output_lists(folder.images, folder.output, None, False)


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_gives_the_logits_of_its_settings(model_folder, preset):
    """With the norms of the network as nnU-Net has them, to rounding."""
    made = initialised(model_folder, preset=preset)
    stated = PRESETS[preset]
    numbers = {"ddim_steps": stated.ddim_steps, "num_samples": stated.num_samples}
    plain = initialised(model_folder, changes={**numbers, "fusion_steps": stated.ddim_steps})
    plain.use_mirroring = stated.mirrored != "nothing"
    if stated.mirrored != "stage 1":
        torch.testing.assert_close(logits_of(made).float(), logits_of(plain).float(), atol=2e-3, rtol=2e-3)
    assert made.record["mirroring"] == plain.record["mirroring"] * plain.use_mirroring
