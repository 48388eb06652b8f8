"""Render a page as one HTML file without external resources."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from functools import cached_property
from numbers import Integral, Real

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined

from ...text import MINUS, MISSING
from ..cells import Cell
from .page import Page, Picture

TEMPLATE = "report.html.j2"
LONG = 32
"""Characters of a text that gets room for several words per line."""


@dataclass(frozen=True)
class Column:
    """A column as it is shown.

    Attributes:
        heading: above it.
        cells: from top to bottom.
    """

    heading: str
    cells: tuple[Cell, ...]

    @cached_property
    def numeric(self) -> bool:
        """Sorted by values: there are some, and none but the missing cells lacks one."""
        known = [cell.value is not None for cell in self.cells if not is_missing(cell)]
        return bool(known) and all(known)

    @cached_property
    def long(self) -> bool:
        return any(len(cell.text) > LONG for cell in self.cells)


def rendered(page: Page) -> str:
    """Return HTML with style, script and pictures inside. All texts are escaped."""
    loader = PackageLoader(__package__.partition(".")[0], "evaluation/report")
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"columns": columns_of, "data_uri": data_uri}
    environment.tests["missing"] = is_missing
    return environment.get_template(TEMPLATE).render(page=page)


def columns_of(frame: pd.DataFrame) -> list[Column]:
    """The columns of a table as cells."""
    return [
        Column(str(name), tuple(map(_cell, frame.iloc[:, place]))) for place, name in enumerate(frame.columns)
    ]


def is_missing(cell: Cell) -> bool:
    """There is nothing to sort by: "", "n/a", "n/a (0)"."""
    return cell.value is None and (not cell.text.strip() or cell.text.startswith(MISSING))


def data_uri(picture: Picture) -> str:
    kind = "png" if picture.content.startswith(b"\x89PNG") else "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(picture.content).decode('ascii')}"


def _cell(value: object) -> Cell:
    if isinstance(value, Cell):
        return value
    if pd.isna(value):
        return Cell(MISSING, None)
    if isinstance(value, Real):
        text = str(int(value)) if isinstance(value, Integral) else f"{value:.4g}"
        return Cell(text.replace("-", MINUS), float(value))
    return Cell(str(value), None)
