"""Patients with numbers and with names, from SPIDER's files to the tables: one patient each."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from nnunetv2_spinesegdiff.cli import main

from ...helpers.converting import run
from ...helpers.spider_series import write_series
from ...helpers.synthetic_scores import synthetic_gradings

PATIENTS = {"A12": "A12", "sub-04": "sub-04", "007": "7", "153": "153", "NA": "NA", "t1": "t1"}
"""As in the names of files, and as in tables."""


@pytest.fixture(scope="module")
def cohort(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("named")
    for number, patient in enumerate(PATIENTS):
        for sequence in ("t1", "t2"):
            write_series(folder / "spider", f"{patient}_{sequence}", seed=number)
    gradings = synthetic_gradings(np.random.default_rng(0), len(PATIENTS) - 1)
    names = dict(enumerate((patient for patient in PATIENTS if patient != "NA"), start=1))
    gradings["Patient"] = gradings["Patient"].map(names)
    gradings.to_csv(folder / "gradings.csv", index=False)
    files = [f"{patient}_{sequence}" for patient in PATIENTS for sequence in ("t1", "t2")]
    pd.DataFrame({"new_file_name": files, "sex": "F"}).to_csv(folder / "overview.csv", index=False)
    return folder


@pytest.fixture(scope="module")
def converted(cohort):
    report = run(cohort / "spider", cohort)
    assert not report.failures
    shutil.copytree(report.dataset / "labelsTr", cohort / "masks")
    shutil.copy(report.dataset / "dataset.json", cohort / "masks")
    return report


def test_the_converter_reads_its_own_folds_again(cohort, converted, tmp_path):
    again = run(cohort / "spider", tmp_path, splits=converted.splits_file)
    assert not again.failures
    assert json.loads(again.splits_file.read_text()) == json.loads(converted.splits_file.read_text())


@pytest.mark.parametrize("with_table", [True, False])
def test_one_patient_with_two_contrasts_each(cohort, converted, tmp_path, with_table):
    labels = converted.dataset / "labelsTr"
    if not with_table:
        labels = shutil.copytree(labels, tmp_path / "labelsTr")
    out = tmp_path / "evaluation"
    assert main(["evaluate", "-s", f"A={cohort / 'masks'}", "-l", str(labels), "-o", str(out)]) == 0
    scores = pd.read_csv(out / "scores.csv", dtype=str, keep_default_na=False)
    contrasts = scores.groupby("patient")["contrast"].unique().map(sorted)
    assert contrasts.to_dict() == {patient: ["T1w", "T2w"] for patient in PATIENTS.values()}


def test_the_folds_of_the_conversion_are_counted(cohort, converted, tmp_path):
    tables = ["--gradings", str(cohort / "gradings.csv"), "--overview", str(cohort / "overview.csv")]
    assert main(["cohort", *tables, "--splits", str(converted.splits_file), "-o", str(tmp_path)]) == 0
    counted = json.loads((tmp_path / "cohort.json").read_text())
    folds = pd.DataFrame(counted["tables"]["Folds of splits_final.json"])
    assert folds["val_patients"].sum() == len(PATIENTS)
    assert folds["val_cases"].sum() == 2 * len(PATIENTS)
    assert (folds["train_patients"] + folds["val_patients"] == len(PATIENTS)).all()
    assert folds["graded"].sum() == len(PATIENTS) - 1
