"""Reading SPIDER's layout: `images/<series>.mha` and `masks/<series>.mha`."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import SimpleITK as sitk

from nnunetv2_spinesegdiff.errors import UserError
from nnunetv2_spinesegdiff.images.grid import Grid, check_same_grid, grids_differ_by_mm, patient_axes
from nnunetv2_spinesegdiff.images.itk import open_image
from nnunetv2_spinesegdiff.images.reading import read_scalar_volume
from nnunetv2_spinesegdiff.images.scan import Refusal

from .names import Series, parse_series
from .series import select_series

MAX_SKEW_MM = 0.5
"""Correcting rounded direction cosines may move a corner of the volume by this distance."""

_EXPECTED = "expected names such as 1_t1.mha, 1_t2.mha, 1_t2_SPACE.mha"


@dataclass(frozen=True)
class SpiderSeries:
    """A series with its two files.

    Attributes:
        series: the case that these become.
        image, mask: the files.
        cut: the one sagittal slice of the files that the case holds, 0 = leftmost; None where that is not
            decided by the series (see `each_slice`).
    """

    series: Series
    image: Path
    mask: Path
    cut: int | None = None


@dataclass(frozen=True)
class Listing:
    """Facts that follow from the names in a SPIDER folder.

    Attributes:
        sources: the series of a dataset, by patient.
        contrasts: of everybody with a series in `images` or `masks`, converted or not.
        ignored: files whose names are not SPIDER's, such as `images/4_T1.mha` or `masks/4_t1.MHA`, as paths.
    """

    sources: list[SpiderSeries]
    contrasts: dict[str, set[str]]
    ignored: list[str]

    def stratum(self, patient: str) -> int:
        """Rank of the patient's contrasts: T1 alone, both, T2 alone. Those with a T1 are consecutive."""
        return [{"t1"}, {"t1", "t2"}, {"t2"}].index(self.contrasts[patient])


def find_series(folders: Path | Sequence[Path], contrast: str, t2_source: str) -> Listing:
    """List the series of one or more SPIDER folders of a dataset.

    A mask without an image is a series, too: one of its files is lost, and no other series may silently
    stand in for it.

    Args:
        folders: each holds `images` and `masks`.
        contrast, t2_source: see `select_series`.

    Raises:
        UserError: a folder is missing or empty, no series fits, or two files mean the same series.
    """
    spiders = [Path(folders)] if isinstance(folders, str | os.PathLike) else list(map(Path, folders))
    names: dict[str, Path] = {}
    with_image, ignored = set(), []
    for spider in spiders:
        in_images, in_masks = _content_of(spider)
        for name in in_images + _without_image(in_images, in_masks):
            if name in names:
                raise UserError(
                    spider, f"{name} is also in {names[name]}", "every series belongs in one folder only"
                )
            names[name] = spider
        with_image |= set(in_images)
        ignored += [
            str(spider / folder / name)
            for folder, content in (("images", in_images), ("masks", in_masks))
            for name in content
            if parse_series(name) is None
        ]
    where = ", ".join(map(str, spiders))
    try:
        chosen = select_series(names, contrast, t2_source)
    except ValueError as error:
        raise UserError(where, str(error)) from error
    if not any(series.file_name in with_image for series in chosen):
        cause = f"none of the {len(with_image)} .mha files is a series for contrast {contrast}"
        raise UserError(where, cause, _EXPECTED)
    sources = []
    for series in chosen:
        image, mask = (names[series.file_name] / part / series.file_name for part in ("images", "masks"))
        sources.append(SpiderSeries(series, image, mask))
    return Listing(sources, _contrasts(names), ignored)


def _content_of(spider: Path) -> tuple[list[str], list[str]]:
    """Names of the volumes in `images` and in `masks`."""
    images, masks = spider / "images", spider / "masks"
    for folder in (spider, images, masks):
        if not folder.is_dir():
            raise UserError(folder, "no such folder", "the input must hold the folders images and masks")
    in_images = _volumes_in(images)
    if not in_images:
        raise UserError(images, "holds no .mha file", _EXPECTED)
    return in_images, _volumes_in(masks)


def each_slice(source: SpiderSeries) -> list[SpiderSeries]:
    """Split a series into its sagittal slices, as one case each.

    A file that is named like a single slice, or holds only one, stays one case. Only the header of the image
    is read. A file that cannot be read stays one case, too, and its conversion reports the cause.
    """
    if source.series.slice_number is not None:
        return [source]
    try:
        grid = Grid.of(open_image(source.image))
    except Refusal:
        return [source]
    count = grid.size[patient_axes(grid.cosines)[0][2]] if len(grid.size) == 3 else 1
    if count == 1:
        return [source]
    return [
        replace(source, series=replace(source.series, slice_number=number), cut=number)
        for number in range(count)
    ]


def _contrasts(names: Iterable[str]) -> dict[str, set[str]]:
    contrasts: dict[str, set[str]] = {}
    for series in map(parse_series, names):
        if series is not None:
            contrasts.setdefault(series.patient, set()).add(series.contrast)
    return contrasts


def _volumes_in(folder: Path) -> list[str]:
    # Whatever the case of the ending: 4_t1.MHA is no name of SPIDER's, but has to be mentioned.
    return sorted(p.name for p in folder.iterdir() if p.suffix.lower() == ".mha" and p.name[0] != ".")


def _without_image(in_images: list[str], in_masks: list[str]) -> list[str]:
    """Names of the masks whose series no image has, however its patient is spelled."""
    present = {series.case for series in map(parse_series, in_images) if series is not None}
    masks = [series for series in map(parse_series, in_masks) if series is not None]
    return [series.file_name for series in masks if series.case not in present]


def read_image_and_mask(files: SpiderSeries) -> tuple[sitk.Image, sitk.Image]:
    """Read a series and check that both files are whole and on the same grid.

    Returns:
        (image, mask), both scalar 3D, the mask on the image's grid but for rounding in its header.

    Raises:
        UserError: a file is missing, damaged or not a scalar 3D volume, or the mask is on another grid.
    """
    if not files.image.is_file():
        advice = "add the image or remove the mask"
        raise UserError(files.image, "no such file, though its mask is there", advice)
    if not files.mask.is_file():
        advice = "every image needs a mask of the same name: add it or remove the image"
        raise UserError(files.mask, "no such file", advice)
    image, mask = _straight(files.image), _straight(files.mask)
    check_same_grid(files.mask, mask, files.image, image)
    return image, mask


def _straight(path: Path) -> sitk.Image:
    """Read a volume and make its axes orthonormal where the header rounds them."""
    image = read_scalar_volume(path)
    grid = Grid.of(image)
    straight = grid.orthonormal()
    skew = grids_differ_by_mm(grid, straight)
    if not skew <= MAX_SKEW_MM:
        cause = f"its axes are not at right angles, voxels would move by {skew:.1f} mm"
        raise UserError(path, cause, "resample it to a grid without skew")
    image.SetDirection(straight.direction)
    return image
