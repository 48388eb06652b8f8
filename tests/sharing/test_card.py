"""What a model card says of where a model comes from, and what it does not make up."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from nnunetv2_spinesegdiff.sharing.export import export_model

from ..helpers.model_zips import Zip

TRAINER = "nnUNetTrainerSpineSegDiff"
DICE = {
    "ivd": {"stage1": None, "refined": 0.875, "difference": None},
    "mean": {"stage1": 0.5, "refined": 0.75, "difference": 0.25},
}


def trained(folder: Path, fold: int, epochs: int = 5, cases: int = 2, **report: Any) -> None:
    """Puts beside a fold's checkpoint what a finished training leaves."""
    path = folder / f"fold_{fold}" / "checkpoint_final.pth"
    torch.save({**torch.load(path, weights_only=True), "current_epoch": epochs}, path)
    content = {"epoch": epochs, "cases": cases, "dice": DICE, "stage1_frozen": True, **report}
    (path.parent / "refinement.json").write_text(json.dumps(content))


def split(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, val: list[str], train: list[str]) -> None:
    folder = tmp_path / "preprocessed" / "Dataset501_Toy"
    folder.mkdir(parents=True)
    (folder / "splits_final.json").write_text(json.dumps([{"train": train, "val": val}]))
    monkeypatch.setenv("nnUNet_preprocessed", str(folder.parent))


def card(model: Any, tmp_path: Path, **arguments: Any) -> str:
    return (
        Zip(export_model(model.folder, tmp_path / "model.zip", **arguments)).read()["MODEL_CARD.md"].decode()
    )


@pytest.fixture(autouse=True)
def no_splits(monkeypatch):
    monkeypatch.delenv("nnUNet_preprocessed", raising=False)


def test_what_is_known_is_told(make_model, tmp_path, monkeypatch):
    model = make_model(
        name="Toy", description="Two\nlines", reference="https://example.org", licence="CC0", numTraining=6
    )
    trained(model.folder, 0)
    split(
        tmp_path, monkeypatch, ["SPIDER_1_t1", "SPIDER_1_t2"], ["SPIDER_2_t1", "SPIDER_2_t2", "SPIDER_3_t1"]
    )
    details = {"license": "CC BY 4.0: yes", "authors": "A, B", "contact": "a@example.org"}
    details["notes"] = "**Read** me"
    text = card(model, tmp_path, folds=["0"], details=details)
    for line in (
        *("- Name: Toy", "- Description: Two lines", "- Reference: https://example.org", "- Cases: 6"),
        *("- License of the data: CC0", "- Channels: MRI", "- Authors: A, B", "- Contact: a@example.org"),
        *("| 0 | 3 cases of 2 patients | 2 cases of 1 patients |", "- Trainer: nnUNetTrainerSpineSegDiff"),
        *("- Epochs: 5 (fold 0)", "- Spacing: 1 x 1 mm", "- Patch: 16 x 24", "**Read** me"),
        *("- Stage 1: trained before, and frozen", "| fold | cases | structure | stage 1 | refined |"),
        *("| 0 | 2 | mean | 0.5000 | 0.7500 |", "| 0 | 2 | ivd | n/a | 0.8750 |"),
        f"nnUNetv2_predict -i IMAGES -o MASKS -d 501 -c small -f 0 -tr {TRAINER} -p smallPlans",
        *("nnUNetv2_install_pretrained_model_from_zip MODEL.zip", "License of the model: CC BY 4.0: yes."),
        *("spinesegdiff segment -i SCAN -o OUT -m MODEL.zip", f"- torch {torch.__version__.split('+')[0]}"),
    ):
        assert line in text.splitlines(), line
    assert "not a medical device" in text
    front = yaml.safe_load(text.split("---")[1])
    assert front["license"] == "CC BY 4.0: yes"
    assert front["pipeline_tag"] == "image-segmentation"


def test_what_is_not_known_is_not_made_up(make_model, tmp_path):
    text = card(make_model(), tmp_path)
    for line in (
        *(f"- {what}: not stated" for what in ("Description", "Authors", "Cases")),
        "License of the model: not stated.",
        *("- Epochs: not stated (fold 0), not stated (fold 1)", "None are known."),
        "None: probabilities are not calibrated, and areas have no bounds.",
    ):
        assert line in text.splitlines(), line
    assert "license" not in yaml.safe_load(text.split("---")[1])
    assert "trained on |" not in text
    assert "## Notes" not in text
    assert "None\n" not in text


def test_scores_of_another_training_or_checkpoint_are_not_told(make_model, tmp_path):
    model = make_model()
    trained(model.folder, 0)
    trained(model.folder, 1, epoch=4)  # an earlier one
    text = card(model, tmp_path)
    assert "| 0 | 2 | mean |" in text
    assert "| 1 |" not in text
    for fold in (0, 1):
        (model.folder / f"fold_{fold}" / "checkpoint_final.pth").rename(
            model.folder / f"fold_{fold}" / "checkpoint_best.pth"
        )
    assert "trainings validate checkpoint_final.pth, which this is not" in card(
        model, tmp_path, checkpoint="checkpoint_best.pth"
    )


def test_models_from_noise_tell_their_validation(make_model, tmp_path):
    model = make_model(trainer="nnUNetTrainerDiffUNet_n2_S2")
    (model.folder / "fold_0" / "validation").mkdir()
    summary = {
        "mean": {"1": {"Dice": 0.25}, "2": {"Dice": 0.75}, "3": {"Dice": float("nan")}},
        "metric_per_case": [{}, {}, {}],
    }
    (model.folder / "fold_0" / "validation" / "summary.json").write_text(json.dumps(summary))
    text = card(model, tmp_path, folds=["0"])
    assert "| fold | cases | structure | predicted |" in text
    for line in ("| 0 | 3 | mean | 0.5000 |", "| 0 | 3 | spinal_canal | 0.2500 |", "| 0 | 3 | ivd | n/a |"):
        assert line in text.splitlines()
    assert "start from noise" in text
