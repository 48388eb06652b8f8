"""Which masks a system is made of: folders, folds, summaries, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from nnunetv2_spinesegdiff.errors import UserError
from nnunetv2_spinesegdiff.evaluation.report.evaluation_folder import System
from nnunetv2_spinesegdiff.evaluation.report.sources import check_together, gather, parse_system, reproduced

from ...helpers.masks import predictions, raw_dataset, summary

CASES = [f"SPIDER_{patient:03d}_{contrast}" for patient in (1, 2) for contrast in ("t1", "t2")]


@pytest.fixture
def dataset(tmp_path) -> Path:
    return raw_dataset(tmp_path / "raw" / "Dataset501_SPIDER", CASES)


def trained_model(tmp_path: Path, dataset: Path, folds: list[list[str]], name: str = "model") -> Path:
    model = tmp_path / "results" / dataset.name / name
    for number, cases in enumerate(folds):
        folder = predictions(model / f"fold_{number}" / "validation", dataset, 0.2, cases)
        (folder / "dataset.json").rename(model / "dataset.json")
        summary(folder, dataset)
    return model


@pytest.mark.parametrize(
    ("words", "system", "path"),
    [
        ("A=x/y", System("A"), "x/y"),
        ("A b @ T1w+T2w = x", System("A b", "T1w+T2w"), "x"),
        ("A=x=y", System("A"), "x=y"),
        ("T = 30 @ T1w=masks", System("T = 30", "T1w"), "masks"),
        ("A=masks/lr=0.1", System("A"), "masks/lr=0.1"),
    ],
)
def test_words(tmp_path, monkeypatch, words, system, path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "masks" / "lr=0.1").mkdir(parents=True)
    assert parse_system(words) == (system, Path(path))


def test_a_folder_of_masks(tmp_path, dataset):
    masks = predictions(tmp_path / "masks", dataset, 0.1)
    (masks / "spinesegdiff_args.json").write_text('{"refine": true}')
    heat = masks / "uncertainty" / f"{CASES[1]}_uncertainty.nii.gz"
    heat.parent.mkdir()
    heat.touch()
    (source,) = gather([(System("A"), masks)], dataset / "labelsTr")
    assert [case.name for case in source.cases] == CASES
    assert [case.uncertainty for case in source.cases] == [None, heat, None, None]
    assert source.structures == {"spinal_canal": 1, "vertebrae": 2, "ivd": 3}
    assert source.dataset == dataset
    assert source.system.settings == {"refine": True}
    assert source.missing == []
    (masks / f"{CASES[0]}.nii.gz").unlink()
    (source,) = gather([(System("A"), masks)], dataset / "labelsTr")
    assert len(source.cases) == 3
    assert "no prediction of SPIDER_001_t1" in source.missing[0]


def test_the_folds_of_a_trained_model(tmp_path, dataset):
    model = trained_model(tmp_path, dataset, [CASES[:2], CASES[2:]])
    (source,) = gather([(System("A"), model)], None, tmp_path / "raw")
    expected = [*(("0", case) for case in CASES[:2]), *(("1", case) for case in CASES[2:])]
    assert [(case.fold, case.name) for case in source.cases] == expected
    assert source.dataset == dataset
    assert all(case.has_masks for case in source.cases)
    files = [model / f"fold_{fold}" / "validation" / "summary.json" for fold in (0, 1)]
    (source,) = gather([(System("A"), file) for file in files], None)
    assert [(case.fold, case.name) for case in source.cases] == expected
    files[1].unlink()
    with pytest.raises(UserError, match=r"fold_1/validation: .*summary.json"):
        gather([(System("A"), model)], None)


def test_a_summary_of_another_machine_keeps_its_metrics(tmp_path, dataset):
    """Its masks are found next to it; the folder above only sounds like a fold."""
    masks = predictions(tmp_path / "unfold_study" / "masks", dataset, 0.1)
    path = summary(masks, dataset, elsewhere=True)
    (source,) = gather([(System("A"), path)], dataset / "labelsTr")
    assert all(case.has_masks for case in source.cases)
    assert {case.fold for case in source.cases} == {""}
    for mask in masks.glob("*.nii.gz"):
        mask.unlink()
    (source,) = gather([(System("A"), path)], None)
    assert not any(case.has_masks for case in source.cases)
    metrics = source.cases[0].metrics
    assert metrics is not None
    assert 0.5 < metrics["1"]["Dice"] < 1


def test_incomplete_summaries(tmp_path, dataset):
    """A missing mask does not become nnU-Net's number."""
    masks = predictions(tmp_path / "masks", dataset, 0.1)
    path = summary(masks, dataset)
    (masks / f"{CASES[0]}.nii.gz").unlink()
    (source,) = gather([(System("A"), path)], None)
    assert all(case.metrics is None for case in source.cases)
    assert not source.cases[0].has_masks
    content = json.loads(path.read_text())
    del content["metric_per_case"][1]["reference_file"]
    path.write_text(json.dumps(content))
    with pytest.raises(UserError, match=r"summary\.json: .*reference_file"):
        gather([(System("A"), path)], None)


