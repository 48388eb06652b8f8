"""A fold's masks against its labels, with nnU-Net's own evaluation."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from .jobs import RecordedJob, Shell
from .predicting import Prediction, link_all, validation_cases


@dataclass(frozen=True)
class Evaluation(RecordedJob):
    """All shares of the predictions of a fold.

    Attributes:
        predictions: of the shares.
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
        """nnU-Net's copy beside the masks."""
        return self.predictions[0].masks / "dataset.json"

    def command(self) -> list[str]:
        words = ["nnUNetv2_evaluate_folder", str(self.folder / "labels"), str(self.folder / "masks")]
        plans = self.predictions[0].masks / "plans.json"
        files = ["-djfile", str(self.dataset_json), "-pfile", str(plans), "-o", str(self._unfinished)]
        return [*words, *files]

    @property
    def _unfinished(self) -> Path:
        return self.folder / "summary.unfinished.json"

    def recipe(self) -> dict:
        return {}

    def work(self, made_of: dict, shell: Shell) -> None:
        cases = validation_cases(self.predictions[0].model.dataset, self.predictions[0].fold)
        parts = self.predictions
        names = [case + cases.ending for case in sorted(cases.labels)]
        masks = {name: parts[i % len(parts)].masks / name for i, name in enumerate(names)}
        link_all(self.folder / "masks", masks)
        link_all(self.folder / "labels", {case + cases.ending: file for case, file in cases.labels.items()})
        shell(self.command(), {})
        os.replace(self._unfinished, self.summary)
