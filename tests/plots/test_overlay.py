"""The picture of one case: contours, heatmap, letters and millimeters."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.image import imread

from nnunetv2_spinesegdiff.plots.layers import NamedParts
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
    contours = [lines for lines in made.axes[0].collections if lines.get_paths()]
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


@pytest.mark.parametrize("spacing", [(1.0, 1.0), (2.0, 0.5)])
def test_names_of_levels_are_in_front_of_the_anatomy(figure, spacing):
    numbers = np.zeros((100, 120), dtype=int)
    numbers[10:40, 60:90], numbers[20:30, 100:110] = 5, 5  # a body and its process
    numbers[42:48, 58:92] = 205
    numbers[80:84, 60:65] = 3  # too small for a name
    names = {5: "L1", 205: "L1-L2", 3: "L3", 7: "T11"}
    made = figure(
        image=np.tile(np.linspace(0, 100, 120), (100, 1)),
        mask=np.where(numbers > 0, 2, 0),
        entropy=np.zeros((100, 120)),
        spacing=spacing,
        levels=NamedParts(numbers, names, "levels, confidence: high"),
    )
    shown = {text.get_text(): text.get_position() for text in made.axes[0].texts}
    assert set(shown) == {*LETTERS, "L1", "L1-L2"}
    assert shown["L1"] == pytest.approx((60 - 4 / spacing[1], 24.5))
    assert shown["L1-L2"] == pytest.approx((58 - 4 / spacing[1], 44.5))
    assert "confidence: high" in made.axes[0].get_title()
    assert {text.get_text() for text in made.axes[1].texts} == set(LETTERS)
