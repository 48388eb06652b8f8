"""What the figure of findings is drawn from."""

from __future__ import annotations

import numpy as np
import pandas as pd

from nnunetv2_spinesegdiff.evaluation.report.findings_figure import findings_of
from nnunetv2_spinesegdiff.evaluation.report.pathology import Pathology

VALUES = [
    ("A", "", "1", 0.5, True),
    ("A", "", "2", 0.6, None),
    ("B", "T1w", "1", 0.7, False),
]
TESTS = [("A", "", "Welch's t-test", "constant in both groups"), ("B", "T1w", "", "no patients with it")]


def test_every_tested_system_has_its_groups_and_tests(tmp_path):
    values = pd.DataFrame(VALUES, columns=["system", "data", "patient", "dice", "Disc bulging"])
    values = values.astype({"Disc bulging": "boolean"}).assign(structure="ivd")
    table = pd.DataFrame(TESTS, columns=["system", "data", "test", "reason"])
    table = table.assign(finding="Disc bulging", structure="ivd", p_corrected=np.nan, significant=False)
    first, second = findings_of(Pathology(tmp_path, table, values, settings={"tests": 7}))
    assert (first.system, second.system) == ("A", "B (T1w)")
    assert first.groups[["patient", "present", "dice"]].to_numpy().tolist() == [["1", True, 0.5]]
    assert second.groups["present"].tolist() == [False]
    assert "7 tests" in first.method
    assert second.method == ""
    assert [one.tests["reason"].item() for one in (first, second)] == [TESTS[0][3], "too few"]
