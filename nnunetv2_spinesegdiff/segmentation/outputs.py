"""Files of one scan, and the record that they are complete and of what they were made from."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import UserError
from ..files import half_written, save_json, written_whole
from ..images.dicom_seg import write_dicom_seg
from ..images.rtstruct import write_rtstruct
from ..images.scan import Scan
from ..images.writing import write_image
from ..labels import BACKGROUND, CLASSES, SPIDER_CANAL
from ..records import Record, as_stored
from .bids import LEVELS, OVERLAY, SEGMENTATION, UNCERTAINTY, is_derivative, level_table, place_of, sidecars
from .level_files import slicer_segmentation, with_unnumbered

if TYPE_CHECKING:
    from .result import Segmentation

RECORDS = ".scans"
"""Hidden folder of records, one per scan. run.json and measurements.csv are made from them."""

ENDINGS = (".nii.gz", ".nii", ".mha", ".nrrd")
"""In which masks are written: the first, or the scan's own with `keep_format`."""

_LEVELS_OF_BIDS = 3  # from sub-01/ses-1/anat to the root
NO_DICOM = "no DICOM results: the scan is not a DICOM series"
REPLACED = "replaces the results of another scan, or of an earlier state of this one, under the same name"


@dataclass(frozen=True)
class Formats:
    """Files to write for every scan.

    Attributes:
        keep: masks, maps and levels in the scan's own format; NIfTI otherwise.
        dicom_seg: also a DICOM segmentation object.
        rtstruct: also a DICOM RT structure set.
    """

    keep: bool = False
    dicom_seg: bool = False
    rtstruct: bool = False

    @property
    def dicom(self) -> bool:
        """Whether there are files that only DICOM scans have."""
        return self.dicom_seg or self.rtstruct


@dataclass(frozen=True)
class ScanOutputs:
    """The files of one scan in an output folder.

    Attributes:
        folder: output folder.
        name: name of the scan.
        bids: the files are in the layout of a BIDS derivative dataset, with JSON files next to the images.
    """

    folder: Path
    name: str
    bids: bool = False

    def mask(self, ending: str) -> Path:
        return self._file(SEGMENTATION, ending)

    def uncertainty(self, ending: str) -> Path:
        return self._file(UNCERTAINTY, ending)

    def levels(self, ending: str) -> Path:
        return self._file(LEVELS, ending)

    @property
    def slicer_segmentation(self) -> Path:
        return self._file(LEVELS, ".seg.nrrd")

    @property
    def overlay(self) -> Path:
        return self._file(OVERLAY, ".png")

    @property
    def dicom_seg(self) -> Path:
        return self._file(SEGMENTATION, ".dcm")

    @property
    def rtstruct(self) -> Path:
        return self._file(SEGMENTATION, ".rtstruct.dcm")

    @property
    def described(self) -> list[Path]:
        """Paths of the files that describe the images in a BIDS dataset."""
        sidecars = [self._file(content, ".json") for content in (SEGMENTATION, UNCERTAINTY, LEVELS)]
        return [*sidecars, self._file(LEVELS, ".tsv")] if self.bids else []

    @property
    def record(self) -> Record:
        return Record(self.folder / RECORDS / f"{self.name}.json", self.folder)

    def files_of(self, scan: Scan, formats: Formats) -> list[Path]:
        """Return the paths of mask, map, levels, pictures and what describes them, the mask first."""
        ending = scan.ending if formats.keep and scan.ending in ENDINGS else ENDINGS[0]
        wanted = {self.dicom_seg: formats.dicom_seg, self.rtstruct: formats.rtstruct}
        beside = [path for path, wants in wanted.items() if wants and scan.dicom_files]
        images = [make(ending) for make in (self.mask, self.uncertainty, self.levels)]
        return [*images, self.slicer_segmentation, self.overlay, *beside, *self.described]

    def write_files(self, done: Segmentation, formats: Formats) -> list[Path]:
        """Write mask, map, levels and picture, each whole or not at all; their paths, the mask first."""
        written = self.files_of(done.scan, formats)
        levels = done.levels
        write_image(done.mask, written[0], done.scan)
        write_image(done.uncertainty, written[1], done.scan, done.shown.measure)
        write_image(levels.image, written[2], done.scan, json.dumps(levels.names))
        write_image(slicer_segmentation(levels.image, levels.names), self.slicer_segmentation, done.scan)
        _draw(done, self.overlay)
        if self.dicom_seg in written or self.rtstruct in written:
            numbers, segments = with_unnumbered(levels.image, levels.names, done.mask)
            if self.dicom_seg in written:
                write_dicom_seg(numbers, done.scan, self.dicom_seg, segments)
            if self.rtstruct in written:
                write_rtstruct(numbers, done.scan, self.rtstruct, segments)
        if self.bids:
            for content, facts in sidecars(done):
                save_json(facts, self._file(content, ".json"))
            with written_whole(self._file(LEVELS, ".tsv")) as temporary:
                temporary.write_text(level_table(levels.names), encoding="utf-8")
        return written

    def write(self, done: Segmentation, formats: Formats, made_from: Mapping[str, Any]) -> dict[str, Any]:
        """Write the scan's files in place of earlier ones and, last, the record.

        Args:
            made_from: what decides the result.

        Returns:
            The record.

        Raises:
            UserError: a file already exists that was not made here.
        """
        if foreign := self._foreign():
            raise UserError(
                foreign[0],
                "already exists and was not created by spinesegdiff",
                "move or delete it, or choose another folder with -o",
            )
        earlier = (self.record.content() or {}).get("made_from", made_from)
        self._begin_anew()
        beside = {
            NO_DICOM: formats.dicom and not done.scan.dicom_files,
            REPLACED: earlier["scan"] != made_from["scan"],
        }
        return self.record.finish(
            made_from,
            self.write_files(done, formats),
            seconds=round(done.seconds, 2),
            warnings=[*done.warnings, *(warning for warning, applies in beside.items() if applies)],
            measurements=done.measurements,
            levels={
                "confidence": done.levels.confidence,
                "basis": done.levels.basis,
                "names": done.levels.names,
            },
        )

    def write_failure(self, reason: str, made_from: Mapping[str, Any] | None) -> None:
        """Keep why there is nothing now, and remove what an earlier run made of another scan of this name.

        What it made of this very scan stays with its record: a flag may be what failed.

        Args:
            made_from: as for `write`; None where nobody could look at the scan.
        """
        earlier = self.record.content() or {}
        if made_from and "files" in earlier and earlier["made_from"]["scan"] == as_stored(made_from["scan"]):
            return
        if not self._foreign():
            self._begin_anew()
        save_json({"failure": reason}, self.record.path)

    def made(self) -> set[Path]:
        """The files that were made here; none before there is a record without a failure."""
        earlier = self.record.content()
        ours = earlier is not None and "failure" not in earlier
        return set(self._visible()) if ours else set()

    def _foreign(self) -> list[Path]:
        """Files with names of results that were not made here, such as a user's own mask next to the scan."""
        return [] if self.made() else [path for path in self._visible() if path.exists()]

    def _begin_anew(self) -> None:
        """Remove all files of the scan in any format, and what killed runs left of them half-written.

        Until the record is complete, an unfinished one states that the files were made here.
        """
        self.record.begin()
        for path in (*self._visible(), *half_written(self.record.path), *self._half_written()):
            path.unlink(missing_ok=True)

    def _visible(self) -> list[Path]:
        makes = (self.mask, self.uncertainty, self.levels)
        images = [make(ending) for ending in ENDINGS for make in makes]
        dicom = [self.dicom_seg, self.rtstruct]
        return [*images, self.slicer_segmentation, self.overlay, *dicom, *self.described]

    def _half_written(self) -> Iterator[Path]:
        return (left for path in self._visible() for left in half_written(path))

    def _file(self, content: str, ending: str) -> Path:
        place = f"{place_of(self.name, content) if self.bids else f'{self.name}_{content}'}{ending}"
        return self.folder / place


