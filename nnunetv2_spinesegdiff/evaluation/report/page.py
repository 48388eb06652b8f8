"""What a report is made of: sections of text, tables, figures, lists and cases. No HTML yet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd


@dataclass(frozen=True)
class Table:
    """A table that a reader can sort.

    Attributes:
        frame: of `Cell`, numbers or text; its index is not shown. Integers are shown as they are, other
            numbers with four significant digits.
        caption: above it.
        folded: shown only when a reader opens it.
    """

    frame: pd.DataFrame
    caption: str
    folded: bool = False


@dataclass(frozen=True)
class Picture:
    """An image inside the page.

    Attributes:
        content: of a PNG or JPEG file.
        alt: what it shows, for those who do not see it.
        width, height: in pixels.
    """

    content: bytes
    alt: str
    width: int
    height: int


@dataclass(frozen=True)
class Figure:
    """A picture with title and caption; if the picture is missing, the caption states why."""

    title: str
    caption: str
    picture: Picture | None


@dataclass(frozen=True)
class Listing:
    """Lines of text, or of commands.

    Attributes:
        folded: shown only when a reader opens it.
    """

    title: str
    lines: tuple[str, ...]
    code: bool = False
    folded: bool = False


@dataclass(frozen=True)
class Legend:
    """What colors mean: name, color (#rrggbb), and CSS's name of the line ("solid", "dashed", "dotted") or
    "filled" for an area."""

    title: str
    entries: tuple[tuple[str, str, str], ...]


@dataclass(frozen=True)
class CaseCard:
    """One case of the gallery.

    Attributes:
        name, facts: its heading, and a line beneath.
        pictures: by title; if there are none, `remarks` state why.
        remarks: on the pictures.
        scores: one row per system, one column per structure.
    """

    name: str
    facts: str
    pictures: Mapping[str, Picture]
    remarks: tuple[str, ...]
    scores: Table


Block = Table | Figure | Listing | Legend | CaseCard


@dataclass(frozen=True)
class Section:
    """A part of the page with an entry in its contents.

    Attributes:
        text: paragraphs.
        warnings: paragraphs that stand out.
        blocks: what follows, in order.
    """

    title: str
    text: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    blocks: tuple[Block, ...] = ()


@dataclass(frozen=True)
class Page:
    """Title, a summary in a few sentences, and the sections."""

    title: str
    summary: Sequence[str]
    sections: Sequence[Section]
    footer: str
