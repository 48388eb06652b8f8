"""A DICOM exam, folder or zip: the one volume that is meant."""

from __future__ import annotations

import os
import tempfile
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import numpy as np
import SimpleITK as sitk

from .dicom_files import (
    MR_IMAGES,
    DicomImage,
    DicomSlice,
    is_bare,
    is_dicom,
    media_class,
    read_header,
    start_of,
)
from .dicom_series import DicomVolume, choose, series_of
from .dicom_stack import refuse_unplaced, stack
from .dicom_zip import files_in, looks_like_dicom, opened, refuse_unsafe, unpack
from .itk import name_for_itk, read_image
from .refusal import DAMAGED, Refusal

DICOM_IO = "GDCMImageIO"


@dataclass(frozen=True)
class ExamVolume:
    """A volume that was read.

    Attributes:
        image: slices in the order of their places along their normal.
        files: of the slices in that order, each once.
        warnings: what a reader of the results should know.
    """

    image: sitk.Image
    files: tuple[Path, ...]
    warnings: tuple[str, ...]


def read_exam(path: Path, series: str | None, any_plane: bool) -> ExamVolume:
    """Read the volume of an exam that `series` names, or the only one that fits.

    Args:
        path: folder that holds DICOM images at any depth, or one DICOM image.
        series, any_plane: see `choose`.

    Raises:
        Refusal: there is no such series, it is no volume, or a file of it is damaged.
    """
    files = [path] if path.is_file() else files_below(path)
    names = ((file.name if file == path else str(file.relative_to(path)), file) for file in files)
    images, left_out = _headers(names)
    volume = _read_volume(_choose(images, series, any_plane))
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
        of_slices = {one.file: one for one in chosen.slices}
        unpacked = {
            name: unpack(archive, archive.getinfo(name), folder / f"{number:05d}.dcm")
            for number, name in enumerate(of_slices)
        }
        slices = tuple(replace(one, path=unpacked[one.file]) for one in chosen.slices)
    volume = _read_volume(replace(chosen, slices=slices))
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


def _choose(images: Sequence[DicomImage], series: str | None, any_plane: bool) -> DicomVolume:
    if not images:
        raise Refusal("holds no DICOM image; give the folder with the images of an exam")
    return choose(series_of(images), series, any_plane)


def _read_volume(volume: DicomVolume) -> ExamVolume:
    """Voxels as GDCM decodes them, at the places that the slices state."""
    modality = volume.series.modality
    other = (f"the modality is {modality or 'not told'}, not MR: models are trained on MR",)
    refuse_unplaced(volume.slices)
    first = volume.slices[0]
    positions = np.array([one.position for one in volume.slices])
    try:
        made = stack(positions, first.normal, [one.name for one in volume.slices])
    except Refusal as refusal:
        raise Refusal("; ".join((str(refusal), *volume.warnings))) from refusal
    slices = [volume.slices[k] for k in made.order]
    image = sitk.GetImageFromArray(np.stack(list(_voxels(slices))))
    apart = first.thickness or 1.0 if len(slices) == 1 else made.apart_mm
    image.SetSpacing((*cast(tuple[float, float], first.spacing), apart))
    image.SetOrigin(positions[made.order[0]].tolist())
    rows, columns = np.reshape(cast(tuple[float, ...], first.orientation), (2, 3))
    image.SetDirection(np.stack([rows, columns, first.normal], axis=1).ravel().tolist())
    files = tuple(dict.fromkeys(one.path for one in slices))
    warnings = (*(() if modality == "MR" else other), *volume.warnings, *made.warnings)
    return ExamVolume(image, files, warnings)


def _voxels(slices: Sequence[DicomSlice]) -> Iterator[np.ndarray]:
    """Values of each slice, rescaled as its header says, without padding; (rows, columns)."""
    read: tuple[Path, np.ndarray] | None = None
    for one in slices:
        if read is None or read[0] != one.path:
            read = one.path, _decoded(one)
        yield _without_padding(_rescaled(read[1][one.frame], one), one)


def _decoded(one: DicomSlice) -> np.ndarray:
    """(frames, rows, columns) of its file."""
    name_for_itk(one.path)
    try:
        frames = sitk.GetArrayFromImage(read_image((one.path,), DICOM_IO))
    except Refusal as refusal:
        raise Refusal(f"its image {one.file} {DAMAGED}") from refusal
    return frames.reshape(-1, *one.size[::-1])


def _rescaled(values: np.ndarray, one: DicomSlice) -> np.ndarray:
    """GDCM rescales all frames of a file as the first of them."""
    if one.rescale == one.first_rescale:
        return values
    slope, intercept = one.first_rescale
    return (values - intercept) / slope * one.rescale[0] + one.rescale[1]


def _without_padding(values: np.ndarray, one: DicomSlice) -> np.ndarray:
    """What the header calls padding gets the lowest value of the image."""
    if one.padding is None:
        return values
    low, high = sorted(limit * one.rescale[0] + one.rescale[1] for limit in one.padding)
    padding = (values >= low) & (values <= high)
    if not padding.any() or padding.all():
        return values
    return np.where(padding, values[~padding].min(), values)
