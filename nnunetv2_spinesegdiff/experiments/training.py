"""One fold trained with nnU-Net. Its own files tell whether it is finished, whoever trained it."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..environment import folder_of
from ..errors import UserError
from ..files import save_json
from ..training.names import has_two_stages
from ..training.presegmentations import MANIFEST, digest, folder_of_collection
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
        """Without a stage 1 of its own a refiner would freeze one that another experiment left, or not."""
        stage1 = self.stage1 or ("joint" if has_two_stages(self.model.trainer) else None)
        return {"spinesegdiff_stage1": stage1} if stage1 else {}

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

    @property
    def record_file(self) -> Path:
        """What it was made of, beside the checkpoints for the same reason."""
        return self.folder / ".reproduce.json"

    def result(self, needed: Mapping[str, str]) -> str | None:
        """The final checkpoint, once it is validated; of a refiner, only if made of what it needs now."""
        if self.model.folder() is None:
            return None
        trained = self._trained()
        if trained is None or not self.needs:
            return trained
        if self._made_of_others(needed) is not None:
            return None
        known = self._recorded() or self._report().get("stage1_frozen") is True
        return trained if known else None

    def _trained(self) -> str | None:
        """nnU-Net writes the final checkpoint first and the summary of its validation last."""
        checkpoint, summary = self.folder / FINAL, self.folder / "validation" / "summary.json"
        if not is_whole_checkpoint(checkpoint) or not self._validated(summary):
            return None
        return self._checkpoint() if _is_older(checkpoint, summary) else None

    def _checkpoint(self) -> str | None:
        """What identifies the final checkpoint."""
        checkpoint = self.folder / FINAL
        if not checkpoint.is_file():
            return None
        status = checkpoint.stat()
        return f"{status.st_mtime_ns}-{status.st_size}"

    def _made_of(self, needed: Mapping[str, str]) -> dict[str, Any]:
        return {"stage1": self.stage1, "needs": dict(needed)}

    def _recorded(self) -> bool:
        """Whether the record is one of the final checkpoint that is there."""
        checkpoint = self._checkpoint()
        return checkpoint is not None and read_json(self.record_file).get("result") == checkpoint

    def _report(self) -> dict[str, Any]:
        """The refiner's own comparison with its stage 1; nothing where it is of an earlier training."""
        report, checkpoint = self.folder / "refinement.json", self.folder / FINAL
        return read_json(report) if _is_older(checkpoint, report) else {}

    def _made_of_others(self, needed: Mapping[str, str]) -> str | None:
        """How the refiner in the folder was trained, where that is not from what it needs now; else None.

        The record tells. Where there is none, or one of a checkpoint that was replaced since, it was trained
        by hand: then its own report and its age tell.
        """
        record = read_json(self.record_file)
        tells = self._recorded() or (record and "result" not in record)
        if tells and record.get("made_of") != self._made_of(needed):
            return "from another stage 1 or other presegmentations"
        if self._recorded():
            return None
        if self._report().get("stage1_frozen") is False:
            return "jointly with a stage 1 of its own"
        left = self._left()
        stage1 = replace(self.model, trainer=self.stage1 or "").folder()
        if left and stage1 and _is_older(self.folder / left[0], stage1 / self.folder.name / FINAL, True):
            return "before its stage 1 was"
        return None

    def _validated(self, summary: Path) -> bool:
        cases = read_json(summary).get("metric_per_case")
        if not cases:
            return False
        names = [case_of(case["prediction_file"]) for case in cases]
        return not self.npz or all((summary.parent / f"{name}.npz").is_file() for name in names)

    def run(self, needed: Mapping[str, str], shell: Shell) -> None:
        """Raises UserError where nnU-Net left no result, or the folder holds one made of something else."""
        where = self.where_it_stopped()
        if where:
            self._refuse_others(needed)
        elif self.needs:
            save_json({"made_of": self._made_of(needed)}, self.record_file)
        shell([*self.command(), *where], self.variables())
        if self._trained() is None:
            raise UserError(f"{self.folder}: nnU-Net ended without a final checkpoint and its validation")
        self._refuse_others(needed)
        record = read_json(self.record_file)
        if record and "result" not in record:  # what was begun by hand is not known to be made of this
            save_json({**record, "result": self._checkpoint()}, self.record_file)
        if self.result(needed) is None:
            raise UserError(f"{self.folder}: no refinement.json tells that stage 1 was frozen; move it away")

    def _refuse_others(self, needed: Mapping[str, str]) -> None:
        """To go on with it would only validate it again, or mix the two."""
        how = self._made_of_others(needed) if self.needs else None
        if how is not None:
            raise UserError(
                f"{self.folder}: was trained {how}, not from what {self.stage1} is now; "
                "move this folder away and it is trained anew"
            )

    def where_it_stopped(self) -> list[str]:
        """nnU-Net's flags to go on; truncated checkpoints, on which it would always stumble, are removed."""
        for name in CHECKPOINTS:
            checkpoint = self.folder / name
            if checkpoint.is_file() and not is_whole_checkpoint(checkpoint):
                checkpoint.unlink()
        left = self._left()
        if FINAL in left:
            return ["--val"]
        return ["--c"] if left else []

    def _left(self) -> list[str]:
        """The checkpoints that are there."""
        return [name for name in CHECKPOINTS if (self.folder / name).is_file()]


@dataclass(frozen=True)
class Presegmenting(RecordedJob):
    """Masks of all folds of a stage 1, each of the cases held out from it: refiners learn from them."""

    model: Model

    @property
    def manifest(self) -> Path | None:
        """Of the complete collection; None as long as there is no dataset."""
        name, model = dataset_name(self.model.dataset), self.model
        if name is None or not os.environ.get("nnUNet_preprocessed"):
            return None
        preprocessed = folder_of("nnUNet_preprocessed") / name
        folder = folder_of_collection(preprocessed, model.trainer, model.plans, model.configuration)
        return folder / MANIFEST

    def command(self) -> list[str]:
        return ["spinesegdiff", "presegment", *self.model.options()]

    def result(self, needed: Mapping[str, str]) -> str | None:
        """The collection's content, so that other output folders take the refiners made of it, too."""
        manifest = self.manifest
        if super().result(needed) is None or manifest is None or not manifest.is_file():
            return None
        return digest(manifest)

    def recipe(self) -> dict:
        return {"model": vars(self.model)}

    def work(self, made_of: dict, shell: Shell) -> None:
        shell(self.command(), {})


def is_whole_checkpoint(file: Path) -> bool:
    """torch's files are zip archives, whose directory is written last."""
    return file.is_file() and zipfile.is_zipfile(file)


def case_of(file: str) -> str:
    """The case that a mask is of: its file's name without the ending; a case's own name may hold dots."""
    name = Path(file).name
    return name.removesuffix(".nii.gz") if name.endswith(".nii.gz") else Path(name).stem


def _is_older(file: Path, other: Path, strictly: bool = False) -> bool:
    """Whether both are there and `file` was written before `other`, or at the same time."""
    if not file.is_file() or not other.is_file():
        return False
    first, second = file.stat().st_mtime_ns, other.stat().st_mtime_ns
    return first < second or (first == second and not strictly)
