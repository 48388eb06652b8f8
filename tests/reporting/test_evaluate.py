"""`spinesegdiff evaluate` on made-up folders: what it writes, prints and refuses."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import SimpleITK as sitk

from nnunetv2_spinesegdiff.cli import main
from nnunetv2_spinesegdiff.evaluation.report import scoring
from nnunetv2_spinesegdiff.evaluation.report.evaluation_folder import SCORE_COLUMNS, read_evaluation

from .made_up import label_map, predictions, raw_dataset, summary, write

PATIENTS = range(1, 5)
CASES = [f"SPIDER_{patient:03d}_{contrast}" for patient in PATIENTS for contrast in ("t1", "t2")]


@pytest.fixture
def dataset(tmp_path) -> Path:
    return raw_dataset(tmp_path / "Dataset501_SPIDER", CASES)


@pytest.fixture
def masks(tmp_path, dataset) -> dict[str, Path]:
    return {name: predictions(tmp_path / name, dataset, share) for name, share in (("A", 0.3), ("B", 0.1))}


def evaluate(tmp_path: Path, dataset: Path, masks: dict[str, Path], *more: str) -> int:
    systems = [f"{name}={path}" for name, path in masks.items()]
    return main(
        ["evaluate", "-s", *systems, "-l", str(dataset / "labelsTr"), "-o", str(tmp_path / "out"), *more]
    )


def test_scores_tables_and_sources_are_written(tmp_path, dataset, masks, capsys):
    assert evaluate(tmp_path, dataset, masks) == 0
    made = read_evaluation(tmp_path / "out")
    assert tuple(made.scores.columns) == SCORE_COLUMNS
    assert len(made.scores) == 2 * len(CASES) * 3
    assert set(made.scores["contrast"]) == {"T1w", "T2w"}
    assert set(made.scores["patient"]) == {str(patient) for patient in PATIENTS}
    assert (made.scores["dim"] == "2D").all()
    first = made.cases.iloc[0]
    assert first["image"] == dataset / "imagesTr" / f"{CASES[0]}_0000.nii.gz"
    assert first["label"] == dataset / "labelsTr" / f"{CASES[0]}.nii.gz"
    assert first["prediction"] == masks["A"] / f"{CASES[0]}.nii.gz"
    assert made.made_with["command"].startswith(f"spinesegdiff evaluate -s A={masks['A']} ")
    for metric in ("dice", "jaccard", "assd_mm", "hd95_mm"):
        for ending in ("csv", "md", "tex"):
            assert (tmp_path / "out" / "tables" / f"{metric}.{ending}").stat().st_size > 100
    shown = capsys.readouterr()
    assert "| A | T1w + T2w | 0." in shown.out
    assert "| A | B | ivd | 4 | +0." in shown.out
    assert "No control was evaluated" in shown.out
    assert shown.err == ""


def test_a_row_is_the_masks_own_score(tmp_path, dataset, masks):
    evaluate(tmp_path, dataset, masks)
    row = read_evaluation(tmp_path / "out").scores.iloc[-1]
    assert (row["system"], row["case"], row["structure"]) == ("B", CASES[-1], "ivd")
    truth, made = (
        sitk.GetArrayFromImage(sitk.ReadImage(str(folder / f"{CASES[-1]}.nii.gz"))) == 3
        for folder in (dataset / "labelsTr", masks["B"])
    )
    assert row["dice"] == pytest.approx(2 * (truth & made).sum() / (truth.sum() + made.sum()), rel=1e-5)
    assert row["true_mm2"] == pytest.approx(truth.sum() * 1.5 * 0.75)
    assert row["predicted_mm2"] == pytest.approx(made.sum() * 1.5 * 0.75)
    assert np.isnan(row["true_mm3"])


def test_summary_says_it_in_json(tmp_path, dataset, masks):
    evaluate(tmp_path, dataset, masks)
    scores = read_evaluation(tmp_path / "out").scores
    told = json.loads((tmp_path / "out" / "scores.json").read_text())
    own = scores[(scores["system"] == "A") & (scores["structure"] == "ivd")]["dice"]
    assert told["systems"][0]["structures"]["ivd"]["dice"] == pytest.approx(
        {"mean": own.mean(), "sd": own.std(), "n": 8}, rel=1e-5
    )
    assert told["systems"][0]["patients"] == 4


def test_a_control_is_one_everywhere(tmp_path, dataset, masks, capsys):
    control = masks.pop("A")
    assert evaluate(tmp_path, dataset, masks, "--control", f"Longer={control}") == 0
    assert [s.control for s in read_evaluation(tmp_path / "out").systems] == [False, True]
    assert "Controls: Longer. A difference that a control shows" in capsys.readouterr().out


def test_against_one_system_only(tmp_path, dataset, masks):
    masks["C"] = predictions(tmp_path / "C", dataset, 0.2)
    assert evaluate(tmp_path, dataset, masks, "--against", "B", "--metric", "hd95_mm") == 0
    table = pd.read_csv(tmp_path / "out" / "tables" / "comparisons.csv")
    assert set(zip(table["system_a"], table["system_b"], strict=True)) == {("B", "A"), ("B", "C")}
    assert set(table["metric"]) == {"hd95_mm"}


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        (lambda p: write(label_map(0), p, (3.0, -4.0, 9.0)), "corners are up to 4 mm apart"),
        (lambda p: write(label_map(0), p, spacing=(1.5, 1.5, 4.0)), "is not on the grid of"),
        (lambda p: write(label_map(0) + 9, p), "holds label 9, which dataset.json does not name"),
        (lambda p: p.write_bytes(p.read_bytes()[:-9]), "truncated or damaged"),
        (lambda p: p.unlink(), "A has no prediction of SPIDER_001_t1; predict it"),
    ],
)
def test_one_bad_prediction_is_one_line_and_the_others_are_scored(
    tmp_path, dataset, masks, capsys, change, cause
):
    change(masks["A"] / f"{CASES[0]}.nii.gz")
    assert evaluate(tmp_path, dataset, masks) == 1
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert lines[0].startswith(f"error: {masks['A']}")
    assert cause in lines[0]
    made = read_evaluation(tmp_path / "out")
    assert len(made.scores) == (2 * len(CASES) - 1) * 3
    assert len(made.left_out) == 1
    assert "1 predictions could not be scored" in (tmp_path / "out" / "tables" / "dice.md").read_text()


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--images", "none"], "none: is no folder; --images names one"),
        (["--instances", "none"], "none: is no folder; --instances names one"),
        (["--cases", "none.csv"], "none.csv: no such file; --cases names the cases.csv"),
        (["--against", "Z"], "--against Z: there is no such system; known: A, B"),
        (["--control", "Z"], "Z: must be NAME=PATH"),
    ],
)
def test_a_choice_that_does_not_fit_writes_nothing(tmp_path, dataset, masks, capsys, more, message):
    assert evaluate(tmp_path, dataset, masks, *more) == 1
    error = capsys.readouterr().err
    assert message in error
    assert len(error.splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_nothing_that_can_be_scored_is_an_error(tmp_path, dataset, masks, capsys):
    for mask in masks["A"].glob("*.nii.gz"):
        mask.write_bytes(b"")
    assert evaluate(tmp_path, dataset, {"A": masks["A"]}) == 1
    assert "no case could be scored" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_failed_evaluation_leaves_no_record_of_an_earlier_one_half_changed(tmp_path, dataset, masks):
    assert evaluate(tmp_path, dataset, masks) == 0
    before = (tmp_path / "out" / "evaluation.json").read_text()
    assert evaluate(tmp_path, dataset, masks, "--against", "Z") == 1
    assert (tmp_path / "out" / "evaluation.json").read_text() == before


def test_metrics_of_a_summary_without_masks(tmp_path, dataset, masks, capsys):
    path = summary(masks["A"], dataset, elsewhere=True)
    expected = json.loads(path.read_text())["metric_per_case"][0]["metrics"]["3"]
    for mask in masks["A"].glob("*.nii.gz"):
        mask.unlink()
    assert main(["evaluate", "-s", f"A={path}", "-o", str(tmp_path / "out")]) == 0
    made = read_evaluation(tmp_path / "out")
    row = made.scores[made.scores["structure"] == "ivd"].iloc[0]
    assert (row["dice"], row["jaccard"]) == pytest.approx((expected["Dice"], expected["IoU"]), rel=1e-5)
    assert row[["assd_mm", "hd95_mm", "true_mm2"]].isna().all()
    assert "their geometry was not checked" in made.notes[0]
    assert made.cases["prediction"].isna().all()


def test_discs_one_by_one(tmp_path, dataset, masks):
    """The lower half of the disc is disc 2 of SPIDER's mask, which has another grid, the upper one disc 1."""
    (dataset / "cases.csv").write_text(
        "case,patient,contrast,source\n" + "\n".join(f"{c},7,t1,{c}.mha" for c in CASES) + "\n"
    )
    for i, case in enumerate(CASES):
        truth = label_map(i)
        numbers = np.where(truth == 3, 201, truth).astype(np.uint8)
        numbers[:, :, 7:] = np.where(truth[:, :, 7:] == 3, 202, numbers[:, :, 7:])
        fine = np.repeat(np.repeat(numbers, 2, axis=1), 2, axis=2)
        # The first fine pixel's centre is a quarter of a coarse one before the coarse one's.
        spacing = (0.75, 0.375, 4.0)
        write(fine, tmp_path / "spider" / f"{case}.mha", (3.0, -4.375, 5.1875), spacing=spacing)
    assert evaluate(tmp_path, dataset, masks, "--instances", str(tmp_path / "spider")) == 0
    levels = read_evaluation(tmp_path / "out").level_scores
    assert len(levels) == 2 * len(CASES) * 2
    assert set(levels["level"]) == {1, 2}
    assert set(levels["patient"]) == {"7"}
    first = levels[(levels["case"] == CASES[0]) & (levels["system"] == "A")]
    assert first["true_mm2"].tolist() == pytest.approx([3 * 4 * 1.125, 3 * 5 * 1.125])
    assert first["dice"].between(0.5, 1).all()


