"""How a figure becomes files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from matplotlib import rc_context
from matplotlib.figure import Figure

from nnunetv2_spinesegdiff.plots.style import (
    COLORS,
    IN_PRINT,
    LINES,
    looks_of,
    new_figure,
    panels,
    save_figure,
    save_png,
)


@rc_context(IN_PRINT)
def save(path: Path) -> None:
    figure = new_figure(80, 40, "constrained")
    figure.subplots().set_title("Dice of the discs")
    save_figure(figure, path)


def test_png_and_pdf_are_reproducible_with_fonts_that_can_be_edited(tmp_path):
    for name in ("a", "b"):
        save(tmp_path / f"{name}.png")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.pdf", "a.png", "b.pdf", "b.png"]
    png, pdf = (tmp_path / "a.png").read_bytes(), (tmp_path / "a.pdf").read_bytes()
    assert (png, pdf) == ((tmp_path / "b.png").read_bytes(), (tmp_path / "b.pdf").read_bytes())
    assert png.startswith(b"\x89PNG")
    assert int.from_bytes(png[16:20], "big") == int(80 / 25.4 * 200), "200 dpi"
    assert pdf.startswith(b"%PDF")
    assert b"/FontFile2" in pdf, "a TrueType font is embedded"
    assert b"/Type3" not in pdf


@pytest.mark.parametrize("failing", [".png", ".pdf"])
def test_both_files_are_written_or_none(tmp_path, monkeypatch, failing):
    write = Figure.savefig

    def savefig(self: Figure, path: Path, **how: object) -> None:
        if path.suffix == failing:
            raise OSError("disk full")
        write(self, path, **how)  # type: ignore[arg-type]

    monkeypatch.setattr(Figure, "savefig", savefig)
    with pytest.raises(OSError, match="disk full"):
        save(tmp_path / "a.png")
    assert not list(tmp_path.iterdir())


def test_looks_are_apart_as_long_as_there_are_any():
    looks = looks_of([f"s{i}" for i in range(18)])
    assert len(set(looks.values())) == len(COLORS) * len(LINES) == 18
    assert len(looks_of([f"s{i}" for i in range(40)])) == 40
    for number, columns in ((1, 3), (4, 3), (7, 2)):
        figure = new_figure(100, 100, "constrained")
        assert panels(figure, number, columns) == figure.axes
        assert len(figure.axes) == number


def test_a_written_picture_is_not_kept_in_memory(tmp_path):
    figure = new_figure(100, 50, "constrained")
    figure.subplots().imshow(np.zeros((20, 30)))
    save_png(figure, tmp_path / "a.png")
    assert (tmp_path / "a.png").stat().st_size > 1000
    assert not figure.axes
    assert "renderer" not in vars(figure.canvas)
