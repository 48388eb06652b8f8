"""The series of an exam, the volumes in them, and the choice of one volume.

Some series hold several volumes of the same slices, such as echoes or the water and fat images of a Dixon
sequence, and some hold a few slices of another plane or size in addition to the volume.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..text import listed
from .dicom_files import DicomSlice
from .examination import slice_plane
from .grid import Grid
from .scan import Refusal

# Abbreviations of vendors in ImageType.
_DIXON = {"w": "water", "f": "fat", "ip": "in-phase", "op": "opposed-phase", "oop": "opposed-phase"}
_GEOMETRY = ("orientation", "size", "spacing", "values_per_pixel")
_CONTRAST = ("echo", "kind")


@dataclass(frozen=True)
class DicomVolume:
    """Slices of one plane, size and contrast, in any order.

    `mixed` states what the slices differ in if there is no plane and size that most of them have; then all
    slices of the series are here.
    """

    slices: tuple[DicomSlice, ...]  # at least one
    warnings: tuple[str, ...] = ()  # of slices of the series that belong to no volume
    mixed: str = ""
    part: str = ""  # name in `--series` after that of the series, as in 3:water; empty for the only volume

    @property
    def first(self) -> DicomSlice:
        return self.slices[0]

    @property
    def words(self) -> set[str]:
        """The words of ImageType in small letters, with abbreviations written out."""
        kinds = self.first.kind.casefold().split()
        return {*kinds, *(_DIXON.get(word, word) for word in kinds)}

    def fits(self, any_plane: bool) -> bool:
        """Whether it may be the scan: at least two scalar slices of one plane, sagittal or `any_plane`."""
        first, count = self.first, len(self.slices)
        if self.mixed or count < 2 or first.values_per_pixel != 1 or first.orientation is None:
            return False
        # Slices without a position are rejected later, with a message of their own.
        places = [float(one.cosines[:, 2] @ one.position) for one in self.slices if one.position is not None]
        distance = float(np.ptp(places)) / (len(places) - 1) if len(places) > 1 else float("inf")
        return any_plane or slice_plane(self.grid(distance))[1] == "sagittal"

    def grid(self, distance: float, origin: Any = (0.0, 0.0, 0.0)) -> Grid:
        """The grid of slices this far apart in mm, the first voxel of the first one at `origin` (LPS, mm)."""
        spacing = (*(self.first.spacing or (1.0, 1.0)), distance)
        direction = tuple(self.first.cosines.ravel().tolist())
        return Grid((*self.first.size, len(self.slices)), spacing, origin, direction)

    def is_of(self, series: str) -> bool:
        """Whether it belongs to a series of this number, UID or description."""
        first, text = self.first, " ".join(series.split()).casefold()
        # Numbers of up to 12 characters are written with and without leading zeros.
        same_number = series.zfill(12) == first.number.zfill(12)
        return same_number or series == first.uid or text == first.description.casefold()

    def is_called(self, part: str) -> bool:
        echo = self.first.echo
        echoes = () if echo is None else (f"te{echo:g}", f"{echo:g}")
        return part in {self.part.casefold(), *self.words, *echoes}


def choose(slices: Sequence[DicomSlice], wanted: str | None, any_plane: bool) -> DicomVolume:
    """Choose the volume that `wanted` names, or the only one that fits.

    Series of other modalities than MR count only if none of MR fits. The error of none or several lists them.

    Args:
        wanted: series number, SeriesInstanceUID or description (in any case of letters), and after a colon,
            if the series holds several volumes, echo time, a word of ImageType or number of one of them.
    """
    volumes = [volume for series in _grouped(slices, ("uid",)) for volume in _volumes(series)]
    volumes.sort(key=lambda one: (one.first.number.zfill(12), one.first.description, one.first.uid))
    if wanted is not None:
        return _called(volumes, wanted.strip())
    fitting = [volume for volume in volumes if volume.fits(any_plane)]
    fitting = [volume for volume in fitting if volume.first.modality == "MR"] or fitting
    if len(fitting) == 1:
        return fitting[0]
    what = "volume" if any_plane else "sagittal volume"
    if not fitting:
        raise Refusal(f"no series is a {what} of at least two slices; {_choices(volumes, volumes)}")
    count = len({volume.first.uid for volume in fitting})
    subject = f"{count} series are" if count == len(fitting) else f"it holds {len(fitting)}"
    raise Refusal(f"{subject} {what}s; {_choices(fitting, volumes)}")


def _called(volumes: Sequence[DicomVolume], wanted: str) -> DicomVolume:
    named, part = [one for one in volumes if one.is_of(wanted)], ""
    if not named and ":" in wanted:
        name, _, part = wanted.rpartition(":")
        named = [one for one in volumes if one.is_of(name.strip())]
    count = len({one.first.uid for one in named})
    if count != 1:
        what = f"{count} series are" if named else "no series is"
        raise Refusal(f"{what} called {wanted!r}; {_choices(named or volumes, volumes)}")
    if named[0].mixed:
        raise Refusal(f"its slices differ in {named[0].mixed}; export each volume as a series of its own")
    found = named
    if part := part.strip().casefold():
        found = [one for one in named if one.is_called(part)]
        # The number comes last: 3:2 is the echo of 2 ms if there is one.
        found = found or [one for number, one in enumerate(named, 1) if part == str(number)]
    if len(found) != 1:
        raise Refusal(f"{len(found) or 'no'} volumes are called {wanted!r}; {_choices(named, volumes)}")
    return found[0]


def _choices(offered: Sequence[DicomVolume], volumes: Sequence[DicomVolume]) -> str:
    """List the series to choose from, with the UID if two have the same number."""
    choices = []
    for volume in offered:
        first, count = volume.first, len(volume.slices)
        same = {one.first.uid for one in volumes if one.first.number == first.number}
        name = first.number if first.number and len(same) == 1 else first.uid
        what = f'"{first.description}"'
        if volume.part:
            echo = "" if first.echo is None else f" TE {first.echo:g} ms"
            name, what = f"{name}:{volume.part}", f"{what}, {(first.kind + echo).strip()}"
        choices.append(f"{name} {what} ({count} slice{'' if count == 1 else 's'})")
    return f"choose with --series one of: {'; '.join(choices)}"


def _volumes(slices: list[DicomSlice]) -> list[DicomVolume]:
    """Volumes of the plane and size that more than half of the slices of a series have."""
    same_place, *others = sorted(_grouped(slices, _GEOMETRY), key=len, reverse=True)
    if 2 * len(same_place) <= len(slices):
        first, other = same_place[0], others[0][0]
        mixed = f"{_difference(other, first, _GEOMETRY)} ({first.name}, {other.name})"
        return [DicomVolume(tuple(slices), mixed=mixed)]
    aside = [one for group in others for one in group]
    causes = ", ".join(sorted({_difference(group[0], same_place[0], _GEOMETRY) for group in others}))
    differ = f"{len(aside)} images of the series differ from its {len(same_place)} others in {causes}"
    warning = f"{differ} and were set aside: {listed([one.name for one in aside], most=3)}"
    groups = sorted(_grouped(same_place, _CONTRAST), key=lambda group: (group[0].echo or 0.0, group[0].kind))
    volumes = [DicomVolume(tuple(group), (warning,) * bool(aside)) for group in groups]
    return volumes if len(volumes) == 1 else [replace(one, part=_part(one, volumes)) for one in volumes]


def _part(volume: DicomVolume, volumes: Sequence[DicomVolume]) -> str:
    """A name that no other volume of the series has."""
    others = [one for one in volumes if one is not volume]
    words = volume.words - {word for one in others for word in one.words}
    if words:
        return min(words, key=lambda word: (word not in _DIXON.values(), word))
    echo = volume.first.echo
    if echo is not None and not any(_alike(one.first.echo, echo) for one in others):
        return f"TE{echo:g}"
    return str(volumes.index(volume) + 1)


def _grouped(slices: Sequence[DicomSlice], fields: Sequence[str]) -> list[list[DicomSlice]]:
    """Groups of slices that agree in these fields."""
    groups: list[list[DicomSlice]] = []
    for one in slices:
        for group in groups:
            if not _difference(one, group[0], fields):
                group.append(one)
                break
        else:
            groups.append([one])
    return groups


def _difference(a: DicomSlice, b: DicomSlice, fields: Sequence[str]) -> str:
    """State in what two slices differ; empty if they agree."""
    differing = (field for field in fields if not _alike(getattr(a, field), getattr(b, field)))
    return next(differing, "").replace("_", " ")


def _alike(a: object, b: object) -> bool:
    if a is None or b is None or isinstance(a, str) or isinstance(b, str):
        return a == b
    return bool(np.allclose(np.asarray(a), np.asarray(b), rtol=1e-3, atol=1e-3))