def test_several_processes_give_the_same_scores(tmp_path, dataset, masks, monkeypatch):
    tables = []
    for seconds in (1e9, 1e-9):
        monkeypatch.setattr(scoring, "SECONDS_A_PROCESS", seconds)
        assert evaluate(tmp_path, dataset, masks, "-np", "2") == 0
        tables.append((tmp_path / "out" / "scores.csv").read_text())
    assert tables[0] == tables[1]


def test_a_label_of_another_dataset_is_named(tmp_path, dataset, masks, capsys):
    """SPIDER's own numbers would make a vertebra of each."""
    label = dataset / "labelsTr" / f"{CASES[0]}.nii.gz"
    write(np.where(label_map(0) == 3, 201, label_map(0)).astype(np.uint8), label)
    assert evaluate(tmp_path, dataset, masks) == 1
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 2
    assert lines[0].startswith(f"error: {label}: holds label 201, which dataset.json does not name")


def test_a_missing_validation_mask_is_named(tmp_path, dataset, masks, capsys):
    path = summary(masks["A"], dataset)
    (masks["A"] / f"{CASES[0]}.nii.gz").unlink()
    assert main(["evaluate", "-s", f"A={path}", "-o", str(tmp_path / "out")]) == 1
    assert f"{CASES[0]}.nii.gz: no such file" in capsys.readouterr().err


