"""Out-of-fold presegmentations for training: found, checked, and as the masks that a refiner starts from.

What stage 1 makes of its own training cases is nearly perfect; from what it makes of others a refiner learns.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from nnunetv2.training.dataloading.nnunet_dataset import infer_dataset_class
from torch import Tensor

from ..errors import UserError
from .presegmentations import Manifest, Sources, command, folder_of_collection

if TYPE_CHECKING:
    from nnunetv2.utilities.label_handling.label_handling import LabelManager
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager


@dataclass(frozen=True)
class OutOfFold:
    """A complete collection that is up to date.

    Attributes:
        folder: holds a label map of every preprocessed case, as nnU-Net's loader takes them from a previous
            stage.
        cases: number of those with an out-of-fold presegmentation.
        never_held_out: cases whose label map is empty, for no fold was validated on them.
    """

    folder: Path
    cases: int
    never_held_out: frozenset[str]

    def announced(self) -> str:
        """For the log."""
        own = len(self.never_held_out)
        also = f"; stage 1's own of {own} cases that no fold is validated on" if own else ""
        return f"Presegmentations: out of fold, {self.cases} cases from {self.folder}{also}."


def find_out_of_fold(
    trainer: str, model: Path, preprocessed: Path, plans: PlansManager, configuration_name: str
) -> OutOfFold | None:
    """The collection made from a stock training; None where there is none.

    Args:
        trainer: whose folds they come from.
        model: its results folder, with a folder a fold.
        preprocessed: the dataset's folder in nnUNet_preprocessed.
        plans: nnU-Net's PlansManager of the training that is to use the collection.

    Raises:
        UserError: it is incomplete, or stale: a fold was trained again, folds, plans or preprocessed data are
            others now, or files are missing or have another shape. The message states which.
    """
    folder = folder_of_collection(preprocessed, trainer, plans.plans_name, configuration_name)
    if not folder.is_dir():
        return None
    again = command(trainer, plans.dataset_name, plans.plans_name, configuration_name)
    mend = f"run `{again}` again, or remove the folder to train without"
    try:
        manifest = Manifest.load(folder)
    except UserError as error:
        raise UserError(None, f"{error}", mend) from None
    configuration = plans.get_configuration(configuration_name)
    now = Sources.as_they_are(model, preprocessed, plans, configuration)
    reason = manifest.sources.outdated(now) or _missing(
        manifest, folder, preprocessed / configuration.data_identifier
    )
    if reason:
        raise UserError(folder, f"the presegmentations are stale, {reason}", mend)
    return OutOfFold(folder, len(manifest.cases), frozenset(manifest.never_held_out))


def _missing(manifest: Manifest, folder: Path, cases_folder: Path) -> str | None:
    """State why nnU-Net's loader could not pair every case with its label map."""
    dataset_class = infer_dataset_class(str(cases_folder))
    known = {*manifest.cases, *manifest.never_held_out}
    dataset = dataset_class(str(cases_folder), folder_with_segs_from_previous_stage=str(folder))
    for case in dataset.identifiers:
        if case not in known:
            return f"case {case} was added since"
        try:
            data, _, presegmentation, _ = dataset.load_case(case)
            fits = tuple(presegmentation.shape) == tuple(data.shape[1:])
        except Exception as error:  # blosc2, numpy and the operating system have one each
            return f"the label map of case {case} cannot be read ({type(error).__name__})"
        if not fits:
            return f"case {case} has another shape now"
    return None


def heads_of(one_hot: Tensor, labels: LabelManager) -> Tensor:
    """Masks of all K segmentation heads, {0, 1} (B, K, *spatial), as `hard_masks` makes them of logits.

    Args:
        one_hot: of the foreground labels, {0, 1} (B, F, *spatial), at most one a pixel: what nnU-Net's
            loader puts behind the image.
        labels: nnU-Net's label manager.
    """
    if not labels.has_regions:
        return torch.cat([1 - one_hot.sum(1, keepdim=True), one_hot], 1)
    channel = {int(label): i for i, label in enumerate(labels.foreground_labels)}
    regions = [region if isinstance(region, tuple) else (region,) for region in labels.foreground_regions]
    return torch.stack(
        [one_hot[:, [channel[int(label)] for label in region]].amax(1) for region in regions], 1
    )
