"""Sections become one HTML file that needs nothing but itself."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass

from jinja2 import Environment, PackageLoader, StrictUndefined

from .cells import grid_of, is_blank
from .page import Picture, Section

TEMPLATE = "report.html.j2"


@dataclass(frozen=True)
class Page:
    """Title, what was found in a few sentences, and the sections."""

    title: str
    summary: Sequence[str]
    sections: Sequence[Section]
    footer: str


def rendered(page: Page) -> str:
    """HTML with style, script and pictures inside. Texts are escaped, whatever they hold."""
    loader = PackageLoader(__package__.partition(".")[0], "evaluation/report")
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["grid"] = grid_of
    environment.filters["data_uri"] = data_uri
    environment.tests["blank"] = is_blank
    return environment.get_template(TEMPLATE).render(page=page)


def data_uri(picture: Picture) -> str:
    kind = "png" if picture.content.startswith(b"\x89PNG") else "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(picture.content).decode('ascii')}"
