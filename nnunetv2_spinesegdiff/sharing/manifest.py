"""Content of an exported model's manifest.json, and names of the other files."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from ..errors import UserError
from ..text import reason_of

FORMAT = 1
"""Goes up when an older version could not open what a newer one writes."""
MANIFEST, PLANS, DATASET, CARD = "manifest.json", "plans.json", "dataset.json", "MODEL_CARD.md"
FINAL = "checkpoint_final.pth"
_DATASET = re.compile(r"Dataset[0-9]+_[\w.+-]+", re.ASCII)
_NAME = re.compile(r"\w[\w.+-]*", re.ASCII)
_CHECKPOINT = re.compile(r"\w[\w.-]*\.pth", re.ASCII)
_FOLD = re.compile(r"[0-9]+|all", re.ASCII)
_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Manifest:
    """Content of the zip of a model.

    Attributes:
        dataset, trainer, plans, configuration: names, as nnU-Net's folders have them. The checkpoints name
            nnU-Net's own trainer instead.
        folds: their names, "all" for the one of all cases.
        checkpoint: file name in every fold's folder.
        network_class: what nnU-Net's own trainer builds.
        training: fold to what is known of its training, see `history`.
        details: what the exporting person stated, see `export_model`.
        left_out: what the JSON files had and those of the zip have not, as "file: key".
        versions: package to version, at the export.
        files: name below the model's folder to `sha256` and `size` in bytes, of every file but this one; of
            checkpoints also `dtype`, in which weights are stored. Versions without `dtype` ignore it.
    """

    dataset: str
    trainer: str
    plans: str
    configuration: str
    folds: list[str]
    checkpoint: str
    network_class: str
    training: dict[str, Any] = field(default_factory=dict)
    details: dict[str, str] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)
    versions: dict[str, str] = field(default_factory=dict)
    files: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def folder(self) -> str:
        """The model's in nnUNet_results, with forward slashes."""
        return f"{self.dataset}/{self.trainer}__{self.plans}__{self.configuration}"

    @property
    def expected_files(self) -> list[str]:
        """Names of all files but the manifest."""
        return [PLANS, DATASET, CARD, *(f"fold_{fold}/{self.checkpoint}" for fold in self.folds)]

    @property
    def sha256(self) -> str:
        """SHA-256 of the model with all of its folds, see `identity`."""
        return identity({name: self.files[name]["sha256"] for name in deciding(self.folds, self.checkpoint)})

    def check_names(self, source: str) -> None:
        """Raises UserError where a name could not be one of a file or folder of nnU-Net's."""
        names = [(self.dataset, _DATASET), (self.trainer, _NAME), (self.plans, _NAME)]
        names += [(self.configuration, _NAME), (self.checkpoint, _CHECKPOINT)]
        names += [(fold, _FOLD) for fold in self.folds]
        for name, pattern in names:
            if not isinstance(name, str) or not pattern.fullmatch(name):
                raise UserError(source, f"{name!r} is not a name that nnU-Net gives to a file or folder")

    def as_text(self) -> str:
        return json.dumps({"format": FORMAT, **asdict(self)}, indent=2) + "\n"

    @classmethod
    def from_text(cls, text: bytes, source: str) -> Manifest:
        """Raises UserError where it is none, or one of a newer version."""
        try:
            content = json.loads(text)
            number = content.pop("format")
            if isinstance(number, int) and number > FORMAT:
                raise UserError(
                    source,
                    f"made by a newer version (format {number}, this one reads {FORMAT})",
                    "update nnunetv2_spinesegdiff",
                )
            if number != FORMAT:
                raise ValueError(f"format {number!r}")
            made = cls(**content)
            made.check_names(source)
            _check_types(made)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            reason = reason_of(error, with_type=True)
            raise UserError(source, f"{MANIFEST} cannot be read ({reason})", "export again") from None
        return made


def _check_types(manifest: Manifest) -> None:
    if not manifest.folds or len(set(manifest.folds)) != len(manifest.folds):
        raise ValueError("no folds, or one twice")
    if set(manifest.files) != set(manifest.expected_files):
        raise ValueError("lists other files than the folds have")
    for name, known in manifest.files.items():
        size, digest = known["size"], known["sha256"]
        if type(size) is not int or size < 0 or not _DIGEST.fullmatch(digest):
            raise ValueError(f"size or SHA-256 of {name}")


def deciding(folds: Sequence[str], checkpoint: str) -> list[str]:
    """Names of the files that decide what a model predicts with these folds."""
    return [PLANS, DATASET, *(f"fold_{fold}/{checkpoint}" for fold in folds)]


def identity(digests: Mapping[str, str]) -> str:
    """The SHA-256 of a model, from those of its plans, its dataset's description and its checkpoints.

    Args:
        digests: name below the model's folder to SHA-256; the same model has the same ones as zip and
            installed.
    """
    return hashlib.sha256(json.dumps(dict(sorted(digests.items()))).encode()).hexdigest()
