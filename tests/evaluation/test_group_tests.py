"""Tests of two groups against scipy, statsmodels and formulas."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import statsmodels.api as sm
from scipy import stats
from scipy.special import gammaln
from statsmodels.stats.weightstats import CompareMeans, DescrStatsW

from nnunetv2_spinesegdiff.evaluation.group_tests import (
    CLUSTERED,
    CONVERGED,
    MIXED,
    FitError,
    clustered_least_squares,
    hedges_g,
    mixed_model,
    welch,
)


@pytest.fixture(autouse=True)
def _no_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def groups(seed, n, m, ties=False):
    rng = np.random.default_rng(seed)
    present, absent = rng.normal(0.85, 0.05, n), rng.normal(0.9, 0.02, m)
    return (present.round(2), absent.round(2)) if ties else (present, absent)


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize(("n", "m"), [(2, 2), (2, 78), (6, 74), (40, 40)])
def test_welch_is_that_of_statsmodels(n, m, ties):
    present, absent = groups(n, n, m, ties)
    found = welch(present, absent, fewest=2)
    compare = CompareMeans(DescrStatsW(present), DescrStatsW(absent))
    t, p, df = compare.ttest_ind(usevar="unequal")
    assert (found["t"], found["p"], found["df"]) == pytest.approx((t, p, df), rel=1e-8)
    low, high = compare.tconfint_diff(usevar="unequal")
    assert (found["difference_low"], found["difference_high"]) == pytest.approx((low, high), rel=1e-6)
    assert found["difference"] == pytest.approx(present.mean() - absent.mean())
    assert found["reason"] == ""


@pytest.mark.parametrize(
    ("present", "absent", "reason"),
    [
        ([], [0.9, 0.8], "no patients with"),
        ([0.9], [0.9, 0.8], "1 patient with"),
        ([0.9, 0.8] * 3, [0.7, 0.8], "2 patients without"),
        ([0.9] * 6, [0.8] * 74, "constant"),
        ([0.9] * 6, [0.9] * 74, "constant"),
        ([0.1 + 0.2] * 3 + [0.3] * 3, [0.9] * 5, "constant"),
    ],
)
def test_untestable_groups_have_a_reason(present, absent, reason):
    present, absent = np.array(present), np.array(absent)
    found = welch(present, absent)
    assert reason in found["reason"]
    assert np.isnan([found["p"], found["t"], found["df"], found["difference"]]).all()
    without_g = min(len(present), len(absent)) < 2 or reason == "constant"
    assert np.isnan(hedges_g(present, absent)).all() == without_g


def test_one_constant_group_is_tested():
    present, absent = np.full(6, 0.9), np.array([0.8, 0.81, 0.82, 0.82, 0.84])
    found = welch(present, absent)
    # The only spread is that of the other group: a test of its mean against a number.
    assert (found["t"], found["p"]) == pytest.approx(
        (-stats.ttest_1samp(absent, 0.9).statistic, stats.ttest_1samp(absent, 0.9).pvalue)
    )


@pytest.mark.parametrize(("n", "m"), [(4, 5), (6, 74), (40, 40)])
def test_hedges_g_is_the_formula(n, m):
    present, absent = groups(1, n, m)
    df = n + m - 2
    pooled = np.sqrt(((n - 1) * present.var(ddof=1) + (m - 1) * absent.var(ddof=1)) / df)
    d = (present.mean() - absent.mean()) / pooled
    exact = np.exp(gammaln(df / 2) - gammaln((df - 1) / 2)) / np.sqrt(df / 2)
    g, low, high = hedges_g(present, absent)
    assert g == pytest.approx(d * exact, rel=0.002)
    assert g < 0
    assert (low + high) / 2 == pytest.approx(g)
    assert hedges_g(absent, present)[0] == pytest.approx(-g)


def test_the_interval_of_g_holds_the_truth_as_often_as_it_says():
    rng = np.random.default_rng(0)
    inside = 0
    for _ in range(400):
        _, low, high = hedges_g(rng.normal(-0.8, 1, 14), rng.normal(0, 1, 66))
        inside += low <= -0.8 <= high
    assert 0.92 < inside / 400 < 0.98


def repeated(seed, patients=60, between=0.03, within=0.015, effect=-0.03):
    rng = np.random.default_rng(seed)
    names = np.repeat(np.arange(patients), 2).astype(str)
    present = np.repeat(np.arange(patients) < patients // 4, 2)
    contrast = np.tile([0.0, 1.0], patients)[:, None]
    scores = 0.9 + np.repeat(rng.normal(0, between, patients), 2) + rng.normal(0, within, 2 * patients)
    return scores + effect * present + 0.01 * contrast[:, 0], present, names, contrast


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("with_contrast", [False, True])
def test_the_mixed_model_of_balanced_cases_is_students_test_of_the_means(seed, with_contrast):
    scores, present, names, contrast = repeated(seed)
    found = mixed_model(scores, present, names, contrast if with_contrast else None)
    means = scores.reshape(-1, 2).mean(1)
    expected = stats.ttest_ind(means[present[::2]], means[~present[::2]])
    assert (found["t"], found["p"]) == pytest.approx((expected.statistic, expected.pvalue), rel=1e-3)
    assert found["df"] == expected.df
    low, high = expected.confidence_interval()
    assert (found["difference_low"], found["difference_high"]) == pytest.approx((low, high), abs=1e-4)
    assert (found["test"], found["fit"], found["reason"]) == (MIXED, CONVERGED, "")


def test_the_mixed_model_of_unbalanced_cases_is_that_of_statsmodels():
    scores, present, names, contrast = repeated(3)
    some = np.random.default_rng(3).random(len(scores)) < 0.8
    found = mixed_model(scores[some], present[some], names[some], contrast[some])
    design = np.column_stack([np.ones(some.sum()), present[some], contrast[some]])
    model = sm.MixedLM(100 * scores[some], design, groups=names[some]).fit()
    assert found["difference"] == pytest.approx(model.fe_params[1] / 100, rel=1e-3)
    assert found["t"] == pytest.approx(model.tvalues[1], rel=1e-3)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda s, f, n, c: (s, f, np.arange(len(n)).astype(str), c), "no patient has more than one score"),
        (lambda s, f, n, c: (s, f, n, f[:, None].astype(float)), "cannot be distinguished from the contrast"),
        (lambda s, f, n, c: (np.repeat(s[::2], 2), f, n, None), "singular fit: no spread within patients"),
    ],
)
def test_a_mixed_model_that_cannot_be_relied_on_says_so(change, words):
    with pytest.raises(FitError, match=words):
        mixed_model(*change(*repeated(0)))


def test_without_spread_between_patients_the_fit_is_singular_or_right():
    """The variance between patients is 0: about half of its estimates end at that bound."""
    problems = []
    for seed in range(8):
        scores, present, names, contrast = repeated(seed, between=0)
        try:
            assert mixed_model(scores, present, names, contrast)["fit"] == CONVERGED
        except FitError as error:
            problems.append(str(error))
    assert 1 < len(problems) < 7
    assert all("no spread between patients" in problem or "convergence" in problem for problem in problems)


def test_clustered_least_squares_of_balanced_patients_is_welchs_of_the_means():
    """With the degrees of freedom that Satterthwaite's formula gives where both variances are equal."""
    scores, present, names, _ = repeated(1)
    found = clustered_least_squares(scores, present, names)
    means, there = scores.reshape(-1, 2).mean(1), present[::2]
    expected = stats.ttest_ind(means[there], means[~there], equal_var=False)
    n, m = there.sum(), (~there).sum()
    df = (1 / n + 1 / m) ** 2 / (1 / (n**2 * (n - 1)) + 1 / (m**2 * (m - 1)))
    assert (found["t"], found["df"]) == pytest.approx((expected.statistic, df))
    assert found["p"] == pytest.approx(2 * stats.t.sf(abs(found["t"]), df))
    assert found["test"] == CLUSTERED


