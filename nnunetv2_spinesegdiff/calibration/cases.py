"""Cases that a fold was not trained on, and their files."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from nnunetv2.utilities.utils import get_filenames_of_train_images_and_targets

from ..environment import folder_of
from ..errors import UserError


@dataclass(frozen=True)
class HeldOutCases:
    """Location of the validation cases of a model.

    Attributes:
        splits: nnU-Net's splits_final.json.
        images: case to its image files, one a channel.
        labels: case to the file of its true segmentation.
    """

    splits: Path
    images: Mapping[str, Sequence[str]]
    labels: Mapping[str, str]

    @classmethod
    def of_dataset(cls, name: str) -> HeldOutCases:
        """Those of a dataset in nnU-Net's folders.

        Raises:
            UserError: its images or labels are not there any more.
        """
        raw = folder_of("nnUNet_raw") / name
        if not (raw / "dataset.json").is_file():
            raise UserError(raw, "no such dataset", "images and labels of its validation cases are needed")
        dataset_json = json.loads((raw / "dataset.json").read_text(encoding="utf-8"))
        found = get_filenames_of_train_images_and_targets(str(raw), dataset_json)
        return cls(
            folder_of("nnUNet_preprocessed") / name / "splits_final.json",
            {case: files["images"] for case, files in found.items()},
            {case: files["label"] for case, files in found.items()},
        )

    def of_fold(self, fold: int) -> list[str]:
        """The validation cases of a fold, sorted.

        Raises:
            UserError: there are no such folds, or images or labels are missing.
        """
        if not self.splits.is_file():
            raise UserError(
                self.splits, "no such file", "it lists the cases that each fold was not trained on"
            )
        splits = json.loads(self.splits.read_text(encoding="utf-8"))
        if fold >= len(splits):
            raise UserError(
                self.splits, f"holds {len(splits)} folds, no fold {fold}", "choose others with -f"
            )
        cases = sorted(splits[fold]["val"])
        for case in cases:
            if case not in self.images or not Path(self.labels[case]).is_file():
                raise UserError(
                    case, f"a validation case of fold {fold} without image or label in nnUNet_raw"
                )
        return cases
