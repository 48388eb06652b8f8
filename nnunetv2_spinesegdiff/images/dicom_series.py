"""The series of an exam, the volumes in them, and the choice of one volume.

Most series are one volume. Some hold several volumes of the same slices, such as echoes or the water and fat
images of a Dixon sequence, and some hold a few slices of another plane or size in addition to the volume.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from .dicom_files import DicomSeries, DicomSlice
from .examination import slice_plane
from .grid import Grid
from .scan import Refusal

Properties = dict[str, Callable[[DicomSlice], object]]

_ROUNDING = 1e-3
_DIXON = {"w": "water", "f": "fat", "ip": "in-phase", "op": "opposed-phase", "oop": "opposed-phase"}
"""Abbreviations of vendors in ImageType."""
_GEOMETRY: Properties = {
    "orientation": lambda one: one.orientation,
    "size": lambda one: one.size,
    "spacing": lambda one: one.spacing,
    "values per pixel": lambda one: one.values,
}
_CONTRAST: Properties = {"echo": lambda one: one.echo, "kind": lambda one: " ".join(one.kind)}


@dataclass(frozen=True)
class DicomVolume:
    """Slices of one plane, size and contrast, in any order.

    Attributes:
        slices: at least one.
        set_aside: slices of the series that belong to no volume.
        number: index among the volumes of the series, from 1.
        part: its name in `--series` after that of the series, as in 3:water; empty for the only volume.
    """

    slices: tuple[DicomSlice, ...]
    set_aside: tuple[DicomSlice, ...] = ()
    number: int = 1
    part: str = ""

    @property
    def series(self) -> DicomSeries:
        return self.slices[0].series

    @property
    def echo(self) -> float | None:
        return self.slices[0].echo

    @property
    def words(self) -> set[str]:
        """The words of ImageType in small letters, with abbreviations written out."""
        kinds = {word.casefold() for word in self.slices[0].kind}
        return kinds | {_DIXON[word] for word in kinds if word in _DIXON}

    def fits(self, any_plane: bool) -> bool:
        """Whether it may be the scan: at least two scalar slices of one plane, sagittal or `any_plane`."""
        first = self.slices[0]
        if len(self.slices) < 2 or first.values != 1 or first.orientation is None:
            return False
        places = [float(one.cosines[:, 2] @ one.position) for one in self.slices if one.position is not None]
        # Slices without a position are rejected later, with a message of their own.
        distance = (max(places) - min(places)) / (len(places) - 1) if len(places) > 1 else float("inf")
        (columns, rows), (x, y) = first.size, first.spacing or (1.0, 1.0)
        size, spacing = (columns, rows, len(self.slices)), (x, y, distance)
        grid = Grid(size, spacing, (0.0, 0.0, 0.0), tuple(first.cosines.ravel().tolist()))
        return any_plane or slice_plane(grid)[1] == "sagittal"

    def is_called(self, part: str) -> bool:
        echoes = set() if self.echo is None else {f"te{self.echo:g}", f"{self.echo:g}"}
        return part in self.words | echoes or part == self.part.casefold()

    def described(self, name: str) -> str:
        """Describe the volume in a list of choices, with what `--series` calls it."""
        count = f"({len(self.slices)} slice{'' if len(self.slices) == 1 else 's'})"
        if not self.part:
            return f'{name} "{self.series.description}" {count}'
        what = " ".join([*self.slices[0].kind, *([] if self.echo is None else [f"TE {self.echo:g} ms"])])
        return f'{name}:{self.part} "{self.series.description}", {what} {count}'

    @property
    def warnings(self) -> tuple[str, ...]:
        """A warning of slices that were set aside."""
        if not self.set_aside:
            return ()
        causes = sorted({_difference(one, self.slices[0], _GEOMETRY) for one in self.set_aside})
        names = [one.name for one in self.set_aside[:3]] + ["..."] * (len(self.set_aside) > 3)
        return (
            f"{len(self.set_aside)} images of the series differ from its {len(self.slices)} others in "
            f"{', '.join(causes)} and were set aside: {', '.join(names)}",
        )


def choose(slices: Sequence[DicomSlice], wanted: str | None, any_plane: bool) -> DicomVolume:
    """Choose the volume that `wanted` names, or the only one that fits.

    Series of other modalities than MR count only if none of MR fits.

    Args:
        slices: of the exam, at least one.
        wanted: series number, SeriesInstanceUID or description (in any case of letters), and after a colon,
            if the series holds several volumes, echo time, a word of ImageType or number of one of them; None
            takes the one that fits.

    Raises:
        Refusal: none or several; it lists them.
    """
    series = sorted(_grouped(slices, {"series": lambda one: one.series.uid}), key=_order)
    if wanted is not None:
        return _called(series, wanted.strip())
    fitting = [volume for one in series for volume in _volumes(one) if volume.fits(any_plane)]
    fitting = [volume for volume in fitting if volume.series.modality == "MR"] or fitting
    if len(fitting) == 1:
        return fitting[0]
    what = "volume" if any_plane else "sagittal volume"
    if not fitting:
        listed = _choices(_all_volumes(series), series)
        raise Refusal(f"no series is a {what} of at least two slices; {listed}")
    count = len({volume.series.uid for volume in fitting})
    subject = f"{count} series are" if count == len(fitting) else f"it holds {len(fitting)}"
    raise Refusal(f"{subject} {what}s; {_choices(fitting, series)}")


def _called(series: list[list[DicomSlice]], wanted: str) -> DicomVolume:
    named, part = [one for one in series if _is_called(one[0].series, wanted)], ""
    if not named and ":" in wanted:
        name, _, part = wanted.rpartition(":")
        named = [one for one in series if _is_called(one[0].series, name.strip())]
    if len(named) != 1:
        what = f"{len(named)} series are" if named else "no series is"
        raise Refusal(f"{what} called {wanted!r}; {_choices(_all_volumes(named or series), series)}")
    (slices,) = named
    whole = volumes = _volumes(slices)
    if not whole:
        first = slices[0]
        other = next(one for one in slices if _difference(one, first, _GEOMETRY))
        raise Refusal(
            f"its slices differ in {_difference(other, first, _GEOMETRY)} ({first.name}, {other.name}); "
            "export each volume as a series of its own"
        )
    if part := part.strip().casefold():
        # The number comes last: 3:2 is the echo of 2 ms if there is one.
        volumes = [one for one in whole if one.is_called(part)] or [v for v in whole if part == str(v.number)]
    if len(volumes) != 1:
        raise Refusal(f"{len(volumes) or 'no'} volumes are called {wanted!r}; {_choices(whole, series)}")
    return volumes[0]


def _is_called(series: DicomSeries, wanted: str) -> bool:
    # Numbers are written with and without leading zeros.
    same_number = wanted.isdecimal() and series.number.isdecimal() and int(wanted) == int(series.number)
    same_text = " ".join(wanted.split()).casefold() == series.description.casefold()
    return same_number or same_text or wanted in (series.uid, series.number)


def _choices(volumes: Sequence[DicomVolume], all_series: list[list[DicomSlice]]) -> str:
    """What can be chosen, with the UID of a series if another one has the same number."""
    numbers = [slices[0].series.number for slices in all_series]
    listed = []
    for volume in volumes:
        series = volume.series
        unique = series.number and numbers.count(series.number) == 1
        listed.append(volume.described(series.number if unique else series.uid))
    return f"choose with --series one of: {'; '.join(listed)}"


def _all_volumes(series: list[list[DicomSlice]]) -> list[DicomVolume]:
    """All volumes; a series that is not one is listed with all its slices."""
    return [volume for one in series for volume in _volumes(one) or [DicomVolume(tuple(one))]]


def _order(slices: list[DicomSlice]) -> tuple[int, str, str]:
    series = slices[0].series
    number = int(series.number) if series.number.lstrip("-").isdecimal() else 10**9
    return number, series.description, series.uid


def _volumes(slices: list[DicomSlice]) -> list[DicomVolume]:
    """Volumes of the plane and size that more than half of the slices have; none without such a half."""
    same_place = max(_grouped(slices, _GEOMETRY), key=len)
    if 2 * len(same_place) <= len(slices):
        return []
    chosen = {id(one) for one in same_place}
    aside = tuple(one for one in slices if id(one) not in chosen)
    groups = sorted(_grouped(same_place, _CONTRAST), key=lambda group: (group[0].echo or 0.0, group[0].kind))
    volumes = [DicomVolume(tuple(group), aside, k) for k, group in enumerate(groups, 1)]
    return volumes if len(volumes) == 1 else [replace(one, part=_part(one, volumes)) for one in volumes]


def _part(volume: DicomVolume, volumes: Sequence[DicomVolume]) -> str:
    """A name that no other volume of the series has."""
    others = [one for one in volumes if one is not volume]
    words = volume.words - {word for one in others for word in one.words}
    if words:
        return min(words, key=lambda word: (word not in _DIXON.values(), word))
    if volume.echo is not None and not any(_alike(one.echo, volume.echo) for one in others):
        return f"TE{volume.echo:g}"
    return str(volume.number)


def _grouped(slices: Sequence[DicomSlice], properties: Properties) -> list[list[DicomSlice]]:
    groups: list[list[DicomSlice]] = []
    for one in slices:
        same = [group for group in groups if not _difference(one, group[0], properties)]
        if same:
            same[0].append(one)
        else:
            groups.append([one])
    return groups


def _difference(a: DicomSlice, b: DicomSlice, properties: Properties) -> str:
    """What two slices differ in; nothing if they agree."""
    return next((what for what, value in properties.items() if not _alike(value(a), value(b))), "")


def _alike(a: object, b: object) -> bool:
    if a is None or b is None or isinstance(a, str) or isinstance(b, str):
        return a == b
    return bool(np.allclose(np.asarray(a), np.asarray(b), rtol=_ROUNDING, atol=_ROUNDING))
