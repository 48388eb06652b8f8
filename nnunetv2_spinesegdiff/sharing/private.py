"""Private parts of a model's JSON files: folders, users and hosts of the machine."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..redaction import redacted

CASES = ("dataset", "training", "test")
"""Lists of a dataset.json: names of cases, which may be those of patients."""
NEEDED = {
    "dataset.json": ("channel_names", "labels", "file_ending", "regions_class_order"),
    "plans.json": ("configurations", "dataset_name", "plans_name", "image_reader_writer", "spinesegdiff"),
}
"""What prediction cannot do without, or an exported model's name is made of."""


def public_part(content: Mapping[str, Any], path: Path) -> tuple[dict[str, Any], list[str]]:
    """Split plans.json or dataset.json into the part that can be shared and the keys that cannot.

    Raises:
        UserError: something that a model needs names this machine.
    """
    cases = [key for key in CASES if key in content and path.name == "dataset.json"]
    kept, left_out = without_private({key: value for key, value in content.items() if key not in cases})
    for key in left_out:
        if key.split(".")[0] in NEEDED[path.name]:
            cause = f"{key} names a folder, user or host of this machine, which must not be shared"
            raise UserError(path, cause, "replace it")
    return kept, left_out + cases


def without_private(content: Mapping[str, Any], prefix: str = "") -> tuple[dict[str, Any], list[str]]:
    """A copy of a JSON file's content in which no text is private, and the keys that it lacks.

    Keys of inner objects are joined by dots behind `prefix`. A list that holds such a text is left out whole:
    its other elements would move.
    """
    kept: dict[str, Any] = {}
    left_out: list[str] = []
    for key, value in content.items():
        if is_private(key):
            left_out.append(f"{prefix}(a key)")  # which names it itself
        elif isinstance(value, Mapping):
            kept[key], inner = without_private(value, f"{prefix}{key}.")
            left_out += inner
        elif is_private(value):
            left_out.append(f"{prefix}{key}")
        else:
            kept[key] = value
    return kept, left_out


def is_private(value: object) -> bool:
    """Whether a text, or any text in a list or object, names a folder, user or host of this machine."""
    if isinstance(value, Mapping):
        return any(is_private(part) for pair in value.items() for part in pair)
    if isinstance(value, list | tuple):
        return any(map(is_private, value))
    return isinstance(value, str) and redacted(value, keep_addresses=True) != value
