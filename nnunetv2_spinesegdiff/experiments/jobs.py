"""Jobs: a name, what they need, one command, and when they are finished."""

from __future__ import annotations

import os
import shutil
import time
import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..environment import folder_of
from ..errors import UserError
from ..files import json_object, save_json
from ..preflight import dataset_of_id
from ..training.presegmentations import MANIFEST, digest, folder_of_collection
from .datasets import ValidationCases, validation_cases
from .description import System

Shell = Callable[[Sequence[str], Mapping[str, str]], None]
"""Runs words as a command, with additional environment variables; raises UserError if it fails."""


@dataclass(frozen=True)
class Model:
    """What nnU-Net trains for a row of the table.

    Attributes:
        dataset: its id.
        configuration, plans: nnU-Net's.
        trainer: its full name.
    """

    dataset: int
    configuration: str
    plans: str
    trainer: str

    def options(self) -> list[str]:
        """Return the options of all commands but nnUNetv2_train."""
        return ["-d", str(self.dataset), "-c", self.configuration, "-tr", self.trainer, *self.plans_option()]

    def plans_option(self) -> list[str]:
        return [] if self.plans == "nnUNetPlans" else ["-p", self.plans]

    def folder(self) -> Path | None:
        """Return the folder of the trained model; None if the dataset does not exist yet."""
        name = dataset_of_id(self.dataset)
        if name is None or not os.environ.get("nnUNet_results"):
            return None
        return folder_of("nnUNet_results") / name / f"{self.trainer}__{self.plans}__{self.configuration}"


@dataclass(frozen=True)
class Job(ABC):
    """A part of an experiment that is run, and finished, on its own.

    Attributes:
        name: unique in the experiment; begins with the kind of the job.
        needs: names of the jobs that must be finished before it.
    """

    name: str
    needs: tuple[str, ...]

    @property
    def kind(self) -> str:
        return self.name.split("-")[0]

    @abstractmethod
    def command(self) -> list[str]:
        """Return the words of the command; empty if this process does the work."""

    def variables(self) -> dict[str, str]:
        """Return additional environment variables of the command."""
        return {}

    @property
    @abstractmethod
    def lock(self) -> Path:
        """The file that the process locks that runs this job."""

    @abstractmethod
    def result(self, needed: Mapping[str, str]) -> str | None:
        """Return what identifies the finished result, made from the present results of its needs, or None.

        Args:
            needed: the results of its needs.
        """

    @abstractmethod
    def run(self, needed: Mapping[str, str], shell: Shell) -> None:
        """Do the work. What is left if it is killed is never mistaken for the result."""


@dataclass(frozen=True)
class RecordedJob(Job):
    """A job with a record of its result and of what that was made from.

    Attributes:
        out: folder of the experiment.
    """

    out: Path

    @property
    def record_file(self) -> Path:
        return self.out / "jobs" / f"{self.name}.json"

    @property
    def lock(self) -> Path:
        return self.record_file.with_suffix(".lock")

    @property
    def products(self) -> tuple[Path, ...]:
        """Files and folders without which the record is out of date."""
        return ()

    @abstractmethod
    def recipe(self) -> dict[str, Any]:
        """Return what decides the result, needs excepted, without paths: the output folder may be moved."""

    @abstractmethod
    def work(self, made_of: dict[str, Any], shell: Shell) -> dict[str, Any] | None:
        """Do the work.

        Args:
            made_of: the recipe and the results of the needs.
            shell: runs commands.

        Returns:
            Further values for the record.
        """

    def result(self, needed: Mapping[str, str]) -> str | None:
        record = json_object(self.record_file)
        made_of = {**self.recipe(), "needs": dict(needed)}
        up_to_date = record.get("made_of") == made_of and all(path.exists() for path in self.products)
        return record.get("result") if up_to_date else None

    def run(self, needed: Mapping[str, str], shell: Shell) -> None:
        made_of = {**self.recipe(), "needs": dict(needed)}
        self.record_file.unlink(missing_ok=True)
        facts = self.work(made_of, shell) or {}
        save_json({"result": uuid.uuid4().hex, "made_of": made_of, **facts}, self.record_file)


@dataclass(frozen=True)
class Presegmenting(RecordedJob):
    """Masks of the cases held out from each fold of a stage 1, from which refiners learn."""

    model: Model

    @property
    def manifest(self) -> Path | None:
        """Path of the manifest of a complete collection; None if the dataset does not exist yet."""
        name, model = dataset_of_id(self.model.dataset), self.model
        if name is None or not os.environ.get("nnUNet_preprocessed"):
            return None
        preprocessed = folder_of("nnUNet_preprocessed") / name
        return folder_of_collection(preprocessed, model.trainer, model.plans, model.configuration) / MANIFEST

    def command(self) -> list[str]:
        return ["spinesegdiff", "presegment", *self.model.options()]

    def result(self, needed: Mapping[str, str]) -> str | None:
        """Return the digest of the collection, so that refiners count in other output folders, too."""
        manifest = self.manifest
        if super().result(needed) is None or manifest is None or not manifest.is_file():
            return None
        return digest(manifest)

    def recipe(self) -> dict[str, Any]:
        return {"model": vars(self.model)}

    def work(self, made_of: dict[str, Any], shell: Shell) -> None:
        shell(self.command(), {})


