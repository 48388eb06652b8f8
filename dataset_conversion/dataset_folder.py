"""The folder of a converted dataset: whose it is, and the files that make nnU-Net accept it."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict, fields
from pathlib import Path

from nnunetv2.dataset_conversion.generate_dataset_json import generate_dataset_json

from nnunetv2_spinesegdiff.errors import UserError, writing
from nnunetv2_spinesegdiff.files import load_json, save_csv, save_json

from .cases import CaseFacts, CaseFiles, CaseSettings
from .folds import Splits
from .label_rules import dataset_labels

SUBFOLDERS = ("imagesTr", "labelsTr", "conversion")
SUMMARIES = ("dataset.json", "cases.csv", "splits_final.json")


def dataset_folder_name(dataset_id: int, dataset_name: str) -> str:
    """`Dataset501_SPIDER`.

    Raises:
        UserError: a number outside 1..999, or a name with other characters than letters, digits, _ and -.
    """
    if not 1 <= dataset_id <= 999:
        raise UserError(f"dataset id {dataset_id}", "nnU-Net takes 1 to 999")
    if not re.fullmatch(r"[A-Za-z0-9_-]+", dataset_name):
        raise UserError(f"dataset name {dataset_name!r}", "use letters, digits, _ and - only")
    return f"Dataset{dataset_id:03d}_{dataset_name}"


def check_id_is_free(name: str, *roots: Path) -> None:
    """nnU-Net finds a dataset by its number and rejects a number with two names.

    Raises:
        UserError: one of the folders holds a dataset of the same number and another name.
    """
    number = name.split("_", 1)[0]
    for root in roots:
        others = [p for p in sorted(root.glob(f"{number}*")) if p.is_dir() and p.name != name]
        if others:
            cause = f"the id {int(number[-3:])} belongs to that dataset"
            raise UserError(others[0], cause, "choose another id with -d, or its name")


def check_can_be_written(*datasets: Path) -> None:
    """Try to write into each folder and its subfolders, or where the first missing one would be made.

    Raises:
        UserError: one of them cannot be written. Nothing is left behind either way.
    """
    for dataset in datasets:
        for folder in (dataset, *(dataset / name for name in SUBFOLDERS)):
            existing = next(p for p in (folder, *folder.absolute().parents) if os.path.exists(p))
            advice = "change its permissions, or let nnUNet_raw and nnUNet_preprocessed name other folders"
            with writing(existing, advice), tempfile.TemporaryFile(dir=existing):
                pass


def recorded_cases(dataset: Path) -> set[str]:
    """Every case of the folder that was begun or finished here."""
    return {path.stem for path in (dataset / "conversion").glob("[!.]*.json")}


def check_folder_is_ours(dataset: Path) -> None:
    """Reject a dataset of the same number and name that was not made here.

    Raises:
        UserError: the folder holds a training image, a label or a dataset.json that no record accounts for.
    """
    records = recorded_cases(dataset)
    for path in sorted([*(dataset / "imagesTr").glob("[!.]*"), *(dataset / "labelsTr").glob("[!.]*")]):
        case = path.name.removesuffix(".nii.gz")
        if not {case, case.removesuffix("_0000")} & records:
            raise UserError(path, "was not made by this command", "choose another dataset id with -d")
    if (dataset / "dataset.json").exists() and not records:
        raise UserError(dataset, "holds another dataset", "choose another dataset id with -d")


def remove_leftovers(dataset: Path, keep: Iterable[str]) -> list[str]:
    """Make way for a conversion.

    Removes what a killed run left under temporary names (nnU-Net would take it for cases), the cases that are
    not in `keep`, and the summaries, which are true again only when the conversion has ended.

    Returns:
        The cases removed.
    """
    for temporary in dataset.glob("*/.*.part*"):
        temporary.unlink(missing_ok=True)
    for summary in SUMMARIES:
        (dataset / summary).unlink(missing_ok=True)
    stale = sorted(recorded_cases(dataset) - set(keep))
    for case in stale:
        CaseFiles(dataset, case).remove()
    return stale


def remove_if_empty(dataset: Path) -> None:
    """Remove the dataset's folders where nothing was put into them."""
    for folder in (*(dataset / name for name in SUBFOLDERS), dataset):
        with suppress(OSError):
            folder.rmdir()


def write_summaries(
    dataset: Path, preprocessed: Path, cases: list[CaseFacts], splits: Splits, settings: CaseSettings
) -> None:
    """Write cases.csv, splits_final.json and, last, dataset.json, without which nnU-Net sees no dataset.

    The splits go to nnUNet_preprocessed, where training reads them, and next to dataset.json, from where
    nnU-Net's planning restores them should nnUNet_preprocessed be cleared: without them it would split by
    case, and patients would leak.
    """
    save_csv([field.name for field in fields(CaseFacts)], map(asdict, cases), dataset / "cases.csv")
    save_json(splits, preprocessed / "splits_final.json")
    save_json(splits, dataset / "splits_final.json")
    with tempfile.TemporaryDirectory() as scratch:
        generate_dataset_json(
            scratch,
            # Any name but nnU-Net's special ones (CT, noNorm, ...) is normalised by z-score.
            channel_names={"0": "MRI"},
            labels=dataset_labels(settings.partial_vertebrae, settings.ignore_label),
            num_training_cases=len(cases),
            file_ending=".nii.gz",
            dataset_name=dataset.name,
            description="Lumbar spine MR in SPIDER's layout: spinal canal, vertebrae, intervertebral discs",
            # The images may be SPIDER's or anyone's in its layout.
            reference="that of the images; SPIDER: https://doi.org/10.5281/zenodo.10159290",
            license="that of the images; SPIDER: CC BY 4.0",
            converted_by="nnunetv2_spinesegdiff",
            # Whoever segments a scan with the model must cut it as its training cases were cut.
            conversion={"slices": settings.single_cut, "dim": settings.dim},
            overwrite_image_reader_writer="SimpleITKIO",
        )
        content = load_json(Path(scratch) / "dataset.json")
    save_json(content, dataset / "dataset.json")
