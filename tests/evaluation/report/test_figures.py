"""All figures of an evaluation: which are made, which are left out, and what is said of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from nnunetv2_spinesegdiff.errors import UserError
from nnunetv2_spinesegdiff.evaluation.report import case_figures, score_figures
from nnunetv2_spinesegdiff.evaluation.report import figures as figures_module
from nnunetv2_spinesegdiff.evaluation.report.evaluation_folder import System, write_evaluation
from nnunetv2_spinesegdiff.evaluation.report.figures import Findings, run_figures
from nnunetv2_spinesegdiff.evaluation.report.figures_folder import (
    INDEX,
    FigureEntry,
    Figures,
    read_figures,
    write_index,
)
from nnunetv2_spinesegdiff.evaluation.report.findings_figure import findings_of
from nnunetv2_spinesegdiff.evaluation.report.pathology import Pathology

from ...helpers.evaluations import STRUCTURES, rising_evaluation

DEPTHS = (System("T = 0", seconds_a_case=0.5), System("T = 30"), System("T = 100", seconds_a_case=4))


def findings(system: str = "refined", patients: int = 8) -> Findings:
    rows = [(s, p % 2 == 0, str(p), 0.8 + p / 100) for s in STRUCTURES for p in range(patients)]
    groups = pd.DataFrame(rows, columns=["structure", "present", "patient", "dice"]).assign(finding="Modic")
    tests = pd.DataFrame({"structure": list(STRUCTURES), "p_corrected": 0.3, "significant": False})
    return Findings(system, groups, tests.assign(finding="Modic"), "Welch's t-test.")


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
    monkeypatch.setattr(figures_module, "draw_pathology", touch)
    monkeypatch.setattr(case_figures, "draw_cases", draw_cases)
    return calls


def test_every_figure_is_a_png_and_a_pdf_and_is_in_the_index(tmp_path):
    evaluation = rising_evaluation(tmp_path, DEPTHS, uncertain=("T = 100",))
    figures = run_figures(evaluation.folder, findings=[findings()], worst=1)
    assert names(figures) == ["systems.png", "pairs.png", "depth.png", "findings.png", "cases.png"]
    assert figures.notes == ()
    folder = evaluation.folder / "figures"
    made = {path.name for path in folder.iterdir()}
    assert made == {f"{Path(n).stem}.{e}" for n in names(figures) for e in ("png", "pdf")} | {"figures.json"}
    assert read_figures(folder) == figures
    captions = " ".join(entry.caption for entry in figures.entries)
    for part in ("3 systems", "4 of each", "4 cases", "T = 30", "8 patients", "Welch", "Dice of T = 100"):
        assert part in captions
    run_figures(evaluation.folder, tmp_path / "again", findings=[findings()], worst=1)
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
    (missing,) = [note for note in figures.notes if "case1.nii.gz: no such file" in note]
    assert missing.startswith("Cases: without case_1")


def test_two_systems_with_findings_have_a_figure_each(tmp_path, shown):
    evaluation = rising_evaluation(tmp_path)
    nothing = replace(findings("stage 1"), groups=findings().groups.assign(dice=np.nan))
    figures = run_figures(evaluation.folder, findings=[findings(), nothing, findings("another")])
    assert [name for name in names(figures) if "findings" in name] == ["findings_1.png", "findings_3.png"]
    assert any(note.startswith("Findings, stage 1: left out") for note in figures.notes)


VALUES = [("A", "", "1", 0.5, True), ("A", "", "2", 0.6, None), ("B", "T1w", "1", 0.7, False)]
TESTS = [
    ("A", "", "Welch's t-test", "constant in both groups"),
    ("B", "T1w", "", "no patients with it, at least 5 are needed"),
]


def test_every_tested_system_has_its_groups_and_tests(tmp_path):
    values = pd.DataFrame(VALUES, columns=["system", "data", "patient", "dice", "Disc bulging"])
    values = values.astype({"Disc bulging": "boolean"}).assign(structure="ivd")
    table = pd.DataFrame(TESTS, columns=["system", "data", "test", "reason"])
    table = table.assign(finding="Disc bulging", structure="ivd", p_corrected=np.nan, significant=False)
    first, second = findings_of(Pathology(tmp_path, table, values, settings={"tests": 7}))
    assert (first.system, second.system) == ("A", "B (T1w)")
    assert first.groups[["patient", "present", "dice"]].to_numpy().tolist() == [["1", True, 0.5]]
    assert second.groups["present"].tolist() == [False]
    assert "7 tests" in first.method
    assert second.method == ""
    assert [one.tests["reason"].item() for one in (first, second)] == [TESTS[0][3], "too few"]


def test_the_index_is_read_wherever_the_folder_goes(tmp_path):
    folder, moved = tmp_path / "figures", tmp_path / "moved"
    folder.mkdir()
    with pytest.raises(UserError, match=rf"{INDEX}; .*spinesegdiff figures"):
        read_figures(folder)
    entry = FigureEntry("Dice of the discs", "10 cases: β = ½", folder / "a.png")
    write_index(Figures((entry,), ("Pairs: left out",)), folder)
    with pytest.raises(UserError, match=r"a\.png"):
        read_figures(folder)
    entry.path.touch()
    assert read_figures(folder) == Figures((entry,), ("Pairs: left out",))
    folder.rename(moved)
    assert read_figures(moved).entries[0].path == moved / "a.png"
    for content in ("{}", "[]", "nothing", '{"figures": [{}], "notes": []}'):
        (moved / INDEX).write_text(content)
        with pytest.raises(UserError, match=INDEX):
            read_figures(moved)
