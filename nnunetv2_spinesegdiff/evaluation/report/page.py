"""What a report is made of: sections of text, tables, figures, lists and cases. No HTML yet."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import pandas as pd


@dataclass(frozen=True)
class Cell:
    """A table's cell that is sorted by another value than what it shows; None comes last."""

    text: str
    value: float | None


@dataclass(frozen=True)
class Table:
    """A table that a reader can sort.

    Attributes:
        frame: a row a line; `Cell`, numbers, bools or text. An index with a name, or of text, is shown.
        caption: above it.
        digits: decimals by column; numbers of other columns are shown with four significant digits.
        folded: shown only when a reader opens it.
    """

    kind: ClassVar[str] = "table"
    frame: pd.DataFrame
    caption: str
    digits: Mapping[str, int] = field(default_factory=dict)
    folded: bool = False


@dataclass(frozen=True)
class Picture:
    """An image that travels inside the page.

    Attributes:
        content: of a PNG or JPEG file.
        alt: what it shows, for those who do not see it.
        width, height: in pixels.
    """

    kind: ClassVar[str] = "picture"
    content: bytes
    alt: str
    width: int
    height: int


@dataclass(frozen=True)
class Figure:
    """A picture with title and caption; without picture the caption says why there is none."""

    kind: ClassVar[str] = "figure"
    title: str
    caption: str
    picture: Picture | None


@dataclass(frozen=True)
class Listing:
    """Lines of text, or of commands.

    Attributes:
        folded: shown only when a reader opens it.
    """

    kind: ClassVar[str] = "listing"
    title: str
    lines: tuple[str, ...]
    code: bool = False
    folded: bool = False


@dataclass(frozen=True)
class Legend:
    """What colours mean: name, colour (#rrggbb), and CSS's name of the line ("solid", "dashed", "dotted") or
    "filled" for an area."""

    kind: ClassVar[str] = "legend"
    title: str
    entries: tuple[tuple[str, str, str], ...]


@dataclass(frozen=True)
class CaseCard:
    """One case of the gallery.

    Attributes:
        name, facts: its heading, and a line beneath.
        pictures: by title; none where there are none, `remarks` say why.
        remarks: what a reader of the pictures must know.
        scores: a row a system, a column a structure.
    """

    kind: ClassVar[str] = "case"
    name: str
    facts: str
    pictures: Mapping[str, Picture]
    remarks: tuple[str, ...]
    scores: Table


Block = Table | Picture | Figure | Listing | Legend | CaseCard


@dataclass(frozen=True)
class Section:
    """A part of the page with an entry in its contents.

    Attributes:
        text: paragraphs.
        warnings: paragraphs that nobody may miss.
        blocks: what follows, in order.
    """

    title: str
    text: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    blocks: tuple[Block, ...] = ()
