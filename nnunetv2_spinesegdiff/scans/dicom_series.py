"""The image series of an exam, and which of them is meant."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .dicom_files import DicomImage
from .plane import why_not_sagittal
from .refusal import Refusal


@dataclass(frozen=True)
class DicomSeries:
    """Images with the same SeriesInstanceUID, in any order."""

    images: tuple[DicomImage, ...]

    @property
    def uid(self) -> str:
        return self.images[0].series

    @property
    def number(self) -> str:
        return self.images[0].number

    @property
    def description(self) -> str:
        return self.images[0].description

    @property
    def modality(self) -> str:
        return self.images[0].modality

    @property
    def slices(self) -> int:
        return sum(image.frames for image in self.images)

    def fits(self, any_plane: bool) -> bool:
        """Whether it may be the scan: at least two scalar slices of one plane, sagittal or `any_plane`."""
        planes = {_slice_axis(image) for image in self.images}
        if self.slices < 2 or any(image.values != 1 for image in self.images) or len(planes) != 1:
            return False
        if None in planes:
            return False
        size = (*self.images[0].size, self.slices)
        return any_plane or not why_not_sagittal(size, self._spacing(), _cosines(self.images[0]))

    def _spacing(self) -> tuple[float, float, float]:
        """mm between columns, between rows and between slices; those of one file are taken for thick."""
        image = self.images[0]
        places = [float(i.normal @ i.position) for i in self.images if i.position is not None]
        apart = (max(places) - min(places)) / (len(places) - 1) if len(places) > 1 else float("inf")
        return (*image.spacing, apart)


def series_of(images: Sequence[DicomImage]) -> list[DicomSeries]:
    """Group images by SeriesInstanceUID; in the order of their numbers."""
    groups: dict[str, list[DicomImage]] = {}
    for image in images:
        groups.setdefault(image.series, []).append(image)
    return sorted((DicomSeries(tuple(group)) for group in groups.values()), key=_in_order)


def choose(series: Sequence[DicomSeries], wanted: str | None, any_plane: bool) -> DicomSeries:
    """The series that `wanted` names, or the only one that fits.

    Series of other modalities than MR count only where none of MR fits.

    Args:
        series: at least one.
        wanted: series number, SeriesInstanceUID or description (in any case of letters); None takes the one
            that fits.

    Raises:
        Refusal: none or several; it lists them.
    """
    if wanted is not None:
        named = [one for one in series if _is_called(one, wanted.strip())]
        if not named:
            raise Refusal(f"no series is called {wanted!r}; choose with --series one of: {_listed(series)}")
        if len(named) > 1:
            raise Refusal(
                f"{len(named)} series are called {wanted!r}; choose with --series one of: {_listed(named)}"
            )
        return named[0]
    fitting = [one for one in series if one.fits(any_plane)]
    fitting = [one for one in fitting if one.modality == "MR"] or fitting
    what = "volume" if any_plane else "sagittal volume"
    if not fitting:
        raise Refusal(
            f"no series is a {what} of at least two slices; choose with --series one of: {_listed(series)}"
        )
    if len(fitting) > 1:
        raise Refusal(
            f"{len(fitting)} series are {what}s; choose with --series one of: {_listed(fitting)}",
        )
    return fitting[0]


def _is_called(series: DicomSeries, wanted: str) -> bool:
    # Numbers are written with and without leading zeros.
    same_number = wanted.isdecimal() and series.number.isdecimal() and int(wanted) == int(series.number)
    return (
        same_number
        or wanted in (series.uid, series.number)
        or " ".join(wanted.split()).casefold() == series.description.casefold()
    )


def _listed(series: Sequence[DicomSeries]) -> str:
    """Number, description and slices of each; its UID where another one has the same number."""
    numbers = [one.number for one in series]
    return "; ".join(
        f"{one.uid if numbers.count(one.number) > 1 or not one.number else one.number} "
        f'"{one.description}" ({one.slices} slice{"" if one.slices == 1 else "s"})'
        for one in series
    )


def _in_order(series: DicomSeries) -> tuple[int, str, str]:
    number = int(series.number) if series.number.lstrip("-").isdecimal() else 10**9
    return number, series.description, series.uid


def _slice_axis(image: DicomImage) -> int | None:
    """The patient axis that slices follow each other along: 0 for sagittal ones. None without orientation."""
    if image.orientation is None:
        return None
    return int(np.abs(image.normal).argmax())


def _cosines(image: DicomImage) -> np.ndarray:
    """(3, 3), columns are the LPS directions of columns, rows and slices."""
    assert image.orientation is not None
    return np.stack([image.orientation[:3], image.orientation[3:], image.normal], axis=1)
