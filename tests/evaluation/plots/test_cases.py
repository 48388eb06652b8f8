"""Pictures of segmentations, read back as pixels."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.image import imread

from nnunetv2_spinesegdiff.evaluation.plots import COLOURS, CaseRow, draw_cases

LABELS = {"spinal_canal": 1, "vertebrae": 2}


def row(title: str, mask: np.ndarray) -> CaseRow:
    return CaseRow(title, np.zeros((20, 20)) + 1.0, {"truth": mask, "refined": mask * 0}, mask * 0.1)


def share_of(picture: np.ndarray, colour: str) -> float:
    """Share of the pixels that show a label's colour over white (an image of ones is drawn white)."""
    shown = 0.55 * np.array(to_rgb(colour)) + 0.45
    return float((np.abs(picture[..., :3] - shown).max(-1) < 0.02).mean())


def test_every_label_is_drawn_in_its_colour_and_no_other(tmp_path):
    mask = np.zeros((20, 20))
    mask[5:15, 5:10] = 1
    draw_cases([row("a", mask), row("b", mask)], LABELS, tmp_path / "two.png")
    picture = imread(tmp_path / "two.png")
    assert share_of(picture, COLOURS[0]) > 0.005
    assert share_of(picture, COLOURS[1]) == 0
    draw_cases([row("a", mask * 2)], LABELS, tmp_path / "one.png")
    smaller = imread(tmp_path / "one.png")
    assert share_of(smaller, COLOURS[1]) > 0.005
    assert smaller.shape[0] < picture.shape[0]


def test_a_picture_that_fails_leaves_nothing_behind(tmp_path, monkeypatch):
    monkeypatch.setattr("matplotlib.figure.Figure.savefig", lambda self, path: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        draw_cases([row("a", np.zeros((20, 20)))], LABELS, tmp_path / "one.png")
    assert not list(tmp_path.iterdir())
