"""What `spinesegdiff segment` prints at the end."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path

from .cohort import Done
from .many import Failure

NAMED = 5
"""At most this number of skipped files are printed; run.json lists all of them."""


def print_done(done: Done, out: Path) -> None:
    """Print notes, warnings and failures to stderr, and what was made to stdout."""
    for note in done.notes:
        print(f"note: {note}", file=sys.stderr)
    if done.passed_over:
        print(f"warning: {_passed_over(done.passed_over)}", file=sys.stderr)
    for name, lines in done.warnings.items():
        print(f"warning: {name}: {'; '.join(lines)}", file=sys.stderr)
    if done.failures:
        print(_table(done.failures), file=sys.stderr)
    print(
        f"{len(done.segmented)} segmented, {len(done.kept)} finished already, {len(done.failures)} failed: "
        f"{out}"
    )


def _passed_over(names: Sequence[str]) -> str:
    more = ", ..." if len(names) > NAMED else ""
    count = "1 file was" if len(names) == 1 else f"{len(names)} files were"
    cause = "in a format that is not read, or not named as BIDS requires in a BIDS dataset"
    return f"{count} skipped, {cause}: {', '.join(names[:NAMED])}{more}"


def _table(failures: Sequence[Failure]) -> str:
    """Scans and causes, side by side."""
    names = ["scan", *(failure.source.name for failure in failures)]
    causes = ["why there is no result", *(failure.reason for failure in failures)]
    width = min(max(map(len, names)), 40)
    rows = [
        textwrap.fill(cause, 110, initial_indent=f"{name:<{width}}  ", subsequent_indent=" " * (width + 2))
        for name, cause in zip(names, causes, strict=True)
    ]
    return "\n".join([rows[0], "-" * 110, *rows[1:]])
