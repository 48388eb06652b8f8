"""The whole way through nnU-Net's real commands, on a phantom cohort."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import SimpleITK as sitk
import torch

from ..helpers.model_commands import DATASET, TRAINER, Workspace, load, log_of, masks_of


def test_joint_training_compares_both_stages(trained: Workspace) -> None:
    fold = trained.results() / "fold_0"
    report = json.loads((fold / "refinement.json").read_text())
    assert not report["stage1_frozen"]
    assert set(report["dice"]) == {"spinal_canal", "vertebrae", "ivd", "mean"}
    summaries = (fold / part / "validation" / "summary.json" for part in ("stage1", "."))
    stage1, refined = (json.loads(path.read_text()) for path in summaries)
    for name, key in (("spinal_canal", "1"), ("vertebrae", "2"), ("ivd", "3")):
        assert report["dice"][name]["stage1"] == stage1["mean"][key]["Dice"]
        assert report["dice"][name]["refined"] == refined["mean"][key]["Dice"]
    splits = json.loads((trained.preprocessed / "splits_final.json").read_text())
    assert report["cases"] == len(splits[0]["val"])
    log = log_of(fold)
    assert "trained together with the refiner" in log
    assert "Dice on" in log


def test_validation_output_is_what_prediction_gives(trained: Workspace, tmp_path: Path) -> None:
    fold = trained.results() / "fold_0"
    case = sorted((fold / "validation").glob("*.nii.gz"))[0].name
    (tmp_path / "images").mkdir()
    shutil.copy(trained.raw / "imagesTr" / case.replace(".nii.gz", "_0000.nii.gz"), tmp_path / "images")
    for flag, reference in (("", fold / "validation"), ("--no_refine", fold / "stage1" / "validation")):
        output = tmp_path / f"out{flag}"
        trained.predict(tmp_path / "images", output, flag)
        assert (output / case).read_bytes() == (reference / case).read_bytes()


def test_prediction_is_repeatable_and_independent_of_neighbors(
    trained: Workspace, two_cases: Path, refined: Path, tmp_path: Path
) -> None:
    """Twice, and with more cases: the files are the same to the bit. Without a flag, too."""
    (tmp_path / "more").mkdir()
    for image in sorted((trained.raw / "imagesTr").iterdir())[:4]:
        shutil.copy(image, tmp_path / "more")
    trained.predict(tmp_path / "more", tmp_path / "out")
    masks, expected = masks_of(tmp_path / "out"), masks_of(refined)
    assert (len(masks), len(expected)) == (4, 2)
    assert expected.items() <= masks.items()


def test_no_refine_is_the_stock_predictor_on_the_weights_of_stage_1(
    trained: Workspace, two_cases: Path, refined: Path, tmp_path: Path
) -> None:
    """A stock model made of stage 1's weights, predicted without any SpineSegDiff option."""
    ours, stock = trained.results(), trained.results("nnUNetTrainer_OfStage1")
    trainer = "nnUNetTrainer"
    (stock / "fold_0").mkdir(parents=True)
    for name in ("plans.json", "dataset.json"):
        (stock / name).write_bytes((ours / name).read_bytes())
    checkpoint = load(ours / "fold_0" / "checkpoint_final.pth")
    checkpoint["network_weights"] = {
        key.removeprefix("stage1."): value
        for key, value in checkpoint["network_weights"].items()
        if key.startswith("stage1.")
    }
    checkpoint["trainer_name"] = trainer
    torch.save(checkpoint, stock / "fold_0" / "checkpoint_final.pth")
    trained.predict(two_cases, tmp_path / "stock", trainer="nnUNetTrainer_OfStage1")
    trained.predict(two_cases, tmp_path / "unrefined", "--no_refine --save_probabilities")
    unrefined = masks_of(tmp_path / "unrefined")
    assert len(unrefined) == 2
    assert masks_of(tmp_path / "stock") == unrefined
    for npz in refined.glob("*.npz"):
        other = np.load(tmp_path / "unrefined" / npz.name)["probabilities"]
        assert not np.array_equal(np.load(npz)["probabilities"], other)


def test_maps_lie_over_the_scans_and_nnunet_evaluates_the_folder(
    trained: Workspace, two_cases: Path, refined: Path
) -> None:
    for path in sorted(two_cases.glob("*_0000.nii.gz")):
        case, scan = path.name.removesuffix("_0000.nii.gz"), sitk.ReadImage(str(path))
        heatmap = sitk.ReadImage(str(refined / "uncertainty" / f"{case}_uncertainty.nii.gz"))
        for image in (heatmap, sitk.ReadImage(str(refined / f"{case}.nii.gz"))):
            for get in ("GetSize", "GetSpacing", "GetOrigin", "GetDirection"):
                assert np.allclose(getattr(image, get)(), getattr(scan, get)(), atol=1e-5), get
        assert heatmap.GetPixelID() == sitk.sitkFloat32
        assert sitk.GetArrayFromImage(heatmap).max() > 0.1
        assert (refined / "uncertainty" / f"{case}_overlay.png").stat().st_size > 10_000
    table = pd.read_csv(refined / "uncertainty" / "confidence.csv")
    assert list(table["structure"]) == ["spinal_canal", "vertebrae", "ivd"] * 2
    assert {"area_mm2", "mean_entropy_inside", "mean_entropy_boundary", "agreement"} < set(table)
    files = f"-djfile {refined}/dataset.json -pfile {refined}/plans.json"
    summary = refined / "summary.json"
    labels = trained.raw / "labelsTr"
    trained.run(f"nnUNetv2_evaluate_folder {labels} {refined} {files} -o {summary} -np 1 --chill")
    assert len(json.loads(summary.read_text())["metric_per_case"]) == 2


