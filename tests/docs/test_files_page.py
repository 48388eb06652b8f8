"""The page on files lists the columns that are written."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import pytest
from nnunetv2_spinesegdiff.dataset_conversion.cases import CaseFacts

from nnunetv2_spinesegdiff.evaluation.instances import LEVEL_DICE_COLUMNS, PANOPTIC_COLUMNS
from nnunetv2_spinesegdiff.evaluation.report.evaluation_folder import INSTANCE_COLUMNS, SCORE_COLUMNS
from nnunetv2_spinesegdiff.segmentation.measurements import COLUMNS as MEASUREMENTS
from nnunetv2_spinesegdiff.uncertainty.confidence import COLUMNS as CONFIDENCE
from nnunetv2_spinesegdiff.uncertainty.confidence import RANGE_COLUMNS

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "reference" / "files.md").read_text("utf-8")


@pytest.mark.parametrize(
    ("file", "columns"),
    [
        ("measurements.csv", MEASUREMENTS),
        ("confidence.csv", (*CONFIDENCE, *RANGE_COLUMNS)),
        ("scores.csv", SCORE_COLUMNS),
        ("instances.csv", INSTANCE_COLUMNS),
        ("tables/panoptic.csv", PANOPTIC_COLUMNS),
        ("tables/level_dice.csv", LEVEL_DICE_COLUMNS),
        ("cases.csv", [field.name for field in fields(CaseFacts)]),
    ],
)
def test_columns_are_listed_with_their_units(file, columns):
    section = PAGE.partition(f"\n## {file}\n")[2].partition("\n## ")[0]
    rows = [line.strip("| ").split("|") for line in section.splitlines() if line.startswith("| `")]
    assert {name for row in rows for name in re.findall("`([^`]+)`", row[0])} == set(columns)
    for names, unit, *_ in rows:
        if "_mm" in names:
            assert unit.strip().startswith("mm"), names
