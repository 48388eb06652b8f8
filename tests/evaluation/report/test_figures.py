"""All figures of an evaluation: which are made, which are left out, and what is said of them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import SimpleITK as sitk

from nnunetv2_spinesegdiff.errors import UserError
from nnunetv2_spinesegdiff.evaluation.pathology import PATHOLOGY_COLUMNS
from nnunetv2_spinesegdiff.evaluation.report import case_figures, findings_figure, score_figures
from nnunetv2_spinesegdiff.evaluation.report.evaluation_folder import System, write_evaluation
from nnunetv2_spinesegdiff.evaluation.report.figures import run_figures
from nnunetv2_spinesegdiff.evaluation.report.figures_folder import FigureEntry, Figures
from nnunetv2_spinesegdiff.evaluation.report.findings_figure import findings_figures
from nnunetv2_spinesegdiff.evaluation.report.pathology import VALUE_COLUMNS, Pathology, write_pathology
from nnunetv2_spinesegdiff.images.writing import write_image
from nnunetv2_spinesegdiff.measures import ERROR

from ...helpers.evaluations import STRUCTURES, rising_evaluation

DEPTHS = (System("T = 0", seconds_a_case=0.5), System("T = 30"), System("T = 100", seconds_a_case=4))


def findings(folder: Path, systems: tuple[str, ...] = ("refined",)) -> Pathology:
    """Eight patients, half of them with a finding that was tested."""
    keys = [(name, "", s) for name in systems for s in STRUCTURES]
    rows = [(*key, str(p), 0.8 + p / 100, p % 2 == 0) for key in keys for p in range(8)]
    values = pd.DataFrame(rows, columns=[*VALUE_COLUMNS, "Modic changes"]).astype(
        {"Modic changes": "boolean"}
    )
    tests = values[["system", "data", "structure"]].drop_duplicates(ignore_index=True)
    tests = tests.assign(finding="Modic changes", p_corrected=0.3, significant=False, test="Welch's t-test")
    tests = tests.assign(reason="", fit="").reindex(columns=list(PATHOLOGY_COLUMNS))
    return Pathology(folder / "pathology", tests, values, settings={"tests": 7})


def names(figures: Figures) -> list[str]:
    return [entry.path.name for entry in figures.entries]


@pytest.fixture
def shown(monkeypatch) -> list[dict[str, Any]]:
    """What the figures of cases are asked to show; files are made, but nothing is drawn."""
    calls: list[dict[str, Any]] = []

    def touch(*arguments: Any, **options: Any) -> None:
        (path,) = (one for one in arguments if isinstance(one, Path))
        path.parent.mkdir(exist_ok=True)
        path.touch()

    def draw_cases(rows: list, labels: dict, path: Path, **options: Any) -> None:
        calls.append({"cases": [row.title for row in rows], "rows": rows, **options})
        touch(path)

    for name in ("draw_systems", "draw_pairs", "draw_depth"):
        monkeypatch.setattr(score_figures, name, touch)
    monkeypatch.setattr(findings_figure, "draw_pathology", touch)
    monkeypatch.setattr(case_figures, "draw_cases", draw_cases)
    return calls


def test_every_figure_is_a_png_and_a_pdf_and_is_in_the_index(tmp_path):
    evaluation = rising_evaluation(tmp_path, DEPTHS, uncertain=("T = 100",))
    write_pathology(findings(evaluation.folder))
    figures = run_figures(evaluation.folder, worst=1)
    assert names(figures) == ["systems.png", "pairs.png", "depth.png", "findings.png", "cases.png"]
    assert figures.notes == ()
    folder = evaluation.folder / "figures"
    made = {path.name for path in folder.iterdir()}
    assert made == {f"{Path(n).stem}.{e}" for n in names(figures) for e in ("png", "pdf")} | {"figures.json"}
    index = json.loads((folder / "figures.json").read_text())
    assert [entry["file"] for entry in index["figures"]] == names(figures)
    captions = " ".join(entry.caption for entry in figures.entries)
    for part in ("3 systems", "4 of each", "4 cases", "T = 30", "8 patients", "Welch", "Dice of T = 100"):
        assert part in captions
    run_figures(evaluation.folder, tmp_path / "again", worst=1)
    for path in folder.iterdir():
        assert path.read_bytes() == (tmp_path / "again" / path.name).read_bytes(), path.name


def test_figures_without_data_are_left_out_with_a_note(tmp_path, shown):
    evaluation = rising_evaluation(tmp_path, (System("refined"),), images=False)
    figures = run_figures(evaluation.folder)
    assert names(figures) == ["systems.png"]
    for start in ("Pair of systems", "Depth of noise", "Findings", "Cases"):
        assert sum(note.startswith(f"{start}: left out") for note in figures.notes) == 1
    for case in ("case_0", "case_1", "case_2", "case_3"):
        assert sum(case in note for note in figures.notes) == 1
    assert all("\n" not in note for note in figures.notes)


def test_the_worst_cases_of_the_pairs_second_system_are_shown(tmp_path, shown):
    evaluation = rising_evaluation(
        tmp_path, (System("stage 1"), System("refined"), System("c", control=True))
    )
    scores = evaluation.scores
    scores.loc[(scores["system"] == "stage 1") & (scores["case"] == "case_3"), "dice"] = 0.0
    write_evaluation(evaluation)
    run_figures(evaluation.folder, worst=2)
    assert shown[-1]["cases"] == ["case_0", "case_1"]
    assert list(shown[-1]["rows"][0].masks) == ["truth", "stage 1", "refined", "c"]
    assert shown[-1]["heading"] == "uncertainty, refined"
    run_figures(evaluation.folder, worst=2, pair=("refined", "stage 1"))
    assert shown[-1]["cases"] == ["case_3", "case_0"]


def test_named_cases_are_shown_in_their_order(tmp_path, shown):
    evaluation = rising_evaluation(tmp_path)
    figures = run_figures(evaluation.folder, cases=["case_3", "case_1"])
    assert shown[-1]["cases"] == ["case_3", "case_1"]
    assert figures.entries[-1].caption.startswith("2 cases")
    with pytest.raises(UserError, match=r"case_x.*case_0"):
        run_figures(evaluation.folder, cases=["case_x"])


def test_each_data_has_a_set_of_figures(tmp_path, shown):
    systems = [System(name, data) for data in ("T1w", "T1w+T2w", "t1W") for name in ("stage 1", "refined")]
    evaluation = rising_evaluation(tmp_path, [*systems, System("else", "T2w/T1w")], uncertain=())
    figures = run_figures(evaluation.folder, worst=1)
    pairs = ["pairs_T1w.png", "pairs_T1w+T2w.png", "pairs_t1W_3.png"]
    cases = ["cases_T1w.png", "cases_T1w+T2w.png", "cases_t1W_3.png", "cases_T2w_T1w.png"]
    assert names(figures) == ["systems.png", *pairs, *cases]
    assert any(note.startswith("Pair of systems (T2w/T1w): left out") for note in figures.notes)
    assert [list(call["rows"][0].masks)[1:] for call in shown] == [
        [f"stage 1 ({data})", f"refined ({data})"] for data in ("T1w", "T1w+T2w", "t1W")
    ] + [["else (T2w/T1w)"]]


@pytest.mark.parametrize(
    ("fusion", "measure", "highest"),
    [
        ("ensemble", "variance", 0.25),
        ("exponential", "entropy (nats)", 1 / np.e),
        (None, "entropy (nats)", 1 / np.e),
    ],
)
def test_the_measure_of_the_maps_is_that_of_their_system(tmp_path, shown, fusion, measure, highest):
    settings = {"sampler": {"fusion": fusion}} if fusion else None
    systems = (System("stage 1"), System("IISDM", settings=settings))
    run_figures(rising_evaluation(tmp_path, systems, uncertain=("IISDM",)).folder)
    assert (shown[-1]["measure"], shown[-1]["highest"]) == (measure, highest)


def test_the_measure_of_the_maps_is_the_one_in_their_files(tmp_path, shown):
    settings = {"sampler": {"fusion": "exponential"}}
    evaluation = rising_evaluation(tmp_path, (System("refined", settings=settings),), uncertain=("refined",))
    for path in evaluation.cases["uncertainty"].dropna():
        write_image(sitk.ReadImage(str(path)), Path(path), comment=ERROR.name)
    run_figures(evaluation.folder)
    assert (shown[-1]["measure"], shown[-1]["highest"]) == ERROR


def test_what_has_no_dice_or_no_partner_is_counted(tmp_path, shown):
    evaluation = rising_evaluation(tmp_path)
    scores = evaluation.scores
    scores.loc[(scores["case"] == "case_2") & (scores["structure"] == "ivd"), "dice"] = np.nan
    scores = scores[~((scores["system"] == "stage 1") & (scores["case"] == "case_3"))]
    again = evaluation.cases[evaluation.cases["case"] == "case_0"].assign(fold="1")
    cases = pd.concat([evaluation.cases, again], ignore_index=True)
    write_evaluation(replace(evaluation, scores=scores, cases=cases))
    cases["prediction"].iloc[2].unlink()
    figures = run_figures(evaluation.folder)
    captions = {entry.path.stem: entry.caption for entry in figures.entries}
    assert captions["systems"].endswith("ivd 2.")
    assert "3 of stage 1, 4 of refined" in captions["systems"]
    assert "1 case that only refined predicted" in captions["pairs"]
    assert captions["pairs"].endswith("ivd 1.")
    assert any("several folds predicted case_0" in note for note in figures.notes)
    (missing,) = [note for note in figures.notes if "case1.nii.gz" in note]
    assert missing.startswith("Cases, case_1: stage 1 is not shown")


def test_two_systems_with_findings_have_a_figure_each(tmp_path, shown):
    pathology = findings(tmp_path, ("refined", "stage 1", "another"))
    pathology.values.loc[pathology.values["system"] == "stage 1", "dice"] = np.nan
    first, note, last = findings_figures(pathology, tmp_path / "figures")
    assert isinstance(first, FigureEntry)
    assert isinstance(last, FigureEntry)
    assert (first.path.name, last.path.name) == ("findings_1.png", "findings_3.png")
    assert str(note).startswith("Findings, stage 1: left out")
    assert "8 patients" in first.caption
    assert "Welch's t-test; p corrected after Benjamini and Hochberg over 7 tests" in first.caption


def test_only_tested_findings_of_graded_patients_are_drawn(tmp_path, monkeypatch):
    drawn: list[tuple[Any, ...]] = []
    monkeypatch.setattr(findings_figure, "draw_pathology", lambda *arguments: drawn.append(arguments))
    pathology = findings(tmp_path)
    pathology.values["Modic changes"] = [None, *[False] * (len(pathology.values) - 1)]
    pathology.values["Disc bulging"] = True
    tests = pathology.table.assign(test="", reason="no patients with it, at least 5 are needed")
    (entry,) = findings_figures(replace(pathology, table=tests), tmp_path)
    assert isinstance(entry, FigureEntry)
    ((groups, shown, path, title),) = drawn
    assert (path.name, title) == ("findings.png", "refined")
    assert len(groups) == len(pathology.values) - 1
    assert set(groups["finding"]) == {"Modic changes"}
    assert set(shown["reason"]) == {"too few"}
    assert "Benjamini" not in entry.caption
