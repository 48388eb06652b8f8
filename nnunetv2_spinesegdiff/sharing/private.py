"""What of a model's JSON files must not be handed on: folders, users and hosts of the machine it is from."""

from __future__ import annotations

import contextlib
import getpass
import platform
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from ..errors import UserError

CASES = ("dataset", "training", "test")
"""Lists of a dataset.json: names of cases, which may be those of patients."""
NEEDED = {
    "dataset.json": ("channel_names", "labels", "file_ending", "regions_class_order"),
    "plans.json": ("configurations", "dataset_name", "plans_name", "image_reader_writer", "spinesegdiff"),
}
"""What prediction cannot do without, or an exported model's name is made of."""
_PATH = re.compile(
    r"(?<![\w./+~%-])(?:/[^\s/]+){2,}|\b[A-Za-z]:\\|\\\\\w|(?<!\w)~/|\bfile:/",
    re.ASCII,
)
"""At least two parts: a single one may be half of "T1w /T2w"."""
_NOBODY = {"root", "user", "admin", "ubuntu", "runner", "docker", "jovyan", "nobody", "localhost"}


def names_of_this_machine() -> set[str]:
    """Its user and its host, but for names that everyone has and that mean something else elsewhere."""
    host = platform.node()
    names = {host, host.split(".")[0]}
    with contextlib.suppress(KeyError, OSError, ImportError):  # a container without users
        names.add(getpass.getuser())
    return {name for name in names if len(name) > 2 and name.lower() not in _NOBODY}


def public_part(content: Mapping[str, Any], path: Path) -> tuple[dict[str, Any], list[str]]:
    """What of a model's plans.json or dataset.json may be handed on, and the keys of what may not.

    Raises:
        UserError: something that a model needs names this machine.
    """
    cases = [key for key in CASES if key in content and path.name == "dataset.json"]
    rest = {key: value for key, value in content.items() if key not in cases}
    kept, left_out = without_private(rest, names_of_this_machine())
    for key in left_out:
        if key.split(".")[0] in NEEDED[path.name]:
            raise UserError(
                path,
                f"{key} names a folder, user or host of this machine, which must not be handed on",
                "put another text there",
            )
    return kept, left_out + cases


def without_private(
    content: Mapping[str, Any], names: Collection[str], prefix: str = ""
) -> tuple[dict[str, Any], list[str]]:
    """A copy of `content` in which no text names an absolute path or one of `names`, and what was left out.

    Args:
        content: of a JSON file.
        names: whole words, see `names_of_this_machine`.
        prefix: of the keys that are reported.

    Returns:
        The copy, and the keys that it lacks, those of inner objects joined by dots. A list that holds such a
        text is left out whole: its other elements would move.
    """
    kept: dict[str, Any] = {}
    left_out: list[str] = []
    for key, value in content.items():
        place = f"{prefix}{key}"
        if isinstance(value, Mapping) and not is_private(key, names):
            kept[key], inner = without_private(value, names, f"{place}.")
            left_out += inner
        elif is_private(key, names):
            left_out.append(f"{prefix}(a key)")  # which says it itself
        elif is_private(value, names):
            left_out.append(place)
        else:
            kept[key] = value
    return kept, left_out


def is_private(value: Any, names: Collection[str]) -> bool:
    """Whether a text, or any text in a list or object, names an absolute path or one of `names`."""
    if isinstance(value, Mapping):
        return any(is_private(part, names) for pair in value.items() for part in pair)
    if isinstance(value, list | tuple):
        return any(is_private(part, names) for part in value)
    if not isinstance(value, str):
        return False
    words = [rf"(?<![^\W_]){re.escape(name)}(?![^\W_])" for name in names]
    return bool(_PATH.search(value)) or any(re.search(word, value) for word in words)
