"""The datasets of an experiment, and the cases of their folds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ..environment import folder_of
from ..errors import UserError
from ..files import load_json
from ..preflight import check_planned, dataset_of_id, name_of_dataset
from .description import Description


@dataclass(frozen=True)
class ValidationCases:
    """Files of the validation cases of a fold.

    Attributes:
        images: name of the file for nnU-Net's prediction to file.
        labels: case to file.
        ending: of all these files.
    """

    images: Mapping[str, Path]
    labels: Mapping[str, Path]
    ending: str


def validation_cases(dataset: int, fold: int) -> ValidationCases:
    """Find the validation cases of a fold. Raises UserError if it, an image or a label is missing."""
    from ..calibration.cases import HeldOutCases  # imports nnU-Net

    name = name_of_dataset(str(dataset), "convert it first")
    held_out = HeldOutCases.of_dataset(name)
    ending = load_json(folder_of("nnUNet_raw") / name / "dataset.json")["file_ending"]
    cases = held_out.of_fold(fold)
    images = {
        f"{case}_{channel:04d}{ending}": Path(file)
        for case in cases
        for channel, file in enumerate(held_out.images[case])
    }
    return ValidationCases(images, {case: Path(held_out.labels[case]) for case in cases}, ending)


def check_datasets(description: Description, ids: dict[str, int]) -> None:
    """Check that all datasets are converted, planned and preprocessed.

    Raises:
        UserError: one is not; the message has the commands.
    """
    raw, configuration = folder_of("nnUNet_raw"), description.configuration
    dim = " --dim 3d" if configuration.startswith("3d") else ""
    for contrast in description.contrasts:
        number = ids[contrast.name]
        name = dataset_of_id(number)
        if name is None or not (raw / name).is_dir():
            convert = f"`spinesegdiff convert -i SPIDER -d {number} --contrast {contrast.convert}{dim}`"
            plan = f"`nnUNetv2_plan_and_preprocess -d {number} -c {configuration}`"
            dataset = f"dataset {number} ({contrast.name})"
            raise UserError(dataset, "is not in nnUNet_raw", f"run {convert} and {plan}")
        check_planned(str(number), configuration, description.plans)
