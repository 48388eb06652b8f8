"""`spinesegdiff presegment`: geometry, what is done again, and what keeps a collection incomplete."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from nnunetv2.training.dataloading.nnunet_dataset import nnUNetDatasetNumpy
from scipy.special import expit, softmax

from nnunetv2_spinesegdiff.cli import main
from nnunetv2_spinesegdiff.errors import UserError
from nnunetv2_spinesegdiff.training import presegment
from nnunetv2_spinesegdiff.training.presegment import collect, find_stock
from nnunetv2_spinesegdiff.training.presegmentations import Manifest

from ..helpers.model_dataset import TRAINER, Small, as_in_truth, confused, export, make_small

REGIONS = {"background": 0, "whole": [1, 2], "core": [2], "ignore": 3}


def softmax_of(folder: Path, case: str) -> np.ndarray:
    with np.load(folder / "softmax" / f"{case}.npz") as archive:
        return archive["probabilities"]


def label_map(small: Small, folder: Path, case: str) -> np.ndarray:
    return small.load(case, folder)[2][:]


# --- geometry --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("axes", "transpose", "shape", "scan_spacing", "spacing"),
    [
        (2, (0, 1, 2), (1, 60, 80), (4.0, 1.0, 1.0), (1.0, 1.0)),
        (2, (0, 1, 2), (3, 60, 80), (4.0, 1.0, 0.8), (1.5, 1.25)),
        (2, (2, 0, 1), (60, 80, 16), (1.0, 0.8, 4.0), (1.5, 1.25)),
        (3, (2, 0, 1), (60, 80, 16), (1.0, 1.0, 2.0), (2.0, 1.5, 1.5)),
        (3, (1, 2, 0), (60, 40, 50), (1.0, 0.8, 1.2), (1.5, 1.5, 1.5)),
    ],
)
def test_what_nnunet_exports_comes_back(tmp_path, axes, transpose, shape, scan_spacing, spacing):
    """Logits on the preprocessed grid, exported to the scan by nnU-Net itself, and collected again."""
    small = make_small(
        tmp_path,
        axes=axes,
        transpose=transpose,
        shape=shape,
        scan_spacing=scan_spacing,
        spacing=spacing,
        cases=("a",),
        splits=[{"train": [], "val": ["a"]}],
    )
    collected = collect(small.stock())
    assert collected.cases == ["a"]
    expected = softmax(small.logits["a"], 0)
    found = softmax_of(collected.folder, "a")
    assert found.dtype == np.float16
    assert found.shape == expected.shape
    assert np.abs(found - expected).mean() < 0.02
    labels = label_map(small, collected.folder, "a")
    assert labels.shape == expected.shape[1:]
    assert (labels == expected.argmax(0)).mean() > 0.97
    # The wrong way round would not go unnoticed.
    assert (labels[..., ::-1] == expected.argmax(0)).mean() < 0.8


def test_regions_become_labels_and_the_ignore_label_is_none_of_them(tmp_path):
    small = make_small(
        tmp_path,
        labels=REGIONS,
        regions_class_order=[1, 2],
        make_logits=lambda truth, rng: confused(truth, rng, heads=2),
    )
    collected = collect(small.stock())
    whole, core = expit(small.logits["a"])
    expected = np.where(core > 0.5, 2, np.where(whole > 0.5, 1, 0))
    assert (label_map(small, collected.folder, "a") == expected).all()
    assert set(np.unique(expected)) == {0, 1, 2}
    assert np.allclose(softmax_of(collected.folder, "a"), [whole, core], atol=1e-3)


# --- what is there ---------------------------------------------------------------------------------------


def test_a_complete_collection_says_what_it_is_made_from(tmp_path):
    small = make_small(tmp_path)
    collected = collect(small.stock())
    assert collected.folder == small.preprocessed / "presegmentations" / f"{TRAINER}__smallPlans__small"
    assert not collected.failures
    manifest = Manifest.load(collected.folder)
    assert manifest.cases == collected.cases == ["a", "b", "c", "d"]
    assert set(manifest.sources.checkpoints) == {"0", "1"}
    assert manifest.sources.preprocessing["spacing"] == [1.0, 1.0]
    # On the scan's own grid nothing changes.
    for case, logits in small.logits.items():
        assert np.allclose(softmax_of(collected.folder, case), softmax(logits, 0), atol=1e-3)
        assert (label_map(small, collected.folder, case) == logits.argmax(0)).all()


def test_only_what_changed_is_done_again(tmp_path):
    small = make_small(tmp_path)
    folder = collect(small.stock()).folder
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != "manifest.json"]
    assert len(files) == 8
    before = {path: path.stat().st_mtime_ns for path in files}

    _, truth, _, properties = small.load("c")
    small.logits["c"] = as_in_truth(truth[0], np.random.default_rng(0))
    export(small, "c", 1, properties)
    (folder / "d.b2nd").unlink()
    (folder / "softmax" / "a.npz").write_bytes(b"PK half")
    assert not collect(small.stock()).failures
    again = {path.name for path in files if path.stat().st_mtime_ns != before[path]}
    assert again == {"c.b2nd", "c.npz", "d.b2nd", "d.npz", "a.b2nd", "a.npz"}
    assert (label_map(small, folder, "c") == small.logits["c"].argmax(0)).all()

    time = (folder / "a.b2nd").stat().st_mtime_ns
    plans = small.preprocessed / "smallPlans.json"
    content = json.loads(plans.read_text())
    content["configurations"]["small"]["normalization_schemes"] = ["NoNormalization"]
    plans.write_text(json.dumps(content))
    assert not collect(small.stock()).failures
    assert (folder / "a.b2nd").stat().st_mtime_ns != time
    assert Manifest.load(folder).sources.preprocessing["normalization_schemes"] == ["NoNormalization"]


def test_cases_that_no_fold_is_validated_on_are_told_apart(tmp_path):
    """The converter's oblique series: trained on, in no validation list."""
    splits = [{"train": ["c", "d"], "val": ["a"]}, {"train": ["a", "d"], "val": ["c"]}]
    small = make_small(tmp_path, splits=splits)
    collected = collect(small.stock())
    assert (collected.cases, collected.never_held_out) == (["a", "c"], ["b", "d"])
    assert Manifest.load(collected.folder).never_held_out == ["b", "d"]
    empty = label_map(small, collected.folder, "b")
    assert empty.shape == small.load("b")[0].shape[1:]
    assert not empty.any()


