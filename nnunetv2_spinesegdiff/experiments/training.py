"""One fold trained with nnU-Net. Its own files tell whether it is finished, whoever trained it."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ..environment import folder_of
from ..errors import UserError
from .datasets import dataset_name
from .jobs import Job, RecordedJob, Shell, read_json

FINAL = "checkpoint_final.pth"
CHECKPOINTS = (FINAL, "checkpoint_latest.pth", "checkpoint_best.pth")
"""In the order in which nnU-Net's --c looks for them."""


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
        """As all commands but nnUNetv2_train want it."""
        return ["-d", str(self.dataset), "-c", self.configuration, "-tr", self.trainer, *self.plans_option()]

    def plans_option(self) -> list[str]:
        return [] if self.plans == "nnUNetPlans" else ["-p", self.plans]

    def folder(self) -> Path | None:
        """Where nnU-Net keeps it; None as long as there is no dataset."""
        name = dataset_name(self.dataset)
        if name is None or not os.environ.get("nnUNet_results"):
            return None
        return folder_of("nnUNet_results") / name / f"{self.trainer}__{self.plans}__{self.configuration}"


@dataclass(frozen=True)
class Training(Job):
    """A fold of a model.

    Attributes:
        model, fold: what is trained.
        device: on what.
        stage1: trainer whose finished training of the same fold is stage 1.
        npz: whether the probabilities of the validation cases are wanted, too.
    """

    model: Model
    fold: int
    device: str
    stage1: str | None = None
    npz: bool = False

    def command(self) -> list[str]:
        model, npz = self.model, ["--npz"] if self.npz else []
        words = ["nnUNetv2_train", str(model.dataset), model.configuration, str(self.fold), "-tr"]
        return [*words, model.trainer, *model.plans_option(), "-device", self.device, *npz]

    def variables(self) -> dict[str, str]:
        return {"spinesegdiff_stage1": self.stage1} if self.stage1 else {}

    @property
    def folder(self) -> Path:
        """nnU-Net's folder of the fold. Raises UserError where there is no dataset."""
        model = self.model.folder()
        if model is None:
            raise UserError(f"dataset {self.model.dataset}: not found in nnU-Net's folders; convert it first")
        return model / f"fold_{self.fold}"

    @property
    def lock(self) -> Path:
        """Beside the checkpoints: every experiment that trains this fold sees it."""
        return self.folder / ".reproduce.lock"

    def result(self, needed: Mapping[str, str]) -> str | None:
        """nnU-Net writes the final checkpoint first and the summary of its validation last."""
        if self.model.folder() is None:
            return None
        checkpoint, summary = self.folder / FINAL, self.folder / "validation" / "summary.json"
        if not is_whole_checkpoint(checkpoint) or not self._validated(summary):
            return None
        status = checkpoint.stat()
        if summary.stat().st_mtime_ns < status.st_mtime_ns:
            return None
        return f"{status.st_mtime_ns}-{status.st_size}"

    def _validated(self, summary: Path) -> bool:
        cases = read_json(summary).get("metric_per_case")
        if not cases:
            return False
        names = [Path(case["prediction_file"]).name.split(".")[0] for case in cases]
        return not self.npz or all((summary.parent / f"{name}.npz").is_file() for name in names)

    def run(self, needed: Mapping[str, str], shell: Shell) -> None:
        shell([*self.command(), *self.where_it_stopped()], self.variables())
        if self.result(needed) is None:
            raise UserError(f"{self.folder}: nnU-Net ended without a final checkpoint and its validation")

    def where_it_stopped(self) -> list[str]:
        """nnU-Net's flags to go on; truncated checkpoints, on which it would always stumble, are removed."""
        for name in CHECKPOINTS:
            checkpoint = self.folder / name
            if checkpoint.is_file() and not is_whole_checkpoint(checkpoint):
                checkpoint.unlink()
        left = [name for name in CHECKPOINTS if (self.folder / name).is_file()]
        if FINAL in left:
            return ["--val"]
        return ["--c"] if left else []


@dataclass(frozen=True)
class Presegmenting(RecordedJob):
    """Masks of all folds of a stage 1, each of the cases held out from it: refiners learn from them."""

    model: Model

    def command(self) -> list[str]:
        return ["spinesegdiff", "presegment", *self.model.options()]

    def recipe(self) -> dict:
        return {"model": vars(self.model)}

    def work(self, made_of: dict, shell: Shell) -> None:
        shell(self.command(), {})


def is_whole_checkpoint(file: Path) -> bool:
    """torch's files are zip archives, whose directory is written last."""
    return file.is_file() and zipfile.is_zipfile(file)
