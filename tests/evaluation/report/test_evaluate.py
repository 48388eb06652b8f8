"""`spinesegdiff evaluate` on synthetic folders: what it writes, prints and rejects."""

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

from ...helpers.masks import label_map, predictions, raw_dataset, summary, write_volume

PATIENTS = range(1, 5)
CASES = [f"SPIDER_{patient:03d}_{contrast}" for patient in PATIENTS for contrast in ("t1", "t2")]


def error_line(capsys) -> str:
    """The single line of an error."""
    (line,) = capsys.readouterr().err.splitlines()
    return line


def with_discs(dataset: Path, cases: list[str]) -> None:
    """A cases.csv that names the SPIDER mask of every case."""
    lines = ["case,patient,contrast,source", *(f"{case},7,t1,{case}.mha" for case in cases)]
    (dataset / "cases.csv").write_text("\n".join(lines) + "\n")


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
    stale = [tmp_path / "out" / name for name in ("pathology/pathology.json", "figures/figures.json")]
    for path in stale:
        path.parent.mkdir(parents=True)
        path.touch()
    assert evaluate(tmp_path, dataset, masks) == 0
    assert not any(path.exists() for path in stale), "results of an earlier evaluation"
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
    for metric in ("dice", "jaccard", "assd_mm", "hd95_mm"):
        for ending in ("csv", "md", "tex"):
            assert (tmp_path / "out" / "tables" / f"{metric}.{ending}").stat().st_size > 100
    shown = capsys.readouterr()
    for part in ("| A | T1w + T2w | 0.", "| A | B | ivd | 4 | +0.", "No control"):
        assert part in shown.out
    assert shown.err == ""
    row = made.scores.iloc[-1]
    assert (row["system"], row["case"], row["structure"]) == ("B", CASES[-1], "ivd")
    truth, mask = (
        sitk.GetArrayFromImage(sitk.ReadImage(str(folder / f"{CASES[-1]}.nii.gz"))) == 3
        for folder in (dataset / "labelsTr", masks["B"])
    )
    assert row["dice"] == pytest.approx(2 * (truth & mask).sum() / (truth.sum() + mask.sum()), rel=1e-5)
    areas = [truth.sum() * 1.5 * 0.75, mask.sum() * 1.5 * 0.75]
    assert row[["true_mm2", "predicted_mm2"]].tolist() == pytest.approx(areas)
    own = made.scores[(made.scores["system"] == "A") & (made.scores["structure"] == "ivd")]["dice"]
    system = json.loads((tmp_path / "out" / "scores.json").read_text())["systems"][0]
    expected = {"mean": own.mean(), "sd": own.std(), "n": 8}
    assert system["structures"]["ivd"]["dice"] == pytest.approx(expected, rel=1e-5)
    assert system["patients"] == 4


def test_against_one_system_and_a_control(tmp_path, dataset, masks, capsys):
    """Systems may be called None and NA."""
    control = predictions(tmp_path / "C", dataset, 0.2)
    named = {"None": masks["A"], "NA": masks["B"]}
    more = ["--control", f"C={control}", "--against", "NA", "--metric", "hd95_mm"]
    assert evaluate(tmp_path, dataset, named, *more) == 0
    made = read_evaluation(tmp_path / "out")
    assert [(s.name, s.control) for s in made.systems] == [("None", False), ("NA", False), ("C", True)]
    assert len(made.of(made.systems[0])) == 3 * len(CASES)
    assert "Controls: C." in capsys.readouterr().out
    table = pd.read_csv(tmp_path / "out" / "tables" / "comparisons.csv", keep_default_na=False)
    assert set(zip(table["system_a"], table["system_b"], strict=True)) == {("NA", "None"), ("NA", "C")}
    assert set(table["metric"]) == {"hd95_mm"}


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        (lambda p: write_volume(label_map(0), p, (3.0, -4.0, 9.0)), "4 mm"),
        (lambda p: write_volume(label_map(0), p, spacing=(1.5, 1.5, 4.0)), "is not on the grid of"),
        (lambda p: write_volume(label_map(0) + 9, p), "label 9"),
        (lambda p: p.write_bytes(p.read_bytes()[:-9]), "truncated or damaged"),
        (lambda p: p.unlink(), "no prediction of SPIDER_001_t1"),
    ],
)
def test_one_bad_prediction_is_one_line_and_the_others_are_scored(
    tmp_path, dataset, masks, capsys, change, cause
):
    change(masks["A"] / f"{CASES[0]}.nii.gz")
    assert evaluate(tmp_path, dataset, masks) == 1
    line = error_line(capsys)
    assert line.startswith(f"error: {masks['A']}")
    assert cause in line
    made = read_evaluation(tmp_path / "out")
    assert len(made.scores) == (2 * len(CASES) - 1) * 3
    assert len(made.left_out) == 1
    assert "1 predictions" in (tmp_path / "out" / "tables" / "dice.md").read_text()


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--images", "none"], "error: none: "),
        (["--instances", "none"], "error: none: "),
        (["--cases", "none.csv"], "error: none.csv: "),
        (["--against", "Z"], "--against Z"),
        (["--control", "Z"], "NAME=PATH"),
    ],
)
def test_invalid_options_change_nothing(tmp_path, dataset, masks, capsys, more, message):
    assert evaluate(tmp_path, dataset, masks, *more) == 1
    assert message in error_line(capsys)
    assert not (tmp_path / "out").exists()


