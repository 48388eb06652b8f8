"""The figures of findings: the paper's figure 2, one per tested system."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from ...plots.pathology import draw_pathology
from ..columns import label_of, rows_of
from ..pathology import SYSTEM
from .figures_folder import BOX, FigureEntry, counted, left_out, without_dice
from .pathology import VALUE_COLUMNS, Pathology


def findings_figures(pathology: Pathology | None, out: Path) -> list[FigureEntry | str]:
    """Draw `findings.png`, or `findings_1.png` and so on of several systems, and explain which are missing.

    Args:
        pathology: None where nothing was tested.
        out: folder of the figures.
    """
    if pathology is None:
        return [left_out("findings", "", "no statistics of pathologies; run spinesegdiff pathology")]
    drawn = []
    for name, values in pathology.values.groupby(SYSTEM, sort=False):
        tests = rows_of(pathology.table, name)
        groups = values.melt(list(VALUE_COLUMNS), var_name="finding", value_name="present")
        groups = groups.dropna(subset="present").astype({"present": bool})
        groups = groups[groups["finding"].isin(tests["finding"])]
        if not groups.empty:
            drawn.append((label_of(name), groups, tests))
    made = []
    for number, (label, groups, tests) in enumerate(drawn, 1):
        path = out / ("findings.png" if len(drawn) == 1 else f"findings_{number}.png")
        made.append(_figure(label, groups, tests, pathology.settings["tests"], path))
    return made


def _figure(
    label: str, groups: pd.DataFrame, tests: pd.DataFrame, family: int, path: Path
) -> FigureEntry | str:
    kind = f"Findings, {label}"
    if groups["dice"].isna().all():
        return left_out(kind, "", "no patient has a Dice")
    # The sizes of the groups are written below the boxes.
    tests = tests.assign(reason=tests["reason"].str.replace(r".* are needed", "too few", regex=True))
    draw_pathology(groups, tests, path, label)
    patients = groups.drop_duplicates(["structure", "patient"])
    caption = (
        f"Dice of {label} for {counted(patients['patient'].nunique(), 'patient')}, those with a finding next "
        f"to those without it, one point per patient. {BOX} Above each pair the corrected p, bold and with a "
        "star where it is significant."
    )
    if names := sorted(set(tests["test"]) - {""}):
        caption += f" {' or '.join(names)}; p corrected after Benjamini and Hochberg over {family} tests."
    return FigureEntry(kind, caption + without_dice(patients), path)
