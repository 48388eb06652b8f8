"""Render a page as one HTML file without external resources."""

from __future__ import annotations

import base64
from numbers import Integral, Real

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined

from ...pages.cells import Cell
from ...pages.document import document
from ...pages.tables import Column, sortable_table
from ...text import MINUS, MISSING
from .page import Page, Picture, Table

TEMPLATE = "report.html.j2"


def rendered(page: Page) -> str:
    """Return HTML with style, script and pictures inside. All texts are escaped."""
    loader = PackageLoader(__package__.partition(".")[0], "evaluation/report")
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"table": _table, "data_uri": data_uri}
    body = environment.get_template(TEMPLATE).render(page=page)
    return document(page.title, body, "spinesegdiff report")


def columns_of(frame: pd.DataFrame) -> list[Column]:
    """The columns of a table as cells."""
    return [
        Column(str(name), tuple(map(_cell, frame.iloc[:, place]))) for place, name in enumerate(frame.columns)
    ]


def data_uri(picture: Picture) -> str:
    kind = "png" if picture.content.startswith(b"\x89PNG") else "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(picture.content).decode('ascii')}"


def _table(table: Table, kind: str = "") -> str:
    return sortable_table(columns_of(table.frame), table.caption, kind)


def _cell(value: object) -> Cell:
    if isinstance(value, Cell):
        return value
    if pd.isna(value):
        return Cell(MISSING, None)
    if isinstance(value, Real):
        text = str(int(value)) if isinstance(value, Integral) else f"{value:.4g}"
        return Cell(text.replace("-", MINUS), float(value))
    return Cell(str(value), None)
