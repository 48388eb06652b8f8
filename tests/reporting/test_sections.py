"""Tables of scores, counts, pathologies and the cohort, figures, and what was run."""

from __future__ import annotations

import struct
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure as Drawing

from nnunetv2_spinesegdiff.errors import UserError
from nnunetv2_spinesegdiff.evaluation.found_counts import count_found
from nnunetv2_spinesegdiff.evaluation.report.cells import grid_of
from nnunetv2_spinesegdiff.evaluation.report.evaluation_folder import System
from nnunetv2_spinesegdiff.evaluation.report.figures_folder import FigureEntry
from nnunetv2_spinesegdiff.evaluation.report.page import Figure, Listing, Table
from nnunetv2_spinesegdiff.evaluation.report.places import Places
from nnunetv2_spinesegdiff.evaluation.report.provenance import provenance_section
from nnunetv2_spinesegdiff.evaluation.report.result_sections import (
    distance_section,
    found_section,
    overlap_section,
)
from nnunetv2_spinesegdiff.evaluation.report.study_sections import (
    cohort_section,
    figure_section,
    pathology_section,
)
from nnunetv2_spinesegdiff.text import MINUS

from .page_evaluation import make_evaluation, pathology_row, summary_tables


def texts(block) -> list[list[str]]:
    assert isinstance(block, Table)
    grid = grid_of(block)
    return [[c.heading for c in grid.columns], *([cell.text for cell in row] for row in grid.rows)]


def summary(**changes) -> pd.DataFrame:
    row = {"system": "A", "data": "T1w", "cases": 10, "ivd mean": 0.914, "ivd sd": 0.026, "ivd n": 10}
    return pd.DataFrame([{**row, "mDICE": 0.9146, **changes}])


def test_scores_are_printed_as_in_the_paper():
    made = overlap_section({"dice": summary()}, [("A", "T1w")])
    heads, row = texts(made.blocks[0])
    assert heads == ["System", "Data", "Cases", "ivd", "mDICE"]
    assert row == ["A (control)", "T1w", "10", "0.91 ± 0.03", "0.915"]


def test_fewer_cases_than_the_row_has_are_told():
    heads, row = texts(overlap_section({"dice": summary(**{"ivd n": 7})}, []).blocks[0])
    assert row[heads.index("ivd")] == "0.91 ± 0.03 (7)"


def test_what_no_case_has_is_not_a_number():
    gone = {"ivd mean": np.nan, "ivd sd": np.nan, "ivd n": 0, "mDICE": np.nan}
    _, row = texts(overlap_section({"dice": summary(**gone)}, []).blocks[0])
    assert row[-2:] == ["n/a", "n/a"]
    assert "no case has masks" in distance_section({"assd_mm": summary(**gone)}, []).text[0]


def test_nothing_said_of_the_data_is_no_column():
    heads, _ = texts(overlap_section({"dice": summary(data="")}, []).blocks[0])
    assert "Data" not in heads


def test_dimensions_are_shown_where_the_table_has_them():
    table = summary()
    table.insert(2, "dim", "3D")
    assert texts(overlap_section({"dice": table}, []).blocks[0])[0][:4] == ["System", "Data", "Dim", "Cases"]


def test_both_distances_are_shown(tmp_path):
    evaluation = make_evaluation(tmp_path / "evaluation")
    made = distance_section(summary_tables(evaluation), [])
    assert [block.caption.partition(",")[0] for block in made.blocks if isinstance(block, Table)] == [
        "Average symmetric surface distance (ASSD) in mm",
        "95th percentile of the Hausdorff distance (HD95) in mm",
    ]


def test_absent_in_both_is_counted_apart_from_missed():
    rows = [("A", "", "ivd", found) for found in ("both", "missed", "missed", "false", "neither")]
    scores = pd.DataFrame(rows, columns=["system", "data", "structure", "found"])
    heads, row = texts(found_section(count_found(scores, [("A", "")])).blocks[0])
    assert dict(zip(heads, row, strict=True)) == {
        "System": "A",
        "Structure": "ivd",
        "Cases": "5",
        "Found": "1",
        "Missed": "2",
        "Drawn where none is": "1",
        "In neither mask": "1",
    }


def test_pathologies_with_their_statistics_and_why_some_have_none():
    untested = dict.fromkeys(("hedges_g", "g_low", "g_high", "t", "df", "p", "p_corrected"), np.nan)
    nobody = {"present": 0, "mean_present": np.nan, "significant": False, "reason": "nobody has it"}
    table = pd.DataFrame([pathology_row(), pathology_row(finding="modic", **untested, **nobody)])
    made = pathology_section(table, ["At any level."])
    heads, first, second = texts(made.blocks[0])
    assert dict(zip(heads, first, strict=True)) == {
        "Structure": "ivd",
        "Finding": "disc narrowing",
        "With": "0.800 (4)",
        "Without": "0.900 (6)",
        "Hedges' g [interval]": f"{MINUS}0.50 [{MINUS}0.90, {MINUS}0.10]",
        "t (df)": f"{MINUS}2.50 (7.2)",
        "p": "0.020",
        "p (corrected)": "0.040",
        "Significant": "yes",
        "Not tested because": "",
    }
    assert second[2:] == ["n/a (0)", "0.900 (6)", *["n/a"] * 5, "nobody has it"]
    grid = grid_of(made.blocks[0])  # type: ignore[arg-type]
    assert [c.heading for c in grid.columns if c.numeric] == heads[2:8]
    assert made.blocks[1] == Listing("Notes", ("At any level.",))


