"""The folder that `spinesegdiff figures` writes: pictures, and an index that tells what each shows."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from ...errors import UserError
from ...files import save_json

INDEX = "figures.json"


@dataclass(frozen=True)
class FigureEntry:
    """A finished figure.

    Attributes:
        title: a few words.
        caption: what is shown, and of how many cases.
        path: of the PNG; the PDF of the same name lies beside it.
    """

    title: str
    caption: str
    path: Path


@dataclass(frozen=True)
class Figures:
    """What was drawn.

    Attributes:
        entries: in the order of a report.
        notes: one line for every figure, or case of a figure, that was left out, and why.
    """

    entries: tuple[FigureEntry, ...]
    notes: tuple[str, ...]


def write_index(figures: Figures, folder: Path) -> None:
    """Write the index beside the pictures; it counts them, whatever else lies there."""
    entries = [
        {"title": entry.title, "caption": entry.caption, "file": entry.path.name} for entry in figures.entries
    ]
    save_json({"figures": entries, "notes": list(figures.notes)}, folder / INDEX)


def read_figures(folder: Path) -> Figures:
    """Read what `run_figures` wrote.

    Raises:
        UserError: the folder has no index, a broken one, or lacks a picture of it.
    """
    again = "make it again with spinesegdiff figures"
    try:
        index = json.loads((folder / INDEX).read_text(encoding="utf-8"))
        entries = tuple(
            FigureEntry(one["title"], one["caption"], folder / one["file"]) for one in index["figures"]
        )
        figures = Figures(entries, tuple(index["notes"]))
    except FileNotFoundError:
        raise UserError(folder, f"has no {INDEX}", "make it with spinesegdiff figures") from None
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(folder / INDEX, f"not an index of figures ({error!r})", again) from None
    for entry in entries:
        if not entry.path.is_file():
            raise UserError(entry.path, f"is named in {INDEX} but is not there", again)
    return figures
