"""Names in plans that nnU-Net looks up in its own packages: each must be something that is at home there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import nnunetv2
from nnunetv2.utilities.find_class_by_name import recursive_find_python_class

from ..errors import UserError

_OF_PLANS = {"image_reader_writer": "imageio", "label_manager": "utilities.label_handling"}
_OF_CONFIGURATIONS = {
    "preprocessor_name": "preprocessing.preprocessors",
    "resampling_fn_data": "preprocessing.resampling",
    "resampling_fn_seg": "preprocessing.resampling",
    "resampling_fn_probabilities": "preprocessing.resampling",
    "normalization_schemes": "preprocessing.normalization",
}
"""Key to the package of nnunetv2 in which nnU-Net looks for its value, or for each name in a list."""


def check_lookups(plans: Mapping[str, Any], plans_file: Path) -> None:
    """Whether what nnU-Net calls by names in `plans` was written for that.

    It takes whatever has such a name in any module of the package, what these import from elsewhere included.

    Raises:
        UserError: there is no such thing, or it is of another package.
    """
    for key, name, package in _named(plans):
        home = f"nnunetv2.{package}"
        found = None
        if isinstance(name, str) and name.isidentifier():
            folder = Path(nnunetv2.__path__[0]).joinpath(*package.split("."))
            found = recursive_find_python_class(str(folder), name, home)
        if not callable(found) or not str(getattr(found, "__module__", "")).startswith(f"{home}."):
            raise UserError(plans_file, f"{key} is {name!r}, which is nothing of {home}")


def _named(plans: Mapping[str, Any]) -> Iterator[tuple[str, Any, str]]:
    """Every key, its name and the package of nnunetv2 that it is looked up in."""
    configurations = plans.get("configurations")
    parts: list[tuple[Any, dict[str, str]]] = [(plans, _OF_PLANS)]
    if isinstance(configurations, Mapping):
        parts += [(configuration, _OF_CONFIGURATIONS) for configuration in configurations.values()]
    for part, keys in parts:
        for key, package in keys.items():
            if key in part:
                names = part[key] if isinstance(part[key], list) else [part[key]]
                yield from ((key, name, package) for name in names)
