"""nnU-Net's console scripts with our trainers; docs/reference/nnunet_commands.md lists what is run here."""

from __future__ import annotations

import http.server
import json
import shutil
import threading
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch

from ..helpers.model_commands import load, log_of, masks_of
from ..helpers.model_volumes import (
    CASES,
    LABELS,
    PLANNERS,
    Volumes,
    arrays_of,
    plan_volumes,
    write_image,
    write_volumes,
)
from .conftest import SYSTEMS

pytestmark = pytest.mark.slow

STOCK = "nnUNetTrainerStage1_1epochs_2iters"
REFINER = "nnUNetTrainerSpineSegDiff_1epochs_2iters"
SHORT = {**SYSTEMS, "nnUNetTrainerStage1Sagittal": "", "nnUNetTrainerSpineSegDiffSagittal": ""}
FROM_NOISE = [name for name, suffix in SYSTEMS.items() if "_S" in suffix]
RESENC = [name for name in PLANNERS if "ResEnc" in name]


@pytest.fixture(scope="module")
def classes(tmp_path_factory: pytest.TempPathFactory) -> Volumes:
    return plan_volumes(tmp_path_factory.mktemp("classes"), "classes", tuple(PLANNERS))


@pytest.fixture(scope="module")
def regions(tmp_path_factory: pytest.TempPathFactory) -> Volumes:
    return plan_volumes(tmp_path_factory.mktemp("regions"), "regions")


@pytest.fixture(scope="module")
def ignore(tmp_path_factory: pytest.TempPathFactory) -> Volumes:
    return plan_volumes(tmp_path_factory.mktemp("ignore"), "ignore")


def last_line(output: str) -> str:
    assert "Traceback" not in output
    return output.strip().splitlines()[-1]


# --- trainers, configurations, plans, labels ---------------------------------------------------------------


def train_and_predict_everything(volumes: Volumes, trainer: str, plans: str, out: Path) -> None:
    """Train all four configurations, the first stage of the cascade on both folds; predict with each."""
    folds = {"2d": (0,), "3d_fullres": (0,), "3d_lowres": (0, 1), "3d_cascade_fullres": (0,)}
    known = {0, 1, 2}
    for configuration, numbers in folds.items():
        for fold in numbers:
            trained = volumes.train(trainer, configuration, fold, plans)
            summary = json.loads((trained / "validation" / "summary.json").read_text())
            assert len(summary["metric_per_case"]) == 2, configuration
        options = f"-c {configuration} -p {plans} -tr {trainer} -f 0"
        if configuration == "3d_cascade_fullres":
            options += f" -prev_stage_predictions {out / '3d_lowres'}"
        masks = volumes.segment(out / configuration, options)
        truth = arrays_of(volumes.raw / "labelsTr")
        assert {name: mask.shape for name, mask in masks.items()} == {n: t.shape for n, t in truth.items()}
        assert all(set(np.unique(mask)) <= known for mask in masks.values()), configuration
    handed_on = volumes.model(trainer, "3d_lowres", plans) / "predicted_next_stage" / "3d_cascade_fullres"
    assert {path.name.split(".")[0] for path in handed_on.iterdir()} == set(CASES)


@pytest.mark.parametrize("system", SHORT)
def test_classes_in_every_configuration(system: str, classes: Volumes, tmp_path: Path) -> None:
    train_and_predict_everything(classes, f"{system}_1epochs_2iters{SHORT[system]}", "nnUNetPlans", tmp_path)


@pytest.mark.parametrize("system", SHORT)
def test_regions_in_every_configuration(system: str, regions: Volumes, tmp_path: Path) -> None:
    train_and_predict_everything(regions, f"{system}_1epochs_2iters{SHORT[system]}", "nnUNetPlans", tmp_path)


@pytest.mark.parametrize("system", [name for name in SHORT if name not in FROM_NOISE])
def test_the_ignore_label_in_every_configuration(system: str, ignore: Volumes, tmp_path: Path) -> None:
    train_and_predict_everything(ignore, f"{system}_1epochs_2iters{SHORT[system]}", "nnUNetPlans", tmp_path)


@pytest.mark.parametrize("configuration", ["2d", "3d_fullres", "3d_lowres", "3d_cascade_fullres"])
@pytest.mark.parametrize("system", FROM_NOISE)
def test_the_ignore_label_is_rejected_by_trainers_from_noise(
    system: str, configuration: str, ignore: Volumes
) -> None:
    line = f"nnUNetv2_train {ignore.dataset} {configuration} 0 -tr {system}_1epochs_2iters -device cpu"
    assert last_line(ignore.run(line, fails=True)).startswith(f"error: {system}_1epochs_2iters: ")
    assert not list(ignore.model(f"{system}_1epochs_2iters", configuration).glob("fold_0/*.pth"))


