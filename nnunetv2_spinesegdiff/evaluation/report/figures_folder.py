"""The folder that `spinesegdiff figures` writes, and words that the captions share."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from ...files import save_json
from ...text import spelled

INDEX = "figures.json"
BOX = (
    "Boxes extend from the first to the third quartile, with a line at the median. Whiskers extend to "
    "the furthest value within 1.5 box lengths."
)


@dataclass(frozen=True)
class FigureEntry:
    """A finished figure.

    Attributes:
        title: a few words.
        caption: what is shown, and of how many cases.
        path: of the PNG; the PDF of the same name is in the same folder.
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

    entries: tuple[FigureEntry, ...] = ()
    notes: tuple[str, ...] = ()


def write_index(figures: Figures, folder: Path) -> None:
    """Write the index of the pictures in a folder."""
    entries = [
        {"title": entry.title, "caption": entry.caption, "file": entry.path.name} for entry in figures.entries
    ]
    save_json({"figures": entries, "notes": list(figures.notes)}, folder / INDEX)


def left_out(kind: str, data: str, reason: str) -> str:
    return f"{titled(kind, data)}: left out, {reason}"


def titled(kind: str, data: str) -> str:
    return f"{kind[0].upper()}{kind[1:]}{on(data)}"


def on(data: str) -> str:
    return f" ({data})" if data else ""


def counted(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def without_dice(scores: pd.DataFrame, prediction: str = "prediction") -> str:
    """A sentence on structures without Dice, which are not drawn; empty where there are none."""
    missing = scores.loc[scores["dice"].isna(), "structure"].value_counts(sort=False)
    if missing.empty:
        return ""
    counts = ", ".join(f"{spelled(name)} {number}" for name, number in missing.items())
    return f" Not shown, because neither label nor {prediction} has the structure: {counts}."
