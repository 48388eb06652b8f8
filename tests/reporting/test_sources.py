"""Which masks a system is made of: folders, folds, summaries, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from nnunetv2_spinesegdiff.errors import UserError
from nnunetv2_spinesegdiff.evaluation.report.evaluation_folder import System
from nnunetv2_spinesegdiff.evaluation.report.sources import check_together, gather, parse_system, reproduced

from .made_up import predictions, raw_dataset, summary

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


@pytest.mark.parametrize("words", ["A", "=x", "A=", " = "])
def test_words_that_are_none(words):
    with pytest.raises(UserError, match="must be NAME=PATH"):
        parse_system(words)


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


def test_a_missing_prediction_is_named(tmp_path, dataset):
    masks = predictions(tmp_path / "masks", dataset, 0.1, CASES[1:])
    (source,) = gather([(System("A"), masks)], dataset / "labelsTr")
    assert len(source.cases) == 3
    assert source.missing == [f"{masks}: A has no prediction of SPIDER_001_t1; predict it"]


def test_the_folds_of_a_trained_model(tmp_path, dataset):
    model = trained_model(tmp_path, dataset, [CASES[:2], CASES[2:]])
    (source,) = gather([(System("A"), model)], None, tmp_path / "raw")
    assert [(case.fold, case.name) for case in source.cases] == [
        *(("0", case) for case in CASES[:2]),
        *(("1", case) for case in CASES[2:]),
    ]
    assert source.dataset == dataset
    assert all(case.has_masks for case in source.cases)


def test_summaries_one_by_one_are_one_system(tmp_path, dataset):
    model = trained_model(tmp_path, dataset, [CASES[:2], CASES[2:]])
    files = [model / f"fold_{fold}" / "validation" / "summary.json" for fold in (0, 1)]
    (source,) = gather([(System("A"), file) for file in files], None)
    assert [case.fold for case in source.cases] == ["0", "0", "1", "1"]


def test_a_summary_of_another_machine_keeps_its_metrics(tmp_path, dataset):
    masks = predictions(tmp_path / "masks", dataset, 0.1)
    path = summary(masks, dataset, elsewhere=True)
    for mask in masks.glob("*.nii.gz"):
        mask.unlink()
    (source,) = gather([(System("A"), path)], None)
    assert not any(case.has_masks for case in source.cases)
    metrics = source.cases[0].metrics
    assert metrics is not None
    assert 0.5 < metrics["1"]["Dice"] < 1


def test_masks_beside_a_moved_summary_are_found(tmp_path, dataset):
    masks = predictions(tmp_path / "masks", dataset, 0.1)
    path = summary(masks, dataset, elsewhere=True)
    (source,) = gather([(System("A"), path)], dataset / "labelsTr")
    assert all(case.has_masks for case in source.cases)


def test_a_case_in_two_folds_is_refused(tmp_path, dataset):
    model = trained_model(tmp_path, dataset, [CASES[:2], CASES[1:]])
    with pytest.raises(UserError, match=r"SPIDER_001_t2: A has it twice, in fold 0 and fold 1"):
        check_together(gather([(System("A"), model)], None))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda t, d: t / "none", "is no folder and no summary.json"),
        (lambda t, d: predictions(t / "masks", d, 0.1, []), "holds no prediction of a case in"),
        (lambda t, d: d / "dataset.json", "is no summary of nnUNetv2_evaluate_folder"),
    ],
)
def test_paths_that_hold_nothing_are_named(tmp_path, dataset, make, message):
    with pytest.raises(UserError, match=message):
        gather([(System("A"), make(tmp_path, dataset))], dataset / "labelsTr")


def test_masks_without_labels_or_names_are_refused(tmp_path, dataset):
    masks = predictions(tmp_path / "masks", dataset, 0.1)
    with pytest.raises(UserError, match="name the folder of their labels with -l"):
        gather([(System("A"), masks)], None)
    for path in (masks / "dataset.json", dataset / "dataset.json"):
        path.unlink()
    with pytest.raises(UserError, match=r"has no dataset.json"):
        gather([(System("A"), masks)], dataset / "labelsTr")


def test_a_fold_without_summary_is_named(tmp_path, dataset):
    model = trained_model(tmp_path, dataset, [CASES[:2], CASES[2:]])
    (model / "fold_1" / "validation" / "summary.json").unlink()
    with pytest.raises(UserError, match=r"fold_1/validation: has no summary.json; finish the training"):
        gather([(System("A"), model)], None)


def test_other_structures_are_refused(tmp_path, dataset):
    first, second = (predictions(tmp_path / name, dataset, 0.1) for name in "ab")
    labels = {"labels": {"background": 0, "disc": 1}}
    (second / "dataset.json").write_text(json.dumps(labels))
    with pytest.raises(UserError, match="B: has other structures than A"):
        check_together(gather([(System("A"), first), (System("B"), second)], dataset / "labelsTr"))


def test_two_systems_of_a_name_are_refused(tmp_path, dataset):
    masks = predictions(tmp_path / "a", dataset, 0.1)
    once, again, other = (
        gather([(System("A", data), masks)], dataset / "labelsTr")[0] for data in ("", "", "T1w")
    )
    with pytest.raises(UserError, match="A: there are two systems of this name"):
        check_together([once, again])
    with pytest.raises(UserError, match="A: say what it was trained on of all or of none"):
        check_together([once, other])


def test_fold_all_is_told_and_not_mixed_with_the_others(tmp_path, dataset):
    model = trained_model(tmp_path, dataset, [CASES[:2], CASES[2:]])
    everything = predictions(model / "fold_all" / "validation", dataset, 0.2)
    summary(everything, dataset)
    (source,) = gather([(System("A"), model)], None)
    assert {case.fold for case in source.cases} == {"0", "1"}
    assert source.notes == ["A: fold all was left out, it is validated on training cases."]
    for fold in (0, 1):
        (model / f"fold_{fold}").rename(tmp_path / f"fold_{fold}")
    (alone,) = gather([(System("A"), model)], None)
    assert {case.fold for case in alone.cases} == {"all"}
    assert alone.notes == ["A: fold all is validated on the cases that it was trained on."]


def test_a_folder_above_that_is_called_like_a_fold_is_none(tmp_path, dataset):
    masks = predictions(tmp_path / "unfold_study" / "masks", dataset, 0.1)
    (source,) = gather([(System("A"), summary(masks, dataset))], None)
    assert {case.fold for case in source.cases} == {""}


def test_one_mask_that_is_missing_does_not_become_nnunets_number(tmp_path, dataset):
    masks = predictions(tmp_path / "masks", dataset, 0.1)
    path = summary(masks, dataset)
    (masks / f"{CASES[0]}.nii.gz").unlink()
    (source,) = gather([(System("A"), path)], None)
    assert all(case.metrics is None for case in source.cases)
    assert not source.cases[0].has_masks


def test_a_summary_that_names_no_files_is_refused(tmp_path, dataset):
    path = summary(predictions(tmp_path / "masks", dataset, 0.1), dataset)
    content = json.loads(path.read_text())
    del content["metric_per_case"][1]["reference_file"]
    path.write_text(json.dumps(content))
    with pytest.raises(UserError, match=r"summary\.json: a case has no reference_file"):
        gather([(System("A"), path)], None)


def test_what_reproduce_left(tmp_path, dataset):
    out = tmp_path / "table1"
    parts = predictions(out / "d501" / "A" / "fold_0" / "part_0_of_1", dataset, 0.1)
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


def test_reproduce_that_has_not_finished_is_named(tmp_path):
    with pytest.raises(UserError, match=r"has no systems.json; run spinesegdiff reproduce to its end"):
        reproduced(tmp_path)
    (tmp_path / "systems.json").write_text("{")
    with pytest.raises(UserError, match=r"systems.json: is damaged"):
        reproduced(tmp_path)