@pytest.mark.parametrize("plans", RESENC)
@pytest.mark.parametrize("system", SHORT)
def test_residual_encoders_in_every_configuration(
    system: str, plans: str, classes: Volumes, tmp_path: Path
) -> None:
    train_and_predict_everything(classes, f"{system}_1epochs_2iters{SHORT[system]}", plans, tmp_path)


@pytest.mark.parametrize("trainer", [STOCK, REFINER])
def test_a_cascade_without_its_first_stage_is_rejected(trainer: str, classes: Volumes) -> None:
    alone = trainer.replace("2iters", "3iters")
    line = f"nnUNetv2_train {classes.dataset} 3d_cascade_fullres 0 -tr {alone} -device cpu"
    told = last_line(classes.run(line, fails=True))
    assert told.startswith(f"error: {classes.model(alone, '3d_lowres')}")
    assert "3d_lowres" in told
    assert not list(classes.model(alone, "3d_cascade_fullres").glob("fold_0/*.pth"))


# --- folds, validation, continuation -----------------------------------------------------------------------


def test_validation_alone_gives_the_same_masks(classes: Volumes) -> None:
    for trainer in (STOCK, REFINER):
        fold = classes.train(trainer)
        before = masks_of(fold / "validation")
        shutil.rmtree(fold / "validation")
        weights = (fold / "checkpoint_final.pth").read_bytes()
        classes.train(trainer, flags="--val")
        assert len(before) == 2
        assert masks_of(fold / "validation") == before
        assert (fold / "checkpoint_final.pth").read_bytes() == weights


def test_val_best_validates_the_best_checkpoint(classes: Volumes, tmp_path: Path) -> None:
    """The best checkpoint is replaced by the weights of fold 1, which segment differently."""
    trainer = REFINER.replace("2iters", "4iters")
    fold, other = (classes.train(trainer, fold=number) for number in (0, 1))
    final = masks_of(fold / "validation")
    assert (fold / "checkpoint_best.pth").is_file()
    shutil.copy(other / "checkpoint_final.pth", fold / "checkpoint_best.pth")
    classes.train(trainer, flags="--val --val_best")
    classes.segment(tmp_path, f"-c 2d -tr {trainer} -f 0 -chk checkpoint_best.pth")
    validated, predicted = masks_of(fold / "validation"), masks_of(tmp_path)
    assert len(validated) == 2
    assert validated.items() <= predicted.items()
    assert validated != final


def test_a_finished_training_is_continued_with_its_validation(classes: Volumes) -> None:
    fold = classes.train(REFINER)
    before = masks_of(fold / "validation")
    shutil.rmtree(fold / "validation")
    classes.train(REFINER, flags="--c")
    assert masks_of(fold / "validation") == before


def test_fold_all_trains_on_all_cases_and_predicts(classes: Volumes, tmp_path: Path) -> None:
    for trainer in (STOCK, REFINER):
        fold = classes.train(trainer, fold="all")
        assert set(masks_of(fold / "validation")) == {f"{case}.nii.gz" for case in CASES}
        classes.segment(tmp_path / trainer, f"-c 2d -tr {trainer} -f all")
        assert masks_of(tmp_path / trainer) == masks_of(fold / "validation")
    assert (fold / "refinement.json").is_file()


def test_without_checkpoints_nothing_but_the_validation_is_left(classes: Volumes) -> None:
    trainer = REFINER.replace("2iters", "5iters")
    fold = classes.train(trainer, flags="--disable_checkpointing")
    assert len(masks_of(fold / "validation")) == 2
    assert not list(fold.glob("*.pth"))


# --- prediction --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("trainer", [STOCK, REFINER])
def test_parts_together_are_one_prediction(trainer: str, classes: Volumes, tmp_path: Path) -> None:
    classes.train(trainer)
    model = f"-c 2d -tr {trainer} -f 0"
    whole = classes.segment(tmp_path / "whole", model)
    seen: list[str] = []
    for part in (0, 1):
        found = classes.segment(
            tmp_path / f"part{part}", f"{model} -num_parts 2 -part_id {part} -device cpu -npp 1 -nps 1"
        )
        assert all(np.array_equal(mask, whole[name]) for name, mask in found.items())
        seen += found
    assert sorted(seen) == sorted(whole)


