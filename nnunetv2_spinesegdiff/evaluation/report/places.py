"""Remove folders and names of machines from the texts of a report, which may be mailed; file names stay."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ...redaction import last_part, redacted


class Places:
    """Remove folders, the user and the name of this machine from texts, see `redacted`.

    Args:
        folders: that texts may name; only needed for names with blanks.
        whole: remove nothing.
    """

    def __init__(self, folders: Iterable[Path] = (), whole: bool = False) -> None:
        self.whole = whole
        self._folders = tuple(folders)

    def hidden(self, text: str) -> str:
        return text if self.whole else redacted(text, self._folders)

    def command(self, line: str) -> str:
        """A shell line whose words lose their folders, NAME=PATH its path's; a relative path is one, too."""
        if self.whole:
            return line
        try:
            words = shlex.split(line)
        except ValueError:  # no shell line
            return self.hidden(line)
        return self.hidden(shlex.join(map(_without_folders, words)))

    def all_hidden(self, texts: Iterable[str]) -> tuple[str, ...]:
        return tuple(map(self.hidden, texts))

    def shown(self, path: Path) -> str:
        """A path's own name, or all of it."""
        return str(path) if self.whole else path.name

    def hidden_in(self, value: Any) -> Any:
        """The same for all texts in mappings and lists."""
        if isinstance(value, str):
            return self.hidden(value)
        if isinstance(value, Mapping):
            return {self.hidden(str(key)): self.hidden_in(inner) for key, inner in value.items()}
        if isinstance(value, list | tuple):
            return [self.hidden_in(inner) for inner in value]
        return value


def _without_folders(word: str) -> str:
    name, sign, path = word.rpartition("=")
    return f"{name}{sign}{last_part(path)}" if re.search(r"[\\/]", path) else word