def test_metrics_of_a_summary_without_masks(tmp_path, dataset, masks, capsys):
    words = ["evaluate", "-s", f"A={summary(masks['A'], dataset)}", "-o", str(tmp_path / "out")]
    (masks["A"] / f"{CASES[0]}.nii.gz").unlink()
    assert main(words) == 1
    assert f"{CASES[0]}.nii.gz: no such file" in capsys.readouterr().err
    path = summary(masks["A"], dataset, elsewhere=True)
    expected = json.loads(path.read_text())["metric_per_case"][0]["metrics"]["3"]
    for mask in masks["A"].glob("*.nii.gz"):
        mask.unlink()
    (tmp_path / "empty").mkdir()
    assert main([*words, "-l", str(tmp_path / "empty")]) == 1
    assert "no case could be scored" in capsys.readouterr().err
    assert main(words) == 0
    made = read_evaluation(tmp_path / "out")
    row = made.scores[made.scores["structure"] == "ivd"].iloc[0]
    assert (row["dice"], row["jaccard"]) == pytest.approx((expected["Dice"], expected["IoU"]), rel=1e-5)
    assert row[["assd_mm", "hd95_mm", "true_mm2"]].isna().all()
    assert "geometry" in made.notes[0]
    assert made.cases["prediction"].isna().all()


def test_discs_one_by_one(tmp_path, dataset, masks):
    """The lower half of the disc is disc 2 of SPIDER's mask, which has another grid, the upper one disc 1."""
    with_discs(dataset, CASES)
    for i, case in enumerate(CASES):
        truth = label_map(i)
        numbers = np.where(truth == 3, 201, truth).astype(np.uint8)
        numbers[:, :, 7:] = np.where(truth[:, :, 7:] == 3, 202, numbers[:, :, 7:])
        fine = np.repeat(np.repeat(numbers, 2, axis=1), 2, axis=2)
        # The first fine pixel's center is a quarter of a coarse one before the coarse one's.
        spacing = (0.75, 0.375, 4.0)
        write_volume(fine, tmp_path / "spider" / f"{case}.mha", (3.0, -4.375, 5.1875), spacing=spacing)
    assert evaluate(tmp_path, dataset, masks, "--instances", str(tmp_path / "spider")) == 0
    levels = read_evaluation(tmp_path / "out").level_scores
    assert len(levels) == 2 * len(CASES) * 2
    assert set(levels["level"]) == {1, 2}
    assert set(levels["patient"]) == {"7"}
    first = levels[(levels["case"] == CASES[0]) & (levels["system"] == "A")]
    assert first["true_mm2"].tolist() == pytest.approx([3 * 4 * 1.125, 3 * 5 * 1.125])
    assert first["dice"].between(0.5, 1).all()


def test_several_processes_give_the_same_scores(tmp_path, dataset, masks, monkeypatch, forked_workers):
    tables = []
    for seconds in (1e9, 1e-9):
        monkeypatch.setattr(scoring, "SECONDS_A_PROCESS", seconds)
        assert evaluate(tmp_path, dataset, masks, "-np", "2") == 0
        tables.append((tmp_path / "out" / "scores.csv").read_text())
    assert tables[0] == tables[1]


