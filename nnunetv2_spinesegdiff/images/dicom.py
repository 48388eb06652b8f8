"""Read one volume of a DICOM exam, which is a folder, a file or a zip."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import cast
from zipfile import ZipFile, ZipInfo

import numpy as np
import SimpleITK as sitk

from .dicom_files import (
    MR_IMAGES,
    START,
    DicomSlice,
    has_preamble,
    may_be_image,
    media_class,
    read_slices,
    start_of,
)
from .dicom_pixels import refuse_contradictions
from .dicom_series import DicomVolume, choose
from .examination import MAX_SHEAR_DEG, ROUNDING_DEG, check_kind
from .grid import TOLERANCE_MM
from .itk import read_image
from .scan import DAMAGED, Refusal, is_utf8
from .zips import extract, opened

MOST_BYTES = 8 << 30
"""Of an unpacked zip."""

_ROUNDING = 1e-3

ExamVolume = tuple[sitk.Image, tuple[Path, ...], tuple[int, ...], tuple[str, ...]]
"""Image, files of its slices in order, each once, frame numbers if one enhanced file holds all slices, and
warnings."""


def read_exam(path: Path, series: str | None, any_plane: bool) -> ExamVolume:
    """Read the volume of an exam that `series` names, or the only one that fits.

    Args:
        path: folder that holds DICOM images at any depth, or one DICOM image.
        series, any_plane: see `choose`.

    Raises:
        Refusal: the series does not exist, is not a volume, or one of its files is damaged.
    """
    files = [path] if path.is_file() else files_below(path)
    names = ((file.name if file == path else str(file.relative_to(path)), file) for file in files)
    slices, warnings = _slices(names)
    return _read_volume(choose(slices, series, any_plane), warnings)


def read_zipped_exam(path: Path, scratch: Path, series: str | None, any_plane: bool) -> ExamVolume:
    """Read the series of an exam in a zip; only the files of that series are left in `scratch`.

    Raises:
        Refusal: as `read_exam`, or the zip is too large.
        UserError: the zip is damaged or unsafe.
    """
    with opened(path, by_name=False) as archive:
        total = sum(entry.file_size for entry in archive.infolist())
        if total > MOST_BYTES:
            limit = MOST_BYTES >> 30
            raise Refusal(f"holds {total / (1 << 30):.1f} GiB unpacked, more than {limit}; zip one series")
        folder = Path(tempfile.mkdtemp(prefix="series-", dir=scratch))
        slices, warnings = _slices(_one_by_one(archive, folder / "header.dcm"))
        chosen = choose(slices, series, any_plane)
        unpacked: dict[str, Path] = {}
        for name in dict.fromkeys(one.file for one in chosen.slices):
            unpacked[name] = folder / f"{len(unpacked):05d}.dcm"
            extract(archive, archive.getinfo(name), unpacked[name])
    slices = [replace(one, path=unpacked[one.file]) for one in chosen.slices]
    return _read_volume(replace(chosen, slices=tuple(slices)), warnings)


def zipped_images(archive: ZipFile) -> Iterator[ZipInfo]:
    """List the entries of a zip that may be DICOM images, by name; only their first bytes are inflated."""
    for entry in sorted(archive.infolist(), key=lambda entry: entry.filename):
        if entry.is_dir() or any(part.startswith(".") for part in PurePosixPath(entry.filename).parts):
            continue
        with archive.open(entry) as stream:
            if may_be_image(stream.read(START)):
                yield entry


def _one_by_one(archive: ZipFile, file: Path) -> Iterator[tuple[str, Path]]:
    """Names and files of what may be DICOM in a zip; one at a time is on the disk."""
    for entry in zipped_images(archive):
        extract(archive, entry, file)
        yield entry.filename, file
        file.unlink()


def files_below(folder: Path) -> Iterator[Path]:
    """List all files in a folder and its subfolders, without hidden ones; links are followed once."""
    seen = set()
    for place, folders, files in os.walk(folder, followlinks=True):
        status = os.stat(place)
        if (status.st_dev, status.st_ino) in seen:
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(place) / name for name in sorted(files) if not name.startswith("."))


def _slices(files: Iterable[tuple[str, Path]]) -> tuple[list[DicomSlice], tuple[str, ...]]:
    """Slices of the DICOM images among named files, and a warning of unreadable images.

    Raises:
        Refusal: there are no images, or an MR image is unreadable, which may be a slice of the volume.
    """
    slices: list[DicomSlice] = []
    unread = []
    for name, file in files:
        start = start_of(file)
        found = read_slices(file, name) if may_be_image(start) else []
        slices += found
        if not found and has_preamble(start) and may_be_image(start):
            if media_class(start) in MR_IMAGES:
                raise Refusal(f"its image {name} {DAMAGED}")
            unread.append(name)
    if not slices:
        raise Refusal("holds no DICOM image; give the folder with the images of an exam")
    skipped = f"{len(unread)} DICOM files hold no readable image and were skipped: {', '.join(unread)}"
    return slices, (skipped,) if unread else ()


def _read_volume(volume: DicomVolume, warnings: tuple[str, ...]) -> ExamVolume:
    """Read voxels with GDCM, and place every slice at its own ImagePositionPatient."""
    if volume.series.modality != "MR":
        modality = volume.series.modality or "unknown"
        warnings += (f"the modality is {modality}, not MR: models are trained on MR",)
    _check_placed(volume.slices)
    first = volume.slices[0]
    check_kind(3, first.values)
    positions = np.array([one.position for one in volume.slices])
    try:
        order, distance, moved = stack(positions, first.cosines[:, 2], [one.name for one in volume.slices])
    except Refusal as refusal:
        raise Refusal("; ".join((str(refusal), *volume.warnings))) from refusal
    slices = [volume.slices[k] for k in order]
    image = sitk.GetImageFromArray(np.stack(list(_voxels(slices))))
    between = first.thickness or 1.0 if len(slices) == 1 else distance
    image.SetSpacing((*cast(tuple[float, float], first.spacing), between))
    image.SetOrigin(positions[order[0]].tolist())
    image.SetDirection(first.cosines.ravel().tolist())
    files = tuple(dict.fromkeys(one.path for one in slices))
    frames = tuple(one.frame for one in slices) if len(files) == 1 and first.frames > 1 else ()
    return image, files, frames, (*warnings, *volume.warnings, *moved)


def _check_placed(slices: Sequence[DicomSlice]) -> None:
    """Check that position and size of every slice are given; ImagerPixelSpacing is that of the detector."""
    lost = [one.name for one in slices if one.orientation is None or one.position is None]
    if lost:
        raise Refusal(f"no position or orientation in the patient for {lost[0]}; use the original images")
    unmeasured = [one.name for one in slices if one.spacing is None]
    if unmeasured:
        raise Refusal(f"no PixelSpacing for {unmeasured[0]}, so its size in mm is unknown: use the originals")


def stack(
    positions: np.ndarray, normal: np.ndarray, names: Sequence[str]
) -> tuple[list[int], float, tuple[str, ...]]:
    """Order parallel slices along their normal, and check that they are a volume.

    Args:
        positions: (n, 3), LPS in mm of the first voxel of each slice.
        normal: (3,), unit vector at right angles to the slices.
        names: of the slices in messages.

    Returns:
        (indices of the slices in order, mm between neighbors, warnings); NaN mm for a single slice.

    Raises:
        Refusal: two slices are at the same position, one is more than 0.1 mm off its place in an even stack,
            or the slices are not straight above each other.
    """
    order = np.argsort(positions @ normal, kind="stable")
    if len(order) < 2:
        return [0], float("nan"), ()
    positions = positions[order]
    places, names = positions @ normal, [names[k] for k in order]
    steps = np.diff(places)
    usual = float(np.median(steps))
    same = np.flatnonzero(steps <= _ROUNDING * max(1, usual))
    if same.size:
        k = int(same[0])
        raise Refusal(
            f"its slices {names[k]} and {names[k + 1]} are at the same position, one of {same.size} such "
            "pairs (duplicates, several echoes or time points): export each volume as a series of its own"
        )
    off = positions - np.linspace(positions[0], positions[-1], len(positions))
    if np.abs(off @ normal).max() > TOLERANCE_MM:
        k = int(steps.argmax() if steps.max() - usual >= usual - steps.min() else steps.argmin())
        raise Refusal(
            f"its slices are not evenly spaced, {steps[k]:.2f} mm after slice {k + 1} ({names[k]}) and "
            f"{usual:.2f} mm elsewhere: is one missing? Export the series again"
        )
    if np.linalg.norm(off - np.outer(off @ normal, normal), axis=1).max() > TOLERANCE_MM:
        raise Refusal("its slices are not in one line: export the series again")
    whole, height = positions[-1] - positions[0], float(places[-1] - places[0])
    degrees = float(np.degrees(np.arccos(np.clip(height / np.linalg.norm(whole), -1, 1))))
    if degrees > MAX_SHEAR_DEG:
        raise Refusal(
            f"the slice stack is sheared by {degrees:.1f} degrees (gantry tilt): resample it to a grid "
            "without shear"
        )
    warning = f"the slice stack is sheared by {degrees:.2f} degrees; this was ignored"
    return order.tolist(), height / len(steps), (warning,) if degrees > ROUNDING_DEG else ()


def _voxels(slices: Sequence[DicomSlice]) -> Iterator[np.ndarray]:
    """Values of each slice, rescaled as its header states, without padding; (rows, columns)."""
    path, frames = None, np.empty(0)
    for one in slices:
        if one.path != path:
            path, frames = one.path, _decoded(one)
        values = frames[one.frame]
        if one.rescale != (1, 0):  # GDCM rescales all frames of a file as the first of them
            values = values * one.rescale[0] + one.rescale[1]
        if one.padding is not None:
            low, high = one.padding
            padding = (values >= low) & (values <= high)
            if padding.any() and not padding.all():
                values = np.where(padding, values[~padding].min(), values)
        yield values


def _decoded(one: DicomSlice) -> np.ndarray:
    """All frames of a slice's file, (frames, rows, columns)."""
    try:
        frames = sitk.GetArrayFromImage(read_image(one.path, "GDCMImageIO"))
    except Refusal as refusal:
        raise Refusal(f"its image {one.file} {DAMAGED}" if is_utf8(one.path) else str(refusal)) from refusal
    refuse_contradictions(one.path, one.file, frames, one.first_rescale)
    return frames.reshape(-1, *one.size[::-1])
