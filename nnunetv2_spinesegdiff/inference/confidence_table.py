"""confidence.csv of an output folder, from the rows that every case left there."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path

from ..uncertainty.confidence import write_confidence
from .finished import UNCERTAINTY


def collect_confidence(output: Path) -> None:
    """Write OUTPUT/uncertainty/confidence.csv over all cases that are there, sorted by name.

    Parts of one prediction (`-num_parts`) share the folder; whichever ends last has all rows. A table whose
    last row is gone goes, too; one that was never collected from rows is left alone.
    """
    folder = output / UNCERTAINTY
    rows_folder, table = folder / ".rows", folder / "confidence.csv"
    if not rows_folder.is_dir():
        return
    written = None
    while written != (found := _rows_by_file(rows_folder)):
        write_confidence([row for rows in found.values() for row in rows], table)
        written = found
    if not found:
        table.unlink(missing_ok=True)
        with suppress(OSError):  # not empty: another part has begun to write there
            rows_folder.rmdir()
            folder.rmdir()


def _rows_by_file(folder: Path) -> dict[str, list[dict]]:
    rows = {}
    # Hidden files are not whole yet, or never will be.
    for path in sorted(folder.glob("[!.]*.json")):
        with suppress(FileNotFoundError):  # another part is just predicting that case anew
            rows[path.name] = json.loads(path.read_text(encoding="utf-8"))
    return rows
