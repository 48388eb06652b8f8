"""Differences between systems against scipy and statsmodels, and against what is known beforehand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import bootstrap, false_discovery_control, t, wilcoxon

from nnunetv2_spinesegdiff.evaluation import comparisons
from nnunetv2_spinesegdiff.evaluation.comparisons import COLUMNS, compare, corrected, mean_interval

A, B, C = ("A", ""), ("B", ""), ("C", "")


def scores(name: tuple[str, str], values: dict[str, np.ndarray], cases_a_patient: int = 1) -> pd.DataFrame:
    """A structure's values in the order of cases."""
    rows = []
    for structure, of_cases in values.items():
        for i, value in enumerate(of_cases):
            patient = str(i // cases_a_patient)
            names = (*name, f"case{i}", patient, structure, value)
            rows.append(
                dict(zip(("system", "data", "case", "patient", "structure", "dice"), names, strict=True))
            )
    return pd.DataFrame(rows)


@pytest.fixture
def three() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    base = {name: rng.uniform(0.6, 0.9, 24) for name in ("canal", "disc")}
    better = {name: value + rng.normal(0.02, 0.02, 24) for name, value in base.items()}
    same = {name: value + rng.normal(0, 0.02, 24) for name, value in base.items()}
    return pd.concat([scores(A, base), scores(B, better), scores(C, same)], ignore_index=True)


def test_p_is_scipys_and_corrected_after_holm(three):
    made = compare(three, [A, B, C])
    assert tuple(made.columns) == COLUMNS
    assert len(made) == 6
    wide = three.pivot(index="case", columns=["structure", "system"], values="dice")
    for row in made.itertuples():
        differences = wide[row.structure, row.system_b] - wide[row.structure, row.system_a]
        assert row.p == pytest.approx(wilcoxon(differences.to_numpy()).pvalue)
        assert row.mean_difference == pytest.approx(differences.mean())
        assert row.low < row.mean_difference < row.high
    assert made["p_corrected"].tolist() == pytest.approx(holm(made["p"].tolist()))
    assert (made["significant"] == (made["p_corrected"] < 0.05)).all()
    assert made.loc[made["system_b"] == "B", "significant"].all()


def holm(p: list[float]) -> list[float]:
    """The k-th smallest of n is multiplied by n + 1 - k; none is below a smaller one's, and none above 1."""
    order = sorted(range(len(p)), key=p.__getitem__)
    adjusted, least = [0.0] * len(p), 0.0
    for rank, place in enumerate(order):
        least = adjusted[place] = max(least, min(1.0, (len(p) - rank) * p[place]))
    return adjusted


@pytest.mark.parametrize("seed", range(5))
def test_corrections_are_over_the_tests_that_were_made(seed):
    rng = np.random.default_rng(seed)
    p = pd.Series(rng.random(24).round(1 if seed % 2 else 6) ** 3)
    p[rng.random(24) < 0.2] = np.nan
    made = p.notna()
    for method, oracle in (("fdr_bh", false_discovery_control), ("holm", holm)):
        found = corrected(p, method)
        assert found[~made].isna().all()
        assert found[made].tolist() == pytest.approx(list(oracle(p[made].tolist())))
        assert corrected(p[~made], method).isna().all()
        assert corrected(p[:0], method).empty


def test_ties_and_zero_differences_are_scipys():
    base = np.round(np.random.default_rng(2).uniform(0, 1, 30), 1)
    other = base + np.repeat([0.0, 0.1, -0.1, 0.1, 0.1], 6)
    made = compare(pd.concat([scores(A, {"disc": base}), scores(B, {"disc": other})]), [A, B]).iloc[0]
    assert made["p"] == pytest.approx(wilcoxon((other - base).round(9)).pvalue)


@pytest.mark.parametrize("error", [1e-16, 1e-12])
def test_differences_of_rounding_are_no_differences(error):
    base = np.linspace(0.5, 0.9, 10)
    made = compare(pd.concat([scores(A, {"disc": base}), scores(B, {"disc": base + error})]), [A, B]).iloc[0]
    assert made[["mean_difference", "low", "high", "p"]].tolist() == [0, 0, 0, 1]
    one = base + error
    one[0] += 0.1
    made = compare(pd.concat([scores(A, {"disc": base}), scores(B, {"disc": one})]), [A, B]).iloc[0]
    assert made["p"] == 1


@pytest.mark.parametrize("difference", [0.0, 0.25])
def test_a_constant_difference_has_an_interval_of_no_width(difference):
    values = (np.full(9, 0.5), np.full(9, 0.5 + difference))
    tables = [scores(name, {"disc": of_cases}) for name, of_cases in zip((A, B), values, strict=True)]
    made = compare(pd.concat(tables), [A, B]).iloc[0]
    assert made[["mean_difference", "low", "high"]].tolist() == [difference] * 3
    assert made["p"] == (pytest.approx(wilcoxon(values[1] - values[0]).pvalue) if difference else 1)
    assert made["significant"] == (difference > 0)
    alone = compare(tables[0], [A])
    assert alone.empty
    assert tuple(alone.columns) == COLUMNS


def test_a_patients_cases_count_once():
    rng = np.random.default_rng(1)
    values, gain = rng.uniform(0.5, 0.9, 20), rng.normal(0.03, 0.05, 10)
    table = pd.concat([scores(A, {"disc": values}, 2), scores(B, {"disc": values + np.repeat(gain, 2)}, 2)])
    made = compare(table, [A, B]).iloc[0]
    assert made["patients"] == 10
    assert made["p"] == pytest.approx(wilcoxon(gain).pvalue)


def test_only_common_cases_with_a_score_are_compared():
    first, second = np.linspace(0.5, 0.6, 8), np.linspace(0.55, 0.8, 6)
    first[2] = np.nan
    made = compare(pd.concat([scores(A, {"disc": first}), scores(B, {"disc": second})]), [A, B]).iloc[0]
    kept = [0, 1, 3, 4, 5]
    assert made["patients"] == 5
    assert made["mean_difference"] == pytest.approx((second[kept] - first[kept]).mean())


def test_against_one_system_and_only_of_the_same_data(three):
    made = compare(three, [A, B, C], against="C")
    assert set(zip(made["system_a"], made["system_b"], strict=True)) == {("C", "A"), ("C", "B")}
    forth = compare(three, [A, B, C])
    back = forth[(forth["system_a"] == "A") & (forth["system_b"] == "C")]
    own = made[made["system_b"] == "A"]
    assert own["mean_difference"].to_numpy() == pytest.approx(-back["mean_difference"].to_numpy())
    data = three.assign(data=three["system"].map({"A": "T1w", "B": "T1w", "C": "T2w"}))
    made = compare(data, [("A", "T1w"), ("B", "T1w"), ("C", "T2w")])
    assert set(zip(made["system_a"], made["system_b"], strict=True)) == {("A", "B")}


def test_too_few_patients_have_no_interval():
    for count in (1, 2, 5, 6):
        values = np.linspace(0.5, 0.9, count)
        table = pd.concat([scores(A, {"d": values}), scores(B, {"d": values**2})])
        row = compare(table, [A, B]).iloc[0]
        assert np.isnan([row["low"], row["high"]]).all() == (count < 6)
        assert "Fewer than 6 patients have no interval" in comparisons.METHOD


@pytest.mark.parametrize("sign", [1, -1])
def test_an_interval_reaches_as_far_as_students_and_farther_where_the_tail_is(sign):
    """Student's is the formula, and the bootstrap's end is that of a loop over other draws."""
    values = sign * np.random.default_rng(3).exponential(0.05, 12)
    mean, error = values.mean(), values.std(ddof=1) / np.sqrt(12)
    student = mean + t.ppf([0.025, 0.975], 11) * error
    drawn = []
    rng = np.random.default_rng(9)
    for _ in range(4000):
        again = rng.choice(values, 12)
        drawn.append((again.mean() - mean) / (again.std(ddof=1) / np.sqrt(12)))
    bootstrapped = mean - np.quantile(drawn, [0.975, 0.025]) * error
    low, high = mean_interval(values)
    assert low == pytest.approx(min(student[0], bootstrapped[0]), abs=0.2 * error)
    assert high == pytest.approx(max(student[1], bootstrapped[1]), abs=0.2 * error)
    assert (low, high) == pytest.approx(tuple(-end for end in mean_interval(-values))[::-1])
    at_tail, opposite = (high - student[1], student[0] - low)[::sign]
    assert at_tail > error
    assert opposite == pytest.approx(0, abs=1e-12)


def test_many_equal_differences_still_have_an_interval():
    """Samples of the bootstrap that hold only one value have no spread."""
    low, high = mean_interval(np.array([0, 0, 0, 0, 0, 0.3]))
    assert low < 0 < 0.05 < high
    assert np.isfinite([low, high]).all()


def gains(kind: str, rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Differences of Dice, whose true mean is 0."""
    if kind == "normal":
        return rng.normal(0, 0.05, shape)
    if kind == "skewed":
        return 0.05 * (rng.exponential(1, shape) - 1)
    base = rng.beta(9, 2, shape)
    return np.clip(base + rng.normal(0.02, 0.05, shape), 0, 1) - base - BOUNDED_MEAN


BOUNDED_MEAN = 0.017958
"""Of the bounded differences before it is taken off, from 1e8 draws."""


@pytest.mark.parametrize(
    ("patients", "cohorts"),
    [(8, 60), *(pytest.param(n, 600, marks=pytest.mark.slow) for n in (6, 8, 15, 30))],
)
@pytest.mark.parametrize("kind", ["normal", "skewed", "bounded"])
def test_the_interval_covers_the_truth_as_often_as_it_says(monkeypatch, kind, patients, cohorts):
    """Of 600 cohorts the share may miss by 2.7 points (three standard errors), of 60 by 8.4.

    Of exponential differences of fewer than ten patients the interval holds 93 to 94 %.
    """
    expected = 0.93 if kind == "skewed" and patients < 10 else 0.95
    monkeypatch.setattr(comparisons, "RESAMPLES", 399 if cohorts < 100 else 999)
    rng = np.random.default_rng(patients)
    inside = 0
    for values in gains(kind, rng, (cohorts, patients)):
        low, high = mean_interval(values)
        inside += low <= 0 <= high
    assert inside / cohorts > expected - 3 * np.sqrt(0.95 * 0.05 / cohorts)


@pytest.mark.slow
def test_the_accelerated_bootstrap_would_cover_less():
    """Why scipy's bias-corrected and accelerated bootstrap is not used: eight patients."""
    rng = np.random.default_rng(0)
    inside = 0
    for values in gains("normal", rng, (200, 8)):
        found = bootstrap((values,), np.mean, n_resamples=199, rng=rng).confidence_interval
        inside += found.low <= 0 <= found.high
    assert inside / 200 < 0.92