def test_discs_with_their_statistics_have_a_table_that_is_opened():
    row = {"system": "A", "data": "", "finding": "modic", "present": 20, "absent": 30, "mean_present": 0.7}
    row |= {"mean_absent": 0.8, "difference": -0.1, "difference_low": -0.2, "difference_high": -0.05}
    row |= {"p": 0.01, "p_corrected": 0.04, "significant": True, "reason": ""}
    made = pathology_section(pd.DataFrame([pathology_row()]), levels=pd.DataFrame([row]))
    table = made.blocks[1]
    assert isinstance(table, Table)
    assert table.folded
    assert texts(table)[1] == [
        *("modic", "0.700 (20)", "0.800 (30)", f"{MINUS}0.100 [{MINUS}0.200, {MINUS}0.050]"),
        *("0.010", "0.040", "yes"),
    ]
    assert len(pathology_section(pd.DataFrame([pathology_row()]), levels=pd.DataFrame()).blocks) == 1


def test_every_system_has_its_own_table_of_pathologies():
    table = pd.DataFrame([pathology_row(system=s, data=d) for s in "AB" for d in ("T1w", "T2w")])
    made = pathology_section(table)
    captions = [block.caption.partition(":")[0] for block in made.blocks if isinstance(block, Table)]
    assert captions == ["A (T1w)", "A (T2w)", "B (T1w)", "B (T2w)"]
    assert "Not tested because" not in texts(made.blocks[0])[0]


def test_a_table_of_pathologies_that_lacks_columns_is_refused():
    with pytest.raises(UserError, match=r"lacks hedges_g, reason; make it with spinesegdiff pathology"):
        pathology_section(pd.DataFrame([pathology_row()]).drop(columns=["hedges_g", "reason"]))


def test_the_cohort_is_shown_as_it_is_given():
    made = cohort_section({"Patients": pd.DataFrame({"n": [3]}), "Scans": pd.DataFrame({"n": [5]})})
    assert [(block.caption, texts(block)[1]) for block in made.blocks if isinstance(block, Table)] == [
        ("Patients", ["3"]),
        ("Scans", ["5"]),
    ]


def png(path: Path) -> Path:
    Drawing(figsize=(2, 1), dpi=50).savefig(path)
    return path


def test_figures_travel_in_the_page_with_size_and_words(tmp_path):
    path = png(tmp_path / "a.png")
    (figure,) = figure_section([FigureEntry("Pairs", "Two systems", path)], Places()).blocks
    assert isinstance(figure, Figure)
    assert figure.picture is not None
    assert figure.picture.content == path.read_bytes()
    assert (figure.picture.width, figure.picture.height) == (100, 50)
    assert figure.picture.alt == "Pairs. Two systems"


def test_notes_on_figures_are_listed():
    made = figure_section([], Places(), ["No boxes: one system alone, see /data/x/a.csv"])
    assert made.blocks == (Listing("Notes on the figures", ("No boxes: one system alone, see a.csv",)),)


@pytest.mark.parametrize("content", [None, b"", b"GIF89a", b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13)])
def test_a_figure_that_is_not_there_or_no_png_says_so(tmp_path, content):
    path = tmp_path / "gone.png"
    if content is not None:
        path.write_bytes(content)
    (figure,) = figure_section([FigureEntry("Pairs", "Two systems.", path)], Places()).blocks
    assert isinstance(figure, Figure)
    assert figure.picture is None
    assert figure.caption.startswith("Two systems. No picture: gone.png is n")


def test_what_was_run(tmp_path):
    evaluation = make_evaluation(tmp_path / "evaluation")
    made = provenance_section(evaluation, ["spinesegdiff report"], Places())
    blocks = {getattr(block, "caption", getattr(block, "title", "")): block for block in made.blocks}
    assert blocks["Commands"] == Listing("Commands", ("spinesegdiff evaluate", "spinesegdiff report"), True)
    versions = {row[0]: row[1:] for row in texts(blocks["Versions"])}
    assert versions["torch"] == ["n/a", version("torch")]
    assert versions["spinesegdiff"][0] == "0.0.9"
    settings = texts(blocks["How masks were predicted"])
    assert settings[0] == ["Setting", "Stage 1", "Refined"]
    told = {row[0]: row[1:] for row in settings[1:]}
    assert told == {
        "sampler": ["null", "n/a"],
        "folds": ['["0"]', "n/a"],
        "sampler.seed": ["n/a", "7"],
        "sampler.eta": ["n/a", "0.0"],
        "seconds a case": ["n/a", "1.5"],
    }
    assert "not known of Twice as long" in made.text[1]
    folds = texts(blocks["Validation cases of the folds"])
    assert folds[1] == ["Stage 1", "0", "2", "2"]
    by_name = blocks["Validation cases of the folds by name"]
    assert isinstance(by_name, Listing)
    assert by_name.lines == ("Fold 0: a, c", "Fold 1: b, d")
    assert ["Refined", "heatmaps", "4 in heat"] in texts(blocks["Files that were read"])
    assert ["Stage 1", "heatmaps", "none"] in texts(blocks["Files that were read"])


def test_cases_in_no_fold_have_no_table_of_folds(tmp_path):
    evaluation = make_evaluation(tmp_path / "evaluation", systems=[System("A")])
    evaluation.cases["fold"] = ""
    made = provenance_section(evaluation, [], Places())
    assert not [b for b in made.blocks if isinstance(b, Table) and "folds" in b.caption]
    assert "How masks were predicted" not in [getattr(block, "caption", "") for block in made.blocks]
