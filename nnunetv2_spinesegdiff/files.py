"""Files that appear under their final name only when they are whole."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def written_whole(path: Path | str) -> Iterator[Path]:
    """Give a temporary name next to `path`; rename it to `path` on success, remove it on any exception.

    The temporary name keeps the ending of `path` (`.nii.gz` included): writers choose their format by it.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    prefix, suffix = _around_random_part(path)
    handle, name = tempfile.mkstemp(prefix=prefix, suffix=suffix, dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        # mkstemp makes files private; results are shared like any other file of the user.
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def half_written(path: Path) -> list[Path]:
    """What `written_whole` left of `path` in processes that were killed, or has of it in one that writes."""
    prefix, suffix = map(re.escape, _around_random_part(path))
    temporary = re.compile(rf"{prefix}[^.]+{suffix}")
    return [other for other in path.parent.glob(".*") if temporary.fullmatch(other.name)]


def _around_random_part(path: Path) -> tuple[str, str]:
    ending = "".join(path.suffixes[-2:]) if path.name.endswith(".gz") else path.suffix
    return f".{path.name.removesuffix(ending)}.", f".part{ending}"


def save_json(content: object, path: Path | str) -> None:
    """Write `content` as indented JSON, whole or not at all."""
    with written_whole(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def load_json(path: Path) -> Any:
    """Read a JSON file."""
    return json.loads(path.read_text(encoding="utf-8"))


def json_object(path: Path) -> dict[str, Any]:
    """Read the object in a JSON file; empty if the file is missing, damaged or holds something else."""
    try:
        content = load_json(path)
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def save_csv(columns: Sequence[str], rows: Iterable[Mapping[str, Any]], path: Path) -> None:
    """Write a table as CSV, whole or not at all; a row may lack columns."""
    with written_whole(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def digest(path: Path) -> str:
    """SHA-256 of a file's content, in hexadecimal."""
    made = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            made.update(block)
    return made.hexdigest()
