"""The gallery: which cases, in which order, with which pictures and scores."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from nnunetv2_spinesegdiff.errors import UserError
from nnunetv2_spinesegdiff.evaluation.report.cells import grid_of
from nnunetv2_spinesegdiff.evaluation.report.evaluation_folder import System
from nnunetv2_spinesegdiff.evaluation.report.gallery import chosen_system, gallery_section
from nnunetv2_spinesegdiff.evaluation.report.page import CaseCard, Legend, Table

from .page_evaluation import STRUCTURES, SYSTEMS, make_evaluation

TITLES = ["Label", "Stage 1", "Twice as long", "Refined", "Uncertainty of Refined"]


@pytest.fixture(scope="module")
def evaluation(tmp_path_factory):
    return make_evaluation(tmp_path_factory.mktemp("made") / "evaluation")


def cards(section) -> list[CaseCard]:
    return [block for block in section.blocks if isinstance(block, CaseCard)]


def means(evaluation, system) -> pd.Series:
    return evaluation.of(system).groupby("case")["dice"].mean()


@pytest.mark.parametrize("number", [None, 0, 1, 3, 99])
@pytest.mark.parametrize("place", [0, 2])
def test_the_worst_come_first(evaluation, number, place):
    chosen = SYSTEMS[place]
    made = gallery_section(evaluation, chosen, number)
    expected = means(evaluation, chosen).sort_values(kind="stable").index.tolist()
    assert [card.name for card in cards(made)] == expected[:number]
    shown = min(4, 99 if number is None else number)
    if shown:
        how_many = "All 4 cases" if shown == 4 else f"The {shown} worst of 4 cases"
        assert made.text[0].startswith(f"{how_many} with pictures, by mean Dice of {chosen.label}")
    else:
        assert "no pictures were asked for" in made.text[0]


def test_a_case_has_a_picture_of_everything_and_its_scores(evaluation):
    card = next(c for c in cards(gallery_section(evaluation, SYSTEMS[2], None)) if c.name == "b")
    assert list(card.pictures) == TITLES
    assert len({picture.content for picture in card.pictures.values()}) == 5
    assert all("b" in picture.alt for picture in card.pictures.values())
    assert (card.facts, card.remarks) == ("patient p0, T1w, fold 1", ())
    rows = [[cell.text for cell in row] for row in grid_of(card.scores).rows]
    for row, system in zip(rows, SYSTEMS, strict=True):
        own = evaluation.of(system)
        dice = own[own["case"] == "b"].set_index("structure")["dice"]
        expected = [f"{dice[name]:.3f}" for name in STRUCTURES]
        assert row == [system.label, *expected, f"{dice.mean():.3f}"]


def test_the_table_has_all_cases_whatever_is_shown(evaluation):
    table = gallery_section(evaluation, SYSTEMS[2], 1).blocks[0]
    assert isinstance(table, Table)
    assert sorted(table.frame["Case"]) == ["a", "b", "c", "d"]
    told = table.frame.set_index("Case")["Stage 1"]
    assert np.allclose(told, means(evaluation, SYSTEMS[0])[told.index])


def test_the_legend_names_structures_and_values(evaluation):
    outlines, heat = (b for b in gallery_section(evaluation, SYSTEMS[2], 1).blocks if isinstance(b, Legend))
    assert [(name, line) for name, _, line in outlines.entries] == [
        ("spinal canal", "solid"),
        ("vertebrae", "solid"),
        ("ivd", "solid"),
    ]
    assert [name for name, _, _ in heat.entries] == ["0.02", "0.10", "0.20", "0.30", "0.37"]
    assert all(re.fullmatch("#[0-9a-f]{6}", colour) for _, colour, _ in (*outlines.entries, *heat.entries))


def test_what_is_missing_is_said(tmp_path):
    made_up = make_evaluation(tmp_path / "evaluation", ["no scan", "no mask", "no files", "whole"])
    cases = made_up.cases[made_up.cases["case"] != "no files"].copy()
    evaluation = replace(made_up, cases=cases)
    cases.loc[cases["case"] == "no scan", "image"] = None
    gone = (cases["case"] == "no mask") & (cases["system"] == "Stage 1")
    cases.loc[gone, "prediction"] = tmp_path / "gone.nii.gz"
    scores = evaluation.scores
    scores.loc[(scores["case"] == "whole") & (scores["structure"] == "ivd"), ["dice", "found"]] = [
        0,
        "missed",
    ]
    made = {card.name: card for card in cards(gallery_section(evaluation, SYSTEMS[2], None))}
    assert made["no scan"].pictures == {}
    assert made["no scan"].remarks == ("No picture: the scan is not known.",)
    assert made["no files"].remarks == ("No picture: its files are not known.",)
    assert list(made["no mask"].pictures) == [title for title in TITLES if title != "Stage 1"]
    assert made["no mask"].remarks[0].startswith("Stage 1 is not shown: its mask, gone.nii.gz, is not there")
    assert made["whole"].remarks == ()
    assert grid_of(made["whole"].scores).rows[0][3].text == "0.000 (missed)"


def test_volumes_tell_which_slice_is_shown(tmp_path):
    evaluation = make_evaluation(tmp_path / "evaluation", ["a"], slices=3)
    (card,) = cards(gallery_section(evaluation, SYSTEMS[2], None))
    assert card.facts.endswith("slice 1 of 3")
    assert list(card.pictures) == TITLES


def test_systems_of_one_name_are_told_apart_by_their_data(tmp_path):
    systems = [System("A", "T1w"), System("A", "T2w")]
    evaluation = make_evaluation(tmp_path / "evaluation", ["a"], systems)
    (card,) = cards(gallery_section(evaluation, systems[0], None))
    assert list(card.pictures) == ["Label", "A (T1w)", "A (T2w)", "Uncertainty of A (T2w)"]


def test_who_orders_the_gallery(evaluation, tmp_path):
    assert chosen_system(evaluation, None).name == "Refined"
    assert chosen_system(evaluation, "Stage 1").name == "Stage 1"
    with pytest.raises(
        UserError, match=r"Best: no such system in evaluation; known: Stage 1, Twice as long, Ref"
    ):
        chosen_system(evaluation, "Best")
    last = make_evaluation(tmp_path / "a", ["a"], [System("A"), System("B", control=True)])
    assert chosen_system(last, None).name == "A"
    alone = make_evaluation(tmp_path / "b", ["a"], [System("B", control=True)])
    assert chosen_system(alone, None).name == "B"
