"""One case: read, convert, write, and know later whether that was finished with the same settings.

In addition to nnU-Net's folders, a dataset keeps `conversion/<case>.json`, the record of a case. It is
written before the first output, unfinished, and again, finished, after the last. So a file of the dataset
without a record was not made here, and a finished record whose checksums fit means a complete case.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

from nnunetv2_spinesegdiff.errors import UserError, writing
from nnunetv2_spinesegdiff.images.grid import Grid
from nnunetv2_spinesegdiff.images.intensities import scale_intensities
from nnunetv2_spinesegdiff.images.writing import write_image
from nnunetv2_spinesegdiff.labels import BACKGROUND, CLASSES
from nnunetv2_spinesegdiff.records import Record

from .geometry import IN_PLANE_MM, SliceView, extract_slice
from .label_rules import map_labels
from .spider import SpiderSeries, read_image_and_mask

FORMAT = 5
"""Part of every record: raise it when the same input gives another output, and cases are made again."""

EACH = "each"
"""Of `CaseSettings.slices`: every labeled sagittal slice is a case of its own."""
SLICES = ("middle", "all", EACH)

FOREGROUND = [number for number in CLASSES.values() if number != BACKGROUND]


@dataclass(frozen=True)
class CaseSettings:
    """All options that change the voxels of a case."""

    partial_vertebrae: str
    slices: str
    dim: str
    ignore_label: int | None = None
    format: int = FORMAT

    def __post_init__(self) -> None:
        # A volume holds every slice whatever was asked for: the same files are the same settings.
        if self.dim == "3d":
            object.__setattr__(self, "slices", "all")

    @property
    def single_cut(self) -> str:
        """`slices` of `extract_slice`, and how a scan must be cut for a model of these cases."""
        return "middle" if self.slices == EACH else self.slices


@dataclass(frozen=True)
class CaseFacts:
    """A row of cases.csv.

    Attributes:
        case: nnU-Net's case name.
        patient: as in SPIDER's tables.
        contrast: "t1" or "t2".
        source: file name in `images`.
        slice_index: the slice kept, 0 = leftmost, counted towards the right; None where all were.
        obliquity_deg: angle between the slice normal and the left-right axis.
        spacing_mm: of the source, left-right x front-back x head-foot.
        size: voxels of the source in the same order.
    """

    case: str
    patient: str
    contrast: str
    source: str
    slice_index: int | None
    obliquity_deg: float
    spacing_mm: str
    size: str


@dataclass(frozen=True)
class LabeledVolume:
    """The files of a series: image with scaled intensities, and classes on the same grid."""

    image: sitk.Image
    classes: sitk.Image


class CaseRecord(Record):
    """Of a case; those of earlier versions had other names for the same."""

    def content(self) -> dict[str, Any] | None:
        content = super().content()
        if not content or "outputs" not in content:
            return content
        files = CaseFiles(self.root, self.path.stem)
        names = {"image": files.image, "label": files.label}
        digests = {
            names[key].relative_to(self.root).as_posix(): sha for key, sha in content["outputs"].items()
        }
        made_from = {key: content[key] for key in ("settings", "inputs")}
        return {"made_from": made_from, "files": digests, "facts": content["facts"]}


@dataclass(frozen=True)
class CaseFiles:
    """Files of a case in an nnU-Net raw dataset."""

    dataset: Path
    case: str

    @property
    def image(self) -> Path:
        return self.dataset / "imagesTr" / f"{self.case}_0000.nii.gz"

    @property
    def label(self) -> Path:
        return self.dataset / "labelsTr" / f"{self.case}.nii.gz"

    @property
    def record(self) -> Record:
        return CaseRecord(self.dataset / "conversion" / f"{self.case}.json", self.dataset)

    def remove(self) -> None:
        # The record goes last: interrupted here, the files still have an owner.
        for path in (self.image, self.label, self.record.path):
            path.unlink(missing_ok=True)


def finished_case(source: SpiderSeries, dataset: Path, settings: CaseSettings) -> CaseFacts | None:
    """The facts of a case that is whole and was made from these very files with these settings, or None."""
    try:
        made_from = _made_from(source, settings)
    except OSError:  # a file is missing: converting the case reports it
        return None
    record = CaseFiles(dataset, source.series.case).record.content_if_current(made_from)
    return CaseFacts(**record["facts"]) if record else None


def convert_case(
    source: SpiderSeries, volume: LabeledVolume, dataset: Path, settings: CaseSettings
) -> CaseFacts:
    """Write image, label and record of one case.

    Args:
        volume: contents of the files of `source`.

    Raises:
        UserError: the series is unusable or cannot be written.
        Exception: whatever else goes wrong. Nothing of the case is left either way.
    """
    files = CaseFiles(dataset, source.series.case)
    try:
        image, label = _cut(source, volume, settings)
        facts = _facts(source, image)
        with _writing(files.record.path):
            files.record.begin()
        _write(image.image, files.image)
        _write(label.image, files.label)
        with _writing(files.record.path):
            made = (files.image, files.label)
            files.record.finish(_made_from(source, settings), made, facts=asdict(facts))
        return facts
    except BaseException:
        files.remove()
        raise


def read_labeled_volume(source: SpiderSeries, settings: CaseSettings) -> LabeledVolume:
    """Read the files of a series, scale its intensities and map its labels to classes.

    Raises:
        UserError: a file is unusable.
    """
    image, mask = read_image_and_mask(source)
    try:
        scaled = scale_intensities(image)
    except ValueError as error:
        raise UserError(source.image, str(error)) from error
    try:
        numbers = sitk.GetArrayViewFromImage(mask)
        classes = map_labels(numbers, settings.partial_vertebrae, settings.ignore_label)
    except ValueError as error:
        raise UserError(source.mask, str(error)) from error
    return LabeledVolume(scaled, Grid.of(image).image(classes))


def _cut(source: SpiderSeries, volume: LabeledVolume, settings: CaseSettings) -> tuple[SliceView, SliceView]:
    slices = settings.single_cut if source.cut is None else source.cut
    cut = partial(extract_slice, slices=slices, dim=settings.dim)
    label = cut(volume.classes, is_label=True)
    if source.cut is None and source.series.slice_number is not None and label.oriented.size[2] > 1:
        raise UserError(
            source.image, f"is named like a single slice, but holds {label.oriented.size[2]}", "rename it"
        )
    _check_labelled(label, source)
    return cut(volume.image), label


class NothingLabeledError(UserError):
    """The slices of a case hold no labeled structure."""


def _check_labelled(view: SliceView, source: SpiderSeries) -> None:
    """Reject a case whose label shows no spine: it would be trained on and scored as background."""
    if np.isin(sitk.GetArrayViewFromImage(view.image), FOREGROUND).any():
        return
    kind = "slice" if source.cut is not None else "middle slice"
    what = f"{kind} (number {view.first_slice} from the left)" if view.num_slices == 1 else "volume"
    raise NothingLabeledError(
        source.mask, f"the {what} holds no labeled structure", "annotate it or remove the series"
    )


def _facts(source: SpiderSeries, view: SliceView) -> CaseFacts:
    back_down_right = view.oriented

    def right_front_up(values: tuple[Any, ...], form: str) -> str:
        return "x".join(format(values[axis], form) for axis in (2, 0, 1))

    return CaseFacts(
        case=source.series.case,
        patient=source.series.patient,
        contrast=source.series.contrast,
        source=source.series.file_name,
        slice_index=view.first_slice if view.num_slices == 1 else None,
        obliquity_deg=round(view.obliquity_deg, 2),
        spacing_mm=right_front_up(back_down_right.spacing, ".4g"),
        size=right_front_up(back_down_right.size, "d"),
    )


def _write(image: sitk.Image, path: Path) -> None:
    """Write an image; a single slice is at least as thick as its pixels, or nnU-Net would cut across it."""
    if image.GetSize()[2] == 1 and image.GetSpacing()[2] < IN_PLANE_MM:
        image = sitk.Image(image)
        image.SetSpacing((*image.GetSpacing()[:2], IN_PLANE_MM))
    with _writing(path):
        write_image(image, path)


def _writing(path: Path) -> AbstractContextManager[None]:
    # ITK raises RuntimeError.
    return writing(path, "check the disk, then run again", RuntimeError)


def _made_from(source: SpiderSeries, settings: CaseSettings) -> dict[str, Any]:
    # Reading gigabytes again only to hash them would cost as much as converting.
    inputs = {
        name: [path.stat().st_size, path.stat().st_mtime_ns]
        for name, path in (("image", source.image), ("mask", source.mask))
    }
    return {"settings": asdict(settings), "inputs": inputs}
