"""The picture of one case: contours, heatmap, letters and millimetres."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.image import imread

from nnunetv2_spinesegdiff.plots import COLOURS, draw_overlay, style
from nnunetv2_spinesegdiff.uncertainty.confidence import Structures

STRUCTURES: Structures = {"spinal_canal": 1, "spine": (2, 3), "absent": 9}
LETTERS = ("H", "F", "A", "P")


def draw(path: Path, **changes: Any) -> Path:
    mask = np.zeros((20, 30), dtype=int)
    mask[3:9, 4:12], mask[10:14, 4:12], mask[14:18, 4:12] = 1, 2, 3
    arguments: dict[str, Any] = {
        "case": "patient_7",
        "image": np.tile(np.linspace(0, 100, 30), (20, 1)),
        "mask": mask,
        "entropy": np.where(mask == 1, 0.3, 0.01),
        "spacing": (1.0, 1.0),
        "letters": LETTERS,
        "structures": STRUCTURES,
    }
    draw_overlay(**{**arguments, **changes}, path=path)
    return path


@pytest.fixture
def figure(tmp_path, monkeypatch):
    """Gives the matplotlib figure that `draw` would write."""

    def made(**changes: Any) -> Figure:
        drawn: list[Figure] = []
        monkeypatch.setattr(Figure, "savefig", lambda self, path: drawn.append(self))
        monkeypatch.setattr(style, "give_back_memory", lambda figure: None)
        draw(tmp_path / "a.png", **changes)
        drawn[0].canvas.draw()
        return drawn[0]

    return made


def pixels_like(picture: np.ndarray, colour: str) -> int:
    return int((np.abs(picture[..., :3] - to_rgb(colour)).max(-1) < 0.02).sum())


def test_the_file_is_a_picture_with_every_structure_in_its_colour(tmp_path):
    full = imread(draw(tmp_path / "full.png"))
    empty = imread(draw(tmp_path / "empty.png", mask=np.zeros((20, 30)), entropy=np.zeros((20, 30))))
    for colour in COLOURS[:2]:
        # An absent structure is in the legend alone.
        assert pixels_like(full, colour) > 2 * pixels_like(empty, colour) > 0
    assert pixels_like(full, COLOURS[2]) == pixels_like(empty, COLOURS[2])


def test_a_region_is_outlined_as_one(figure):
    contours = [line for line in figure().axes[0].collections if len(line.get_paths()[0].vertices)]
    assert len(contours) == 2
    rows = contours[1].get_paths()[0].vertices[:, 1]
    assert (rows.min(), rows.max()) == pytest.approx((9.9, 17.1))


def test_names_letters_and_the_case_are_written(figure):
    made = figure()
    for axis in made.axes[:2]:
        at = {text.get_text(): text.get_position() for text in axis.texts}
        assert set(at) == set(LETTERS)
        assert at["H"][1] > 0.9 > 0.1 > at["F"][1]
        assert at["A"][0] < 0.1 < 0.9 < at["P"][0]
    assert made.get_suptitle() == "patient_7"
    assert [text.get_text() for text in made.legends[0].get_texts()] == ["spinal canal", "spine", "absent"]


def test_the_heatmap_is_in_nats_and_lets_certain_pixels_through(figure):
    heat = figure().axes[1].images[1]
    assert heat.get_clim() == (0, pytest.approx(1 / np.e))
    shown = heat.get_array()
    assert (~shown.mask).sum() == 6 * 8
    assert "nats" in figure().axes[2].get_ylabel()


@pytest.mark.parametrize("spacing", [(1.0, 1.0), (3.0, 0.5), (0.5, 2.0)])
def test_a_millimetre_is_as_long_down_as_across(figure, spacing):
    axis = figure(spacing=spacing).axes[0]
    (x0, y0), (x1, y1) = axis.transData.transform([(0, 0), (1 / spacing[1], 1 / spacing[0])])
    assert abs(x1 - x0) == pytest.approx(abs(y1 - y0), rel=1e-3)
    assert sorted(axis.get_ylim(), reverse=True) == list(axis.get_ylim()), "the first row is at the top"
    assert axis.get_xlim() == (-0.5, 29.5)


def test_more_structures_than_colours_stay_apart(figure):
    made = figure(structures={f"s{i}": i for i in range(14)})
    looks = {(line.get_color(), line.get_linestyle()) for line in made.legends[0].get_lines()}
    assert len(looks) == 14


def test_an_overlay_that_fails_leaves_nothing_behind(tmp_path, monkeypatch):
    monkeypatch.setattr(Figure, "savefig", lambda self, path: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        draw(tmp_path / "a.png")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("changes", "label", "highest"),
    [
        ({}, "entropy (nats), 0 to 0.37", 1 / np.e),
        ({"measure": "variance", "highest": 0.25}, "variance, 0 to 0.25", 0.25),
    ],
)
def test_the_colour_bar_says_what_is_shown_and_up_to_where(figure, changes, label, highest):
    bar = figure(**changes).axes[-1]
    assert bar.get_ylabel() == label
    assert bar.get_ylim() == pytest.approx((0, highest))


@pytest.mark.parametrize("name", [r"a$\frac$", "$_$", "a$b", ""])
def test_a_name_is_never_taken_for_mathematics(name, figure):
    assert figure(case=name).get_suptitle() == name
