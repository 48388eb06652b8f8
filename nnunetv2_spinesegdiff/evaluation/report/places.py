"""A report may be mailed: texts lose the folders and machines that they name, but keep the names of files."""

from __future__ import annotations

import re
import shlex
import socket
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

_PATH = re.compile(
    r"""(?<![^\s"'`=(\[{:,;<>|])            # where a word begins: L5/S1 and n/a are not paths
    (?:[\w.-]+@[\w.-]+:|[A-Za-z][\w+.-]+:(?=/)|[\w.-]+:(?=/))?  # user@host:, scheme:, host:
    (?:[A-Za-z]:[\\/]|\\\\|~[\w.-]*/|(?:\.{1,2}/)+|/+)
    [^\s"'`<>|,;:()\[\]{}]+""",
    re.VERBOSE,
)

_PUBLIC = re.compile(r"(https://doi\.org/\S+)")


class Places:
    """Takes folders and the name of this machine out of texts.

    Args:
        folders: that may be named in texts; needed for names with blanks, of which a text alone does not tell
            where they end.
        whole: take nothing out.
    """

    def __init__(self, folders: Iterable[Path] = (), whole: bool = False) -> None:
        self.whole = whole
        above = {str(p) for folder in folders for p in (folder, *folder.parents) if len(p.parts) > 1}
        self._known = sorted(above, key=len, reverse=True)
        names = {socket.gethostname(), socket.gethostname().partition(".")[0]} - {"", "localhost"}
        self._hosts = [
            re.compile(rf"(?<![\w.-]){re.escape(name)}(?![\w-])") for name in sorted(names, key=len)[::-1]
        ]

    def hidden(self, text: str) -> str:
        """The text with "/data/hospital/7.nii.gz" shortened to "7.nii.gz", and the machine's name to "…"."""
        if self.whole:
            return text
        parts = _PUBLIC.split(text)
        return "".join(part if number % 2 else self._hidden(part) for number, part in enumerate(parts))

    def _hidden(self, text: str) -> str:
        for folder in self._known:
            # Before a file it becomes a part without blanks, which goes below; alone it keeps its own name.
            text = re.sub(rf"{re.escape(folder)}[\\/]+(?=[^\s\\/])", "/_/", text)
            text = re.sub(rf"{re.escape(folder)}(?![\w.-])", Path(folder).name.replace("\\", r"\\"), text)
        text = _PATH.sub(lambda found: _last(found[0]), text)
        for host in self._hosts:
            text = host.sub("…", text)
        return text

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
    return f"{name}{sign}{_last(path)}" if re.search(r"[\\/]", path) else word


def _last(path: str) -> str:
    """The last part of a path; a folder's closing slash is no part."""
    parts = [part for part in re.split(r"[\\/]+", path) if part not in ("", ".", "..")]
    return parts[-1] if parts else ""
