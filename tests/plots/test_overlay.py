"""The picture of one case: contours, heatmap, letters and millimeters."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.image import imread

from nnunetv2_spinesegdiff.plots.overlay import draw_overlay
from nnunetv2_spinesegdiff.plots.style import COLORS
from nnunetv2_spinesegdiff.uncertainty.confidence import Structures

STRUCTURES: Structures = {"spinal_canal": 1, "spine": (2, 3), "absent": 9}
LETTERS = ("H", "F", "A", "P")


def arguments(**changes: Any) -> dict[str, Any]:
    mask = np.zeros((20, 30), dtype=int)
    mask[3:9, 4:12], mask[10:14, 4:12], mask[14:18, 4:12] = 1, 2, 3
    values: dict[str, Any] = {
        "case": "patient_7",
        "image": np.tile(np.linspace(0, 100, 30), (20, 1)),
        "mask": mask,
        "entropy": np.where(mask == 1, 0.3, 0.01),
        "spacing": (1.0, 1.0),
        "letters": LETTERS,
        "structures": STRUCTURES,
    }
    return {**values, **changes}


@pytest.fixture
def figure(drawn):
    def made(**changes: Any) -> Figure:
        return drawn(draw_overlay, **arguments(**changes))

    return made


def pixels_like(picture: np.ndarray, color: str) -> int:
    return int((np.abs(picture[..., :3] - to_rgb(color)).max(-1) < 0.02).sum())


def test_the_file_is_a_picture_with_every_structure_in_its_color(tmp_path):
    draw_overlay(**arguments(), path=tmp_path / "full.png")
    draw_overlay(
        **arguments(mask=np.zeros((20, 30)), entropy=np.zeros((20, 30))), path=tmp_path / "empty.png"
    )
    full, empty = (imread(tmp_path / f"{name}.png") for name in ("full", "empty"))
    for color in COLORS[:2]:
        # An absent structure is in the legend alone.
        assert pixels_like(full, color) > 2 * pixels_like(empty, color) > 0
    assert pixels_like(full, COLORS[2]) == pixels_like(empty, COLORS[2])


def test_regions_names_letters_and_heat(figure):
    made = figure()
    contours = [line for line in made.axes[0].collections if len(line.get_paths()[0].vertices)]
    assert len(contours) == 2
    rows = contours[1].get_paths()[0].vertices[:, 1]
    assert (rows.min(), rows.max()) == pytest.approx((9.9, 17.1)), "a region is outlined as one"
    for axis in made.axes[:2]:
        at = {text.get_text(): text.get_position() for text in axis.texts}
        assert set(at) == set(LETTERS)
        assert at["H"][1] > 0.9 > 0.1 > at["F"][1]
        assert at["A"][0] < 0.1 < 0.9 < at["P"][0]
    assert made.get_suptitle() == "patient_7"
    assert [text.get_text() for text in made.legends[0].get_texts()] == ["spinal canal", "spine", "absent"]
    heat = made.axes[1].images[1]
    assert heat.get_clim() == (0, pytest.approx(1 / np.e))
    assert (heat.get_alpha() > 0).sum() == 6 * 8, "certain pixels are transparent"


@pytest.mark.parametrize("spacing", [(1.0, 1.0), (3.0, 0.5)])
def test_a_millimeter_is_as_long_down_as_across(figure, spacing):
    axis = figure(spacing=spacing).axes[0]
    (x0, y0), (x1, y1) = axis.transData.transform([(0, 0), (1 / spacing[1], 1 / spacing[0])])
    assert abs(x1 - x0) == pytest.approx(abs(y1 - y0), rel=1e-3)
    assert np.diff(axis.get_ylim()) < 0, "the first row is at the top"


@pytest.mark.parametrize(
    ("changes", "label", "highest"),
    [
        ({}, "entropy (nats), 0 to 0.37", 1 / np.e),
        ({"measure": "variance", "highest": 0.25}, "variance, 0 to 0.25", 0.25),
    ],
)
def test_the_color_bar_shows_measure_and_range(figure, changes, label, highest):
    made = figure(structures={f"s{i}": i for i in range(14)}, **changes)
    bar = made.axes[-1]
    assert bar.get_ylabel() == label
    assert bar.get_ylim() == pytest.approx((0, highest))
    looks = {(line.get_color(), line.get_linestyle()) for line in made.legends[0].get_lines()}
    assert len(looks) == 14, "more structures than colors stay apart"


@pytest.mark.parametrize("name", [r"a$\frac$", "a$b", ""])
def test_a_name_is_never_taken_for_mathematics(name, figure):
    assert figure(case=name).get_suptitle() == name