def test_labels_that_are_not_there_are_no_reason_to_believe_a_summary(tmp_path, dataset, masks, capsys):
    path = summary(masks["A"], dataset)
    (tmp_path / "empty").mkdir()
    words = ["evaluate", "-s", f"A={path}", "-l", str(tmp_path / "empty"), "-o", str(tmp_path / "out")]
    assert main(words) == 1
    assert "no case could be scored" in capsys.readouterr().err


def test_instances_that_lie_elsewhere_cost_the_discs_and_not_the_case(tmp_path, dataset, masks):
    (dataset / "cases.csv").write_text(
        "case,patient,contrast,source\n" + "\n".join(f"{c},7,t1,{c}.mha" for c in CASES) + "\n"
    )
    for i, case in enumerate(CASES[1:], 1):
        numbers = np.where(label_map(i) == 3, 201, 0).astype(np.uint8)
        origin = (3.0, -4.0, 5.0) if i > 1 else (3.0, -4.0, 55.0)
        write(numbers, tmp_path / "spider" / f"{case}.mha", origin)
    assert evaluate(tmp_path, dataset, masks, "--instances", str(tmp_path / "spider")) == 0
    made = read_evaluation(tmp_path / "out")
    assert set(made.scores["case"]) == set(CASES)
    assert set(made.level_scores["case"]) == set(CASES[2:])
    (note,) = [note for note in made.notes if "scores of their discs" in note]
    assert note.startswith("2 cases have no scores of their discs; the first one's reason: ")
    assert note in (tmp_path / "out" / "tables" / "dice.md").read_text()