@pytest.mark.parametrize("workers", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_a_shell_that_env_has_set_up_predicts_the_same(
    trained: Workspace, two_cases: Path, refined: Path, tmp_path: Path, workers: int
) -> None:
    model = f"-d {DATASET} -c 2d -f 0 -tr {TRAINER} -device cpu -npp {workers} -nps {workers}"
    trained.shell(f"nnUNetv2_predict -i {two_cases} -o {tmp_path} {model} --refine --save_uncertainty")
    assert masks_of(tmp_path) == masks_of(refined)
    for path in (refined / "uncertainty").glob("*.nii.gz"):  # other threads may add up in another order
        found, expected = (sitk.ReadImage(str(p)) for p in (tmp_path / "uncertainty" / path.name, path))
        assert np.allclose(sitk.GetArrayFromImage(found), sitk.GetArrayFromImage(expected), atol=1e-4)


@pytest.mark.slow
def test_in_such_a_shell_a_wrong_trainer_is_one_line(trained: Workspace) -> None:
    wrong = "nnUNetTrainerSpineSegDiff_5epoch"
    told = trained.shell(f"nnUNetv2_train {DATASET} 2d 0 -tr {wrong} -device cpu", fails=True)
    assert "Traceback" not in told
    assert "_<n>epochs" in told.strip().splitlines()[-1]


def test_a_finished_stock_training_is_frozen(
    planned: Workspace, stage1_trained: str, two_cases: Path, tmp_path: Path
) -> None:
    """The named stage 1 comes out of the training as it went in; only the refiner has an optimizer."""
    refiner = "nnUNetTrainerSpineSegDiff_1epochs_2iters"
    train = f"nnUNetv2_train {DATASET} 2d 0 -tr {refiner} -device cpu"
    planned.run(train, spinesegdiff_stage1=stage1_trained)
    fold = planned.results(refiner) / "fold_0"
    checkpoint = load(fold / "checkpoint_final.pth")
    before = load(planned.results(stage1_trained) / "fold_0" / "checkpoint_final.pth")["network_weights"]
    for key, value in before.items():
        assert torch.equal(checkpoint["network_weights"][f"stage1.{key}"], value)
    assert set(checkpoint["optimizer_state"]) == {"denoiser"}
    assert json.loads((fold / "refinement.json").read_text())["stage1_frozen"]
    assert "frozen, weights from" in log_of(fold)
    told = planned.predict(two_cases, tmp_path, "--refine", trainer=stage1_trained, fails=True)
    last = told.strip().splitlines()[-1]
    assert last.startswith(f"error: {planned.results(stage1_trained)}")
    assert not masks_of(tmp_path)


def test_training_continues_with_both_optimizers(trained: Workspace) -> None:
    """A training that was stopped after two epochs goes on at its third, with the states of both stages."""
    name = "nnUNetTrainerSpineSegDiff_3epochs_2iters"
    fold = trained.results(name) / "fold_0"
    fold.mkdir(parents=True)
    shutil.copy(trained.results() / "fold_0" / "checkpoint_final.pth", fold / "checkpoint_latest.pth")
    trained.run(f"nnUNetv2_train {DATASET} 2d 0 -tr {name} -device cpu --c")
    log = log_of(fold)
    assert "Epoch 2" in log
    assert "Epoch 1" not in log
    after = load(fold / "checkpoint_final.pth")["optimizer_state"]
    steps = {float(s["step"]) for s in after["denoiser"]["state"].values()}
    assert steps == {float(2 * 15 + 2)}
    momentum = after["stage1"]["state"]
    assert momentum
    assert all(entry["momentum_buffer"] is not None for entry in momentum.values())


def test_unfit_images_are_named_and_the_others_done(
    trained: Workspace, two_cases: Path, tmp_path: Path
) -> None:
    images, output = tmp_path / "images", tmp_path / "out"
    images.mkdir()
    good = sorted(two_cases.iterdir())[0]
    whole = good.read_bytes()
    (images / good.name).write_bytes(whole)
    (images / "short_0000.nii.gz").write_bytes(whole[: len(whole) // 2])
    flat = sitk.ReadImage(str(good)) * 0 + 7
    sitk.WriteImage(flat, str(images / "flat_0000.nii.gz"))
    last = trained.predict(images, output, "--refine", fails=True).strip().splitlines()[-1]
    assert "short_0000.nii.gz" in last
    assert "flat_0000.nii.gz" in last
    assert list(masks_of(output)) == [good.name.replace("_0000", "")]
