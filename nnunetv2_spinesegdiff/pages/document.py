"""An HTML document that loads nothing but what it is allowed to."""

from __future__ import annotations

from html import escape
from pathlib import Path

_FOLDER = Path(__file__).parent
_EMBEDDED = "data:"
_HEAD = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src {pictures}; \
style-src 'unsafe-inline'; script-src 'unsafe-inline'; base-uri 'none'; form-action 'none'">
<meta name="generator" content="{made_by}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<link rel="icon" href="data:,">
<title>{title}</title>
<style>
{style}</style>
</head>
<body>
<a class="skip" href="#content">Skip to the content</a>
"""


def document(title: str, body: str, made_by: str, pictures: str = "") -> str:
    """Return a whole page with the style and the script of all pages inside.

    Args:
        title: text.
        body: HTML; an element of it has the id "content".
        made_by: the command, as "generator" of the page.
        pictures: where pictures may be, in addition to the page itself: sources of a content security policy.
    """
    style, script = ((_FOLDER / name).read_text(encoding="utf-8") for name in ("page.css", "sortable.js"))
    allowed = f"{_EMBEDDED} {pictures}".strip()
    head = _HEAD.format(pictures=allowed, made_by=made_by, title=escape(title), style=style)
    return f"{head}{body}<script>\n{script}</script>\n</body>\n</html>\n"