def records_in(folder: Path, known: Mapping[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Every whole record of an output folder by the name of its scan, sorted.

    Args:
        known: those that need not be read.
    """
    found: dict[str, dict[str, Any]] = {}
    # Hidden files are not whole yet, or never will be.
    for path in sorted((folder / RECORDS).glob("[!.]*.json")):
        record = known.get(path.stem) or Record(path, folder).content()
        if record and "unfinished" not in record:  # else another part is just making that scan anew
            found[path.stem] = record
    return found


def made_in(folder: Path) -> set[str]:
    """List the names of files that runs made in a folder, by records. They are not scans.

    The records are in the folder itself, or at most three levels above if it is in a BIDS dataset of results.
    """
    folder = Path(os.path.abspath(folder))
    names: set[str] = set()
    for root in (folder, *folder.parents[:_LEVELS_OF_BIDS]):
        bids = is_derivative(root)
        for record in (root / RECORDS).glob("[!.]*.json") if bids or root == folder else ():
            with suppress(OSError):  # somebody else's, who lets nobody read it
                made = ScanOutputs(root, record.stem, bids).made()
                names.update(path.name for path in made if path.parent == folder)
    return names


def _draw(done: Segmentation, path: Path) -> None:
    from ..plots.layers import NamedParts
    from ..plots.overlay import draw_overlay  # matplotlib takes a second to load

    shown = done.shown
    names = {number: name for number, name in done.levels.names.items() if number != SPIDER_CANAL}
    draw_overlay(
        done.name,
        shown.image,
        shown.mask,
        shown.uncertainty,
        shown.spacing,
        ("H", "F", "A", "P"),
        _structures(),
        path,
        measure=shown.measure,
        highest=shown.highest,
        levels=NamedParts(shown.numbers, names, f"levels, confidence: {done.levels.confidence}"),
    )


def _structures() -> dict[str, int]:
    return {name: label for name, label in CLASSES.items() if label != BACKGROUND}