@pytest.mark.parametrize("trainer", [STOCK, REFINER])
def test_a_model_folder_predicts_as_its_names_do(trainer: str, classes: Volumes, tmp_path: Path) -> None:
    classes.train(trainer)
    classes.segment(tmp_path / "named", f"-c 2d -tr {trainer} -f 0")
    classes.run(
        f"nnUNetv2_predict_from_modelfolder -i {classes.raw / 'imagesTr'} -o {tmp_path / 'folder'} "
        f"-m {classes.model(trainer)} -f 0 -device cpu -npp 1 -nps 1"
    )
    named = masks_of(tmp_path / "named")
    assert len(named) == len(CASES)
    assert masks_of(tmp_path / "folder") == named


# --- several models and folds ------------------------------------------------------------------------------


def mean_of(*folders: Path) -> dict[str, np.ndarray]:
    """Labels of the mean of probabilities."""
    names = sorted(path.name for path in folders[0].glob("*.npz"))
    loaded = {
        n: [np.load(folder / n)["probabilities"].astype(np.float32) for folder in folders] for n in names
    }
    return {n.replace(".npz", ".nii.gz"): np.mean(found, axis=0).argmax(0) for n, found in loaded.items()}


def assert_same(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    assert len(expected) > 0
    assert set(found) == set(expected)
    for name, mask in expected.items():
        assert np.array_equal(found[name], mask), name


def test_an_ensemble_with_a_stock_model_is_the_mean(classes: Volumes, tmp_path: Path) -> None:
    folders = [tmp_path / name for name in (STOCK, REFINER)]
    for trainer, folder in zip((STOCK, REFINER), folders, strict=True):
        classes.train(trainer)
        classes.segment(folder, f"-c 2d -tr {trainer} -f 0 --save_probabilities")
    classes.run(f"nnUNetv2_ensemble -i {folders[0]} {folders[1]} -o {tmp_path / 'both'} -np 1")
    assert_same(arrays_of(tmp_path / "both"), mean_of(*folders))


def test_cross_validation_results_are_collected(classes: Volumes, tmp_path: Path) -> None:
    folds = [classes.train(REFINER, fold=fold) for fold in (0, 1)]
    line = f"nnUNetv2_accumulate_crossval_results {classes.dataset} -c 2d -tr {REFINER} -f 0 1"
    classes.run(f"{line} -o {tmp_path / 'cv'}")
    assert masks_of(tmp_path / "cv") == {k: v for f in folds for k, v in masks_of(f / "validation").items()}
    summaries = [json.loads((f / "validation" / "summary.json").read_text()) for f in folds]
    whole = json.loads((tmp_path / "cv" / "summary.json").read_text())
    dice = [case["metrics"]["1"]["Dice"] for summary in summaries for case in summary["metric_per_case"]]
    assert len(whole["metric_per_case"]) == len(CASES)
    assert whole["mean"]["1"]["Dice"] == pytest.approx(np.nanmean(dice))


def plant(fold: Path, truth: dict[str, np.ndarray], right: slice) -> None:
    """Make a validation sure and right in some columns, and hesitantly wrong in the others."""
    for path in (fold / "validation").glob("*.npz"):
        mask = truth[path.name.replace(".npz", ".nii.gz")]
        wrong = (mask + 1) % 3
        probabilities = np.stack([0.6 * (wrong == k) + 0.4 * (mask == k) for k in range(3)])
        sure = np.stack([1.0 * (mask == k) for k in range(3)])
        probabilities[..., right] = sure[..., right]
        np.savez_compressed(path, probabilities=probabilities.astype(np.float32))
        image = probabilities.argmax(0).astype(np.uint8)
        write_image(image, path.with_name(path.name.replace(".npz", ".nii.gz")))


@pytest.mark.parametrize("winner", ["both", "refiner"])
def test_the_commands_of_the_best_configuration_run(winner: str, classes: Volumes, tmp_path: Path) -> None:
    """Two models that are right in one half of the image each win together. Or the refiner wins alone."""
    iterations = "6iters" if winner == "both" else "7iters"
    names = [name.replace("2iters", iterations) for name in (STOCK, REFINER)]
    truth = arrays_of(classes.raw / "labelsTr")
    halves = (slice(None, 12), slice(12, None)) if winner == "both" else (slice(0), slice(None))
    for name, half in zip(names, halves, strict=True):
        for fold in (0, 1):
            plant(classes.train(name, fold=fold), truth, half)
    classes.run(
        f"nnUNetv2_find_best_configuration {classes.dataset} -c 2d -tr {names[0]} {names[1]} -f 0 1 -np 1"
    )
    information = json.loads((classes.model("").parent / "inference_information.json").read_text())
    chosen = information["best_model_or_ensemble"]["selected_model_or_models"]
    assert [model["trainer"] for model in chosen] == (names if winner == "both" else names[1:])
    assert information["best_model_or_ensemble"]["result_on_crossval_pre_pp"] == 1

    printed = (classes.model("").parent / "inference_instructions.txt").read_text()
    commands = [line for line in printed.splitlines() if line.startswith("nnUNetv2_")]
    assert len(commands) == (4 if winner == "both" else 2)
    for command in commands:
        line = command.replace("INPUT_FOLDER", str(classes.raw / "imagesTr"))
        line = line.replace("OUTPUT_FOLDER", f"{tmp_path}/OUTPUT_FOLDER")
        classes.run(f"{line} -device cpu -npp 0 -nps 0" if "_predict " in line else line)
    assert len(masks_of(tmp_path / "OUTPUT_FOLDER")) == len(CASES)
    assert masks_of(tmp_path / "OUTPUT_FOLDER_PP") == masks_of(tmp_path / "OUTPUT_FOLDER")
    if winner == "both":
        members = (tmp_path / f"OUTPUT_FOLDER_MODEL_{number}" for number in (1, 2))
        assert_same(arrays_of(tmp_path / "OUTPUT_FOLDER"), mean_of(*members))
    else:
        own = classes.segment(tmp_path / "own", f"-c 2d -tr {names[1]} -f 0 1")
        assert_same(arrays_of(tmp_path / "OUTPUT_FOLDER"), own)


def test_determined_postprocessing_removes_a_second_component(classes: Volumes, tmp_path: Path) -> None:
    fold, truth = classes.train(REFINER), arrays_of(classes.raw / "labelsTr")
    planted, model = tmp_path / "planted", fold.parent
    planted.mkdir()
    for name, mask in truth.items():
        spoilt = mask.copy()
        spoilt[0, :2, :2] = 1
        write_image(spoilt, planted / name)
    described = f"-plans_json {model / 'plans.json'} -dataset_json {model / 'dataset.json'} -np 1"
    labels = classes.raw / "labelsTr"
    classes.run(f"nnUNetv2_determine_postprocessing -i {planted} -ref {labels} {described}")
    classes.run(
        f"nnUNetv2_apply_postprocessing -i {planted} -o {tmp_path / 'clean'} "
        f"-pp_pkl_file {planted / 'postprocessing.pkl'} {described}"
    )
    assert_same(arrays_of(tmp_path / "clean"), truth)


def test_evaluation_gives_the_dice_of_the_masks(classes: Volumes, tmp_path: Path) -> None:
    fold, truth = classes.train(REFINER), arrays_of(classes.raw / "labelsTr")
    plant(fold, truth, slice(None, 12))
    model, masks, labels = fold.parent, fold / "validation", classes.raw / "labelsTr"
    files = f"-djfile {model / 'dataset.json'} -pfile {model / 'plans.json'}"
    for number, line in enumerate(
        (
            f"nnUNetv2_evaluate_folder {labels} {masks} {files}",
            f"nnUNetv2_evaluate_simple {labels} {masks} -l 1 2",
        )
    ):
        classes.run(f"{line} -o {tmp_path / f'{number}.json'} -np 1 --chill")
        summary = json.loads((tmp_path / f"{number}.json").read_text())
        assert len(summary["metric_per_case"]) == 2
        for case in summary["metric_per_case"]:
            name = Path(case["prediction_file"]).name
            found, true = arrays_of(masks)[name], truth[name]
            for label in (1, 2):
                overlap = np.sum((found == label) & (true == label))
                dice = 2 * overlap / (np.sum(found == label) + np.sum(true == label))
                assert case["metrics"][str(label)]["Dice"] == pytest.approx(dice)
    classes.train(REFINER, flags="--val")


# --- models and plans elsewhere ----------------------------------------------------------------------------


def test_a_cascade_is_exported_downloaded_and_predicts_the_same(classes: Volumes, tmp_path: Path) -> None:
    """Both stages in one zip; installed from the file, and from a server."""
    for configuration, fold in (("3d_lowres", 0), ("3d_lowres", 1), ("3d_cascade_fullres", 0)):
        classes.train(REFINER, configuration, fold)
    archive = tmp_path / "zips" / "model.zip"
    archive.parent.mkdir()
    stages = "-c 3d_lowres 3d_cascade_fullres"
    classes.run(f"nnUNetv2_export_model_to_zip -d {classes.dataset} {stages} -tr {REFINER} -f 0 -o {archive}")

    def predict(name: str, **environment: str) -> dict[str, bytes]:
        first, second = (tmp_path / f"{name}{stage}" for stage in (1, 2))
        classes.segment(first, f"-c 3d_lowres -tr {REFINER} -f 0", **environment)
        previous = f"-prev_stage_predictions {first}"
        classes.segment(second, f"-c 3d_cascade_fullres -tr {REFINER} -f 0 {previous}", **environment)
        return masks_of(second)

    here = predict("here")
    assert len(here) == len(CASES)
    handler = partial(http.server.SimpleHTTPRequestHandler, directory=str(archive.parent))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_address[1]}/{archive.name}"
        for number, install in enumerate(
            (
                f"nnUNetv2_install_pretrained_model_from_zip {archive}",
                f"nnUNetv2_download_pretrained_model_by_url {url}",
            )
        ):
            results = tmp_path / f"results{number}"
            results.mkdir()
            classes.run(install, nnUNet_results=str(results), HOME=str(results), no_proxy="127.0.0.1")
            assert predict(f"there{number}", nnUNet_results=str(results)) == here
        server.shutdown()


