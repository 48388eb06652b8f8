"""Dice of patients with a finding against Dice of patients without it.

After section 3.2.1 and figure 2 of Monzon et al., Enhancing Low Back Pain Assessment with Diffusion Models
for Lumbar Spine MRI Segmentation, MIDL 2025.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from .columns import rows_of
from .comparisons import corrected
from .findings import FINDINGS
from .group_tests import (
    ALPHA,
    FEWEST,
    TEST_COLUMNS,
    WELCH,
    FitError,
    clustered_least_squares,
    hedges_g,
    mixed_model,
    no_test,
    too_few,
    welch,
    why_no_test,
)

SYSTEM = ["system", "data"]
GROUP_COLUMNS = (
    *("present", "absent", "unknown"),
    *("mean_present", "sd_present", "mean_absent", "sd_absent"),
)
"""Numbers of patients, and means and sample standard deviations of their Dice."""
PATHOLOGY_COLUMNS = (
    *("system", "data", "finding", "structure"),
    *GROUP_COLUMNS,
    *("hedges_g", "g_low", "g_high"),
    *TEST_COLUMNS,
    *("p_corrected", "significant"),
)
"""One row per system, finding and structure; `unknown` patients have scores but no grade of this finding."""
LEVEL_COLUMNS = (
    *("system", "data", "finding"),
    *GROUP_COLUMNS,
    *("patients_present", "patients_absent"),
    *TEST_COLUMNS,
    *("p_corrected", "significant"),
)
"""One row per system and finding; `GROUP_COLUMNS` are about discs here, and `patients_present` and
`patients_absent` count whose they are: a patient can be in both."""


def patient_means(scores: pd.DataFrame, unit: str) -> pd.DataFrame:
    """Dice of every patient and structure (or level), the mean over the patient's cases.

    T1w and T2w scans of a patient show the same spine: counted as two patients they would make every p-value
    too small. A case without Dice (NaN: the structure is in neither mask) is not in the mean; a patient
    without any has no row.

    Args:
        scores: `system`, `data`, `patient`, `dice` and the column `unit`.
        unit: "structure" or "level".
    """
    known = scores.dropna(subset=["dice"])
    return known.groupby([*SYSTEM, unit, "patient"], sort=False, as_index=False)["dice"].mean()


def patient_tests(
    scores: pd.DataFrame, findings: pd.DataFrame, mixed: bool = False, fewest: int = FEWEST
) -> pd.DataFrame:
    """Test every finding of patients on every structure of every system; all rows are one family.

    Without `mixed`, Welch's t-test on `patient_means`. With it, `group_tests.mixed_model` of all cases, with
    the contrast where there are several; where it cannot be fitted or relied on, the row holds Welch's test
    and its `fit` states why. Groups, means and effect sizes are those of `patient_means` in both ways.

    Args:
        scores: `system`, `data`, `patient`, `contrast`, `structure` and `dice`, one row per case and
            structure.
        findings: nullable boolean columns, indexed by patient.
        fewest: patients in each group of a test, at least 2.

    Returns:
        `PATHOLOGY_COLUMNS`. `p_corrected` is Benjamini and Hochberg's over all rows with a test,
        `significant` where it is at most 0.05.
    """
    means = patient_means(scores, "structure")
    rows = []
    for name, cases in scores.groupby(SYSTEM, sort=False):
        for finding in _names(findings):
            for structure in scores["structure"].unique():
                of_patients, of_cases = (
                    _with_finding(table[table["structure"] == structure], findings[finding], ["patient"])
                    for table in (rows_of(means, name), cases)
                )
                present, absent = _groups(of_patients)
                test = welch(present, absent, fewest)
                if mixed and not test["reason"]:
                    test = _mixed_or(test, of_cases.dropna(subset=["there", "dice"]))
                row = {**dict(zip(SYSTEM, name, strict=True)), "finding": finding, "structure": structure}
                row |= dict(zip(("hedges_g", "g_low", "g_high"), hedges_g(present, absent), strict=True))
                rows.append({**row, **_described(of_patients), **test})
    return _as_family(rows, PATHOLOGY_COLUMNS)


def level_tests(level_scores: pd.DataFrame, findings: pd.DataFrame, fewest: int = FEWEST) -> pd.DataFrame:
    """Test every finding at a disc on the Dice of that disc; all rows are one family, of their own.

    Discs of a patient are alike, so this is `group_tests.mixed_model` with the patient as random effect, on
    the mean of each disc over the patient's cases; where it cannot be relied on, `clustered_least_squares`,
    and `fit` states why. It is not adjusted for the level: findings that are more common at the lowest discs
    include what is harder there.

    Args:
        level_scores: `system`, `data`, `patient`, `level` and `dice`, one row per case and disc.
        findings: nullable boolean columns, indexed by patient and level.
        fewest: patients with such a disc, and with one of the others, at least 2.

    Returns:
        `LEVEL_COLUMNS`.
    """
    rows = []
    for name, means in patient_means(level_scores, "level").groupby(SYSTEM, sort=False):
        for finding in _names(findings):
            discs = _with_finding(means, findings[finding], ["patient", "level"])
            known = discs.dropna(subset=["there"])
            counts = tuple(known.loc[known["there"] == there, "patient"].nunique() for there in (True, False))
            row = {**dict(zip(SYSTEM, name, strict=True)), "finding": finding}
            row |= dict(zip(("patients_present", "patients_absent"), counts, strict=True))
            rows.append({**row, **_described(discs), **_test_discs(known, counts, fewest)})
    return _as_family(rows, LEVEL_COLUMNS)


def with_findings(means: pd.DataFrame, findings: pd.DataFrame) -> pd.DataFrame:
    """Add one column per finding to `patient_means` of structures: the values behind `patient_tests`."""
    names = _names(findings)
    return means.merge(findings[names], how="left", left_on="patient", right_index=True)


def small_groups(table: pd.DataFrame, below: int = 10) -> dict[str, int]:
    """Findings with a Welch's test of a group of few patients, and the size of the smallest one.

    Welch's p-values are then too small, above all where Dice is skewed: of 6 against 74 patients its error
    rate is twice the nominal one.
    """
    tested = table[table["test"] == WELCH]
    smallest = tested[["present", "absent"]].min(axis=1).groupby(tested["finding"], sort=False).min()
    return {str(finding): int(size) for finding, size in smallest.items() if size < below}


def _names(findings: pd.DataFrame) -> list[str]:
    return [name for name in FINDINGS if name in findings]


def _with_finding(rows: pd.DataFrame, finding: pd.Series, on: list[str]) -> pd.DataFrame:
    """`rows` and whether the finding is `there`; missing where that is unknown or `on` is not graded."""
    return rows.merge(finding.rename("there"), how="left", left_on=on, right_index=True)


def _groups(rows: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    known = rows.dropna(subset=["there"])
    present, absent = (known.loc[known["there"] == there, "dice"].to_numpy(float) for there in (True, False))
    return present, absent


def _described(rows: pd.DataFrame) -> dict[str, float]:
    described: dict[str, float] = {"unknown": int(rows["there"].isna().sum())}
    for name, group in zip(("present", "absent"), map(pd.Series, _groups(rows)), strict=True):
        described |= {name: len(group), f"mean_{name}": group.mean(), f"sd_{name}": group.std()}
    return described


def _mixed_or(otherwise: dict[str, Any], cases: pd.DataFrame) -> dict[str, Any]:
    contrasts = pd.get_dummies(cases["contrast"], drop_first=True).to_numpy(float)
    try:
        return mixed_model(
            cases["dice"].to_numpy(float),
            cases["there"].to_numpy(bool),
            cases["patient"].tolist(),
            contrasts if contrasts.shape[1] else None,
        )
    except FitError as error:
        return {**otherwise, "fit": f"{error}; {otherwise['test']} instead"}


def _test_discs(discs: pd.DataFrame, patients: tuple[int, int], fewest: int) -> dict[str, Any]:
    # Two discs of one patient do not count as two patients.
    if reason := too_few(*patients, fewest) or why_no_test(*_groups(discs), 2):
        return no_test(reason)
    measured = discs["dice"].to_numpy(float), discs["there"].to_numpy(bool), discs["patient"].tolist()
    try:
        return mixed_model(*measured)
    except FitError as error:
        test = clustered_least_squares(*measured)
        return {**test, "fit": f"{error}; {test['test']} instead"}


def _as_family(rows: list[dict[str, Any]], columns: tuple[str, ...]) -> pd.DataFrame:
    table = pd.DataFrame(rows, columns=list(columns))
    table["p_corrected"] = corrected(table["p"], "fdr_bh")
    table["significant"] = table["p_corrected"] <= ALPHA
    return table
