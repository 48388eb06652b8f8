"""The anatomical images of a BIDS dataset, and names of its files.

The rules are those of https://bids-specification.readthedocs.io.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import nibabel as nib

from ..errors import UserError
from ..files import load_json
from ..text import reason_of
from .examination import slice_plane
from .nifti import grid_by
from .scan import files_below

DESCRIPTION = "dataset_description.json"
DERIVATIVES = "derivatives"
SUFFIXES = ("T1w", "T2w", "PDw", "T2starw", "FLAIR", "inplaneT1", "inplaneT2")
"""Of the images that can be scans of a spine; maps, angiographies and masks have others."""

_ENDINGS = (".nii.gz", ".nii")
_DERIVED = {"space", "seg", "res", "den", "label", "desc"}
_MAGNITUDE = "mag"
_LABEL = "[A-Za-z0-9+]+"
_NAME = re.compile(rf"(sub-{_LABEL})(?:_(ses-{_LABEL}))?((?:_[a-z]+-{_LABEL})*)_([A-Za-z0-9]+)")


class BidsName(NamedTuple):
    """The parts of a file name without its ending, such as `sub-01_ses-2_run-1_T2w`.

    Attributes:
        subject: "sub-01".
        session: "ses-2"; empty if there is none.
        entities: all further ones in the order of the name, "run-1".
        suffix: "T2w".
    """

    subject: str
    session: str
    entities: tuple[str, ...]
    suffix: str

    @classmethod
    def of(cls, name: str) -> BidsName | None:
        """Split a name; None if it is not one of BIDS."""
        if not (match := _NAME.fullmatch(name)):
            return None
        subject, session, entities, suffix = match.groups()
        return cls(subject, session or "", tuple(entities.split("_")[1:]), suffix)

    @property
    def folder(self) -> PurePosixPath:
        """The folder of the subject or session in a dataset."""
        return PurePosixPath(self.subject, self.session)

    @property
    def is_scan(self) -> bool:
        """Whether the image is one that a scanner makes and that shows signal."""
        keys = dict(entity.split("-", 1) for entity in self.entities)
        return (
            self.suffix in SUFFIXES
            and _DERIVED.isdisjoint(keys)
            and keys.get("part", _MAGNITUDE) == _MAGNITUDE
        )


def is_dataset(path: Path) -> bool:
    """Whether a folder is the root of a BIDS dataset.

    Raises:
        UserError: it has a `dataset_description.json` that cannot be read.
    """
    description = path / DESCRIPTION
    if not description.exists():
        return False
    try:
        valid = isinstance(load_json(description), dict)
    except OSError as error:
        raise UserError(description, f"cannot be read ({reason_of(error)})", "make it readable") from error
    except ValueError:  # no JSON, or no UTF-8
        valid = False
    if not valid:
        advice = "correct it, or give the folders of the subjects one by one"
        raise UserError(description, "is not a JSON object", advice)
    return True


def images_in(dataset: Path, others: tuple[str, ...]) -> tuple[list[Path], list[str]]:
    """List the anatomical images of a dataset; `derivatives`, `sourcedata` and `code` are not searched.

    Args:
        dataset: root of the dataset.
        others: endings of images that are not read.

    Returns:
        The images, and paths in the dataset of images in `anat` folders that are named otherwise than BIDS
        requires or in formats that are not read.

    Raises:
        UserError: no image was found, or a folder cannot be listed.
    """
    found, passed_over = list[Path](), list[str]()
    for file in _in_anat(dataset):
        ending = next((ending for ending in (*_ENDINGS, *others) if file.name.lower().endswith(ending)), "")
        name = BidsName.of(file.name[: -len(ending)]) if ending else None
        placed = name is not None and (dataset / name.folder / "anat") == file.parent
        if name and placed and not name.is_scan:
            continue
        if name and placed and file.name.endswith(_ENDINGS):
            found.append(file)
        elif ending:
            passed_over.append(file.relative_to(dataset).as_posix())
    if not found:
        names = f"expected are sub-*/[ses-*/]anat/*.nii.gz with one of the suffixes {', '.join(SUFFIXES)}"
        raise UserError(dataset, "is a BIDS dataset without anatomical images", names)
    return found, sorted(passed_over)


def _in_anat(dataset: Path) -> Iterator[Path]:
    try:
        subjects = sorted(
            path for path in dataset.iterdir() if path.name.startswith("sub-") and path.is_dir()
        )
    except OSError as error:
        raise UserError(dataset, f"cannot be listed ({reason_of(error)})", "make it readable") from error
    for subject in subjects:
        yield from (file for file in files_below(subject) if file.parent.name == "anat")


def plane_of(path: Path) -> str | None:
    """Return the plane of an image's slices, from its header; None if the reader has to find it out."""
    try:
        image: Any = nib.load(path)
        header = image.header
        if not (int(header["qform_code"]) or int(header["sform_code"])):
            return None
        return slice_plane(grid_by(image.affine, image.shape[:3]))[1]
    except Exception:  # the reader reports what is wrong
        return None
