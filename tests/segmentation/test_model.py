"""Which models segment scans, and what is said of the others."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from nnunetv2_spinesegdiff.errors import UserError
from nnunetv2_spinesegdiff.labels import CLASSES
from nnunetv2_spinesegdiff.segmentation.model import SliceModel
from nnunetv2_spinesegdiff.segmentation.settings import SegmentationSettings
from nnunetv2_spinesegdiff.sharing.opening import open_model

CONVERTED = {"converted_by": "nnunetv2_spinesegdiff", "conversion": {"slices": "middle", "dim": "2d"}}


def loaded(folder: Path, scratch: Path) -> SliceModel:
    return SliceModel(open_model(folder, scratch), SegmentationSettings(), torch.device("cpu"))


@pytest.fixture
def folder(make_model) -> Path:
    return make_model(labels=CLASSES, **CONVERTED).folder


def test_a_model_of_converted_scans_tells_how_they_were_cut(folder, tmp_path, capfd):
    model = loaded(folder, tmp_path)
    assert model.cut == {"slices": "middle", "dim": "2d"}
    assert (model.calibration, model.notes) == (None, [])
    assert capfd.readouterr().out == ""


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"labels": CLASSES}, "does not state how slices were extracted"),
        ({"labels": {"background": 0, "a": 1, "b": 2, "c": 3}, **CONVERTED}, "segments background, a, b, c"),
    ],
)
def test_models_of_something_else_are_refused(changes, told, make_model, tmp_path):
    with pytest.raises(UserError, match=told):
        loaded(make_model(**changes).folder, tmp_path)


def without(*keys: str) -> Callable[[Any], None]:
    def change(content: Any) -> None:
        for key in keys[:-1]:
            content = content[key]
        del content[keys[-1]]

    return change


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("plans.json", without("image_reader_writer")),
        ("plans.json", without("dataset_name")),
        ("plans.json", lambda content: content.update(spinesegdiff=3)),
        ("dataset.json", without("channel_names")),
        ("dataset.json", without("labels", "background")),
        ("dataset.json", without("labels", "ivd")),
        ("dataset.json", without("conversion", "dim")),
        ("dataset.json", lambda content: content.update(conversion="all")),
        ("dataset.json", lambda content: content["channel_names"].update({"1": "T1"})),
    ],
)
def test_files_that_do_not_fit_together_are_one_line(name, change, folder, tmp_path):
    content = json.loads((folder / name).read_text())
    change(content)
    (folder / name).write_text(json.dumps(content))
    with pytest.raises(UserError) as error:
        loaded(folder, tmp_path)
    assert "\n" not in str(error.value)
    assert folder.name in str(error.value)
