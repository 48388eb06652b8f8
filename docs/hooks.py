"""What the documentation takes from the repository when it is built: measured figures, options of commands.

Write these macros in a page:

    {{ figure FILE | TABLE | ROW | COLUMN }}      a cell of a table
    {{ table FILE | TABLE | ROWS | COLUMNS }}     a part of a table
    {{ file FILE }}                               a whole file
    {{ commands }}                                all commands with their options

FILE is a path in the repository. TABLE is the heading above the table, `*` stands for any. ROW is the text of
one or more cells of the row, joined by ` & `. ROWS and COLUMNS are joined by ` / `, `*` stands for all.

README and the pages are also read without a build, on GitHub or in an editor. `python docs/hooks.py` replaces
the first three macros by comments around their values, and brings values up to date:

    <!-- figure FILE | TABLE | ROW | COLUMN -->0.93<!-- end -->

A whole file appears as a link until the page is built. A cell of a table cannot hold a figure, because the
comment contains `|`.
"""

from __future__ import annotations

import argparse
import html
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
PAGES = ("CONTRIBUTING.md", "CHANGELOG.md")
MACRO = re.compile(r"\{\{ (figure|table|file|commands)(?: (.+?))? \}\}")
COMMENT = re.compile(r"<!-- (figure|table|file) (.+?) -->.*?<!-- end -->", re.DOTALL)


@dataclass
class Table:
    """A Markdown table, and the heading above it."""

    heading: str
    columns: list[str]
    rows: list[list[str]] = field(default_factory=list)


def tables_of(text: str) -> Iterator[Table]:
    """The tables of a Markdown text, in order."""
    heading, table = "", None
    for line in text.splitlines():
        if line.startswith("#"):
            heading = line.lstrip("# ")
        if not line.startswith("|"):
            if table:
                yield table
            table = None
            continue
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if table is None:
            table = Table(heading, cells)
        elif not set("".join(cells)) <= set("-: "):
            table.rows.append(cells)
    if table:
        yield table


def figure(reference: str) -> str:
    """The cell that `FILE | TABLE | ROW | COLUMN` refers to, without an interval in parentheses.

    Raises:
        LookupError: the cell was not found, or several match.
    """
    file, heading, row, column = _fields(reference, 4)
    found = {
        cells[table.columns.index(column)]
        for table in _tables(file, heading)
        if column in table.columns
        for cells in table.rows
        if _matches(cells, row)
    }
    if len(found) != 1:
        raise LookupError(f"{reference}: {len(found)} cells found, expected one")
    return found.pop().partition(" (")[0]


def part_of_table(reference: str) -> str:
    """The Markdown of the rows and columns that `FILE | TABLE | ROWS | COLUMNS` refers to.

    Raises:
        LookupError: the table, row or column was not found.
    """
    file, heading, rows, columns = _fields(reference, 4)
    for table in _tables(file, heading):
        wanted = table.columns if columns == "*" else [name.strip() for name in columns.split(" / ")]
        if not set(wanted) <= set(table.columns):
            continue
        patterns = ["*"] if rows == "*" else rows.split(" / ")
        chosen = [[cells for cells in table.rows if _matches(cells, pattern)] for pattern in patterns]
        if all(chosen):
            lines = [wanted, ["---"] * len(wanted)]
            places = [table.columns.index(name) for name in wanted]
            lines += [[cells[place] for place in places] for group in chosen for cells in group]
            return "\n".join(f"| {' | '.join(line)} |" for line in lines)
    raise LookupError(f"{reference}: no such table, row or column")


def with_figures(text: str, page: Path = README) -> str:
    """README or a page with the values that the benchmark files hold now, for readers of the repository.

    Args:
        page: the path of the text, from which links to files start.
    """

    def updated(match: re.Match[str]) -> str:
        kind, reference = match.groups()
        if kind == "commands":
            return match[0]
        if kind == "file":
            up = "../" * len(page.relative_to(ROOT).parents[1:])
            value = f"[{reference}]({up}{reference})"
        else:
            value = figure(reference) if kind == "figure" else f"\n{part_of_table(reference)}\n"
        return f"<!-- {kind} {reference} -->{value}<!-- end -->"

    return COMMENT.sub(updated, MACRO.sub(updated, text))


def pages() -> list[Path]:
    """README and the pages of the documentation."""
    return [README, *sorted((ROOT / "docs").rglob("*.md"))]


