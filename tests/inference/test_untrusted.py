"""Models of unknown origin: nothing in their files is executed or imported; the stock flow stays as it is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

from nnunetv2_spinesegdiff.errors import UserError
from nnunetv2_spinesegdiff.inference.predictor import SpineSegDiffPredictor
from nnunetv2_spinesegdiff.inference.untrusted import load_safely

from ..helpers.model_folder import Malicious

IMAGE = torch.randn(1, 1, 16, 24, generator=torch.Generator().manual_seed(0))


def changed_checkpoint(folder: Path, **changes: object) -> Path:
    path = folder / "fold_0" / "checkpoint_final.pth"
    torch.save({**torch.load(path, weights_only=False), **changes}, path)
    return path


def test_code_in_a_checkpoint_is_executed_by_stock_and_refused_by_us(make_model, tmp_path):
    model = make_model()
    trace = tmp_path / "was_executed"
    path = changed_checkpoint(model.folder, extra=Malicious(trace))
    with pytest.raises(UserError, match="more than tensors and plain values") as refused:
        model.predictor(SpineSegDiffPredictor)
    assert str(refused.value).startswith(f"{path}: ")
    assert len(str(refused.value).splitlines()) == 1
    assert not trace.exists()
    model.predictor(nnUNetPredictor)
    assert trace.exists()


def test_weights_do_not_change_with_the_file_and_keep_their_two_names(make_model):
    path = make_model().folder / "fold_0" / "checkpoint_final.pth"
    expected = torch.load(path, weights_only=True)["network_weights"]
    weights = load_safely(path)["network_weights"]
    with path.open("r+b") as stream:  # what installing over it does
        stream.truncate(100)
    assert list(weights) == list(expected)
    for name, values in expected.items():
        assert torch.equal(weights[name], values)

    def places(state: dict[str, torch.Tensor]) -> int:
        return len({values.untyped_storage().data_ptr() for values in state.values()})

    assert places(weights) == places(expected) < len(weights)


@pytest.mark.parametrize("configuration", ["small", "another"])
@pytest.mark.parametrize("key", ["network_class_name", "nonlin"])
def test_no_class_is_imported_by_a_name_that_is_not_known(
    make_model, tmp_path, monkeypatch, key, configuration
):
    model = make_model()
    (tmp_path / "leaves_a_trace.py").write_text(f"open({str(tmp_path / 'trace')!r}, 'w')\nReLU = None\n")
    monkeypatch.syspath_prepend(tmp_path)
    plans = json.loads((model.folder / "plans.json").read_text())
    plans["configurations"]["another"] = json.loads(json.dumps(plans["configurations"]["small"]))
    architecture = plans["configurations"][configuration]["architecture"]
    part = architecture if key == "network_class_name" else architecture["arch_kwargs"]
    part[key] = "leaves_a_trace.ReLU"
    (model.folder / "plans.json").write_text(json.dumps(plans))
    with pytest.raises(UserError, match=r"names the class 'leaves_a_trace\.ReLU'") as refused:
        model.predictor(SpineSegDiffPredictor)
    assert str(refused.value).startswith(f"{model.folder / 'plans.json'}: ")
    assert not (tmp_path / "trace").exists()


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"{", r"cannot be read \(JSONDecodeError\)"),
        (b"\xff", r"cannot be read \(UnicodeDecodeError\)"),
        (b"[" * 100_000, r"cannot be read \(RecursionError\)"),
        (b"[]", "holds a list"),
        (b"{}", "not plans of nnU-Net"),
        (b'{"configurations": {"small": 3}}', "not plans of nnU-Net"),
        (b'{"configurations": {"small": "architecture"}}', "not plans of nnU-Net"),
        (b'{"configurations": {"small": {"architecture": 3}}}', "describes no network"),
    ],
)
def test_plans_that_are_none_are_one_line(make_model, content, told):
    model = make_model()
    (model.folder / "plans.json").write_bytes(content)
    with pytest.raises(UserError, match=told) as refused:
        model.predictor(SpineSegDiffPredictor)
    assert str(refused.value).startswith(f"{model.folder / 'plans.json'}: ")
    assert len(str(refused.value).splitlines()) == 1