def test_a_case_in_two_folds_is_refused(tmp_path, dataset):
    model = trained_model(tmp_path, dataset, [CASES[:2], CASES[1:]])
    with pytest.raises(UserError, match=r"SPIDER_001_t2: A has it twice, in fold 0 and fold 1"):
        check_together(gather([(System("A"), model)], None))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda t, d: t / "none", "none: "),
        (lambda t, d: predictions(t / "masks", d, 0.1, []), "masks: .*no prediction"),
        (lambda t, d: d / "dataset.json", "dataset.json: .*nnUNetv2_evaluate_folder"),
    ],
)
def test_paths_that_hold_nothing_are_named(tmp_path, dataset, make, message):
    with pytest.raises(UserError, match=message):
        gather([(System("A"), make(tmp_path, dataset))], dataset / "labelsTr")
    for words in ("A", "=x", "A=", " = "):
        with pytest.raises(UserError, match="NAME=PATH"):
            parse_system(words)


def test_masks_without_labels_or_names_are_rejected(tmp_path, dataset):
    masks = predictions(tmp_path / "masks", dataset, 0.1)
    with pytest.raises(UserError, match="-l"):
        gather([(System("A"), masks)], None)
    for path in (masks / "dataset.json", dataset / "dataset.json"):
        path.unlink()
    with pytest.raises(UserError, match=r"dataset.json"):
        gather([(System("A"), masks)], dataset / "labelsTr")


def test_other_structures_and_repeated_names_are_rejected(tmp_path, dataset):
    first, second = (predictions(tmp_path / name, dataset, 0.1) for name in "ab")
    (second / "dataset.json").write_text(json.dumps({"labels": {"background": 0, "disc": 1}}))
    for systems, message in (
        ([(System("A"), first), (System("B"), second)], "^B: has other structures than A"),
        ([(System("A"), first), (System("A", "T1w"), first)], "^A: .*trained on"),
    ):
        with pytest.raises(UserError, match=message):
            check_together(gather(systems, dataset / "labelsTr"))
    (source,) = gather([(System("A"), first)], dataset / "labelsTr")
    with pytest.raises(UserError, match=r"^A: .*two systems"):
        check_together([source, source])


def test_fold_all_is_not_mixed_with_the_others(tmp_path, dataset):
    model = trained_model(tmp_path, dataset, [CASES[:2], CASES[2:]])
    summary(predictions(model / "fold_all" / "validation", dataset, 0.2), dataset)
    (source,) = gather([(System("A"), model)], None)
    assert {case.fold for case in source.cases} == {"0", "1"}
    assert "fold all was left out" in source.notes[0]
    for fold in (0, 1):
        (model / f"fold_{fold}").rename(tmp_path / f"fold_{fold}")
    (alone,) = gather([(System("A"), model)], None)
    assert {case.fold for case in alone.cases} == {"all"}
    assert "fold all" in alone.notes[0]


def test_results_of_reproduce(tmp_path, dataset):
    out = tmp_path / "table1"
    with pytest.raises(UserError, match=r"systems.json.*spinesegdiff reproduce"):
        reproduced(out)
    parts = predictions(out / "d501" / "A" / "fold_0" / "part_0_of_1", dataset, 0.1)
    (out / "systems.json").write_text("{")
    with pytest.raises(UserError, match=r"table1: cannot be read"):
        reproduced(out)
    (parts / "spinesegdiff_args.json").write_text('{"refine": false}')
    fold = parts.parent
    for name, target in (("masks", parts), ("labels", dataset / "labelsTr")):
        (fold / name).mkdir()
        for file in target.glob("*.nii.gz"):
            (fold / name / file.name).symlink_to(file)
    where = {"masks": "masks", "labels": "labels", "dataset_json": "part_0_of_1/dataset.json"}
    folds = {"0": {key: f"d501/A/fold_0/{path}" for key, path in where.items()}}
    system = {"name": "A", "data": "T1w", "control": True, "seconds_a_case": 2.5, "folds": folds}
    (out / "systems.json").write_text(json.dumps({"title": "Table 1", "systems": [system]}))
    (source,), title = reproduced(out)
    assert title == "Table 1"
    assert source.system == System("A", "T1w", True, 2.5, {"refine": False})
    assert [(case.fold, case.name) for case in source.cases] == [("0", case) for case in CASES]
    assert source.dataset == dataset
