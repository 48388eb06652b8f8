"""Patients with and without findings: sizes, points and p."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.text import Annotation

from nnunetv2_spinesegdiff.plots.pathology import draw_pathology

STRUCTURES = ["spinal_canal", "vertebrae", "ivd"]


def groups(present: dict[str, int], patients: int = 12, structures: list[str] = STRUCTURES) -> pd.DataFrame:
    """The first patients have a finding, as many as it says; of patient i the Dice is near 0.5 + i / 1000."""
    rows = [
        {
            "finding": finding,
            "structure": structure,
            "present": patient < number,
            "patient": str(patient),
            "dice": 0.5 + patient / 1000 + place / 10,
        }
        for finding, number in present.items()
        for place, structure in enumerate(structures)
        for patient in range(patients)
    ]
    return pd.DataFrame(rows)


def table_of_tests(table: pd.DataFrame, p: float | list[float], **more: Any) -> pd.DataFrame:
    tests = table[["finding", "structure"]].drop_duplicates().reset_index(drop=True)
    tests = tests.assign(p_corrected=p, **{"reason": "", **more})
    return tests.assign(significant=tests["p_corrected"] < 0.05)


def written(axis: Axes) -> list[tuple[str, bool]]:
    """What stands above the pairs, and whether it is bold."""
    return [(t.get_text(), t.get_fontweight() == "bold") for t in axis.texts if isinstance(t, Annotation)]


def test_a_panel_a_finding_with_the_corrected_p_above_every_pair(drawn, check_print):
    table = groups({"Modic": 5, "Disc narrowing": 8})
    figure = drawn(
        draw_pathology,
        table,
        table_of_tests(table, [0.0001, 0.0312, 0.05, 0.2, 0.999, 1]),
        title="SpineSegDiff",
    )
    assert [axis.get_title() for axis in figure.axes] == ["Modic", "Disc narrowing"]
    assert written(figure.axes[0]) == [("p < 0.001 *", True), ("p = 0.031 *", True), ("p = 0.050", False)]
    assert written(figure.axes[1]) == [("p = 0.200", False), ("p = 0.999", False), ("p = 1.000", False)]
    names = [label.get_text().strip() for label in figure.axes[0].get_xticklabels()]
    assert names == ["spinal canal", "vertebrae", "ivd"]
    assert figure.get_suptitle() == "SpineSegDiff"
    check_print(figure)


def test_every_patient_is_a_point_and_groups_tell_their_size(drawn):
    table = groups({"Modic": 5})
    table.loc[(table["patient"] == "0") & (table["structure"] == "ivd"), "dice"] = np.nan
    (axis,) = drawn(draw_pathology, table, table_of_tests(table, 0.5), title="A").axes
    sizes = [label.get_text() for label in axis.get_xticklabels(minor=True)]
    assert sizes == ["n=5", "n=7", "n=5", "n=7", "n=4", "n=7"]
    assert [len(points.get_offsets()) for points in axis.collections] == [5, 7, 5, 7, 4, 7]
    drawn_dice = np.concatenate([np.asarray(points.get_offsets())[:, 1] for points in axis.collections])
    np.testing.assert_allclose(np.sort(drawn_dice), np.sort(table["dice"].dropna()))
    hatched = [bool(box.get_hatch()) for box in axis.patches]
    assert hatched == [True, False] * 3
    middles = [np.asarray(box.get_path().vertices)[:, 0].mean() for box in axis.patches]
    assert middles == sorted(middles), "those with the finding are on the left"
    ticks = axis.get_xticks(minor=True)
    np.testing.assert_allclose(middles, ticks, atol=0.1)


@pytest.mark.parametrize("present", [0, 1, 12])
def test_untested_groups_have_a_reason(drawn, check_print, present):
    table = groups({"Modic": present, "Disc narrowing": 6})
    tests = table_of_tests(table, [np.nan] * 3 + [0.2] * 3, reason=["too few"] * 3 + [""] * 3)
    figure = drawn(draw_pathology, table, tests, title="A")
    assert written(figure.axes[0]) == [("n/a\ntoo few", False)] * 3
    check_print(figure)


@pytest.mark.parametrize(("findings", "structures", "widest"), [(8, 3, 170), (1, 1, 170), (3, 10, 235)])
def test_texts_above_neighboring_pairs_do_not_touch(drawn, check_print, findings, structures, widest):
    names = STRUCTURES if structures == 3 else [f"vertebra_L{i}" for i in range(structures)]
    table = groups({f"Finding {i}": 5 for i in range(findings)}, 200, names)
    table["dice"] = np.random.default_rng(0).beta(20, 2, len(table))
    figure = drawn(draw_pathology, table, table_of_tests(table, 0.012), title="A")
    for axis in figure.axes:
        boxes = [text.get_window_extent() for text in axis.texts]
        labels = [label.get_window_extent() for label in axis.get_xticklabels()]
        assert all(a.x1 < b.x0 for line in (boxes, labels) for a, b in pairwise(line))
        assert max(box.y1 for box in boxes) <= axis.title.get_window_extent().y0 + 1
    check_print(figure, widest)
