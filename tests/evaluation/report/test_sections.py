"""Tables of scores, counts, pathologies and the cohort, figures, and what was run."""

from __future__ import annotations

import struct
from dataclasses import replace
from importlib.metadata import version

import numpy as np
import pandas as pd
import pytest

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

from ...helpers.evaluations import make_evaluation, pathology_row, png


def texts(block) -> list[list[str]]:
    assert isinstance(block, Table)
    grid = grid_of(block)
    return [[c.heading for c in grid.columns], *([cell.text for cell in row] for row in grid.rows)]


def summary(**changes) -> pd.DataFrame:
    row = {"system": "A", "data": "T1w", "cases": 10, "ivd mean": 0.914, "ivd sd": 0.026, "ivd n": 10}
    return pd.DataFrame([{**row, "mDICE": 0.9146, **changes}])


def test_scores_are_printed_as_in_the_paper():
    heads, row = texts(overlap_section({"dice": summary()}, [("A", "T1w")]).blocks[0])
    assert heads == ["System", "Data", "Cases", "ivd", "mDICE"]
    assert row == ["A (control)", "T1w", "10", "0.91 ± 0.03", "0.915"]
    gone = {"ivd mean": np.nan, "ivd sd": np.nan, "ivd n": 0, "mDICE": np.nan}
    for changes, part in (
        ({"data": ""}, ["A", "10"]),
        ({"data": "", "ivd n": 7}, ["A", "10", "0.91 ± 0.03 (7)"]),
        ({"data": "", **gone}, ["A", "10", "n/a", "n/a"]),
    ):
        assert texts(overlap_section({"dice": summary(**changes)}, []).blocks[0])[1][: len(part)] == part
    table = summary()
    table.insert(2, "dim", "3D")
    assert texts(overlap_section({"dice": table}, []).blocks[0])[0][:4] == ["System", "Data", "Dim", "Cases"]
    assert not distance_section({"assd_mm": summary(**gone)}, []).blocks


def test_absent_in_both_is_counted_apart_from_missed():
    rows = [("A", "", "ivd", found) for found in ("both", "missed", "missed", "false", "neither")]
    scores = pd.DataFrame(rows, columns=["system", "data", "structure", "found"])
    _, row = texts(found_section(count_found(scores, [("A", "")])).blocks[0])
    assert row == ["A", "ivd", "5", "1", "2", "1", "1"]


def test_pathologies_with_their_statistics_and_why_some_have_none():
    untested = dict.fromkeys(("hedges_g", "g_low", "g_high", "t", "df", "p", "p_corrected"), np.nan)
    nobody = {"present": 0, "mean_present": np.nan, "significant": False, "reason": "nobody has it"}
    table = pd.DataFrame([pathology_row(), pathology_row(finding="modic", **untested, **nobody)])
    made = pathology_section(table, ["At any level."])
    heads, first, second = texts(made.blocks[0])
    assert first == [
        *("ivd", "disc narrowing", "0.800 (4)", "0.900 (6)"),
        f"{MINUS}0.50 [{MINUS}0.90, {MINUS}0.10]",
        *(f"{MINUS}2.50 (7.2)", "0.020", "0.040", "yes", ""),
    ]
    assert second[2:] == ["n/a (0)", "0.900 (6)", *["n/a"] * 5, "nobody has it"]
    grid = grid_of(made.blocks[0])  # type: ignore[arg-type]
    assert [c.heading for c in grid.columns if c.numeric] == heads[2:8]
    assert made.blocks[1] == Listing("Notes", ("At any level.",))
    several = [pathology_row(system=s, data=d) for s in "AB" for d in ("T1w", "T2w")]
    tables = [block for block in pathology_section(pd.DataFrame(several)).blocks if isinstance(block, Table)]
    assert [table.caption.partition(":")[0] for table in tables] == [
        "A (T1w)",
        "A (T2w)",
        "B (T1w)",
        "B (T2w)",
    ]
    with pytest.raises(UserError, match=r"hedges_g, reason.*spinesegdiff pathology"):
        pathology_section(table.drop(columns=["hedges_g", "reason"]))


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


def test_figures_travel_in_the_page_with_size_and_words(tmp_path):
    path = png(tmp_path / "a.png")
    notes = ["No boxes: one system alone, see /data/x/a.csv"]
    figure, listed = figure_section([FigureEntry("Pairs", "Two systems", path)], Places(), notes).blocks
    assert isinstance(figure, Figure)
    assert figure.picture is not None
    assert figure.picture.content == path.read_bytes()
    assert (figure.picture.width, figure.picture.height) == (100, 50)
    assert figure.picture.alt == "Pairs. Two systems"
    assert isinstance(listed, Listing)
    assert listed.lines == ("No boxes: one system alone, see a.csv",)
    tables = cohort_section({"Patients": pd.DataFrame({"n": [3]})}).blocks
    assert [texts(block)[1] for block in tables if isinstance(block, Table)] == [["3"]]


@pytest.mark.parametrize("content", [None, b"", b"GIF89a", b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13)])
def test_missing_and_invalid_figures_are_reported(tmp_path, content):
    path = tmp_path / "gone.png"
    if content is not None:
        path.write_bytes(content)
    (figure,) = figure_section([FigureEntry("Pairs", "Two systems.", path)], Places()).blocks
    assert isinstance(figure, Figure)
    assert figure.picture is None
    assert "No picture: gone.png" in figure.caption


def test_what_was_run(tmp_path):
    evaluation = make_evaluation(tmp_path / "evaluation")
    made = provenance_section(evaluation, ["spinesegdiff report"], Places())
    blocks = {getattr(block, "caption", getattr(block, "title", "")): block for block in made.blocks}
    assert blocks["Commands"] == Listing("Commands", ("spinesegdiff evaluate", "spinesegdiff report"), True)
    versions = {row[0]: row[1:] for row in texts(blocks["Versions"])}
    assert versions["torch"] == ["n/a", version("torch")]
    assert versions["spinesegdiff"][0] == "0.0.9"
    assert {row[0]: row[1:] for row in texts(blocks["How masks were predicted"])} == {
        "Setting": ["Stage 1", "Refined"],
        "sampler": ["null", "n/a"],
        "folds": ['["0"]', "n/a"],
        "sampler.seed": ["n/a", "7"],
        "sampler.eta": ["n/a", "0.0"],
        "seconds a case": ["n/a", "1.5"],
    }
    assert "Twice as long" in made.text[1]
    assert texts(blocks["Validation cases of the folds"])[1] == ["Stage 1", "0", "2", "2"]
    by_name = blocks["Validation cases of the folds by name"]
    assert isinstance(by_name, Listing)
    assert by_name.lines == ("Fold 0: a, c", "Fold 1: b, d")
    files = texts(blocks["Files that were read"])
    assert ["Refined", "heatmaps", "4 in heat"] in files
    assert ["Stage 1", "heatmaps", "none"] in files
    evaluation.cases["fold"] = ""
    plain = replace(evaluation, systems=(System("Stage 1"),))
    captions = [getattr(block, "caption", "") for block in provenance_section(plain, [], Places()).blocks]
    assert not [caption for caption in captions if "folds" in caption or "predicted" in caption]
