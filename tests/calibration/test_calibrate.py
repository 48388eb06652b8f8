"""Calibrating: what is fitted on held-out cases, what is stored, and for which predictions it counts."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.special import softmax

from nnunetv2_spinesegdiff.calibration import calibrate as module
from nnunetv2_spinesegdiff.calibration.calibrate import calibrate
from nnunetv2_spinesegdiff.calibration.cases import HeldOutCases
from nnunetv2_spinesegdiff.calibration.command import report, trained_folds
from nnunetv2_spinesegdiff.calibration.held_out import Measured
from nnunetv2_spinesegdiff.errors import UserError
from nnunetv2_spinesegdiff.inference.settings import PredictionSettings
from nnunetv2_spinesegdiff.uncertainty.conformal import area_quantile
from nnunetv2_spinesegdiff.uncertainty.stored import stored_calibration

SHARPENED = 2.5
RECORD = {
    "trainer": "nnUNetTrainerSpineSegDiff",
    "checkpoint": "checkpoint_final.pth",
    "refine": True,
    "sampler": {"t_start": 30, "seed": 0},
    "mirroring": True,
    "mirror_refinement": True,
    "precision": "auto",
}
PLANS: dict = {
    "dataset_name": "Dataset501_Toy",
    "configurations": {},
    "spinesegdiff": {"sampler": {"t_start": 30}},
}


def measured(case: str, seed: int, pixels: int = 2000) -> Measured:
    """A case whose probabilities are too sure: logits of the true distribution, times `SHARPENED`."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 2, (4, pixels))
    p = softmax(logits, 0)
    truth = (p.cumsum(0) < rng.random(pixels)).sum(0).astype(np.uint8)
    true = rng.uniform(500, 2000, 3)
    return Measured(
        case=case,
        probabilities=softmax(SHARPENED * logits, 0).astype(np.float32),
        stage1=softmax(4 * logits, 0).astype(np.float32),
        uncertainty=np.zeros(pixels, np.float32),
        truth=truth,
        true=true,
        predicted=true * np.exp(rng.normal(0, [0.01, 0.1, 0.3])),
        unit=4.0,
    )


@pytest.fixture
def model(tmp_path) -> Path:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "plans.json").write_text(json.dumps(PLANS))
    return tmp_path / "model"


@pytest.fixture
def cases(tmp_path) -> HeldOutCases:
    """Twelve cases, four in each of three folds."""
    names = [f"case{i:02d}" for i in range(12)]
    splits = [{"train": [], "val": names[4 * fold : 4 * fold + 4]} for fold in range(3)]
    (tmp_path / "splits_final.json").write_text(json.dumps(splits))
    labels = {name: str(tmp_path / f"{name}.nii.gz") for name in names}
    for file in labels.values():
        Path(file).touch()
    files = {name: [f"{name}_0000.nii.gz"] for name in names}
    return HeldOutCases(tmp_path / "splits_final.json", files, labels)


@pytest.fixture
def predicted(monkeypatch) -> dict:
    """A predictor that knows what every case measures, and which model was asked for which case."""
    seen: dict = {"asked": [], "made": measured, "record": dict(RECORD)}

    class Predictor:
        def __init__(self, **kwargs):
            self.failures: list[str] = []
            self.record = seen["record"]
            labels = SimpleNamespace(has_regions=False, foreground_labels=[1, 2, 3], foreground_regions=None)
            self.plans_manager = SimpleNamespace(get_label_manager=lambda dataset_json: labels)
            self.dataset_json = {
                "labels": {"background": 0, "spinal_canal": 1, "vertebrae": 2, "ivd": 3},
            }

        def initialize_from_trained_model_folder(self, folder, folds, checkpoint):
            self.folds = folds

        def measure(self, images, labels, num_processes):
            seen["asked"] += [(self.folds, name) for name in images]
            made = [seen["made"](name, int(name[4:])) for name in images]
            self.failures += [f"{n}: is constant" for n, m in zip(images, made, strict=True) if m is None]
            return [m for m in made if m is not None]

    monkeypatch.setattr(module, "HeldOutPredictor", Predictor)
    return seen


