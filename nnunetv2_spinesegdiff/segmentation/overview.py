"""index.html: the scans of an output folder with their pictures, the most doubtful ones first."""

from __future__ import annotations

import math
import os
import struct
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

from .. import __version__
from ..files import written_whole
from ..pages.cells import Cell, with_digits
from ..pages.document import document
from ..pages.tables import Column, HtmlCell, sortable_table
from ..text import spelled
from .bids import is_derivative
from .measurements import USE
from .measuring.levels import GIVEN, HIGH, LOW, MODERATE
from .outputs import ScanOutputs

OVERVIEW = "index.html"
_TITLE = "Segmented scans"
_MADE_BY = "spinesegdiff segment"
_HEAD_BYTES = 1000
_PICTURES = "'self' file:"
"""The folder's own: "self" where a server sends the page, "file:" where it is opened from disk."""
_PNG = b"\x89PNG\r\n\x1a\n"
_SIZE = struct.Struct(">8s8xII")
"""Start of a PNG: signature, header of its first chunk, width, height."""
_CONFIDENCE = (LOW, MODERATE, HIGH, GIVEN)
_EXPLANATION = (
    "Failed scans come first, then scans with low confidence of the levels or low agreement, then the "
    "others. In both groups, the lowest agreement comes first. A click on a heading sorts the table. A click "
    "on a picture shows it in full size.",
    "Vertebrae, discs and levels are those of the measured slice. Slices are counted from the patient's "
    "left, starting at 0. Agreement is the Dice of stage 1 and the mask. Uncertainty is the mean of the map "
    "inside. The table shows the lowest agreement and the highest uncertainty of all structures, vertebrae "
    "and discs of a scan. measurements.csv holds all values, run.json the settings.",
)


class Picture(NamedTuple):
    """A PNG file: path from the page, and size in pixels."""

    file: str
    width: int
    height: int


def write_overview(folder: Path, records: Mapping[str, Mapping[str, Any]]) -> None:
    """Write the page, unless a file of this name was not created here.

    Args:
        folder: output folder.
        records: of its scans by name, see `ScanOutputs.write`. With a "failure", the last run failed.
    """
    if is_foreign(folder / OVERVIEW):
        return
    bids = is_derivative(folder)
    pictures = {name: picture_of(ScanOutputs(folder, name, bids).overlay, folder) for name in records}
    with written_whole(folder / OVERVIEW) as temporary:
        # A name may hold bytes that are not text.
        temporary.write_text(overview(records, pictures), encoding="utf-8", errors="replace")


def is_foreign(page: Path) -> bool:
    """Whether a file of somebody else has the name of the page."""
    try:
        with page.open("rb") as stream:
            return f'content="{_MADE_BY}"'.encode() not in stream.read(_HEAD_BYTES)
    except OSError:
        return os.path.lexists(page)


def picture_of(path: Path, folder: Path) -> Picture | None:
    """The picture in a file, for a page in a folder; None if there is none."""
    try:
        with path.open("rb") as stream:
            signature, width, height = _SIZE.unpack(stream.read(_SIZE.size))
    except (OSError, struct.error):
        return None
    return Picture(path.relative_to(folder).as_posix(), width, height) if signature == _PNG else None


def overview(records: Mapping[str, Mapping[str, Any]], pictures: Mapping[str, Picture | None]) -> str:
    """Return the page as HTML. All texts are escaped."""
    scans = sorted((_Scan(name, record) for name, record in records.items()), key=_Scan.order)
    columns = (
        Column("Scan", tuple(_scan_cell(scan.name, pictures.get(scan.name)) for scan in scans)),
        Column("Warnings", tuple(map(_warnings_cell, scans))),
        Column("Vertebrae", tuple(scan.count("vertebrae") for scan in scans)),
        Column("Discs", tuple(scan.count("ivd") for scan in scans)),
        Column("Levels", tuple(Cell(scan.levels, None) for scan in scans)),
        Column("Confidence of levels", tuple(scan.confidence_cell for scan in scans)),
        Column("Lowest agreement", tuple(_value_cell(scan.agreement, 2) for scan in scans)),
        Column("Highest uncertainty", tuple(_value_cell(scan.uncertainty, 3) for scan in scans)),
        Column("Slice", tuple(scan.slice for scan in scans)),
    )
    body = [
        "<header>",
        f"<h1>{_TITLE}</h1>",
        f'<p class="lead">{_summary(scans)}</p>',
        "</header>",
        '<main id="content">',
        *(f"<p>{text}</p>" for text in _EXPLANATION),
        sortable_table(columns, _TITLE, "scans small", headed_cells=True),
        "</main>",
        "<footer>",
        f"<p>spinesegdiff {__version__}, {USE}.</p>",
        "</footer>",
    ]
    return document(_TITLE, "\n".join(body) + "\n", _MADE_BY, _PICTURES)


