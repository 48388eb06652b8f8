"""Findings against scores of a cohort whose effects are known."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from nnunetv2_spinesegdiff.evaluation.findings import gradings_of
from nnunetv2_spinesegdiff.evaluation.group_tests import CLUSTERED, CONVERGED, MIXED, WELCH
from nnunetv2_spinesegdiff.evaluation.pathology import (
    LEVEL_COLUMNS,
    PATHOLOGY_COLUMNS,
    level_tests,
    patient_means,
    patient_tests,
    with_findings,
)

from ..helpers.synthetic_scores import (
    synthetic_gradings,
    synthetic_level_scores,
    synthetic_scores,
)

SLIP, BULGE, NARROW = "Spondylolisthesis", "Disc bulging", "Disc narrowing"


@pytest.fixture(scope="module")
def cohort():
    rng = np.random.default_rng(4)
    table = synthetic_gradings(rng)
    return synthetic_scores(rng, table), synthetic_level_scores(rng, table), gradings_of(table, "g.csv")


@pytest.fixture(scope="module", params=[2, pytest.param(20, marks=pytest.mark.slow)])
def many(request):
    """Tables of 80 patients for every seed, of patients and of discs."""
    tables = []
    for seed in range(request.param):
        rng = np.random.default_rng(seed)
        table = synthetic_gradings(rng)
        # As common as in SPIDER: phantoms without a bulge are too few to be tested.
        table.loc[table["Patient"] % 12 == 0, "Disc bulging"] = 0
        graded = gradings_of(table, "g.csv")
        scores, level_scores = synthetic_scores(rng, table), synthetic_level_scores(rng, table)
        patients = patient_tests(scores, graded.by_patient).set_index(["finding", "structure"])
        tables.append((patients, level_tests(level_scores, graded.by_level).set_index("finding")))
    return tables


def test_spondylolisthesis_is_found_and_other_findings_are_not(many):
    names = (SLIP, BULGE, NARROW)
    patients = {name: [t.loc[(name, "ivd"), "significant"] for t, _ in many] for name in names}
    discs = {name: [t.loc[name, "significant"] for _, t in many] for name in names}
    for found in (patients, discs):
        assert all(found[SLIP])
        assert max(sum(found[BULGE]), sum(found[NARROW])) <= 1
    assert all(t.loc[(SLIP, "ivd"), "hedges_g"] < 0 for t, _ in many)
    assert all(np.isfinite(t.loc[(BULGE, "ivd"), "p"]) for t, _ in many)
    # Spondylolisthesis changes discs alone.
    assert sum(t.loc[(SLIP, "vertebrae"), "significant"] for t, _ in many) <= 1
    # The false discovery rate is controlled: 5 % of what is found, on average.
    shares = [1 - t.loc[(SLIP, "ivd"), "significant"] / t["significant"].sum() for t, _ in many]
    assert np.mean(shares) <= 0.1


@pytest.mark.parametrize("structure", ["spinal_canal", "ivd"])
def test_a_row_is_welchs_test_of_the_means(cohort, structure):
    scores, _, gradings = cohort
    row = (
        patient_tests(scores, gradings.by_patient).set_index(["finding", "structure"]).loc[(SLIP, structure)]
    )
    slips = gradings.by_patient[SLIP]
    means = scores[scores["structure"] == structure].groupby("patient")["dice"].mean()
    present, absent = (means[[p for p in means.index if slips[p] == there]] for there in (True, False))
    expected = stats.ttest_ind(present, absent, equal_var=False)
    assert (row["t"], row["p"], row["df"]) == pytest.approx(
        (expected.statistic, expected.pvalue, expected.df)
    )
    assert (row["mean_present"], row["sd_absent"]) == pytest.approx((present.mean(), absent.std()))
    assert (row["present"], row["absent"], row["unknown"]) == (len(present), len(absent), 0)


def test_all_rows_of_all_systems_are_one_family(cohort):
    scores, _, gradings = cohort
    rng = np.random.default_rng(9)
    other = scores.assign(system="other", dice=scores["dice"] + rng.normal(0, 0.02, len(scores)))
    table = patient_tests(pd.concat([scores, other]), gradings.by_patient)
    assert list(table) == list(PATHOLOGY_COLUMNS)
    assert list(table["system"].unique()) == [scores["system"].iloc[0], "other"]
    assert set(table["present"] + table["absent"]) == {80}
    made = table["p"].notna()
    assert set(table.loc[made, "test"]) == {WELCH}
    assert table.loc[made, "p_corrected"].tolist() == pytest.approx(
        stats.false_discovery_control(table.loc[made, "p"]).tolist()
    )
    assert (table["significant"] == (table["p_corrected"] <= 0.05)).all()


def test_tests_that_cannot_be_made_are_rows_outside_the_family(cohort):
    scores, level_scores, gradings = cohort
    scores = scores.copy()
    scores.loc[scores["structure"] == "vertebrae", "dice"] = 0.9
    findings = gradings.by_patient.copy()
    findings[NARROW] = findings.index == "7"
    table = patient_tests(scores, findings.astype("boolean"))
    none = table[table["p"].isna()]
    assert len(table) == 24
    assert none.loc[none["finding"] == NARROW, "reason"].str.startswith("1 patient with").all()
    constant = none[(none["structure"] == "vertebrae") & (none["finding"] == SLIP)]
    assert constant["reason"].str.contains("constant").all()
    assert not none["significant"].any()
    made = table["p"].dropna()
    assert table["p_corrected"].dropna().tolist() == pytest.approx(
        stats.false_discovery_control(made).tolist()
    )
    levels = gradings.by_level.copy()
    levels[SLIP] = (levels.index.get_level_values("patient") == "3").astype(bool)
    row = level_tests(level_scores, levels.astype("boolean")).set_index("finding").loc[SLIP]
    assert (row["present"], row["reason"].startswith("1 patient with")) == (7, True)
    assert np.isnan(row["p"])
    assert list(level_tests(level_scores.iloc[:0], gradings.by_level)) == list(LEVEL_COLUMNS)


@pytest.mark.parametrize("fewest", [2, 5, 12])
def test_the_smallest_group_can_be_set(cohort, fewest):
    scores, level_scores, gradings = cohort
    patients = patient_tests(scores, gradings.by_patient, fewest=fewest)
    assert (patients["p"].notna() == (patients[["present", "absent"]].min(axis=1) >= fewest)).all()
    discs = level_tests(level_scores, gradings.by_level, fewest=fewest)
    assert (
        discs["p"].notna() == (discs[["patients_present", "patients_absent"]].min(axis=1) >= fewest)
    ).all()


def test_unknown_and_ungraded_patients_are_in_no_group(cohort):
    scores, _, gradings = cohort
    findings = gradings.by_patient.copy()
    findings.loc[["3", "5"], SLIP] = pd.NA
    findings = findings.drop(index=["8"])
    table = patient_tests(scores, findings).set_index(["finding", "structure"])
    row = table.loc[(SLIP, "ivd")]
    assert (row["unknown"], row["present"] + row["absent"]) == (3, 77)
    assert table.loc[(BULGE, "ivd"), "unknown"] == 1
    values = with_findings(patient_means(scores, "structure"), findings)
    assert values.loc[values["patient"] == "8", SLIP].isna().all()
    assert values.loc[values["patient"] == "9", SLIP].iloc[0] == findings.loc["9", SLIP]


def test_cases_without_dice_are_not_in_the_mean(cohort):
    scores, _, gradings = cohort
    scores = scores.copy()
    rows = scores["structure"] == "ivd"
    one_case = rows & (scores["patient"] == "1") & (scores["contrast"] == "T1w")
    scores.loc[one_case | (rows & (scores["patient"] == "2")), "dice"] = np.nan
    means = patient_means(scores, "structure")
    ivd = means[means["structure"] == "ivd"].set_index("patient")["dice"]
    kept = scores[rows & (scores["patient"] == "1") & (scores["contrast"] == "T2w")]
    assert ivd["1"] == kept["dice"].item()
    assert "2" not in ivd
    table = patient_tests(scores, gradings.by_patient)
    assert set(table.loc[table["structure"] == "ivd", ["present", "absent"]].sum(axis=1)) == {79}


def test_mixed_models_agree_with_tests_of_the_means(cohort):
    scores, _, gradings = cohort
    plain, mixed = (patient_tests(scores, gradings.by_patient, mixed) for mixed in (False, True))
    made = mixed["test"] == MIXED
    assert made.sum() >= 20
    assert set(mixed.loc[made, "fit"]) == {CONVERGED}
    assert mixed.loc[made, "difference"].tolist() == pytest.approx(
        plain.loc[made, "difference"].tolist(), abs=1e-4
    )
    assert mixed["hedges_g"].equals(plain["hedges_g"])
    mixed = mixed.set_index(["finding", "structure"])
    assert mixed.loc[(SLIP, "ivd"), "significant"]


def test_where_a_mixed_model_cannot_be_fitted_welchs_test_stands_in_and_says_so(cohort):
    scores, _, gradings = cohort
    single = scores[scores["contrast"] == "T1w"]
    plain, mixed = (patient_tests(single, gradings.by_patient, mixed) for mixed in (False, True))
    assert mixed["p"].equals(plain["p"])
    tested = mixed["p"].notna()
    assert set(mixed.loc[tested, "fit"]) == {"no patient has more than one score; Welch's t-test instead"}
    assert set(mixed.loc[tested, "test"]) == {WELCH}


def test_discs_are_tested_by_a_mixed_model(cohort):
    _, level_scores, gradings = cohort
    table = level_tests(level_scores, gradings.by_level)
    assert list(table) == list(LEVEL_COLUMNS)
    slips = gradings.by_level[SLIP]
    row = table.set_index("finding").loc[SLIP]
    assert (row["present"], row["absent"]) == (slips.sum(), (~slips).sum())
    assert row["patients_present"] == gradings.by_patient[SLIP].sum()
    assert row["difference_low"] < -0.06 < row["difference_high"]
    assert (row["test"], row["fit"]) == (MIXED, CONVERGED)


def test_discs_without_spread_between_patients_fall_back_to_least_squares(cohort):
    _, level_scores, gradings = cohort
    dice = np.random.default_rng(0).normal(0.9, 0.03, len(level_scores))
    table = level_tests(level_scores.assign(dice=dice), gradings.by_level)
    fallen = table[table["test"] == CLUSTERED]
    assert len(fallen) > 0
    assert fallen["fit"].str.contains("least squares").all()
    assert table["p"].notna().all()