def run(model: Path, cases: HeldOutCases, folds: tuple[int, ...] = (0, 1, 2)) -> module.Fitted:
    return calibrate(model, folds, cases, PredictionSettings(), device=torch.device("cpu"))


def test_held_out_cases_undo_what_made_the_model_too_sure(model, cases, predicted):
    fitted = run(model, cases)
    assert predicted["asked"] == [((i // 4,), f"case{i:02d}") for i in range(12)]
    assert np.allclose(fitted.stored["temperatures"], SHARPENED, rtol=0.1)
    errors = fitted.stored["expected_calibration_error"]
    assert list(errors) == ["stage 1", "refined", "calibrated"]
    assert errors["calibrated"] < 0.02 < errors["refined"] < errors["stage 1"]
    for word in ("12 validation cases", "background", "calibrated", "ivd", "factor", "about 90%"):
        assert word in report(fitted)
    plans = json.loads((model / "plans.json").read_text())
    assert {**plans, "spinesegdiff": None} == {**PLANS, "spinesegdiff": None}
    assert plans["spinesegdiff"]["sampler"] == PLANS["spinesegdiff"]["sampler"]
    found = stored_calibration(plans, RECORD)
    assert found is not None
    assert found.temperatures == fitted.stored["temperatures"]
    assert found.area_quantiles["ivd"] == fitted.stored["areas"]["ivd"]["quantile"]


def test_a_model_without_a_stage_1_is_calibrated_too(model, cases, predicted):
    predicted["made"] = lambda case, seed: replace(measured(case, seed), stage1=None)
    fitted = run(model, cases)
    errors = fitted.stored["expected_calibration_error"]
    assert list(errors) == list(fitted.diagrams) == ["predicted", "calibrated"]
    assert errors["calibrated"] < 0.02 < errors["predicted"]


def test_the_calibrated_diagram_comes_from_temperatures_of_other_folds(model, cases, predicted):
    """Folds that need different temperatures: fitted on all of them, the error would look smaller."""

    def made(case: str, seed: int) -> Measured:
        m = measured(case, seed)
        if seed < 4:
            p = m.probabilities.astype(np.float64) ** (1 / SHARPENED)
            return replace(m, probabilities=(p / p.sum(0)).astype(np.float32))  # needs no temperature
        return m

    predicted["made"] = made
    fitted = run(model, cases)
    first = fitted.diagrams["refined"].count.sum() // 3
    assert fitted.diagrams["calibrated"].count.sum() == 3 * first
    only_sharp = np.mean(fitted.stored["temperatures"])
    assert 1.2 < only_sharp < 2.4  # all cases together
    assert fitted.stored["expected_calibration_error"]["calibrated"] > 0.03


def test_areas_are_conformal(model, cases, predicted):
    fitted = run(model, cases)
    all_cases = [measured("", i) for i in range(12)]
    for number, (name, area) in enumerate(fitted.stored["areas"].items()):
        true, guess = (np.array([getattr(m, k)[number] for m in all_cases]) for k in ("true", "predicted"))
        assert area["quantile"] == pytest.approx(area_quantile(true, guess, 4.0, 0.9)), name
        assert area["coverage"] is None  # eight others are too few
    assert list(fitted.stored["areas"]) == ["spinal_canal", "vertebrae", "ivd"]


def test_two_contrasts_of_a_patient_are_one_patient(model, cases, predicted):
    """Twelve cases of six patients are too few for bounds, and of one fold no patient is in two blocks."""
    predicted["made"] = lambda case, seed: replace(
        measured(case, seed), case=f"SPIDER_{seed // 2:03d}_t{seed % 2 + 1}"
    )
    fitted = run(model, cases)
    assert (fitted.stored["cases"], fitted.stored["patients"]) == (12, 6)
    assert [area["quantile"] for area in fitted.stored["areas"].values()] == [None] * 3
    assert "6 patient(s)" in report(fitted)
    assert "at least 9 patients are needed" in report(fitted)
    assert run(model, cases, (1,)).stored["patients"] == 2


def test_one_fold_is_held_against_itself_in_blocks(model, cases, predicted):
    """Else a user who trained one fold would not learn what calibrating did."""
    fitted = run(model, cases, (1,))
    assert fitted.stored["folds"] == [1]
    assert fitted.stored["expected_calibration_error"]["calibrated"] < 0.03


@pytest.mark.parametrize(
    ("changes", "fits"),
    [
        ({"checkpoint": "checkpoint_best.pth"}, False),
        *(({name: False}, False) for name in ("refine", "mirroring", "mirror_refinement")),
        ({"precision": "bfloat16", "sampler": {"t_start": 30, "seed": 5}}, True),
        ({"sampler": {"t_start": 10, "seed": 0}}, False),
        # A calibration of an earlier version has no stage1_weight, and counts no patients.
        ({"sampler": {"t_start": 30, "seed": 5, "stage1_weight": 0.0}}, True),
        ({"sampler": {"t_start": 30, "seed": 5, "stage1_weight": 0.5}}, False),
    ],
)
def test_a_calibration_is_for_predictions_of_its_kind(model, cases, predicted, capsys, changes, fits):
    run(model, cases)
    plans = json.loads((model / "plans.json").read_text())
    for calibration in plans["spinesegdiff"]["calibrations"]:
        if "stage1_weight" in changes.get("sampler", ()):
            del calibration["kind"]["sampler"]["stage1_weight"]
            del calibration["patients"]
    assert (stored_calibration(plans, {**RECORD, **changes}) is not None) == fits
    assert ("calibrated for other settings" in capsys.readouterr().out) == (not fits)


def test_without_mirrored_copies_it_does_not_matter_what_would_be_refined(model, cases, predicted):
    predicted["record"] = {**RECORD, "mirroring": False}
    run(model, cases)
    plans = json.loads((model / "plans.json").read_text())
    assert stored_calibration(plans, {**RECORD, "mirroring": False, "mirror_refinement": False})


def test_a_model_keeps_one_calibration_a_kind(model, cases, predicted):
    run(model, cases)
    predicted["record"] = {**RECORD, "refine": False, "sampler": None}
    run(model, cases)
    run(model, cases, (0, 1))
    stored = json.loads((model / "plans.json").read_text())["spinesegdiff"]["calibrations"]
    assert [c["kind"]["refine"] for c in stored] == [True, False]
    assert stored[1]["folds"] == [0, 1]


def test_cases_that_cannot_be_predicted_are_reported_and_without_any_nothing_is_stored(
    model, cases, predicted
):
    before = (model / "plans.json").read_text()
    predicted["made"] = lambda case, seed: None
    with pytest.raises(UserError, match=r"no validation case.*case00: is constant"):
        run(model, cases)
    assert (model / "plans.json").read_text() == before
    predicted["made"] = lambda case, seed: None if seed == 5 else measured(case, seed)
    fitted = run(model, cases)
    assert fitted.failures == ["case05: is constant"]
    assert fitted.stored["cases"] == 11


def test_folds_and_cases_that_are_not_there_are_refused(model, cases, predicted, tmp_path):
    with pytest.raises(UserError, match="no fold 7"):
        run(model, cases, (7,))
    with pytest.raises(UserError, match=r"case00: .*fold 0"):
        run(model, replace(cases, images={}), (0,))
    Path(cases.labels["case06"]).unlink()
    with pytest.raises(UserError, match=r"case06: .*fold 1"):
        run(model, cases)
    with pytest.raises(UserError, match=r"nothing\.json: "):
        run(model, replace(cases, splits=tmp_path / "nothing.json"), (0,))


def test_all_finished_folds_are_taken_but_the_one_that_holds_nothing_out(tmp_path):
    for name in ("fold_3", "fold_0", "fold_all"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "checkpoint_final.pth").touch()
    (tmp_path / "fold_1").mkdir()
    assert trained_folds(tmp_path, "checkpoint_final.pth") == [0, 3]
    with pytest.raises(UserError, match="no trained fold with checkpoint_best"):
        trained_folds(tmp_path, "checkpoint_best.pth")