def test_clustered_least_squares_of_single_scores_is_hc2():
    """And of patients of different sizes it does not depend on the order of the rows."""
    scores, present, names, _ = repeated(1)
    found = clustered_least_squares(scores, present, [str(n) for n in range(len(names))])
    model = sm.OLS(scores, sm.add_constant(present.astype(float))).fit(cov_type="HC2")
    assert found["t"] == pytest.approx(model.tvalues[1])
    rng = np.random.default_rng(0)
    some = rng.permutation(len(scores))[:90]
    one, other = (clustered_least_squares(scores[k], present[k], names[k]) for k in (some, np.sort(some)))
    assert (one["t"], one["df"]) == pytest.approx((other["t"], other["df"]))


@pytest.mark.parametrize(
    ("patients", "cohorts"), [(60, 30), *(pytest.param(n, 600, marks=pytest.mark.slow) for n in (20, 60))]
)
@pytest.mark.parametrize("whole", [True, False], ids=["all discs", "some discs"])
def test_clustered_least_squares_of_five_patients_keeps_its_level(patients, cohorts, whole):
    """Nothing differs, and p < 0.05 in at most 5 % of cohorts, and 2.7 points (three standard errors) of 600.

    The sandwich with (patients - 1) degrees of freedom had 12 to 17 % of 60 patients.
    """
    rng = np.random.default_rng(0)
    numbers = np.repeat(np.arange(patients), 6)
    names = [str(number) for number in numbers]
    found = 0
    for _ in range(cohorts):
        some = rng.random(len(names)) < 0.5
        some[::6], some[1::6] = True, False
        present = (numbers < 5) & (whole | some)
        scores = rng.normal(0, 1, patients)[numbers] + rng.normal(0, 1, len(names))
        found += clustered_least_squares(scores, present, names)["p"] < 0.05
    assert found / cohorts < 0.05 + 3 * np.sqrt(0.05 * 0.95 / cohorts)


def test_welch_of_six_against_many_keeps_its_level_where_scores_are_normal():
    """And not where they are skewed, which is why small groups are pointed out to the reader."""
    rng = np.random.default_rng(0)
    rates = {}
    for name, draw in (("normal", rng.normal), ("skewed", lambda *a: -rng.exponential(1, a[-1]))):
        p = np.array([welch(draw(0, 1, 6), draw(0, 1, 74))["p"] for _ in range(600)])
        rates[name] = (p < 0.05).mean()
    assert 0.03 < rates["normal"] < 0.08
    assert rates["skewed"] > 0.08


def test_tiny_groups_would_err_far_more_often_than_their_p_values_say():
    """Why there is a smallest size: the p-values that survive a correction are the ones that are wrong."""
    rng = np.random.default_rng(0)
    rates = {}
    for size in (2, 5, 20):
        scores = rng.normal(size=(20000, 80))
        p = stats.ttest_ind(scores[:, :size], scores[:, size:], axis=1, equal_var=False).pvalue
        rates[size] = (p < 0.002).mean()
    assert rates[2] > 0.04
    assert rates[5] < 0.01
    assert rates[20] < 0.004