def test_instances_that_lie_elsewhere_cost_the_discs_and_not_the_case(tmp_path, dataset, masks):
    with_discs(dataset, CASES)
    for i, case in enumerate(CASES[1:], 1):
        numbers = np.where(label_map(i) == 3, 201, label_map(i)).astype(np.uint8)
        write_volume(numbers, tmp_path / "spider" / f"{case}.mha", (3.0, -4.0, 5.0 if i > 1 else 55.0))
    assert evaluate(tmp_path, dataset, masks, "--instances", str(tmp_path / "spider")) == 0
    made = read_evaluation(tmp_path / "out")
    assert set(made.scores["case"]) == set(CASES)
    assert set(made.level_scores["case"]) == set(CASES[2:])
    assert any(note.startswith("2 cases lack scores of single vertebrae or discs") for note in made.notes)


def test_a_case_of_unknown_patient_counts_as_one(tmp_path, capsys):
    names = ["hospA_001_t1", "hospB_001_t1"]
    dataset = raw_dataset(tmp_path / "foreign", names)
    masks = predictions(tmp_path / "A", dataset, 0.3)
    assert evaluate(tmp_path, dataset, {"A@T1w": masks, "B@T2w": masks}) == 0
    made = read_evaluation(tmp_path / "out")
    assert set(made.scores["patient"]) == set(names)
    assert made.notes[0].startswith("2 cases, whose patient is unknown")
    capsys.readouterr()
    before = (tmp_path / "out" / "evaluation.json").read_text()
    assert evaluate(tmp_path, dataset, {"A@T1w": masks, "B@T2w": masks}, "--against", "A") == 1
    assert "--against A" in error_line(capsys)
    assert (tmp_path / "out" / "evaluation.json").read_text() == before
    # SPIDER's own numbers would make a vertebra of each.
    for i, name in enumerate(names):
        label = dataset / "labelsTr" / f"{name}.nii.gz"
        write_volume(np.where(label_map(i) == 3, 201, label_map(i)).astype(np.uint8), label)
    assert evaluate(tmp_path, dataset, {"A": masks}) == 1
    line = error_line(capsys)
    assert "no case could be scored" in line
    assert "label 201" in line


@pytest.mark.parametrize("where", ["file", "masks", "labels"])
def test_unusable_output_folders_are_rejected_before_scoring(
    tmp_path, dataset, masks, capsys, monkeypatch, where
):
    monkeypatch.setattr(scoring, "score", lambda work: pytest.fail("scored"))
    (tmp_path / "file").touch()
    out = {"file": tmp_path / "file", "masks": masks["A"], "labels": dataset / "labelsTr"}[where]
    words = ["-s", f"A={masks['A']}", "-l", str(dataset / "labelsTr"), "-o", str(out)]
    assert main(["evaluate", *words]) == 1
    assert str(out) in error_line(capsys)


def test_an_output_folder_behind_a_link_finds_its_files(tmp_path, dataset, masks):
    (tmp_path / "deep" / "er").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "deep" / "er")
    words = ["-s", f"A={masks['A']}", "-l", str(dataset / "labelsTr")]
    assert main(["evaluate", *words, "-o", str(tmp_path / "link" / "out")]) == 0
    made = read_evaluation(tmp_path / "link" / "out")
    assert all(path.is_file() for path in made.cases["image"])


def test_distances_that_one_of_two_lacks_are_counted(tmp_path, dataset, masks):
    path = masks["A"] / f"{CASES[0]}.nii.gz"
    write_volume(np.where(label_map(0) == 3, 0, label_map(0)).astype(np.uint8), path)
    assert evaluate(tmp_path, dataset, masks, "--metric", "hd95_mm") == 0
    table = pd.read_csv(tmp_path / "out" / "tables" / "comparisons.csv").set_index("structure")
    assert table["not_compared"].to_dict() == {"spinal_canal": 0, "vertebrae": 0, "ivd": 1}
    assert "That favors a system" in (tmp_path / "out" / "tables" / "comparisons.md").read_text()
