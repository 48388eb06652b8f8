"""Mean Dice a case, the worst first."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
from hypothesis import given
from hypothesis import strategies as st

from nnunetv2_spinesegdiff.evaluation.case_means import MEAN, case_means

DICE = st.sampled_from([0.0, 0.25, 0.5, 1.0, math.nan])


@given(values=st.dictionaries(st.sampled_from("abcdefgh"), st.lists(DICE, min_size=1, max_size=3)))
def test_against_a_loop_with_ties_and_cases_without_a_score(values):
    rows = [(case, str(i), dice) for case, scores in values.items() for i, dice in enumerate(scores)]
    made = case_means(pd.DataFrame(rows, columns=["case", "structure", "dice"]).astype({"dice": float}))
    expected = []
    for case, scores in values.items():
        known = [dice for dice in scores if not math.isnan(dice)]
        expected.append((sum(known) / len(known) if known else math.inf, case))
    expected.sort()
    assert made["case"].tolist() == [case for _, case in expected]
    assert np.allclose(made[MEAN].fillna(math.inf), [mean for mean, _ in expected])
