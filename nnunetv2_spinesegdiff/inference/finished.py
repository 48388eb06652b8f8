"""Which cases of an output folder are finished, and in which way they were predicted."""

from __future__ import annotations

import json
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..files import half_written, json_object, save_json
from ..images.reading import check_file
from ..records import Record

RECORD = "spinesegdiff_args.json"
UNCERTAINTY = "uncertainty"
"""Folder of the maps: nnU-Net's evaluation reads every image in the folder of masks as a mask."""


@dataclass(frozen=True)
class Outputs:
    """The files of one predicted case.

    Attributes:
        truncated: output folder and case, nnU-Net's `output_file_truncated`.
        ending: the dataset's file ending.
        probabilities, uncertainty: whether to write these in addition to the mask.
    """

    truncated: Path
    ending: str
    probabilities: bool = False
    uncertainty: bool = False

    @property
    def mask(self) -> Path:
        return self._beside(self.ending)

    @property
    def npz(self) -> Path:
        return self._beside(".npz")

    @property
    def pkl(self) -> Path:
        return self._beside(".pkl")

    @property
    def uncertainty_map(self) -> Path:
        return self._below("_uncertainty.nii.gz")

    @property
    def uncertainty_per_class(self) -> Path:
        return self._below("_uncertainty_per_class.nii.gz")

    @property
    def overlay(self) -> Path:
        return self._below("_overlay.png")

    @property
    def rows(self) -> Path:
        """This case's part of confidence.csv; hidden, and there so that a run that was stopped can go on."""
        return self.truncated.parent / UNCERTAINTY / ".rows" / f"{self.truncated.name}.json"

    def are_whole(self) -> bool:
        """Whether everything that is wanted is there and not truncated."""
        return all(is_whole(path) for path in self._wanted())

    def remove(self, unwanted_only: bool = False) -> None:
        """Remove all files of the case, or those of earlier predictions that are not wanted now.

        What a killed run left half-written goes in any case: nnU-Net's evaluation takes it for a mask.
        """
        everything = {self.mask, *self._of_probabilities(), *self._of_uncertainty()}
        unwanted = everything - (set(self._wanted()) if unwanted_only else set())
        for path in unwanted.union(*map(half_written, everything)):
            path.unlink(missing_ok=True)

    def _wanted(self) -> list[Path]:
        return [
            self.mask,
            *(self._of_probabilities() if self.probabilities else ()),
            *(self._of_uncertainty() if self.uncertainty else ()),
        ]

    def _of_probabilities(self) -> list[Path]:
        return [self.npz, self.pkl]

    def _of_uncertainty(self) -> list[Path]:
        return [self.uncertainty_map, self.uncertainty_per_class, self.overlay, self.rows]

    def _beside(self, ending: str) -> Path:
        return self.truncated.with_name(self.truncated.name + ending)

    def _below(self, ending: str) -> Path:
        return self.truncated.parent / UNCERTAINTY / (self.truncated.name + ending)


def is_whole(path: Path) -> bool:
    """Whether a file of a prediction can be read to its end. Nothing is unpickled for that."""
    try:
        if path.suffix == ".npz":
            with zipfile.ZipFile(path) as archive:
                return archive.testzip() is None
        if path.suffix == ".json":
            return bool(json.loads(path.read_text(encoding="utf-8")))
        if path.suffix == ".png":
            return path.read_bytes().endswith(b"IEND\xaeB`\x82")
        if path.suffix == ".pkl":
            return path.read_bytes().endswith(b".")  # the opcode that ends a pickle
        check_file(path)
        return True
    except (OSError, EOFError, UserError, ValueError, zipfile.BadZipFile, zlib.error):
        return False


def check_whole(written: Path, path: Path) -> None:
    """Check that the disk had room for a new file: ITK's writers of NIfTI and NRRD do not.

    Args:
        written: under its temporary name.
        path: its name, for the message.

    Raises:
        UserError: it is cut off.
    """
    if not is_whole(written):
        raise UserError(path, "cannot be written whole, is the disk full? Make room and run again")


def keep_record(folder: Path, record: Mapping[str, Any], overwrite: bool, ending: str) -> None:
    """Write how the masks of an output folder are predicted.

    Raises:
        UserError: earlier masks are to be kept (`overwrite` is False) that were predicted in another way.
    """
    path = folder / RECORD
    if not overwrite and any(folder.glob(f"[!.]*{ending}")):
        earlier = Record(path, folder).content()
        if earlier is None:
            raise UserError(
                folder,
                "holds masks that were predicted without --refine or another SpineSegDiff option",
                "go on without it, or choose another folder",
            )
        if not earlier:
            raise UserError(path, "cannot be read, is it truncated? Choose another folder")
        if differing := _differing(earlier, record):
            raise UserError(folder, f"holds masks of another kind ({differing})", "choose another folder")
    save_json(record, path)


def are_of_this_kind(folder: Path, record: Mapping[str, Any]) -> bool:
    """Whether the masks of an output folder, if there are any, were predicted in this way."""
    return not _differing(json_object(folder / RECORD), record)


def _differing(earlier: Mapping[str, Any], record: Mapping[str, Any]) -> str:
    """State what differs; empty if nothing does."""
    differing = [k for k in {**earlier, **record} if earlier.get(k) != record.get(k)]
    return ", ".join(f"{k} {earlier.get(k)} instead of {record.get(k)}" for k in sorted(differing))
