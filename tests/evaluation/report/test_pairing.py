"""Which systems are compared, and their scores case by case against a plain loop."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from nnunetv2_spinesegdiff.errors import UserError
from nnunetv2_spinesegdiff.evaluation.report.evaluation_folder import System
from nnunetv2_spinesegdiff.evaluation.report.pairing import by_data, mean_over_folds, paired_dice, pairs_of

from ...helpers.evaluations import STRUCTURES, rising_evaluation

SYSTEMS = [
    System("twice as long", "T1w", control=True),
    System("stage 1", "T1w"),
    System("stage 1", "T2w"),
    System("no image encoder", "T1w"),
    System("refined", "T1w"),
    System("refined", "T2w"),
    System("mean of both", "T2w", control=True),
    System("alone", "T1w+T2w"),
]


@pytest.mark.parametrize(
    ("names", "pairs"),
    [
        (None, [("stage 1 (T1w)", "refined (T1w)"), ("stage 1 (T2w)", "refined (T2w)")]),
        (("stage 1", "refined"), [("stage 1 (T1w)", "refined (T1w)"), ("stage 1 (T2w)", "refined (T2w)")]),
        (("refined (T2w)", "stage 1 (T1w)"), [("refined (T2w)", "stage 1 (T1w)")]),
        (("stage 1", "mean of both"), [("stage 1 (T2w)", "mean of both (T2w)")]),
    ],
)
def test_pairs_are_of_the_same_data_unless_both_are_named(names, pairs):
    """By default the first and the last proposal of each data are compared."""
    assert [(first.label, second.label) for first, second in pairs_of(SYSTEMS, names)] == pairs


def test_unknown_names_and_pairs_of_other_data_are_rejected():
    assert list(by_data(SYSTEMS)) == ["T1w", "T2w", "T1w+T2w"]
    with pytest.raises(UserError, match=r"^refinde: .*refined \(T1w\)"):
        pairs_of(SYSTEMS, ("stage 1", "refinde"))
    with pytest.raises(UserError, match="same data"):
        pairs_of(SYSTEMS, ("stage 1", "alone"))


def test_pairs_are_those_of_a_loop_and_folds_are_averaged(tmp_path):
    evaluation = rising_evaluation(tmp_path, cases=5)
    scores = evaluation.scores.copy()
    again = scores[(scores["case"] == "case_1")].assign(fold="1", dice=lambda table: table["dice"] / 2)
    scores = scores[~((scores["system"] == "refined") & (scores["case"] == "case_3"))]
    scores = pd.concat([again, scores]).sample(frac=1, random_state=0)
    scores.loc[(scores["case"] == "case_0") & (scores["structure"] == "ivd"), "dice"] = np.nan
    evaluation = replace(evaluation, scores=scores)
    table = paired_dice(evaluation, evaluation.systems)  # type: ignore[arg-type]
    assert table["structure"].unique().tolist() == list(STRUCTURES)
    assert len(table) == 4 * 3
    for row in table.itertuples():
        for name, value in (("stage 1", row.first), ("refined", row.second)):
            dice = [
                other.dice
                for other in scores.itertuples()
                if (other.system, other.case, other.structure) == (name, row.case, row.structure)
            ]
            assert len(dice) == (2 if row.case == "case_1" else 1)
            assert value == pytest.approx(sum(dice) / len(dice), nan_ok=True)
        assert row.contrast == ("T1w", "T2w")[int(row.case[-1]) % 2]
    assert len(mean_over_folds(evaluation, evaluation.systems[0])) == 5 * 3