@dataclass(frozen=True)
class Prediction(RecordedJob):
    """A share of the validation cases of a fold, predicted with the network that did not see them.

    Attributes:
        model, fold: the network.
        system: the row of the table.
        share: its number from 0, and the number of shares.
        device: on which to predict.
    """

    model: Model
    fold: int
    system: System
    share: tuple[int, int]
    device: str

    @property
    def folder(self) -> Path:
        """Folder of this system's fold."""
        return self.out / f"d{self.model.dataset}" / self.system.slug / f"fold_{self.fold}"

    @property
    def masks(self) -> Path:
        """Folder that exists only if it is complete."""
        return self.folder / "part_{}_of_{}".format(*self.share)

    @property
    def unfinished(self) -> Path:
        return self.masks.with_name(self.masks.name + ".unfinished")

    @property
    def products(self) -> tuple[Path, ...]:
        return (self.masks,)

    @property
    def images(self) -> Path:
        return self.folder / "images"

    def cases(self) -> ValidationCases:
        """Return the validation cases of the fold. Raises UserError if files are missing."""
        return validation_cases(self.model.dataset, self.fold)

    def command(self) -> list[str]:
        words = ["nnUNetv2_predict", "-i", str(self.images), "-o", str(self.unfinished)]
        words += [*self.model.options(), "-f", str(self.fold), "-device", self.device, *self.system.flags]
        part, num_parts = self.share
        if num_parts > 1:
            words += ["-num_parts", str(num_parts), "-part_id", str(part)]
        return [*words, *(["--continue_prediction"] if self.system.resumable else [])]

    def recipe(self) -> dict[str, Any]:
        flags, part = list(self.system.flags), list(self.share)
        return {"model": vars(self.model), "fold": self.fold, "flags": flags, "part": part}

    def work(self, made_of: dict[str, Any], shell: Shell) -> dict[str, Any]:
        """Raises UserError if masks are missing in the end."""
        cases = self.cases()
        link_all(self.images, cases.images)
        # An earlier attempt is continued only if it was made from the same. Stock prediction is never
        # continued: it takes a truncated file for a mask.
        begun = self.unfinished.with_suffix(".json")
        if not self.system.resumable or json_object(begun) != made_of:
            shutil.rmtree(self.unfinished, ignore_errors=True)
        save_json(made_of, begun)
        self.unfinished.mkdir(exist_ok=True)
        from_the_start, started = not any(self.unfinished.iterdir()), time.monotonic()
        own = sorted(cases.labels)[self.share[0] :: self.share[1]]
        if own:  # nnU-Net fails without cases
            shell(self.command(), {})
        missing = [case for case in own if not (self.unfinished / f"{case}{cases.ending}").is_file()]
        if missing:
            raise UserError(self.unfinished, f"no mask of {', '.join(missing)}", "look into the log")
        if self.masks.exists():
            shutil.rmtree(self.masks)
        self.unfinished.rename(self.masks)
        return {"cases": len(own), "seconds": time.monotonic() - started if from_the_start else None}


@dataclass(frozen=True)
class Evaluation(RecordedJob):
    """The masks of a fold against its labels, with nnU-Net's evaluation.

    Attributes:
        predictions: of all shares.
    """

    predictions: tuple[Prediction, ...]

    @property
    def folder(self) -> Path:
        return self.predictions[0].folder

    @property
    def summary(self) -> Path:
        return self.folder / "summary.json"

    @property
    def products(self) -> tuple[Path, ...]:
        return (self.summary,)

    @property
    def dataset_json(self) -> Path:
        """nnU-Net's copy next to the masks."""
        return self.predictions[0].masks / "dataset.json"

    @property
    def _unfinished(self) -> Path:
        return self.folder / "summary.unfinished.json"

    def command(self) -> list[str]:
        words = ["nnUNetv2_evaluate_folder", str(self.folder / "labels"), str(self.folder / "masks")]
        plans = self.predictions[0].masks / "plans.json"
        return [*words, "-djfile", str(self.dataset_json), "-pfile", str(plans), "-o", str(self._unfinished)]

    def recipe(self) -> dict[str, Any]:
        return {}

    def work(self, made_of: dict[str, Any], shell: Shell) -> None:
        cases, parts = self.predictions[0].cases(), self.predictions
        names = [case + cases.ending for case in sorted(cases.labels)]
        link_all(self.folder / "masks", {n: parts[i % len(parts)].masks / n for i, n in enumerate(names)})
        link_all(self.folder / "labels", {case + cases.ending: file for case, file in cases.labels.items()})
        shell(self.command(), {})
        os.replace(self._unfinished, self.summary)


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
