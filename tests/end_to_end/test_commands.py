"""The whole way through nnU-Net's real commands, on a phantom cohort."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import SimpleITK as sitk
import torch

from .conftest import DATASET, EPOCHS, ITERATIONS, TRAINER, Workspace


def masks_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*.nii.gz"))}


def log_of(fold: Path) -> str:
    return "".join(path.read_text() for path in sorted(fold.glob("training_log*.txt")))


def load(checkpoint: Path) -> dict:
    return torch.load(checkpoint, map_location="cpu", weights_only=False)


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
    assert "difference" in log


def test_validation_output_is_what_prediction_gives(trained: Workspace) -> None:
    fold = trained.results() / "fold_0"
    case = sorted((fold / "validation").glob("*.nii.gz"))[0].name
    images = trained.root / "one_validation_case"
    images.mkdir()
    source = trained.raw / "imagesTr" / case.replace(".nii.gz", "_0000.nii.gz")
    (images / source.name).write_bytes(source.read_bytes())
    for flag, reference in (("", fold / "validation"), ("--no_refine", fold / "stage1" / "validation")):
        output = trained.root / f"validation_case{flag}"
        trained.predict(images, output, flag)
        assert (output / case).read_bytes() == (reference / case).read_bytes()


def test_prediction_is_repeatable_and_independent_of_neighbours(
    trained: Workspace, two_cases: Path, refined: Path
) -> None:
    """Twice, and with more cases beside them: the files are the same to the bit. Without a flag, too."""
    more = trained.root / "more_cases"
    more.mkdir()
    for image in sorted((trained.raw / "imagesTr").iterdir())[:4]:
        (more / ("0_" * (image.name not in masks_of(two_cases)) + image.name)).write_bytes(image.read_bytes())
    trained.predict(more, trained.root / "beside_others")
    beside = masks_of(trained.root / "beside_others")
    assert len(beside) == 4
    for name, mask in masks_of(refined).items():
        assert beside[name] == mask


def test_refinement_changes_the_mask(refined: Path, unrefined: Path) -> None:
    assert masks_of(refined) != masks_of(unrefined)


def test_no_refine_is_the_stock_predictor_on_the_weights_of_stage_1(
    trained: Workspace, two_cases: Path, unrefined: Path
) -> None:
    """A stock model made of stage 1's weights, predicted without any of our flags."""
    ours = trained.results()
    stock = trained.results("nnUNetTrainer")
    (stock / "fold_0").mkdir(parents=True)
    for name in ("plans.json", "dataset.json"):
        (stock / name).write_bytes((ours / name).read_bytes())
    checkpoint = load(ours / "fold_0" / "checkpoint_final.pth")
    weights = checkpoint["network_weights"]
    checkpoint["network_weights"] = {
        key.removeprefix("stage1."): value for key, value in weights.items() if key.startswith("stage1.")
    }
    checkpoint["trainer_name"] = "nnUNetTrainer"
    torch.save(checkpoint, stock / "fold_0" / "checkpoint_stage1.pth")

    output = trained.root / "by_stock"
    trained.predict(two_cases, output, "-chk checkpoint_stage1.pth", trainer="nnUNetTrainer")
    by_stock = masks_of(output)
    assert len(by_stock) == 2
    assert by_stock == masks_of(unrefined)


def test_refine_is_refused_for_a_model_without_refiner(
    planned: Workspace, stage1_trained: str, two_cases: Path
) -> None:
    output = planned.predict(
        two_cases, planned.root / "nothing", "--refine", trainer=stage1_trained, fails=True
    )
    last = output.strip().splitlines()[-1]
    assert last.startswith("error: ")
    assert str(planned.results(stage1_trained)) in last
    assert "no refiner" in last
    assert not masks_of(planned.root / "nothing")


def test_exported_and_installed_model_predicts_the_same(
    trained: Workspace, two_cases: Path, refined: Path, tmp_path: Path
) -> None:
    archive = tmp_path / "model.zip"
    trained.run(f"nnUNetv2_export_model_to_zip -d {DATASET} -o {archive} -c 2d -f 0 -tr {TRAINER}")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    install = f"nnUNetv2_install_pretrained_model_from_zip {archive}"
    predict = f"nnUNetv2_predict -i {two_cases} -o {tmp_path / 'out'} -d {DATASET} -c 2d -f 0 -tr {TRAINER}"
    for command in (install, f"{predict} -device cpu --refine"):
        trained.run(command, nnUNet_results=str(elsewhere))
    assert masks_of(tmp_path / "out") == masks_of(refined)


