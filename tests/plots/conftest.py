"""Looking at a figure before it is a file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text

from nnunetv2_spinesegdiff.plots import style

Drawn = Callable[..., Figure]


@pytest.fixture
def drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Drawn:
    """Calls a function that draws into `path` and gives the figure that it would write."""

    def of(draw: Callable[..., None], *arguments: Any, **options: Any) -> Figure:
        figures: list[Figure] = []
        with monkeypatch.context() as patched:
            patched.setattr(Figure, "savefig", lambda figure, path, **how: figures.append(figure))
            patched.setattr(
                FigureCanvasAgg, "print_png", lambda canvas, path, **how: figures.append(canvas.figure)
            )
            patched.setattr(style, "give_back_memory", lambda figure: None)
            draw(*arguments, **options, path=tmp_path / "figure.png")
        figures[0].canvas.draw()
        return figures[0]

    return of


@pytest.fixture
def check_print() -> Callable[[Figure], None]:
    """At most a millimeter is cut off, text has seven points or more, and the figure fits on a page."""

    def check(figure: Figure, widest_mm: float = 170) -> None:
        width, height = figure.get_size_inches()
        box = figure.get_tightbbox(figure.canvas.get_renderer())  # type: ignore[attr-defined]
        assert box.x0 > -0.01
        assert box.y0 > -0.01
        assert box.x1 < width + 0.04
        assert box.y1 < height + 0.04
        assert width * 25.4 <= widest_mm + 1e-6
        texts = [text for text in figure.findobj(Text) if text.get_visible() and text.get_text()]
        assert texts
        assert min(float(text.get_fontsize()) for text in texts) >= 7

    return check