def test_moved_plans_train_from_pretrained_weights(classes: Volumes) -> None:
    """The plans of one dataset on another, and a refiner that begins with the weights of the first."""
    pretrained = classes.train(REFINER) / "checkpoint_final.pth"
    other = Volumes(classes.root, "other")
    write_volumes(other.raw, "classes", seed=9)
    other.run(f"nnUNetv2_extract_fingerprint -d {other.dataset} -np 1")
    plans = "nnUNetPlansMoved"
    sets = f"-s {classes.dataset} -t {other.dataset}"
    other.run(f"nnUNetv2_move_plans_between_datasets {sets} -sp nnUNetPlans -tp {plans}")
    # Planning would copy this file, moving plans does not.
    shutil.copy(other.raw / "dataset.json", other.preprocessed)
    other.run(f"nnUNetv2_preprocess -d {other.dataset} -plans_name {plans} -c 2d -np 1")
    shutil.copy(classes.preprocessed / "splits_final.json", other.preprocessed)
    fold = other.train(REFINER, plans=plans, flags=f"-pretrained_weights {pretrained}")
    assert "frozen" not in log_of(fold)
    assert len(masks_of(fold / "validation")) == 2
    before, after = (load(path)["network_weights"] for path in (pretrained, fold / "checkpoint_final.pth"))
    assert set(before) == set(after)
    steps = [
        float((after[key] - before[key]).abs().max())
        for key in before
        if key.endswith("conv.weight") and torch.is_floating_point(before[key])
    ]
    assert 0 < max(steps) < 0.1  # two iterations; new weights would differ by more


