"""Texts for others, without the folders, the user and the name of this machine."""

from __future__ import annotations

import contextlib
import getpass
import os
import platform
import re
from functools import cache
from pathlib import Path

HIDDEN = "…"
_EVERYBODY = {"root", "user", "admin", "ubuntu", "runner", "docker", "jovyan", "nobody", "localhost"}
_PATH = re.compile(
    r"""(?<![^\s"'`=(\[{:,;<>|])         # where a word begins: L5/S1 and n/a are not paths
    (?:(?:[\w.-]+@)?[\w+.-]+:/+          # user@host:/, scheme:/, host:/, C:/
    |[A-Za-z]:\\|\\\\|~[\w.-]*/|(?:\.\./)+
    |/+(?=[^\s/]+/[^\s/]))               # two parts or more: /T2w may belong to "T1w /T2w"
    [^\s"'`<>|,;:()\[\]{}]+""",
    re.VERBOSE,
)
_PUBLICATION = re.compile(r"(https://doi\.org/\S+)")
_ADDRESS = re.compile(r"(https?://\S+)")


def redacted(
    text: str, folders: tuple[Path, ...] = (), *, keep_paths: bool = False, keep_addresses: bool = False
) -> str:
    """Shorten paths to their last part, "/data/7.nii.gz" to "7.nii.gz", and hide user and host.

    Args:
        text: any text. Addresses of publications (https://doi.org/...) stay.
        folders: that may be named in the text, needed for names with blanks.
        keep_paths: only replace the home folder by ~.
        keep_addresses: keep all web addresses.
    """
    if keep_paths:
        return _without_names(_with_tilde(text))
    parts = (_ADDRESS if keep_addresses else _PUBLICATION).split(text)
    return "".join(part if number % 2 else _shortened(part, folders) for number, part in enumerate(parts))


def last_part(path: str) -> str:
    """The last part of a path; a folder's closing slash is not a part."""
    parts = [part for part in re.split(r"[\\/]+", path) if part not in ("", ".", "..")]
    return parts[-1] if parts else ""


def names_of_this_machine() -> set[str]:
    """Its user and its host, except for names that are common and mean something else elsewhere."""
    host = platform.node()
    names = {host, host.split(".")[0]}
    with contextlib.suppress(KeyError, OSError, ImportError):  # a container without users
        names.add(getpass.getuser())
    return {name for name in names if len(name) > 2 and name.lower() not in _EVERYBODY}


def _shortened(text: str, folders: tuple[Path, ...]) -> str:
    for folder in _with_parents(folders):
        # Before a file it becomes a part without blanks, which is removed below; alone it keeps its name.
        text = re.sub(rf"{re.escape(folder)}[\\/]+(?=[^\s\\/])", "/_/", text)
        text = re.sub(rf"{re.escape(folder)}(?![\w.-])", Path(folder).name.replace("\\", r"\\"), text)
    return _without_names(_PATH.sub(lambda found: last_part(found[0]), text))


@cache
def _with_parents(folders: tuple[Path, ...]) -> list[str]:
    """The folders and all above them, the longest first."""
    above = {str(p) for folder in folders for p in (folder, *folder.parents) if len(p.parts) > 1}
    return sorted(above, key=len, reverse=True)


def _with_tilde(text: str) -> str:
    for home in {str(Path.home()), os.path.realpath(Path.home())}:
        if home != os.sep:
            text = re.sub(rf"(?<![\w/.-]){re.escape(home)}(?![\w.-])", "~", text)
    return text


def _without_names(text: str) -> str:
    for name in sorted(names_of_this_machine(), key=len, reverse=True):
        text = re.sub(rf"(?<![^\W_]){re.escape(name)}(?![^\W_])", HIDDEN, text)
    return text
