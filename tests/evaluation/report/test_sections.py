"""Tables of scores, counts, pathologies and the cohort, figures, and what was run."""

from __future__ import annotations

import struct
from dataclasses import replace
from importlib.metadata import version

import numpy as np
import pandas as pd
import pytest

from nnunetv2_spinesegdiff.evaluation.pathology import LEVEL_COLUMNS
from nnunetv2_spinesegdiff.evaluation.report.cohort import Cohort
from nnunetv2_spinesegdiff.evaluation.report.evaluation_folder import System
from nnunetv2_spinesegdiff.evaluation.report.figures_folder import FigureEntry, Figures
from nnunetv2_spinesegdiff.evaluation.report.html import columns_of
from nnunetv2_spinesegdiff.evaluation.report.page import Figure, Listing, Table
from nnunetv2_spinesegdiff.evaluation.report.places import Places
from nnunetv2_spinesegdiff.evaluation.report.provenance import provenance_section
from nnunetv2_spinesegdiff.evaluation.report.sections import (
    cohort_section,
    distance_section,
    figure_section,
    found_section,
    overlap_section,
    pathology_section,
)
from nnunetv2_spinesegdiff.evaluation.summary_tables import count_found
from nnunetv2_spinesegdiff.text import MINUS

from ...helpers.evaluations import lines_of, make_evaluation, pathology, pathology_row, png


def summary(**changes) -> dict[str, pd.DataFrame]:
    row = {"system": "A", "data": "T1w", "cases": 10, "ivd mean": 0.914, "ivd sd": 0.026, "ivd n": 10}
    table = pd.DataFrame([{**row, "mDICE": 0.9146, "mean": 0.9146, **changes}])
    return dict.fromkeys(("dice", "jaccard", "assd_mm", "hd95_mm"), table)


def test_scores_are_printed_as_in_the_paper():
    dice, jaccard = overlap_section(summary(), [("A", "T1w")]).blocks
    assert isinstance(jaccard, Table)
    assert jaccard.folded
    assert lines_of(dice) == [
        {"System": "A (control)", "Data": "T1w", "Cases": "10", "ivd": "0.91 ± 0.03", "mDICE": "0.915"}
    ]
    gone = {"ivd mean": np.nan, "ivd sd": np.nan, "ivd n": 0, "mDICE": np.nan, "mean": np.nan}
    for changes, cells in (
        ({"data": ""}, ["A", "10", "0.91 ± 0.03", "0.915"]),
        ({"data": "", "ivd n": 7}, ["A", "10", "0.91 ± 0.03 (7)", "0.915"]),
        ({"data": "", **gone}, ["A", "10", "n/a", "n/a"]),
        ({"dim": "3D"}, ["A", "T1w", "3D", "10", "0.91 ± 0.03", "0.915"]),
    ):
        (line,) = lines_of(overlap_section(summary(**changes), []).blocks[0])
        assert list(line.values()) == cells
    assert len(distance_section(summary(), []).blocks) == 2
    assert not distance_section(summary(**gone), []).blocks


def test_a_structure_in_neither_mask_is_counted_apart_from_a_missed_one():
    rows = [("A", "", "ivd", found) for found in ("both", "missed", "missed", "false", "neither")]
    scores = pd.DataFrame(rows, columns=["system", "data", "structure", "found"])
    (line,) = lines_of(found_section(count_found(scores, [("A", "")])).blocks[0])
    assert list(line.values()) == ["A", "ivd", "5", "1", "2", "1", "1"]


def test_pathologies_with_their_statistics_and_why_some_have_none():
    untested = dict.fromkeys(("hedges_g", "g_low", "g_high", "t", "df", "p", "p_corrected"), np.nan)
    nobody = {"present": 0, "mean_present": np.nan, "sd_present": np.nan, "reason": "nobody has it"}
    rows = [pathology_row(), pathology_row(finding="modic", significant=False, **untested, **nobody)]
    table, notes = pathology_section(pathology(*rows, notes=["At any level."]), Places()).blocks
    assert notes == Listing("Notes", ("At any level.",))
    first, second = lines_of(table)
    assert list(first.values()) == [
        *("disc narrowing", "ivd", "0.800 ± 0.020 (4)", "0.900 ± 0.010 (6)", "0"),
        f"{MINUS}0.50 [{MINUS}0.90, {MINUS}0.10]",
        *(f"{MINUS}2.50 (7.2)", "0.020", "0.040", "yes", ""),
    ]
    assert list(second.values())[2:] == ["n/a (0)", "0.900 ± 0.010 (6)", "0", *["n/a"] * 5, "nobody has it"]
    assert isinstance(table, Table)
    assert [c.heading for c in columns_of(table.frame) if c.numeric] == list(first)[2:9]
    several = [pathology_row(system=s, data=d) for s in "AB" for d in ("T1w", "T2w")]
    made = pathology_section(pathology(*several), Places()).blocks
    captions = [table.caption.partition(":")[0] for table in made if isinstance(table, Table)]
    assert captions == ["A (T1w)", "A (T2w)", "B (T1w)", "B (T2w)"]


