"""The index of the figures, written and read back."""

from __future__ import annotations

import pytest

from nnunetv2_spinesegdiff.errors import UserError
from nnunetv2_spinesegdiff.evaluation.report.figures_folder import (
    INDEX,
    FigureEntry,
    Figures,
    read_figures,
    write_index,
)


def test_what_is_written_is_read_wherever_the_folder_goes(tmp_path):
    folder, moved = tmp_path / "figures", tmp_path / "moved"
    folder.mkdir()
    (folder / "a.png").touch()
    entry = FigureEntry("Dice of the discs", "10 cases: β = ½", folder / "a.png")
    write_index(Figures((entry,), ("Pairs: left out",)), folder)
    assert read_figures(folder) == Figures((entry,), ("Pairs: left out",))
    folder.rename(moved)
    assert read_figures(moved).entries[0].path == moved / "a.png"


def test_incomplete_folders_are_rejected(tmp_path):
    with pytest.raises(UserError, match=rf"{INDEX}; .*spinesegdiff figures"):
        read_figures(tmp_path)
    write_index(Figures((FigureEntry("a", "b", tmp_path / "a.png"),), ()), tmp_path)
    with pytest.raises(UserError, match=r"a\.png"):
        read_figures(tmp_path)
    for content in ("{}", "[]", "nothing", '{"figures": [{}], "notes": []}'):
        (tmp_path / INDEX).write_text(content)
        with pytest.raises(UserError, match=INDEX):
            read_figures(tmp_path)
