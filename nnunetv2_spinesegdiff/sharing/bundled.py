"""Trained models that are installed with the package."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import UserError
from .card import NOT_STATED, license_of_data, stated, structures_of
from .manifest import CARD, DATASET, Manifest
from .unpacking import read_texts

FOLDER = Path(__file__).resolve().parent / "models"
DEFAULT = "spider_lumbar"
_NONE_INSTALLED = "install from a wheel or a complete checkout of the repository, or give the path of a model"


@dataclass(frozen=True)
class BundledModel:
    """A bundled model and its description.

    Attributes:
        path: of the zip of `spinesegdiff export`.
        manifest: contents of its manifest.json.
        dataset: contents of its dataset.json.
        card: its MODEL_CARD.md.
    """

    path: Path
    manifest: Manifest
    dataset: dict[str, Any]
    card: str

    @classmethod
    def read(cls, path: Path) -> BundledModel:
        """Read the description from the zip; the weights are not unpacked.

        Raises:
            UserError: the zip is missing or damaged.
        """
        manifest, (dataset, card) = read_texts(path, [DATASET, CARD])
        return cls(path, manifest, json.loads(dataset), card)

    @property
    def name(self) -> str:
        """Name for `-m`."""
        return self.path.stem

    @property
    def structures(self) -> list[str]:
        """Names of what it segments."""
        return structures_of(self.dataset)

    @property
    def license(self) -> str:
        """License of the model."""
        return self.manifest.details.get("license", NOT_STATED)

    @property
    def training_data(self) -> str:
        """Source and license of the training data, on one line."""
        return f"{stated(self.dataset, 'reference')} ({license_of_data(self.dataset)})"


def bundled_models() -> list[BundledModel]:
    """All bundled models, sorted by name.

    Raises:
        UserError: this installation has none, or a zip is damaged.
    """
    paths = sorted(FOLDER.glob("*.zip"))
    return [BundledModel.read(path) for path in paths or [_path_of(DEFAULT)]]


def bundled_model(name: str) -> BundledModel:
    """The bundled model of that name.

    Raises:
        UserError: there is none, or its zip is damaged.
    """
    return BundledModel.read(_path_of(name))


def model_path(given: str | os.PathLike[str] = DEFAULT) -> Path:
    """Where a model is located.

    Args:
        given: name of a bundled model, or a path. Text without a folder and without the ending .zip that is
            the name of a bundled model always stands for that model; `./NAME` is a file or folder of the same
            name. A `Path` is never a name.

    Raises:
        UserError: it is neither a bundled model nor a file or folder, or the default one is not installed.
    """
    path = Path(given)
    if not isinstance(given, str) or path.name != given or path.suffix.lower() == ".zip":
        return path
    if given == DEFAULT or (FOLDER / f"{given}.zip").is_file():
        return _path_of(given)
    if not path.exists():
        raise UserError(
            given, "no such file, folder or bundled model", "`spinesegdiff models` lists the bundled models"
        )
    return path


def provenance(path: Path) -> dict[str, Any]:
    """What run.json records of a model's origin: whether it is bundled; if so, license and training data."""
    if path.resolve().parent != FOLDER:
        return {"bundled": False}
    model = BundledModel.read(path)
    return {"bundled": True, "license": model.license, "training_data": model.training_data}


def _path_of(name: str) -> Path:
    path = FOLDER / f"{name}.zip"
    if not path.is_file():
        installed = [other.stem for other in sorted(FOLDER.glob("*.zip"))]
        advice = f"installed are {', '.join(installed)}" if installed else _NONE_INSTALLED
        raise UserError(path, "this bundled model is not installed", advice)
    return path
