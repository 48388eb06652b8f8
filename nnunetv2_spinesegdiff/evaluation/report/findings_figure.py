"""From the statistics of findings to what figure 2 shows of them."""

from __future__ import annotations

import pandas as pd

from .evaluation_folder import System
from .figures import Findings
from .pathology import Pathology

PATIENT = ["structure", "patient", "dice"]


def findings_of(pathology: Pathology) -> list[Findings]:
    """A figure's worth of every system that was tested."""
    made = []
    for (system, data), values in pathology.values.groupby(["system", "data"], sort=False):
        table = pathology.table
        tests = table[(table["system"] == system) & (table["data"] == data)]
        groups = values.melt([*PATIENT, "system", "data"], var_name="finding", value_name="present")
        groups = groups.dropna(subset="present").astype({"present": bool})
        groups = groups[groups["finding"].isin(tests["finding"])]
        # How many there are stands below the boxes.
        tests = tests.assign(reason=tests["reason"].str.replace(r".* are needed", "too few", regex=True))
        if not groups.empty:
            made.append(Findings(System(system, data).label, groups, tests, _method(pathology, tests)))
    return made


def _method(pathology: Pathology, tests: pd.DataFrame) -> str:
    names = sorted(set(tests["test"]) - {""})
    if not names:
        return ""
    family = pathology.settings["tests"]
    return f"{' or '.join(names)}; p corrected after Benjamini and Hochberg over {family} tests."
