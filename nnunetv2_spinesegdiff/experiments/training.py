"""Training of one fold with nnU-Net, whose own files show whether it is finished, whoever trained it."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..files import json_object, save_json
from ..training.names import has_two_stages
from .jobs import Job, Model, Shell

FINAL = "checkpoint_final.pth"
CHECKPOINTS = (FINAL, "checkpoint_latest.pth", "checkpoint_best.pth")
"""In the order in which nnU-Net's --c looks for them."""


@dataclass(frozen=True)
class Training(Job):
    """A fold of a model.

    Attributes:
        model, fold: what is trained.
        device: on which to train.
        stage1: trainer whose finished training of the same fold is stage 1.
        npz: whether to save probabilities of the validation cases, too.
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
        """Without a stage 1 a refiner is trained jointly, whatever another experiment left."""
        stage1 = self.stage1 or ("joint" if has_two_stages(self.model.trainer) else None)
        return {"spinesegdiff_stage1": stage1} if stage1 else {}

    @property
    def folder(self) -> Path:
        """nnU-Net's folder of the fold. Raises UserError if the dataset does not exist."""
        model = self.model.folder()
        if model is None:
            raise UserError(
                f"dataset {self.model.dataset}", "not found in nnU-Net's folders", "convert it first"
            )
        return model / f"fold_{self.fold}"

    @property
    def lock(self) -> Path:
        """Next to the checkpoints, so that every experiment that trains this fold finds it."""
        return self.folder / ".reproduce.lock"

    @property
    def record_file(self) -> Path:
        """States what the fold was made from, next to the checkpoints for the same reason."""
        return self.folder / ".reproduce.json"

    def result(self, needed: Mapping[str, str]) -> str | None:
        """Return the validated final checkpoint; of a refiner, only if it was made from its needs of now."""
        if self.model.folder() is None:
            return None
        trained = self._trained()
        if trained is None or not self.needs:
            return trained
        known = self._is_recorded() or self._report().get("stage1_frozen") is True
        return trained if known and self._mismatch(needed) is None else None

    def run(self, needed: Mapping[str, str], shell: Shell) -> None:
        """Raises UserError if nnU-Net leaves no result, or the folder holds one made from something else."""
        flags = self.flags_to_continue()
        if flags:
            self._reject_mismatch(needed)
        elif self.needs:
            save_json({"made_of": self._made_of(needed)}, self.record_file)
        shell([*self.command(), *flags], self.variables())
        if self._trained() is None:
            raise UserError(
                self.folder, "nnU-Net left no final checkpoint with its validation", "look into the log"
            )
        self._reject_mismatch(needed)
        record = json_object(self.record_file)
        if record and "result" not in record:  # a training begun by hand has no record
            save_json({**record, "result": self._checkpoint()}, self.record_file)
        if self.result(needed) is None:
            raise UserError(self.folder, "no refinement.json states that stage 1 was frozen", "move it away")

    def flags_to_continue(self) -> list[str]:
        """Return nnU-Net's flags to continue; truncated checkpoints, on which it fails, are deleted."""
        for name in CHECKPOINTS:
            checkpoint = self.folder / name
            if checkpoint.is_file() and not zipfile.is_zipfile(checkpoint):  # its directory is written last
                checkpoint.unlink()
        checkpoints = self._checkpoints()
        if FINAL in checkpoints:
            return ["--val"]
        return ["--c"] if checkpoints else []

    def _checkpoints(self) -> list[str]:
        return [name for name in CHECKPOINTS if (self.folder / name).is_file()]

    def _trained(self) -> str | None:
        """Identify the final checkpoint if it is validated: the summary of the validation is written last."""
        checkpoint, summary = self.folder / FINAL, self.folder / "validation" / "summary.json"
        if not checkpoint.is_file() or not zipfile.is_zipfile(checkpoint):
            return None
        cases = json_object(summary).get("metric_per_case")
        if not cases or not _is_older(checkpoint, summary):
            return None
        names = [case_name(case["prediction_file"]) for case in cases] if self.npz else []
        complete = all((summary.parent / f"{name}.npz").is_file() for name in names)
        return self._checkpoint() if complete else None

    def _checkpoint(self) -> str | None:
        """Identify the final checkpoint."""
        checkpoint = self.folder / FINAL
        if not checkpoint.is_file():
            return None
        status = checkpoint.stat()
        return f"{status.st_mtime_ns}-{status.st_size}"

    def _made_of(self, needed: Mapping[str, str]) -> dict[str, Any]:
        return {"stage1": self.stage1, "needs": dict(needed)}

    def _is_recorded(self) -> bool:
        """Return whether the record is about the present final checkpoint."""
        checkpoint = self._checkpoint()
        return checkpoint is not None and json_object(self.record_file).get("result") == checkpoint

    def _report(self) -> dict[str, Any]:
        """Read the refiner's comparison with its stage 1; empty if it is of an earlier training."""
        report, checkpoint = self.folder / "refinement.json", self.folder / FINAL
        return json_object(report) if _is_older(checkpoint, report) else {}

    def _mismatch(self, needed: Mapping[str, str]) -> str | None:
        """Return how the refiner in the folder was trained if not from its needs of now; else None.

        The record states it. Without a record, or if the checkpoint was replaced since, the refiner was
        trained by hand: then its own report and its age show it.
        """
        record = json_object(self.record_file)
        valid = self._is_recorded() or (record and "result" not in record)
        if valid and record.get("made_of") != self._made_of(needed):
            return "from another stage 1 or other presegmentations"
        if self._is_recorded():
            return None
        if self._report().get("stage1_frozen") is False:
            return "jointly with a stage 1 of its own"
        checkpoints = self._checkpoints()
        stage1 = replace(self.model, trainer=self.stage1 or "").folder()
        if checkpoints and stage1:
            first, second = self.folder / checkpoints[0], stage1 / self.folder.name / FINAL
            if _is_older(first, second) and not _is_older(second, first):
                return "before its stage 1 was"
        return None

    def _reject_mismatch(self, needed: Mapping[str, str]) -> None:
        """To continue would only validate it again, or mix the two."""
        how = self._mismatch(needed) if self.needs else None
        if how is not None:
            raise UserError(
                self.folder,
                f"was trained {how}, not from the present {self.stage1}",
                "move this folder away to train it again",
            )


def case_name(file: str) -> str:
    """Return the case of a mask: its file's name without the ending. Names of cases may hold dots."""
    name = Path(file).name
    return name.removesuffix(".nii.gz") if name.endswith(".nii.gz") else Path(name).stem


def _is_older(file: Path, other: Path) -> bool:
    """Return whether both exist and `file` was written before `other`, or at the same time."""
    return file.is_file() and other.is_file() and file.stat().st_mtime_ns <= other.stat().st_mtime_ns
