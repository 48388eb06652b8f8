"""Records of finished work, from which a later run sees what it need not do again."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .files import digest, load_json, save_json


@dataclass(frozen=True)
class Record:
    """A JSON file that states what some files were made from, and their SHA-256.

    It is begun before the first of them is written, and finished after the last. So files without a record
    are those of somebody else, and what a finished record lists was whole.

    Attributes:
        path: of the record.
        root: folder below which the files are.
    """

    path: Path
    root: Path

    def begin(self) -> None:
        """State that files may be there that are not whole."""
        save_json({"unfinished": True}, self.path)

    def finish(self, made_from: Mapping[str, Any], files: Iterable[Path], **facts: Any) -> dict[str, Any]:
        """State that the files are whole.

        Args:
            made_from: what decides their content: `content_if_current` compares it.
            facts: further values to keep.

        Returns:
            The content of the record.
        """
        digests = {path.relative_to(self.root).as_posix(): digest(path) for path in files}
        content = as_stored({"made_from": made_from, "files": digests, **facts})
        save_json(content, self.path)
        return content

    def content(self) -> dict[str, Any] | None:
        """Read the record: None if there is none, empty if it is damaged."""
        try:
            content = load_json(self.path)
        except FileNotFoundError:
            return None
        except ValueError:
            return {}
        return content if isinstance(content, dict) else {}

    def content_if_current(self, made_from: Mapping[str, Any]) -> dict[str, Any] | None:
        """What the record states, if the files were made from just this and are still what was written."""
        try:
            content = self.content() or {}
            same = content["made_from"] == as_stored(made_from)
            whole = same and all(digest(self.root / name) == sha for name, sha in content["files"].items())
        except (OSError, KeyError, AttributeError, TypeError):
            return None
        return content if whole else None


def as_stored(value: Any) -> Any:
    """A value as it is read from JSON: of tuples, lists."""
    return json.loads(json.dumps(value))
