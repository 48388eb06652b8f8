"""Read one volume of a DICOM exam, which is a folder, a file or a zip."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import BinaryIO, cast
from zipfile import ZipFile

import numpy as np
import SimpleITK as sitk
from pydicom import dcmread, uid
from pydicom.pixels.utils import get_j2k_parameters

from . import zips
from .dicom_files import DicomSlice, image_class, read_slices
from .dicom_series import DicomVolume, choose
from .examination import MAX_SHEAR_DEG, ROUNDING_DEG, check_kind
from .grid import TOLERANCE_MM
from .itk import read_image
from .scan import DAMAGED, Refusal, Scan, ScanSource, files_below, is_utf8

MOST_GIB = 8  # of an unpacked zip
_START_OF_JPEG2000 = b"\xff\x4f\xff\x51"
_OpenFile = tuple[str, Path, BinaryIO]  # the name that the user knows, the path, and the content


def read_exam(source: ScanSource, scratch: Path, series: str | None, any_plane: bool) -> Scan:
    """Read the volume of a DICOM image, or a folder or zip of them (unpacked to `scratch`); see `choose`.

    Raises:
        Refusal: the series does not exist, is not a volume, or a file is damaged; or the zip is too large.
        UserError: the zip is damaged or unsafe.
    """
    if source.kind == "dicom":
        return _read_volume(source, _chosen(_in_folder(source.path), series, any_plane))
    with zips.opened(source.path, by_name=False) as archive:
        total = sum(entry.file_size for entry in archive.infolist()) / (1 << 30)
        if total > MOST_GIB:
            raise Refusal(f"holds {total:.1f} GiB unpacked, more than {MOST_GIB}; zip one series")
        volume = _chosen(in_zip(archive), series, any_plane)
        folder = Path(tempfile.mkdtemp(prefix="series-", dir=scratch))
        names = dict.fromkeys(one.file for one in volume.slices)
        unpacked = {name: folder / f"{number:05d}.dcm" for number, name in enumerate(names)}
        zips.unpack(archive, ((archive.getinfo(name), path) for name, path in unpacked.items()), folder)
    placed = tuple(replace(one, path=unpacked[one.file]) for one in volume.slices)
    return _read_volume(source, replace(volume, slices=placed))


def _in_folder(path: Path) -> Iterator[_OpenFile]:
    """The files in a folder, without unreadable ones; or the file itself."""
    for file in [path] if path.is_file() else files_below(path):
        with suppress(OSError), file.open("rb") as stream:
            yield file.name if file == path else str(file.relative_to(path)), file, stream


def in_zip(archive: ZipFile) -> Iterator[_OpenFile]:
    """Open the files in a zip one after the other, sorted by name, without hidden ones."""
    for entry in sorted(archive.infolist(), key=lambda entry: entry.filename):
        path = PurePosixPath(entry.filename)
        if not entry.is_dir() and not any(part.startswith(".") for part in path.parts):
            with archive.open(entry) as stream:
                yield entry.filename, Path(path), cast(BinaryIO, stream)


def _chosen(files: Iterable[_OpenFile], series: str | None, any_plane: bool) -> DicomVolume:
    """The volume of the DICOM images among files, with warnings; unreadable MR images are an error."""
    slices: list[DicomSlice] = []
    unread = []
    for name, path, stream in files:
        found = read_slices(stream, path, name)
        slices += found
        if not found and (kind := image_class(stream)):
            if "MR Image" in kind:  # it may be a slice of the volume
                raise Refusal(f"its image {name} {DAMAGED}")
            unread.append(name)
    if not slices:
        raise Refusal("holds no DICOM image; give the folder with the images of an exam")
    volume = choose(slices, series, any_plane)
    skipped = f"{len(unread)} DICOM files hold no readable image and were skipped: {', '.join(unread)}"
    warnings = [skipped] if unread else []
    if (modality := volume.first.modality) != "MR":
        warnings.append(f"the modality is {modality or 'unknown'}, not MR: models are trained on MR")
    return replace(volume, warnings=(*warnings, *volume.warnings))


def _read_volume(source: ScanSource, volume: DicomVolume) -> Scan:
    """Read voxels with GDCM, and place every slice at its own ImagePositionPatient."""
    first = volume.first
    for one in volume.slices:
        if one.orientation is None or one.position is None:
            raise Refusal(f"no position or orientation in the patient for {one.name}; use the originals")
        if one.spacing is None:  # ImagerPixelSpacing is that of the detector
            raise Refusal(f"no PixelSpacing for {one.name}, so its size in mm is unknown: use the originals")
    check_kind(3, first.values_per_pixel)
    positions = np.array([one.position for one in volume.slices])
    try:
        order, distance, moved = stack(positions, first.cosines[:, 2], [one.name for one in volume.slices])
    except Refusal as refusal:
        raise Refusal("; ".join((str(refusal), *volume.warnings))) from refusal
    slices = tuple(volume.slices[k] for k in order)
    grid = volume.grid(distance if len(slices) > 1 else first.thickness or 1.0, slices[0].position)
    image = grid.image(np.stack(list(_voxels(slices))))
    return Scan(source, image, ".nii.gz", (*volume.warnings, *moved), slices)


def stack(positions: np.ndarray, normal: np.ndarray, names: list[str]) -> tuple[list[int], float, list[str]]:
    """Order parallel slices along their normal, and reject what is not an even and straight stack.

    Args:
        positions: (n, 3), LPS in mm of the first voxel of each slice.
        normal: (3,), unit vector at right angles to the slices.

    Returns:
        (indices of the slices in order, mm between neighbors, warnings); NaN mm for a single slice.
    """
    order = np.argsort(positions @ normal, kind="stable")
    if len(order) < 2:
        return [0], float("nan"), []
    positions, names = positions[order], [names[k] for k in order]
    steps = np.diff(positions @ normal)
    usual = float(np.median(steps))
    same = np.flatnonzero(steps <= 1e-3 * max(1, usual))
    if same.size:
        k = int(same[0])
        pair = f"its slices {names[k]} and {names[k + 1]} are at the same position, one of {same.size} pairs"
        raise Refusal(f"{pair} (copies, echoes or time points): export each volume as a series of its own")
    off = positions - np.linspace(positions[0], positions[-1], len(positions))
    if np.abs(off @ normal).max() > TOLERANCE_MM:
        k = int(steps.argmax() if steps.max() - usual >= usual - steps.min() else steps.argmin())
        uneven = f"{steps[k]:.2f} mm after slice {k + 1} ({names[k]}) and {usual:.2f} mm elsewhere"
        raise Refusal(f"its slices are not evenly spaced, {uneven}: is one missing? Export the series again")
    if np.linalg.norm(np.cross(off, normal), axis=1).max() > TOLERANCE_MM:
        raise Refusal("its slices are not in one line: export the series again")
    whole = positions[-1] - positions[0]
    degrees = np.degrees(np.arctan2(np.linalg.norm(np.cross(whole, normal)), whole @ normal))
    sheared = f"the slice stack is sheared by {degrees:.2f} degrees"
    if degrees > MAX_SHEAR_DEG:
        raise Refusal(f"{sheared} (gantry tilt): resample it to a grid without shear")
    warnings = [f"{sheared}; this was ignored"] if degrees > ROUNDING_DEG else []
    return order.tolist(), float(steps.mean()), warnings


def _voxels(slices: Sequence[DicomSlice]) -> Iterator[np.ndarray]:
    """Values of each slice, rescaled as its header states, without padding; (rows, columns)."""
    path, frames = None, np.empty(0)
    for one in slices:
        if one.path != path:
            path, frames = one.path, _decoded(one)
        values = frames[one.frame or 0]
        if one.rescale != one.rescale_of_file:  # GDCM rescales all frames of a file as the first of them
            slope, intercept = one.rescale_of_file
            values = (values - intercept) / slope * one.rescale[0] + one.rescale[1]
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
    if contradiction := _contradiction(one, frames):
        raise Refusal(f"its image {one.file} {contradiction}")
    return frames.reshape(-1, *one.size[::-1])


def _contradiction(one: DicomSlice, values: np.ndarray) -> str:
    """Why the pixel data of a file contradict its header, although GDCM decodes them (to `values`)."""
    try:
        image = dcmread(one.path, force=True)
        encoded = bytes(image.PixelData)
    except Exception:  # pydicom raises many for damaged files
        return DAMAGED
    syntax = image.file_meta.get("TransferSyntaxUID")
    if syntax in uid.JPEG2000TransferSyntaxes:
        # GDCM believes PixelRepresentation. If the code stream is right, negative values become the largest
        # ones, or the other way round.
        stream = get_j2k_parameters(encoded[max(0, encoded.find(_START_OF_JPEG2000)) :])
        slope, intercept = one.rescale_of_file
        stored = [(float(end) - intercept) / slope for end in (values.min(), values.max())]
        signed = image.get("PixelRepresentation") == 1
        depends = min(stored) < -0.5 or max(stored) > 2.0 ** (stream.get("precision", 99) - 1) - 0.5
        if stream.get("is_signed", signed) != signed and depends:
            sign = f"{'' if signed else 'un'}signed values by PixelRepresentation"
            return f"has {sign}, but not by its JPEG 2000 data: export the series again, uncompressed"
    elif syntax is None or syntax in uid.UncompressedTransferSyntaxes:
        if 8 * len(encoded) < values.size * image.BitsAllocated:  # GDCM takes 0 for pixels that are missing
            return DAMAGED
        # GDCM takes the lowest bits, so pixels that are shifted lose their highest ones.
        bits, high, size = image.get("BitsStored"), image.get("HighBit"), image.BitsAllocated // 8
        if bits and high is not None and high != bits - 1 and size in (1, 2, 4):
            order = ">" if syntax == uid.ExplicitVRBigEndian else "<"
            if np.frombuffer(encoded, f"{order}u{size}", values.size).max() >> bits:
                return f"stores more than {bits} bits per pixel, contrary to its header: export it again"
    return ""