def test_datasets_that_older_versions_preprocessed_are_served_too(tmp_path):
    """nnU-Net's .npz cases."""
    small = make_small(tmp_path)
    for case in small.logits:
        data, seg, _, properties = small.load(case)
        nnUNetDatasetNumpy.save_case(data[:], seg[:], properties, str(small.cases_folder / case))
    for path in small.cases_folder.glob("*.b2nd"):
        path.unlink()
    folder = collect(small.stock()).folder
    dataset = nnUNetDatasetNumpy(str(small.cases_folder), ["a"], str(folder))
    assert (dataset.load_case("a")[2] == small.logits["a"].argmax(0)).all()


# --- what is missing -------------------------------------------------------------------------------------


def validation_file(damage: Callable[[Path], Any]) -> Callable[[Small], Any]:
    """Damages the prediction of case c."""
    return lambda small: damage(small.model / "fold_1" / "validation" / "c.npz")


def lose_all(small: Small) -> None:
    for case in "cd":
        (small.model / "fold_1" / "validation" / f"{case}.npz").unlink()


def unfinished(small: Small) -> None:
    path = small.model / "fold_1" / "checkpoint_final.pth"
    path.rename(path.with_name("checkpoint_latest.pth"))


def full_of(value: float, *shape: int) -> Callable[[Small], Any]:
    content = np.full(shape, value, np.float32)
    return validation_file(lambda path: np.savez_compressed(path, probabilities=content))


lose_one = validation_file(Path.unlink)
MEND = "nnUNetv2_train 501 small 1 -tr nnUNetTrainerStage1 -p smallPlans --val --npz"


