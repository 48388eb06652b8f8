"""A DICOM exam, folder or zip: the one series that is meant, as a volume."""

from __future__ import annotations

import os
import tempfile
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from .dicom_files import (
    DICOM_IO,
    MR_IMAGES,
    DicomImage,
    is_bare,
    is_dicom,
    media_class,
    read_header,
    start_of,
)
from .dicom_frames import positions_in
from .dicom_series import DicomSeries, choose, series_of
from .dicom_stack import refuse_mixed, stack
from .dicom_zip import files_in, looks_like_dicom, opened, refuse_unsafe, unpack
from .itk import read_image
from .refusal import DAMAGED, Refusal

_NO_STACK = "have the scanner's software export single slices, or a NIfTI file"


@dataclass(frozen=True)
class ExamVolume:
    """A series that was read.

    Attributes:
        image: of the series, slices in the order of their places along their normal.
        files: of the slices in that order; the one file of an enhanced image.
        warnings: what a reader of the results should know.
    """

    image: sitk.Image
    files: tuple[Path, ...]
    warnings: tuple[str, ...]


def read_exam(path: Path, series: str | None, any_plane: bool) -> ExamVolume:
    """Read the series of an exam that `series` names, or the only one that fits.

    Args:
        path: folder that holds DICOM images at any depth, or one DICOM image.
        series, any_plane: see `choose`.

    Raises:
        Refusal: there is no such series, it is no volume, or a file of it is damaged.
    """
    files = [path] if path.is_file() else files_below(path)
    names = ((file.name if file == path else str(file.relative_to(path)), file) for file in files)
    images, left_out = _headers(names)
    volume = _read_series(_choose(images, series, any_plane))
    return replace(volume, warnings=(*left_out, *volume.warnings))


def read_zipped_exam(path: Path, scratch: Path, series: str | None, any_plane: bool) -> ExamVolume:
    """Read the series of an exam in a zip; only the files of that series are left in `scratch`.

    Raises:
        Refusal: as `read_exam`, or the zip is damaged or must not be unpacked.
    """
    with opened(path) as archive:
        refuse_unsafe(archive)
        folder = Path(tempfile.mkdtemp(prefix="series-", dir=scratch))
        images, left_out = _headers(_one_by_one(archive, folder / "header.dcm"))
        chosen = _choose(images, series, any_plane)
        unpacked = tuple(
            replace(image, path=unpack(archive, archive.getinfo(image.name), folder / f"{number:05d}.dcm"))
            for number, image in enumerate(chosen.images)
        )
    volume = _read_series(DicomSeries(unpacked))
    return replace(volume, warnings=(*left_out, *volume.warnings))


def _one_by_one(archive: zipfile.ZipFile, place: Path) -> Iterator[tuple[str, Path]]:
    """Name and unpacked file of all that may be DICOM in a zip; one at a time is on the disk."""
    for member in files_in(archive):
        if looks_like_dicom(archive, member):
            yield member.filename, unpack(archive, member, place)
            place.unlink()


def _headers(files: Iterable[tuple[str, Path]]) -> tuple[list[DicomImage], tuple[str, ...]]:
    """Headers of the DICOM images among named files, and warnings."""
    images, unread = [], []
    for name, file in files:
        start = start_of(file)
        header = read_header(file, name) if is_dicom(start) or is_bare(start) else None
        if header is not None:
            images.append(header)
        elif is_dicom(start):
            unread.append((name, start))
    return images, _left_out(unread)


def files_below(folder: Path) -> Iterator[Path]:
    """All files below a folder that are not hidden, by name; links are followed, once to each folder."""
    seen = set()
    for place, folders, files in os.walk(folder, followlinks=True):
        status = os.stat(place)
        if (status.st_dev, status.st_ino) in seen:
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(place) / name for name in sorted(files) if not name.startswith("."))


def _left_out(unread: Sequence[tuple[str, bytes]]) -> tuple[str, ...]:
    """A warning of DICOM files without a readable image; an MR image among them may be a lost slice."""
    damaged = [name for name, start in unread if media_class(start) in MR_IMAGES]
    if damaged:
        raise Refusal(f"its image {damaged[0]} {DAMAGED}")
    if not unread:
        return ()
    names = ", ".join(name for name, _ in unread)
    return (f"{len(unread)} DICOM files hold no image that can be read and were left out: {names}",)


def _choose(images: Sequence[DicomImage], series: str | None, any_plane: bool) -> DicomSeries:
    if not images:
        raise Refusal("holds no DICOM image; give the folder with the images of an exam")
    return choose(series_of(images), series, any_plane)


def _read_series(series: DicomSeries) -> ExamVolume:
    warnings = () if series.modality == "MR" else (_of_another_modality(series.modality),)
    if any(image.frames > 1 for image in series.images):
        if len(series.images) > 1:
            raise Refusal(f"its series is {len(series.images)} files of several frames each; {_NO_STACK}")
        image = _read_frames(series.images[0])
        return ExamVolume(image, (series.images[0].path,), warnings)
    refuse_mixed(series.images)
    slices = stack(
        np.array([image.position for image in series.images]),
        series.images[0].normal,
        [image.name for image in series.images],
    )
    files = tuple(series.images[k].path for k in slices.order)
    # Slices that are rescaled each in its own way would be cut to the integers of the last one.
    one_kind = len({image.kind for image in series.images}) == 1
    volume = read_image(files, DICOM_IO, sitk.sitkUnknown if one_kind else sitk.sitkFloat32)
    return ExamVolume(volume, files, (*warnings, *slices.warnings))


def _of_another_modality(modality: str) -> str:
    return f"the modality is {modality or 'not told'}, not MR: models are trained on MR"


def _read_frames(image: DicomImage) -> sitk.Image:
    """An enhanced image, whose frames must be an even stack in the file's order."""
    positions = positions_in(image.path)
    if len(positions) != image.frames or image.orientation is None:
        raise Refusal(f"where its {image.frames} frames lie is not told; {_NO_STACK}")
    stack(positions, image.normal, [f"frame {k + 1}" for k in range(image.frames)])
    read = read_image((image.path,), DICOM_IO)
    if not _agrees(read, positions):
        raise Refusal(
            f"its {image.frames} frames are not one stack in the order of their places; {_NO_STACK}"
        )
    return read


def _agrees(read: sitk.Image, positions: np.ndarray) -> bool:
    """Whether ITK puts every frame where the file says that it lies, within 0.1 mm."""
    claimed = [read.TransformIndexToPhysicalPoint((0, 0, k)) for k in range(read.GetSize()[2])]
    return len(claimed) == len(positions) and bool(np.abs(np.array(claimed) - positions).max() < 0.1)