class _Value(NamedTuple):
    """A number, and of what."""

    number: float
    place: str


class _Scan:
    """What a record states about a scan."""

    def __init__(self, name: str, record: Mapping[str, Any]):
        self.name = name
        self.failure: str | None = record.get("failure")
        self.warnings: list[str] = record.get("warnings", [])
        self.confidence: str | None = record.get("levels", {}).get("confidence")
        self._rows: list[dict[str, Any]] = record.get("measurements", [])

    def order(self) -> tuple[object, ...]:
        """Sort key: failed scans, doubtful ones, the others; the lowest agreement first."""
        doubtful = self.confidence == LOW or any(row.get("low_agreement") for row in self._rows)
        agreement = self.agreement.number if self.agreement else math.inf
        uncertainty = self.uncertainty.number if self.uncertainty else 0.0
        return self.failure is None, not doubtful, agreement, -uncertainty, self.name

    def count(self, structure: str) -> Cell:
        """Number of single vertebrae or discs."""
        if not self._rows:
            return Cell("", None)
        number = sum(row["structure"] == structure and row["number"] is not None for row in self._rows)
        return Cell(str(number), number)

    @property
    def levels(self) -> str:
        """Names of the vertebrae, from head to foot."""
        upward = [row["level"] for row in self._rows if row["structure"] == "vertebrae" and row.get("level")]
        return " ".join(reversed(upward))

    @property
    def confidence_cell(self) -> Cell:
        known = self.confidence in _CONFIDENCE
        return Cell(self.confidence or "", _CONFIDENCE.index(self.confidence) if known else None)

    @property
    def slice(self) -> Cell:
        return Cell(str(self._rows[0]["slice"]), self._rows[0]["slice"]) if self._rows else Cell("", None)

    @property
    def agreement(self) -> _Value | None:
        return min(self._values("agreement"), default=None)

    @property
    def uncertainty(self) -> _Value | None:
        return max(self._values("mean_uncertainty"), default=None)

    def _values(self, column: str) -> list[_Value]:
        return [
            _Value(row[column], row.get("level") or spelled(row["structure"]))
            for row in self._rows
            if row.get(column) is not None
        ]


def _summary(scans: Sequence[_Scan]) -> str:
    failed = sum(scan.failure is not None for scan in scans)
    warned = sum(scan.failure is None and bool(scan.warnings) for scan in scans)
    count = "1 scan" if len(scans) == 1 else f"{len(scans)} scans"
    return (
        f"{count}: {failed} failed, {warned} with warnings, {len(scans) - failed - warned} without warnings."
    )


def _scan_cell(name: str, picture: Picture | None) -> HtmlCell:
    shown = escape(name)
    if picture is not None:
        file = quote(os.fsencode(picture.file))
        alt = escape(f"{name}: measured slice with outlines, and its uncertainty map")
        size = f'width="{picture.width}" height="{picture.height}"'
        shown += f'<a href="{file}"><img src="{file}" alt="{alt}" {size} loading="lazy"></a>'
    return HtmlCell(name, None, shown)


def _warnings_cell(scan: _Scan) -> Cell:
    failure = "" if scan.failure is None else f"Failed: {scan.failure}"
    lines = [*([failure] if failure else []), *scan.warnings]
    shown = [f'<strong class="cause">{escape(failure)}</strong>'] if failure else []
    shown += [escape(warning) for warning in scan.warnings]
    return HtmlCell("\n".join(lines), None, "".join(f"<div>{line}</div>" for line in shown))


def _value_cell(value: _Value | None, digits: int) -> Cell:
    if value is None:
        return Cell("", None)
    number, place = with_digits(value.number, digits).text, f"({value.place})"
    return HtmlCell(f"{number} {place}", value.number, f"{number} <span>{escape(place)}</span>")