# --- data --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("source", ["", "--use_raw"])
def test_overlays_are_drawn_of_every_case(source: str, classes: Volumes, tmp_path: Path) -> None:
    classes.run(f"nnUNetv2_plot_overlay_pngs -d {classes.dataset} -o {tmp_path} -c 2d -np 1 {source}")
    assert {path.stem for path in tmp_path.glob("*.png")} == set(CASES)


@pytest.mark.parametrize("command", ["nnUNetv2_convert_MSD_dataset", "nnUNetv2_convert_old_nnUNet_dataset"])
def test_older_datasets_are_converted_and_planned(command: str, tmp_path: Path) -> None:
    volumes, source = Volumes(tmp_path), tmp_path / "Task10_Classes"
    write_volumes(source, "classes")
    (source / "imagesTs").mkdir()
    is_msd = "MSD" in command
    if is_msd:
        for path in (source / "imagesTr").iterdir():
            path.rename(path.with_name(path.name.replace("_0000", "")))
    names = {str(number): name for name, number in LABELS["classes"]["labels"].items()}
    described = {"modality": {"0": "MRI"}, "labels": names, "numTraining": len(CASES), "numTest": 0}
    lists = {"training": [], "test": [], "tensorImageSize": "3D"}
    (source / "dataset.json").write_text(json.dumps({**described, **lists}))
    target = f"-i {source} -overwrite_id 610 -np 1" if is_msd else f"{source} {volumes.name}"
    (tmp_path / "raw").mkdir()
    volumes.run(f"{command} {target}")
    assert_same(arrays_of(volumes.raw / "labelsTr"), arrays_of(source / "labelsTr"))
    volumes.run("nnUNetv2_plan_and_preprocess -d 610 -c 2d --verify_dataset_integrity -npfp 1 -np 1")
    image = sitk.ReadImage(str(volumes.raw / "imagesTr" / f"{CASES[0]}_0000.nii.gz"))
    assert image.GetDimension() == 3
    assert (volumes.preprocessed / "nnUNetPlans.json").is_file()