def test_discs_with_their_statistics_have_a_table_that_is_opened():
    row = {**dict.fromkeys(LEVEL_COLUMNS, np.nan), "system": "A", "data": "", "finding": "modic"}
    row |= {"present": 20, "absent": 30, "unknown": 1, "mean_present": 0.7, "mean_absent": 0.8}
    row |= {"difference": -0.1, "difference_low": -0.2, "difference_high": -0.05, "t": -3, "df": 30}
    row |= {"p": 0.01, "p_corrected": 0.04, "significant": True, "reason": "", "fit": "converged"}
    made = pathology_section(pathology(pathology_row(), levels=pd.DataFrame([row])), Places())
    table = made.blocks[1]
    assert isinstance(table, Table)
    assert table.folded
    (line,) = lines_of(table)
    assert list(line.values()) == [
        *("modic", "0.700 (20)", "0.800 (30)", "1", f"{MINUS}0.100 [{MINUS}0.200, {MINUS}0.050]"),
        *(f"{MINUS}3.00 (30.0)", "0.010", "0.040", "yes", "converged"),
    ]


def test_figures_are_in_the_page_with_size_and_words(tmp_path):
    path = png(tmp_path / "a.png")
    figures = Figures((FigureEntry("Pairs", "Two systems", path),), ("No boxes, see /data/x/a.csv",))
    figure, listed = figure_section(figures, Places()).blocks
    assert isinstance(figure, Figure)
    assert figure.picture is not None
    assert figure.picture.content == path.read_bytes()
    assert (figure.picture.width, figure.picture.height) == (100, 50)
    assert figure.picture.alt == "Pairs. Two systems"
    assert isinstance(listed, Listing)
    assert listed.lines == ("No boxes, see a.csv",)
    (table,) = cohort_section(Cohort({"Patients": pd.DataFrame({"n": [3]})}, ()), Places()).blocks
    assert lines_of(table) == [{"n": "3"}]


@pytest.mark.parametrize("content", [None, b"", b"GIF89a", b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13)])
def test_missing_and_invalid_figures_are_reported(tmp_path, content):
    path = tmp_path / "gone.png"
    if content is not None:
        path.write_bytes(content)
    (figure,) = figure_section(Figures((FigureEntry("Pairs", "Two systems.", path),)), Places()).blocks
    assert isinstance(figure, Figure)
    assert figure.picture is None
    assert "No picture: gone.png" in figure.caption


def test_what_was_run(tmp_path):
    evaluation = make_evaluation(tmp_path / "evaluation")
    made = provenance_section(evaluation, ["spinesegdiff report"], Places())
    blocks = {getattr(block, "caption", getattr(block, "title", "")): block for block in made.blocks}
    assert blocks["Commands"] == Listing("Commands", ("spinesegdiff evaluate", "spinesegdiff report"), True)
    versions = {line["Package"]: line for line in lines_of(blocks["Versions"])}
    assert (versions["torch"]["Evaluation"], versions["torch"]["Report"]) == ("n/a", version("torch"))
    assert versions["spinesegdiff"]["Evaluation"] == "0.0.9"
    assert [list(line.values()) for line in lines_of(blocks["How masks were predicted"])] == [
        ["sampler", "null", "n/a"],
        ["folds", '["0"]', "n/a"],
        ["sampler.seed", "n/a", "7"],
        ["sampler.eta", "n/a", "0.0"],
        ["seconds per case", "n/a", "1.5"],
    ]
    assert "Twice as long" in made.text[1]
    first = lines_of(blocks["Validation cases of the folds"])[0]
    assert first == {"System": "Stage 1", "Fold": "0", "Cases": "2", "Patients": "2"}
    by_name = blocks["Validation cases of the folds by name"]
    assert isinstance(by_name, Listing)
    assert by_name.lines == ("Fold 0: a, c", "Fold 1: b, d")
    files = [list(line.values()) for line in lines_of(blocks["Files that were read"])]
    assert ["Refined", "heatmaps", "4 in heat"] in files
    assert ["Stage 1", "heatmaps", "none"] in files
    evaluation.cases["fold"] = ""
    plain = replace(evaluation, systems=(System("Stage 1"),))
    captions = [getattr(block, "caption", "") for block in provenance_section(plain, [], Places()).blocks]
    assert not [caption for caption in captions if "folds" in caption or "predicted" in caption]
