"""What is in an HTML page: its elements, its text, and what a browser would load."""

from __future__ import annotations

import re
from html.parser import HTMLParser

VOID = {"meta", "link", "img", "br", "hr", "input"}


class Page(HTMLParser):
    """Elements with their attributes, text, and whether every element is closed in order."""

    def __init__(self, html: str):
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.wrong: list[str] = []
        self.opened: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if len(dict(attrs)) != len(attrs):
            self.wrong.append(f"{tag} has an attribute twice")
        if tag not in VOID:
            self.opened.append(tag)

    def handle_endtag(self, tag):
        if not self.opened or self.opened.pop() != tag:
            self.wrong.append(f"</{tag}> at {self.getpos()}")

    def handle_data(self, data):
        if not self.opened or self.opened[-1] not in ("style", "script"):
            self.texts.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.texts))

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def external(html: str) -> list[str]:
    """Whatever a browser might load from elsewhere: addresses in attributes and in CSS that are no data."""
    page = Page(html)
    loading = ("src", "srcset", "href", "poster", "data", "action", "formaction", "background", "xlink:href")
    found = [str(a[name]) for _, a in page.elements for name in loading if a.get(name)]
    found += re.findall(r"url\(\s*['\"]?([^'\")]*)", html) + re.findall(r"@import[^;]*", html)
    return [address for address in found if not address.startswith(("data:", "#"))]
