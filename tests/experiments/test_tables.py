"""The table of hand-made summaries, against numbers computed by hand, and what `evaluate` reads."""

from __future__ import annotations

import json
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from nnunetv2_spinesegdiff.errors import UserError
from nnunetv2_spinesegdiff.evaluation.summary_tables import as_csv
from nnunetv2_spinesegdiff.experiments.jobs import Evaluation, Prediction
from nnunetv2_spinesegdiff.experiments.plan import Plan
from nnunetv2_spinesegdiff.experiments.tables import structures, summarize
from nnunetv2_spinesegdiff.files import save_json

from .conftest import SMALL

NAN = math.nan
LABELS = {"background": 0, "canal": 1, "bone": 2, "disc": 3}


@pytest.fixture
def dataset_json(tmp_path: Path) -> Path:
    file = tmp_path / "dataset.json"
    file.write_text(json.dumps({"labels": LABELS}))
    return file


@pytest.fixture
def rows(tmp_path, dataset_json) -> tuple:
    """Two folds of two and one cases: canal 0.5, 0.7, 0.9; bone 0.8, none, 0.4; disc in none."""

    def fold(name: str, *cases: tuple[float, float, float]) -> Any:
        metrics = [{"metrics": {str(i): {"Dice": d} for i, d in enumerate(case, 1)}} for case in cases]
        save_json({"metric_per_case": metrics}, tmp_path / name)
        return SimpleNamespace(summary=tmp_path / name, dataset_json=dataset_json)

    two = (fold("0.json", (0.5, 0.8, NAN), (0.7, NAN, NAN)), fold("1.json", (0.9, 0.4, NAN)))
    return (("B", "T1w", two), ("A", "T2w", (fold("2.json", (0.25, 0.5, 0.75)),)))


def test_mean_and_spread_are_over_the_cases_of_all_folds(rows):
    table = summarize(rows)
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
    assert as_csv(table).splitlines()[1:] == [
        "B,T1w,3,0.700000,0.200000,3,0.600000,0.282843,2,n/a,n/a,0,0.650000",
        "A,T2w,1,0.250000,n/a,1,0.500000,n/a,1,0.750000,n/a,1,0.500000",
    ]


def test_structures_are_regions_or_labels_of_every_summary(rows, dataset_json):
    dataset_json.write_text(
        json.dumps({"labels": {"background": 0, "all": [1, 2], "disc": [2], "ignore": 3}})
    )
    assert structures(dataset_json) == {"all": "(1, 2)", "disc": "(2,)"}
    dataset_json.write_text(json.dumps({"labels": {**LABELS, "muscle": 4}}))
    with pytest.raises(UserError, match=r"0\.json: .*'4'"):
        summarize(rows)


def collect(plan: Plan, seconds: float | None = 6.0) -> dict:
    """The systems, as if each prediction of two cases had taken so long, and been evaluated."""
    entry = {"metrics": {"1": {"Dice": 0.5}}}
    for job in plan.jobs.values():
        if isinstance(job, Evaluation):
            save_json({"metric_per_case": [entry, entry]}, job.summary)
            masks = job.predictions[0].masks
            masks.mkdir(parents=True, exist_ok=True)
            save_json({"labels": {"background": 0, "disc": 1}}, masks / "dataset.json")
        elif isinstance(job, Prediction):
            save_json({"result": "x", "made_of": {}, "cases": 2, "seconds": seconds}, job.record_file)
    plan.jobs["collect"].run({}, lambda words, variables: None)
    return json.loads((plan.out / "systems.json").read_text())


@pytest.mark.parametrize(("seconds", "a_case"), [(6.0, 3.0), (None, None)])
def test_systems_and_the_folders_of_their_folds(plan, seconds, a_case):
    content = collect(plan, seconds)
    assert content["title"] == "Small"
    first, second = content["systems"]
    assert (first["name"], first["data"], first["control"]) == ("Stock", "T2w", False)
    assert second["name"] == "Refined, T = 30"
    assert first["seconds_a_case"] == second["seconds_a_case"] == a_case
    assert list(first["folds"]) == ["0", "1"]
    assert first["folds"]["1"] == {
        "masks": "d501/Stock/fold_1/masks",
        "labels": "d501/Stock/fold_1/labels",
        "dataset_json": "d501/Stock/fold_1/part_0_of_2/dataset.json",
    }
    assert (plan.out / first["folds"]["1"]["dataset_json"]).is_file()


def test_controls_are_marked_and_the_table_needs_its_systems(small, dataset):
    small.write_text(SMALL.replace("_1epochs}", "_1epochs, control: true}"))
    plan = Plan(small, [501], dataset / "out", device="cpu")
    assert [system["control"] for system in collect(plan)["systems"]] == [True, False]
    assert plan.result("collect") is None  # it needs jobs that are not finished
    assert plan.jobs["collect"].result({}) is not None
    (plan.out / "systems.json").unlink()
    assert plan.jobs["collect"].result({}) is None
