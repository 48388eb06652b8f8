"""What the figure of findings is drawn from."""

from __future__ import annotations

import numpy as np
import pandas as pd

from nnunetv2_spinesegdiff.reporting.findings_figure import findings_of
from nnunetv2_spinesegdiff.reporting.pathology import Pathology


def test_every_tested_system_has_its_groups_and_tests(tmp_path):
    values = pd.DataFrame(
        {
            "system": ["A", "A", "B"],
            "data": ["", "", "T1w"],
            "structure": "ivd",
            "patient": ["1", "2", "1"],
            "dice": [0.5, 0.6, 0.7],
            "Disc bulging": pd.array([True, None, False], dtype="boolean"),
        }
    )
    table = pd.DataFrame(
        {
            "system": ["A", "B"],
            "data": ["", "T1w"],
            "finding": "Disc bulging",
            "structure": "ivd",
            "p_corrected": np.nan,
            "significant": False,
            "test": ["Welch's t-test", ""],
            "reason": [
                "scores are constant in both groups",
                "no patients with the finding, at least 5 are needed",
            ],
        }
    )
    first, second = findings_of(Pathology(tmp_path, table, values, settings={"tests": 7}))
    assert (first.system, second.system) == ("A", "B (T1w)")
    assert first.groups[["patient", "present", "dice"]].to_numpy().tolist() == [["1", True, 0.5]]
    assert second.groups["present"].tolist() == [False]
    assert "Welch" in first.method
    assert "7 tests" in first.method
    assert second.method == ""
    assert [tests["reason"].item() for tests in (first.tests, second.tests)] == [
        "scores are constant in both groups",
        "too few",
    ]