def test_systems_may_be_called_none(tmp_path, dataset, masks):
    names = {"None": masks["A"], "NA": masks["B"]}
    assert evaluate(tmp_path, dataset, names) == 0
    made = read_evaluation(tmp_path / "out")
    assert set(made.scores["system"]) == {"None", "NA"}
    assert len(made.of(made.systems[0])) == 3 * len(CASES)


def test_a_case_of_unknown_patient_counts_as_one_and_is_told(tmp_path):
    dataset = raw_dataset(tmp_path / "foreign", ["hospA_001_t1", "hospB_001_t1"])
    masks = {"A": predictions(tmp_path / "A", dataset, 0.3)}
    assert evaluate(tmp_path, dataset, masks) == 0
    made = read_evaluation(tmp_path / "out")
    assert set(made.scores["patient"]) == {"hospA_001_t1", "hospB_001_t1"}
    assert made.notes[0].startswith("2 cases, whose patient is unknown, count as a patient each")


@pytest.mark.parametrize("where", ["file", "masks", "labels"])
def test_an_output_folder_that_cannot_be_is_refused_before_scoring(
    tmp_path, dataset, masks, capsys, monkeypatch, where
):
    monkeypatch.setattr(scoring, "score", lambda work: pytest.fail("scored"))
    (tmp_path / "file").touch()
    out = {"file": tmp_path / "file", "masks": masks["A"], "labels": dataset / "labelsTr"}[where]
    words = ["-s", f"A={masks['A']}", "-l", str(dataset / "labelsTr"), "-o", str(out)]
    assert main(["evaluate", *words]) == 1
    error = capsys.readouterr().err
    assert str(out) in error
    assert len(error.splitlines()) == 1


def test_what_was_made_of_an_earlier_evaluation_is_forgotten(tmp_path, dataset, masks):
    assert evaluate(tmp_path, dataset, masks) == 0
    stale = [tmp_path / "out" / name for name in ("pathology/pathology.json", "figures/figures.json")]
    for path in stale:
        path.parent.mkdir()
        path.touch()
    assert evaluate(tmp_path, dataset, masks) == 0
    assert not any(path.exists() for path in stale)


def test_an_output_folder_behind_a_link_finds_its_files(tmp_path, dataset, masks):
    (tmp_path / "deep" / "er").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "deep" / "er")
    words = ["-s", f"A={masks['A']}", "-l", str(dataset / "labelsTr")]
    assert main(["evaluate", *words, "-o", str(tmp_path / "link" / "out")]) == 0
    made = read_evaluation(tmp_path / "link" / "out")
    assert all(path.is_file() for path in made.cases["image"])


def test_distances_that_one_of_two_lacks_are_counted(tmp_path, dataset, masks):
    path = masks["A"] / f"{CASES[0]}.nii.gz"
    write(np.where(label_map(0) == 3, 0, label_map(0)).astype(np.uint8), path)
    assert evaluate(tmp_path, dataset, masks, "--metric", "hd95_mm") == 0
    table = pd.read_csv(tmp_path / "out" / "tables" / "comparisons.csv").set_index("structure")
    assert table["not_compared"].to_dict() == {"spinal_canal": 0, "vertebrae": 0, "ivd": 1}
    assert "That favours a system" in (tmp_path / "out" / "tables" / "comparisons.md").read_text()


def test_against_a_system_without_another_of_its_data(tmp_path, dataset, masks, capsys):
    named = {"A@T1w": masks["A"], "B@T2w": masks["B"]}
    assert evaluate(tmp_path, dataset, named, "--against", "A") == 1
    assert "--against A: no other system was trained on the same data" in capsys.readouterr().err