def commands() -> str:
    """Markdown for every command of `spinesegdiff`, and for the options that `nnUNetv2_predict` gets."""
    from nnunetv2_spinesegdiff import cli
    from nnunetv2_spinesegdiff.inference.command import flags_parser

    subparsers = next(a for a in cli.build_parser()._actions if isinstance(a, argparse._SubParsersAction))
    sections = []
    for name, parser in subparsers.choices.items():
        sections.append(f"## {name}\n\n{parser.description}\n\n{_usage(name, parser)}\n\n{_options(parser)}")
    predict = flags_parser()
    group = predict._action_groups[-1]
    sections.append(
        '## nnUNetv2_predict\n\nOptions in addition to those of nnU-Net, after `eval "$(spinesegdiff env)"`; '
        f"`spinesegdiff predict` takes them, too. {group.description}\n\n{_options(predict)}"
    )
    return "\n\n".join(sections)


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Fill in what the macros and comments of a page refer to; called by MkDocs."""

    def filled(match: re.Match[str]) -> str:
        kind, reference = match.groups()
        if kind == "commands":
            return commands()
        if kind == "file":
            return _included(reference)
        return figure(reference) if kind == "figure" else part_of_table(reference)

    return MACRO.sub(filled, COMMENT.sub(filled, markdown))


def on_page_content(content: str, **_: Any) -> str:
    """Keep short code and intervals on one line: browsers break them after hyphens; called by MkDocs."""
    content = re.sub(r"<code>([^<\n]{1,36})</code>", r'<code class="short">\1</code>', content)
    return re.sub(r"\(([-+.\d]+) to ([-+.\d]+)\)", r"(\1&nbsp;to&nbsp;\2)", content)


def _included(file: str) -> str:
    """The text of a file in a page: links to files become names.

    Where the file is not the whole page, its first heading is left out and the others go one level down.
    """
    text = re.sub(r"\[([^]]+)\]\((?!http|#)[^)]+\)", r"\1", (ROOT / file).read_text(encoding="utf-8"))
    if file in PAGES:
        return text
    title, _, rest = text.partition("\n")
    return re.sub(r"(?m)^(##+ )", r"#\1", rest if title.startswith("# ") else text)


def _usage(name: str, parser: argparse.ArgumentParser) -> str:
    actions = [action for action in parser._actions if action.required or not action.option_strings]
    needed = [" ".join([*action.option_strings[:1], _values(action)]) for action in actions]
    more = ["[options]"] if len(parser._actions) > len(actions) + 1 else []
    return f"```text\n{' '.join(['spinesegdiff', name, *needed, *more])}\n```"


def _options(parser: argparse.ArgumentParser) -> str:
    """A list of definitions: tables with three columns are unreadable on a telephone."""
    entries = []
    for action in parser._actions:
        if isinstance(action, argparse._HelpAction):
            continue
        name = " ".join([*action.option_strings[:1], _values(action)]).strip()
        meaning = re.sub(r" \(default: [^)]*\)$", "", action.help or "")
        meaning = html.escape(meaning.rstrip("."), quote=False)
        if re.match(r"[a-z]+\b(?![.\-_])", meaning):  # not the name of a file, nor nnU-Net
            meaning = meaning[:1].upper() + meaning[1:]
        entries.append(f"`{name}`\n:   {meaning}.{_default(action)}")
    return "\n\n".join(entries)


def _values(action: argparse.Action) -> str:
    if action.nargs == 0:
        return ""
    if isinstance(action.metavar, tuple):
        return " ".join(action.metavar)
    shown = "{" + ",".join(map(str, action.choices)) + "}" if action.choices else action.metavar
    shown = str(shown or action.dest.upper())
    return {"+": f"{shown} [{shown} ...]", "?": f"[{shown}]"}.get(str(action.nargs), shown)


def _default(action: argparse.Action) -> str:
    if action.required:
        return " Required."
    if action.nargs == 0 or action.default in (None, argparse.SUPPRESS, []):
        return ""
    if action.dest == "np":
        return " Default: the number of CPU cores."  # of the machine that builds the pages
    values = action.default if isinstance(action.default, list | tuple) else [action.default]
    return f" Default: {', '.join(f'`{value}`' for value in values)}."


def _fields(reference: str, count: int) -> list[str]:
    fields = [text.strip() for text in reference.split(" | ")]
    if len(fields) != count:
        raise LookupError(f"{reference}: {len(fields)} parts, expected {count}")
    return fields


def _tables(file: str, heading: str) -> list[Table]:
    found = list(tables_of((ROOT / file).read_text(encoding="utf-8")))
    return found if heading == "*" else [table for table in found if table.heading == heading]


def _matches(cells: Sequence[str], row: str) -> bool:
    return row == "*" or all(text.strip() in cells for text in row.split(" & "))


if __name__ == "__main__":
    for path in pages():
        path.write_text(with_figures(path.read_text(encoding="utf-8"), path), encoding="utf-8")
