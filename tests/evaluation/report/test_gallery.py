"""The gallery: which cases, in which order, with which pictures and scores."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from nnunetv2_spinesegdiff.evaluation.report.evaluation_folder import System
from nnunetv2_spinesegdiff.evaluation.report.gallery import gallery_section
from nnunetv2_spinesegdiff.evaluation.report.page import CaseCard, Legend, Table

from ...helpers.evaluations import STRUCTURES, SYSTEMS, lines_of, make_evaluation

TITLES = ["Label", "Stage 1", "Twice as long", "Refined", "Uncertainty of Refined"]


@pytest.fixture(scope="module")
def evaluation(tmp_path_factory):
    return make_evaluation(tmp_path_factory.mktemp("made") / "evaluation")


def cards(section) -> list[CaseCard]:
    return [block for block in section.blocks if isinstance(block, CaseCard)]


def means(evaluation, system) -> pd.Series:
    return evaluation.of(system).groupby("case")["dice"].mean()


@pytest.mark.parametrize(("number", "place"), [(0, 0), (1, 2), (3, 0), (99, 2)])
def test_the_worst_come_first(evaluation, number, place):
    chosen = SYSTEMS[place]
    made = gallery_section(evaluation, chosen, number)
    expected = means(evaluation, chosen).sort_values(kind="stable").index.tolist()
    assert [card.name for card in cards(made)] == expected[:number]
    assert chosen.label in made.text[0]
    assert ("no pictures were asked for" in made.text[0]) == (number == 0)
    table = made.blocks[0]
    assert isinstance(table, Table)
    dice = table.frame.set_index("Case")["Stage 1"].map(lambda cell: cell.value)
    assert sorted(dice.index) == ["a", "b", "c", "d"]
    assert np.allclose(dice, means(evaluation, SYSTEMS[0])[dice.index])
    if number:
        outlines, heat = (block for block in made.blocks if isinstance(block, Legend))
        assert [name for name, _, _ in outlines.entries] == ["spinal canal", "vertebrae", "ivd"]
        assert [name for name, _, _ in heat.entries] == ["0.02", "0.10", "0.20", "0.30", "0.37"]
        colors = [color for _, color, _ in (*outlines.entries, *heat.entries)]
        assert all(re.fullmatch("#[0-9a-f]{6}", color) for color in colors)


def test_a_case_has_a_picture_of_everything_and_its_scores(evaluation):
    card = next(c for c in cards(gallery_section(evaluation, SYSTEMS[2], 99)) if c.name == "b")
    assert list(card.pictures) == TITLES
    assert len({picture.content for picture in card.pictures.values()}) == 5
    assert all("b" in picture.alt for picture in card.pictures.values())
    assert (card.facts, card.remarks) == ("patient p0, T1w, fold 1", ())
    for row, system in zip(lines_of(card.scores), SYSTEMS, strict=True):
        own = evaluation.of(system)
        dice = own[own["case"] == "b"].set_index("structure")["dice"]
        expected = [f"{dice[name]:.3f}" for name in STRUCTURES]
        assert list(row.values()) == [system.label, *expected, f"{dice.mean():.3f}"]


def test_missing_files_are_reported(tmp_path):
    synthetic = make_evaluation(tmp_path / "evaluation", ["no scan", "no mask", "no files", "whole"])
    cases = synthetic.cases[synthetic.cases["case"] != "no files"].copy()
    evaluation = replace(synthetic, cases=cases)
    cases.loc[cases["case"] == "no scan", "image"] = None
    gone = (cases["case"] == "no mask") & (cases["system"] == "Stage 1")
    cases.loc[gone, "prediction"] = tmp_path / "gone.nii.gz"
    scores = evaluation.scores
    missed = (scores["case"] == "whole") & (scores["structure"] == "ivd")
    scores.loc[missed, ["dice", "found"]] = [0, "missed"]
    made = {card.name: card for card in cards(gallery_section(evaluation, SYSTEMS[2], 99))}
    assert made["no scan"].pictures == {}
    assert "scan" in made["no scan"].remarks[0]
    assert "files" in made["no files"].remarks[0]
    assert list(made["no mask"].pictures) == [title for title in TITLES if title != "Stage 1"]
    assert re.match("Stage 1 .*gone.nii.gz", made["no mask"].remarks[0])
    assert made["whole"].remarks == ()
    assert lines_of(made["whole"].scores)[0]["ivd"] == "0.000 (missed)"


def test_systems_of_one_name_are_distinguished_by_their_data(tmp_path):
    systems = [System("A", "T1w"), System("A", "T2w")]
    evaluation = make_evaluation(tmp_path / "evaluation", ["a"], systems, slices=3)
    evaluation.cases.loc[0, "uncertainty"] = None
    (card,) = cards(gallery_section(evaluation, systems[0], 99))
    assert list(card.pictures) == ["Label", "A (T1w)", "A (T2w)", "Uncertainty of A (T2w)"]
    assert card.facts.endswith("slice 1 of 3")
