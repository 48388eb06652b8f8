"""The validation cases of a fold, or a share of them, predicted with the network that did not see them."""

from __future__ import annotations

import json
import os
import shutil
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ..environment import folder_of
from ..errors import UserError
from ..files import save_json
from .datasets import dataset_name
from .jobs import RecordedJob, Shell, read_json
from .training import Model


@dataclass(frozen=True)
class Prediction(RecordedJob):
    """A share of the validation cases of a fold.

    Attributes:
        model, fold: the network.
        system: the row of the table, as files have it.
        flags: of the prediction.
        resumable: whether nnUNetv2_predict can be trusted to go on with what was left half-done. Ours can;
            stock prediction takes a truncated file for a mask.
        part, num_parts: which share.
        device: on what.
    """

    model: Model
    fold: int
    system: str
    flags: tuple[str, ...]
    resumable: bool
    part: int
    num_parts: int
    device: str

    @property
    def folder(self) -> Path:
        """Of this system's fold."""
        return self.out / f"d{self.model.dataset}" / self.system / f"fold_{self.fold}"

    @property
    def masks(self) -> Path:
        """There only when they are complete."""
        return self.folder / f"part_{self.part}_of_{self.num_parts}"

    @property
    def unfinished(self) -> Path:
        return self.masks.with_name(self.masks.name + ".unfinished")

    @property
    def products(self) -> tuple[Path, ...]:
        return (self.masks,)

    @property
    def images(self) -> Path:
        return self.folder / "images"

    def command(self) -> list[str]:
        words = ["nnUNetv2_predict", "-i", str(self.images), "-o", str(self.unfinished)]
        words += [*self.model.options(), "-f", str(self.fold), "-device", self.device, *self.flags]
        if self.num_parts > 1:
            words += ["-num_parts", str(self.num_parts), "-part_id", str(self.part)]
        return [*words, *(["--continue_prediction"] if self.resumable else [])]

    def recipe(self) -> dict:
        flags, part = list(self.flags), [self.part, self.num_parts]
        return {"model": vars(self.model), "fold": self.fold, "flags": flags, "part": part}

    def work(self, made_of: dict, shell: Shell) -> dict:
        """Raises UserError where masks are missing in the end."""
        cases = validation_cases(self.model.dataset, self.fold)
        link_all(self.images, cases.images)
        self._begin(made_of)
        fresh, started = not any(self.unfinished.iterdir()), time.monotonic()
        own = sorted(cases.labels)[self.part :: self.num_parts]
        if own:  # nnU-Net stumbles over nothing to do
            shell(self.command(), {})
        missing = [case for case in own if not (self.unfinished / f"{case}{cases.ending}").is_file()]
        if missing:
            raise UserError(f"{self.unfinished}: no mask of {', '.join(missing)}")
        if self.masks.exists():
            shutil.rmtree(self.masks)
        self.unfinished.rename(self.masks)
        # Of a prediction that was gone on with, the first part's time is not known.
        return {"cases": len(own), "seconds": time.monotonic() - started if fresh else None}

    def _begin(self, made_of: dict) -> None:
        """Keep what an earlier attempt left only if it can be gone on with, and was made of the same."""
        begun = self.unfinished.with_suffix(".json")
        if not self.resumable or read_json(begun) != made_of:
            shutil.rmtree(self.unfinished, ignore_errors=True)
        save_json(made_of, begun)
        self.unfinished.mkdir(exist_ok=True)


@dataclass(frozen=True)
class ValidationCases:
    """Files of the validation cases of a fold.

    Attributes:
        images: file name, as nnU-Net's prediction wants it, to file.
        labels: case to file.
        ending: of all these files.
    """

    images: Mapping[str, Path]
    labels: Mapping[str, Path]
    ending: str


def validation_cases(dataset: int, fold: int) -> ValidationCases:
    """Raises UserError where dataset, fold, an image or a label is missing."""
    from ..calibration.cases import (
        HeldOutCases,
    )  # imports nnU-Net, a list of jobs must not wait for it

    name = dataset_name(dataset)
    if name is None:
        raise UserError(f"dataset {dataset}: not found in nnU-Net's folders; convert it first")
    held_out = HeldOutCases.of_dataset(name)
    ending = json.loads((folder_of("nnUNet_raw") / name / "dataset.json").read_text())["file_ending"]
    cases = held_out.of_fold(fold)
    images = {
        f"{case}_{channel:04d}{ending}": Path(file)
        for case in cases
        for channel, file in enumerate(held_out.images[case])
    }
    return ValidationCases(images, {case: Path(held_out.labels[case]) for case in cases}, ending)


def link_all(folder: Path, targets: Mapping[str, Path]) -> None:
    """Make `folder` hold links of these names and nothing else; several processes may do so at a time."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, target in targets.items():
        temporary = folder / f".{uuid.uuid4().hex}"
        temporary.symlink_to(target.resolve())
        os.replace(temporary, folder / name)
    for path in folder.iterdir():
        if path.name not in targets and not path.name.startswith("."):
            path.unlink(missing_ok=True)