@pytest.mark.parametrize(
    ("damage", "parts", "still_done"),
    [
        (lose_one, ["fold_1/validation: ", "1 of 2 cases (c)", MEND], "abd"),
        (lose_all, ["fold_1/validation: ", "2 of 2 cases (c, d)", MEND], "ab"),
        (
            validation_file(lambda path: path.write_bytes(path.read_bytes()[:-60])),
            ["fold_1/validation/c.npz: ", MEND],
            "abd",
        ),
        (full_of(0.25, 4, 1, 5, 5), ["fold_1/validation/c.npz: ", "(4, 1, 5, 5)", MEND], "abd"),
        (full_of(np.nan, 4, 1, 18, 26), ["fold_1/validation/c.npz: ", "nan", MEND], "abd"),
        (validation_file(lambda path: os.utime(path, (1, 1))), ["older", "(c)", MEND], "abd"),
        (unfinished, ["fold_1: ", "(c, d)", MEND.replace(" --val", "")], "ab"),
        (lambda small: (small.cases_folder / "c.b2nd").unlink(), ["fold 1 (c)", "preprocess"], "abd"),
    ],
)
def test_what_is_missing_is_named_and_the_rest_done(tmp_path, damage, parts, still_done):
    small = make_small(tmp_path)
    damage(small)
    collected = collect(small.stock())
    (failure,) = collected.failures
    for part in parts:
        assert part in failure
    assert len(failure.splitlines()) == 1
    assert collected.cases == list(still_done)
    for case in still_done:
        assert (collected.folder / f"{case}.b2nd").is_file()
    with pytest.raises(UserError, match="incomplete"):
        Manifest.load(collected.folder)


def test_a_run_that_is_stopped_leaves_no_manifest_of_an_earlier_one(tmp_path, monkeypatch):
    small = make_small(tmp_path)
    folder = collect(small.stock()).folder

    def stopped(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(presegment, "each_case", stopped)
    with pytest.raises(KeyboardInterrupt):
        collect(small.stock())
    assert not (folder / "manifest.json").exists()


# --- which training --------------------------------------------------------------------------------------


def test_the_stock_trainer_is_found_by_convention_or_named(tmp_path):
    small = make_small(tmp_path)
    assert small.stock().trainer == "nnUNetTrainerStage1"
    for trainer in ("nnUNetTrainer", "nnUNetTrainerStage1_5epochs"):
        fold = small.results / f"{trainer}__smallPlans__small" / "fold_0"
        fold.mkdir(parents=True)
        (fold / "checkpoint_final.pth").write_bytes(b"")
    assert small.stock().trainer == "nnUNetTrainer"
    assert small.stock("nnUNetTrainerStage1_5epochs").trainer == "nnUNetTrainerStage1_5epochs"
    with pytest.raises(UserError, match=r"Never__smallPlans__small: .*-tr Never"):
        small.stock("Never")


def test_a_cascade_is_refused(tmp_path):
    small = make_small(tmp_path)
    plans = small.preprocessed / "smallPlans.json"
    content = json.loads(plans.read_text())
    content["configurations"]["small"]["previous_stage"] = "low"
    content["configurations"]["low"] = {**content["configurations"]["small"], "previous_stage": None}
    plans.write_text(json.dumps(content))
    with pytest.raises(UserError, match="low"):
        find_stock(small.results, small.preprocessed, "small", "smallPlans")


@pytest.mark.parametrize("content", ["{}", "[1]", '[{"train": []}]', "no JSON", None])
def test_without_folds_there_is_nothing_to_collect(tmp_path, content):
    small = make_small(tmp_path)
    splits = small.preprocessed / "splits_final.json"
    if content is None:
        splits.unlink()
    else:
        splits.write_text(content)
    with pytest.raises(UserError, match=r"splits_final\.json"):
        collect(small.stock())


def test_the_command_tells_failures_and_ends_with_status_1(tmp_path, monkeypatch, capsys):
    small = make_small(tmp_path)
    for name in ("raw", "preprocessed", "results"):
        monkeypatch.setenv(f"nnUNet_{name}", str(tmp_path / f"nnUNet_{name}"))
    words = ["presegment", "-d", "501", "-c", "small", "-p", "smallPlans", "-np", "1"]
    assert main(words) == 0
    folder = small.preprocessed / "presegmentations" / f"{TRAINER}__smallPlans__small"
    assert f"4 out-of-fold presegmentations of {TRAINER} in {folder}" in capsys.readouterr().out
    lose_one(small)
    assert main(words) == 1
    told = capsys.readouterr()
    errors = [line for line in told.err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 2
    assert "(c)" in errors[0]
    assert "incomplete" in errors[1]
    assert "3 out-of-fold presegmentations" in told.out
