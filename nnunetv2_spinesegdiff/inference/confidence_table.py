"""confidence.csv of an output folder, from the rows that every case left there."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path

from ..evaluation.confidence import write_confidence
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
    # Hidden files are not whole yet, or never will be.
    while written != (files := sorted(rows_folder.glob("[!.]*.json"))):
        rows = [row for path in files for row in json.loads(path.read_text())]
        write_confidence(rows, table)
        written = files
    if not files:
        table.unlink(missing_ok=True)
        with suppress(OSError):  # not empty: another part has begun to write there
            rows_folder.rmdir()
            folder.rmdir()
