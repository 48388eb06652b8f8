"""What the last job leaves for `spinesegdiff evaluate`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from nnunetv2_spinesegdiff.experiments.evaluating import Evaluation
from nnunetv2_spinesegdiff.experiments.plan import Choices, Plan
from nnunetv2_spinesegdiff.experiments.predicting import Prediction
from nnunetv2_spinesegdiff.experiments.tabulating import Tabulation
from nnunetv2_spinesegdiff.files import save_json

from .conftest import SMALL


def evaluated(plan: Plan, seconds: float | None = 6.0) -> None:
    """As if every prediction of two cases had taken so long, and been evaluated."""
    entry = {"metrics": {"1": {"Dice": 0.5}}}
    for job in plan.jobs.values():
        if isinstance(job, Evaluation):
            save_json({"metric_per_case": [entry, entry]}, job.summary)
            masks = job.predictions[0].masks
            masks.mkdir(parents=True)
            (masks / "dataset.json").write_text(json.dumps({"labels": {"background": 0, "disc": 1}}))
        elif isinstance(job, Prediction):
            facts = {"cases": 2, "seconds": seconds}
            save_json({"result": "x", "made_of": {}, **facts}, job.record_file)


def collect(plan: Plan) -> dict:
    job = plan.jobs["collect"]
    job.run({}, lambda words, variables: None)
    return json.loads((plan.out / "systems.json").read_text())


def test_systems_and_the_folders_of_their_folds(plan, dataset):
    evaluated(plan)
    told = collect(plan)
    assert told["title"] == "Small"
    first, second = told["systems"]
    assert (first["name"], first["data"], first["control"]) == ("Stock", "T2w", False)
    assert second["name"] == "Refined, T = 30"
    assert list(first["folds"]) == ["0", "1"]
    fold = {"masks": "d501/Stock/fold_1/masks", "labels": "d501/Stock/fold_1/labels"}
    assert first["folds"]["1"] == {**fold, "dataset_json": "d501/Stock/fold_1/part_0_of_2/dataset.json"}
    assert (plan.out / first["folds"]["1"]["dataset_json"]).is_file()
    assert not Path(first["folds"]["1"]["masks"]).is_absolute()


@pytest.mark.parametrize(("seconds", "a_case"), [(6.0, 3.0), (None, None)])
def test_seconds_a_case_of_what_was_not_interrupted(plan, seconds, a_case):
    evaluated(plan, seconds)
    assert [system["seconds_a_case"] for system in collect(plan)["systems"]] == [a_case, a_case]


def test_a_control_is_said_to_be_one(small, dataset):
    small.write_text(SMALL.replace("_1epochs}", "_1epochs, control: true}"))
    plan = Plan(Choices(small, [501], dataset / "out", device="cpu"))
    evaluated(plan)
    assert [system["control"] for system in collect(plan)["systems"]] == [True, False]
    assert plan.result("collect") is None  # it needs jobs that are not finished


def test_the_table_is_out_of_date_without_its_systems(plan):
    evaluated(plan)
    collect(plan)
    job = plan.jobs["collect"]
    assert isinstance(job, Tabulation)
    assert job.result({}) is not None
    job.systems_json.unlink()
    assert job.result({}) is None
