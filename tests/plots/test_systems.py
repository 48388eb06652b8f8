"""Boxes of systems: order, numbers, controls."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from nnunetv2_spinesegdiff.plots.systems import FEW, draw_systems

SYSTEMS = ["refined (T1w+T2w)", "stage 1 (T1w+T2w)", "stage 1, twice as long (T1w+T2w)"]


def scores(cases: int, structures: int = 3) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    rows = [
        {"system": system, "structure": f"structure_{s}", "dice": rng.beta(20, 2)}
        for system in SYSTEMS[::-1]
        for s in range(structures)
        for _ in range(cases)
    ]
    return pd.DataFrame(rows)


@pytest.mark.parametrize("structures", [1, 4, 7])
def test_a_panel_a_structure_and_a_box_a_system_from_the_first_at_the_top(drawn, check_print, structures):
    table = scores(30, structures)
    figure = drawn(draw_systems, table, SYSTEMS, controls=[SYSTEMS[2]])
    assert [axis.get_title() for axis in figure.axes] == [f"structure {s}" for s in range(structures)]
    for place, axis in enumerate(figure.axes):
        assert len(axis.patches) == 3
        assert [bool(box.get_hatch()) for box in axis.patches] == [False, False, True]
        assert axis.get_ylim() == (2.5, -0.5)
        for row, (system, box) in enumerate(zip(SYSTEMS, axis.patches, strict=True)):
            of = (table["system"] == system) & (table["structure"] == f"structure_{place}")
            ends = box.get_path().vertices
            assert (ends[:, 0].min(), ends[:, 0].max()) == pytest.approx(
                np.percentile(table.loc[of, "dice"], (25, 75))
            )
            assert ends[:, 1].mean() == pytest.approx(row, abs=0.2)
    labels = [label.get_text().replace("\n", " ") for label in figure.axes[0].get_yticklabels()]
    assert labels == SYSTEMS
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["control"]
    check_print(figure)


def test_cases_without_dice_are_not_counted(drawn):
    table = scores(FEW)
    first = (table["system"] == SYSTEMS[0]) & (table["structure"] == "structure_0")
    table.loc[table.index[first][:4], "dice"] = np.nan
    table.loc[(table["system"] == SYSTEMS[1]) & (table["structure"] == "structure_0"), "dice"] = np.nan
    axis, other, *_ = (figure := drawn(draw_systems, table, SYSTEMS)).axes
    assert [text.get_text() for text in axis.texts] == ["n", str(FEW - 4), "0", str(FEW)]
    assert len(axis.patches) == 2
    assert not figure.legends
    assert [len(points.get_offsets()) for points in other.collections] == [FEW] * 3, "few cases are shown"
    assert not drawn(draw_systems, scores(FEW + 1), SYSTEMS).axes[0].collections
