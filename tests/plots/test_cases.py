"""Pictures of segmentations, read back as pixels."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.image import imread

from nnunetv2_spinesegdiff.plots.cases import CaseRow, draw_cases
from nnunetv2_spinesegdiff.plots.style import COLORS

LABELS = {"spinal_canal": 1, "vertebrae": 2}


def full_row(shape: tuple[int, int] = (40, 20), **changes: Any) -> CaseRow:
    mask = np.zeros(shape, dtype=int)
    mask[5:15, 5:10] = 1
    values: dict[str, Any] = {
        "title": "SPIDER_001_t1",
        "image": np.ones(shape),
        "masks": {"truth": mask, "stage 1 (T1w+T2w)": mask, "refined (T1w+T2w)": None},
        "uncertainty": mask * 0.3,
    }
    return CaseRow(**{**values, **changes})


def share_of(picture: np.ndarray, color: str) -> float:
    """Share of the pixels that show a label's color over black (a constant image is drawn black)."""
    shown = 0.55 * np.array(to_rgb(color))
    return float((np.abs(picture[..., :3] - shown).max(-1) < 0.02).mean())


def test_every_label_is_drawn_in_its_color_and_no_other(tmp_path):
    draw_cases([full_row()], LABELS, tmp_path / "one.png")
    picture = imread(tmp_path / "one.png")
    assert share_of(picture, COLORS[0]) > 0.005
    assert share_of(picture, COLORS[1]) == 0
    draw_cases([full_row()] * 2, LABELS, tmp_path / "two.png")
    assert imread(tmp_path / "two.png").shape[0] > picture.shape[0]
    assert (tmp_path / "two.pdf").read_bytes().startswith(b"%PDF")


def test_columns_are_slice_masks_and_uncertainty_with_the_dice_in_its_panel(drawn, check_print):
    row = full_row(dice={"stage 1 (T1w+T2w)": 0.874})
    figure = drawn(draw_cases, [row, row], LABELS, heading="uncertainty, refined")
    panels, bar = figure.axes[:10], figure.axes[10]
    titles = [axis.get_title().replace("\n", " ") for axis in panels[:5]]
    assert titles == ["slice", "truth", "stage 1 (T1w+T2w)", "refined (T1w+T2w)", "uncertainty, refined"]
    texts = [[text.get_text() for text in axis.texts] for axis in panels[:5]]
    assert texts == [[], [], ["0.87"], ["none"], []]
    assert bar.get_ylabel() == "entropy (nats)"
    check_print(figure)
    mask = np.zeros((30, 30), dtype=int)
    many = full_row((30, 30), masks={f"SpineSegDiff {i}": mask for i in range(12)})
    figure = drawn(draw_cases, [many], LABELS)
    assert min(axis.get_window_extent().width for axis in figure.axes[:13]) > 0.85 * 17.5 / 25.4 * figure.dpi
    check_print(figure, 300)


def test_without_uncertainty_there_is_no_column_and_where_one_case_lacks_it_a_grey_panel(drawn):
    none = full_row(uncertainty=None)
    assert len(drawn(draw_cases, [none, none], LABELS).axes) == 2 * 4
    figure = drawn(draw_cases, [full_row(), none], LABELS, measure="variance", highest=0.25)
    assert len(figure.axes) == 2 * 5 + 1
    assert figure.axes[4].images[-1].get_clim() == (0, 0.25)
    gray = figure.axes[9]
    assert [text.get_text() for text in gray.texts] == ["none"]
    assert len(np.unique(gray.images[0].get_array())) == 1


@pytest.mark.parametrize("spacing", [(1.0, 1.0), (4.4, 0.7)])
def test_millimeters_are_square_and_rows_as_high_as_their_images(drawn, check_print, spacing):
    rows = [full_row(spacing=spacing), full_row((30, 30))]
    figure = drawn(draw_cases, rows, LABELS)
    for axis, (down, across) in ((figure.axes[1], spacing), (figure.axes[6], (1.0, 1.0))):
        (x0, y0), (x1, y1) = axis.transData.transform([(0, 0), (1 / across, 1 / down)])
        assert abs(x1 - x0) == pytest.approx(abs(y1 - y0), rel=1e-3)
        assert np.diff(axis.get_ylim()) < 0, "the first row is at the top"
    boxes = [figure.axes[i].get_window_extent() for i in (0, 5)]
    assert boxes[0].width == pytest.approx(boxes[1].width, rel=0.02)
    assert boxes[0].y0 > boxes[1].y1
    check_print(figure)
