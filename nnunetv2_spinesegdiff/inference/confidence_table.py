"""confidence.csv of an output folder, from the rows that every case left there."""

from __future__ import annotations

import json
from pathlib import Path

from ..evaluation.confidence import write_confidence
from .finished import UNCERTAINTY


def collect_confidence(output: Path) -> Path:
    """Write OUTPUT/uncertainty/confidence.csv over all cases that are there, sorted by name.

    Parts of one prediction (`-num_parts`) share the folder; whichever ends last has all rows.
    """
    folder = output / UNCERTAINTY
    table, written = folder / "confidence.csv", None
    while written != (files := sorted((folder / ".rows").glob("*.json"))):
        rows = [row for path in files for row in json.loads(path.read_text())]
        write_confidence(rows, table)
        written = files
    return table
