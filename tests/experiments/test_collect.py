"""The table of hand-made summaries, against numbers computed by hand."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from nnunetv2_spinesegdiff.errors import UserError
from nnunetv2_spinesegdiff.evaluation.summary_tables import as_csv
from nnunetv2_spinesegdiff.experiments.collect import Row, structures, table_of

NAN = math.nan
LABELS = {"background": 0, "canal": 1, "bone": 2, "disc": 3}


@pytest.fixture
def dataset_json(tmp_path: Path) -> Path:
    file = tmp_path / "dataset.json"
    file.write_text(json.dumps({"labels": LABELS}))
    return file


def summary(file: Path, *cases: tuple[float, float, float]) -> Path:
    metrics = [
        {"metrics": {str(i): {"Dice": dice} for i, dice in enumerate(case, start=1)}} for case in cases
    ]
    file.write_text(json.dumps({"metric_per_case": metrics, "mean": {}}))
    return file


@pytest.fixture
def rows(tmp_path, dataset_json) -> list[Row]:
    """Two folds of two and one cases: canal 0.5, 0.7, 0.9; bone 0.8, none, 0.4; disc in none."""
    folds = [
        summary(tmp_path / "0.json", (0.5, 0.8, NAN), (0.7, NAN, NAN)),
        summary(tmp_path / "1.json", (0.9, 0.4, NAN)),
    ]
    other = [summary(tmp_path / "2.json", (0.25, 0.5, 0.75))]
    return [Row("B", "T1w", folds, dataset_json), Row("A", "T2w", other, dataset_json)]


def test_mean_and_spread_are_over_the_cases_of_all_folds(rows):
    table = table_of(rows)
    first, second = (row for _, row in table.iterrows())
    assert list(table["system"]) == ["B", "A"]
    assert list(table["cases"]) == [3, 1]
    assert first["canal mean"] == pytest.approx(0.7)
    assert first["canal sd"] == pytest.approx(0.2)  # sqrt((0.04 + 0 + 0.04) / 2)
    assert first["bone mean"] == pytest.approx(0.6)
    assert first["bone sd"] == pytest.approx(math.sqrt(0.08))  # sqrt((0.04 + 0.04) / 1)
    assert np.isnan(first["disc mean"])
    assert first["mDICE"] == pytest.approx(0.65)
    assert second["mDICE"] == pytest.approx(0.5)
    assert np.isnan(second["canal sd"])


def test_csv(rows):
    assert as_csv(table_of(rows)).splitlines() == [
        "system,data,cases,canal mean,canal sd,canal n,bone mean,bone sd,bone n,disc mean,disc sd,disc n,"
        "mDICE",
        "B,T1w,3,0.700000,0.200000,3,0.600000,0.282843,2,n/a,n/a,0,0.650000",
        "A,T2w,1,0.250000,n/a,1,0.500000,n/a,1,0.750000,n/a,1,0.500000",
    ]


def test_regions_have_their_own_keys_and_what_is_ignored_none(dataset_json):
    labels = {"background": 0, "all": [1, 2], "disc": [2], "ignore": 3}
    dataset_json.write_text(json.dumps({"labels": labels}))
    assert structures(dataset_json) == {"all": "(1, 2)", "disc": "(2,)"}


def test_another_set_of_structures_is_one_line(rows, dataset_json):
    dataset_json.write_text(json.dumps({"labels": {**LABELS, "muscle": 4}}))
    with pytest.raises(UserError, match="has no structure '4'"):
        table_of(rows)