def test_a_finished_stock_training_is_frozen(planned: Workspace, stage1_trained: str) -> None:
    """The named stage 1 comes out of the training as it went in; the refiner alone has an optimiser."""
    refiner = "nnUNetTrainerSpineSegDiff_1epochs_2iters_width25"
    planned.run(
        f"nnUNetv2_train {DATASET} 2d 0 -tr {refiner} -device cpu", spinesegdiff_stage1=stage1_trained
    )
    before = load(planned.results(stage1_trained) / "fold_0" / "checkpoint_final.pth")["network_weights"]
    checkpoint = load(planned.results(refiner) / "fold_0" / "checkpoint_final.pth")
    for key, value in before.items():
        assert torch.equal(checkpoint["network_weights"][f"stage1.{key}"], value)
    assert set(checkpoint["optimizer_state"]) == {"denoiser"}
    assert json.loads((planned.results(refiner) / "fold_0" / "refinement.json").read_text())["stage1_frozen"]
    assert "frozen, weights from" in log_of(planned.results(refiner) / "fold_0")


def test_stage_1_of_another_fold_is_refused_in_one_line(trained: Workspace) -> None:
    own = trained.results() / "fold_0"
    output = trained.run(
        f"nnUNetv2_train {DATASET} 2d 1 -tr {TRAINER} -device cpu", spinesegdiff_stage1=str(own), fails=True
    )
    last = output.strip().splitlines()[-1]
    assert last.startswith(f"error: {own}")
    assert "fold 0" in last
    assert "Traceback" not in output


def test_training_continues_with_both_optimisers(trained: Workspace) -> None:
    """A training that was stopped after two epochs goes on at its third, with the states of both stages."""
    name = "nnUNetTrainerSpineSegDiff_3epochs_2iters_width25"
    fold = trained.results(name) / "fold_0"
    fold.mkdir(parents=True)
    shutil.copy(trained.results() / "fold_0" / "checkpoint_final.pth", fold / "checkpoint_latest.pth")
    trained.run(f"nnUNetv2_train {DATASET} 2d 0 -tr {name} -device cpu --c")
    log = log_of(fold)
    assert "as the checkpoint that this training continues from has it" in log
    assert "Epoch 2" in log
    assert "Epoch 1" not in log
    after = load(fold / "checkpoint_final.pth")
    steps = {float(s["step"]) for s in after["optimizer_state"]["denoiser"]["state"].values()}
    assert steps == {float(EPOCHS * ITERATIONS + 2)}
    momentum = after["optimizer_state"]["stage1"]["state"]
    assert momentum
    assert all(entry["momentum_buffer"] is not None for entry in momentum.values())


def test_unknown_suffix_is_one_line(planned: Workspace) -> None:
    output = planned.run(
        f"nnUNetv2_train {DATASET} 2d 0 -tr nnUNetTrainerSpineSegDiff_5epoch -device cpu", fails=True
    )
    assert "Traceback" not in output
    assert "_<n>epochs, _<n>iters" in output.strip().splitlines()[-1]


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
    printed = trained.predict(images, output, "--refine", fails=True)
    last = printed.strip().splitlines()[-1]
    assert "short_0000.nii.gz" in last
    assert "flat_0000.nii.gz" in last
    assert list(masks_of(output)) == [good.name.replace("_0000", "")]


def test_folder_without_cases_is_an_error(trained: Workspace, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    printed = trained.predict(tmp_path / "empty", tmp_path / "out", "--refine", fails=True)
    assert "no case to predict" in printed.strip().splitlines()[-1]


def test_masks_lie_where_the_images_lie(trained: Workspace, two_cases: Path, refined: Path) -> None:
    for image in two_cases.iterdir():
        scan = sitk.ReadImage(str(image))
        mask = sitk.ReadImage(str(refined / image.name.replace("_0000", "")))
        assert mask.GetSize() == scan.GetSize()
        for get in ("GetOrigin", "GetSpacing", "GetDirection"):
            assert np.allclose(getattr(mask, get)(), getattr(scan, get)(), atol=1e-5)
