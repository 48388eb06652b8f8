"""The series of an exam, the volumes they hold, and which of them is meant.

A series is one volume as a rule. Some hold several of the same slices, such as echoes or the water and fat
images of a Dixon sequence, and some a few slices of another plane or size beside the volume.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from .dicom_files import DicomImage, DicomSlice
from .plane import why_not_sagittal
from .refusal import Refusal

_ROUNDING = 1e-3
_DIXON = {"w": "water", "f": "fat", "ip": "in-phase", "op": "opposed-phase", "oop": "opposed-phase"}
"""What vendors abbreviate in ImageType."""

_GEOMETRY: dict[str, Callable[[DicomSlice], object]] = {
    "orientation": lambda one: one.orientation,
    "size": lambda one: tuple(map(float, one.size)),
    "spacing": lambda one: one.spacing,
    "values per pixel": lambda one: float(one.values),
}
_CONTRAST: dict[str, Callable[[DicomSlice], object]] = {
    "echo": lambda one: one.echo,
    "kind": lambda one: " ".join(one.kind),
}


@dataclass(frozen=True)
class DicomVolume:
    """Slices of one plane, size and contrast, in any order.

    Attributes:
        series: that they are of.
        slices: at least one.
        part: what `--series` calls it after the series, as in 3:water; empty if it is the only one.
        number: its place among the volumes of the series, from 1.
        set_aside: slices of the series that are of no volume.
    """

    series: DicomSeries
    slices: tuple[DicomSlice, ...]
    part: str = ""
    number: int = 1
    set_aside: tuple[DicomSlice, ...] = ()

    def fits(self, any_plane: bool) -> bool:
        """Whether it may be the scan: at least two scalar slices of one plane, sagittal or `any_plane`."""
        first = self.slices[0]
        if len(self.slices) < 2 or first.values != 1 or first.orientation is None:
            return False
        places = [float(one.normal @ one.position) for one in self.slices if one.position is not None]
        # Slices without a place are refused later, in words of their own.
        apart = (max(places) - min(places)) / (len(places) - 1) if len(places) > 1 else float("inf")
        spacing = (*(first.spacing or (1.0, 1.0)), apart)
        cosines = np.stack([first.orientation[:3], first.orientation[3:], first.normal], axis=1)
        return any_plane or not why_not_sagittal((*first.size, len(self.slices)), spacing, cosines)

    @property
    def names(self) -> set[str]:
        """All that may stand behind the colon of `--series`, in small letters."""
        echo = self.slices[0].echo
        echoes = set() if echo is None else {f"te{echo:g}", f"{echo:g}"}
        return {self.part.casefold(), str(self.number)} | _words_of(self) | echoes

    def described(self, name: str) -> str:
        """For a list of what can be chosen, with what `--series` calls it."""
        count = f"({len(self.slices)} slice{'' if len(self.slices) == 1 else 's'})"
        if not self.part:
            return f'{name} "{self.series.description}" {count}'
        echo = self.slices[0].echo
        what = " ".join([*self.slices[0].kind, *([] if echo is None else [f"TE {echo:g} ms"])])
        return f'{name}:{self.part} "{self.series.description}", {what} {count}'

    @property
    def warnings(self) -> tuple[str, ...]:
        """Of slices that were set aside."""
        if not self.set_aside:
            return ()
        why = sorted({_difference(one, self.slices[0], _GEOMETRY) for one in self.set_aside})
        shown = ", ".join(one.name for one in self.set_aside[:3]) + (
            ", ..." if len(self.set_aside) > 3 else ""
        )
        return (
            f"{len(self.set_aside)} images of the series differ from its {len(self.slices)} others in "
            f"{', '.join(why)} and were set aside: {shown}",
        )


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

    @cached_property
    def slices(self) -> tuple[DicomSlice, ...]:
        return tuple(one for image in self.images for one in image.slices)

    @cached_property
    def volumes(self) -> list[DicomVolume]:
        """Volumes of the plane and size that more than half of the slices have; none without such a half."""
        same_place = max(_grouped(self.slices, _GEOMETRY), key=len)
        if 2 * len(same_place) <= len(self.slices):
            return []
        chosen = {id(one) for one in same_place}
        aside = tuple(one for one in self.slices if id(one) not in chosen)
        groups = [DicomVolume(self, tuple(group), "", k, aside) for k, group in _contrasts(same_place)]
        return groups if len(groups) == 1 else [_named(volume, groups) for volume in groups]

    def refuse_mixed(self) -> None:
        """Refuse a series without volumes.

        Raises:
            Refusal: no plane and size is that of more than half of its slices.
        """
        if self.volumes:
            return
        first = self.slices[0]
        other = next(one for one in self.slices if _difference(one, first, _GEOMETRY))
        raise Refusal(
            f"its slices differ in {_difference(other, first, _GEOMETRY)} ({first.name}, {other.name}); "
            "export each volume as a series of its own"
        )


def series_of(images: Sequence[DicomImage]) -> list[DicomSeries]:
    """Group images by SeriesInstanceUID; in the order of their numbers."""
    groups: dict[str, list[DicomImage]] = {}
    for image in images:
        groups.setdefault(image.series, []).append(image)
    return sorted((DicomSeries(tuple(group)) for group in groups.values()), key=_in_order)


def choose(series: Sequence[DicomSeries], wanted: str | None, any_plane: bool) -> DicomVolume:
    """The volume that `wanted` names, or the only one that fits.

    Series of other modalities than MR count only where none of MR fits.

    Args:
        series: at least one.
        wanted: series number, SeriesInstanceUID or description (in any case of letters), and behind a colon,
            where the series holds several volumes, echo time, a word of ImageType or number of one of them;
            None takes the one that fits.

    Raises:
        Refusal: none or several; it lists them.
    """
    if wanted is not None:
        return _called(series, wanted.strip())
    fitting = [volume for one in series for volume in one.volumes if volume.fits(any_plane)]
    fitting = [volume for volume in fitting if volume.series.modality == "MR"] or fitting
    what = "volume" if any_plane else "sagittal volume"
    if not fitting:
        raise Refusal(
            f"no series is a {what} of at least two slices; choose with --series one of: {_listed(series)}"
        )
    if len(fitting) > 1:
        kinds = len({volume.series.uid for volume in fitting})
        of = f"{kinds} series are" if kinds == len(fitting) else f"it holds {len(fitting)}"
        raise Refusal(f"{of} {what}s; choose with --series one of: {_listed_volumes(fitting, series)}")
    return fitting[0]


def _called(series: Sequence[DicomSeries], wanted: str) -> DicomVolume:
    named, part = [one for one in series if _is_called(one, wanted)], ""
    if not named and ":" in wanted:
        name, _, part = wanted.rpartition(":")
        named = [one for one in series if _is_called(one, name.strip())]
    if not named:
        raise Refusal(f"no series is called {wanted!r}; choose with --series one of: {_listed(series)}")
    if len(named) > 1:
        raise Refusal(
            f"{len(named)} series are called {wanted!r}; choose with --series one of: {_listed(named)}"
        )
    named[0].refuse_mixed()
    volumes = named[0].volumes
    if part:
        part = part.strip().casefold()
        # Its number is what a volume is called last: 3:2 is the echo of 2 ms if there is one.
        exact = [
            one for one in volumes if part in one.names - {str(one.number)} or part == one.part.casefold()
        ]
        volumes = exact or [one for one in volumes if part in one.names]
    if len(volumes) != 1:
        raise Refusal(
            f"{len(volumes) or 'no'} volumes are called {wanted!r}; choose with --series one of: "
            f"{_listed_volumes(named[0].volumes, series)}"
        )
    return volumes[0]


def _is_called(series: DicomSeries, wanted: str) -> bool:
    # Numbers are written with and without leading zeros.
    same_number = wanted.isdecimal() and series.number.isdecimal() and int(wanted) == int(series.number)
    return (
        same_number
        or wanted in (series.uid, series.number)
        or " ".join(wanted.split()).casefold() == series.description.casefold()
    )


def _listed(series: Sequence[DicomSeries]) -> str:
    """Name, description and slices of all that can be chosen."""
    volumes = [volume for one in series for volume in one.volumes or [DicomVolume(one, one.slices)]]
    return _listed_volumes(volumes, series)


def _listed_volumes(volumes: Sequence[DicomVolume], series: Sequence[DicomSeries]) -> str:
    """With its UID where another series has the same number."""
    numbers = [one.number for one in series]
    return "; ".join(
        volume.described(one.uid if numbers.count(one.number) > 1 or not one.number else one.number)
        for volume in volumes
        for one in (volume.series,)
    )


def _in_order(series: DicomSeries) -> tuple[int, str, str]:
    number = int(series.number) if series.number.lstrip("-").isdecimal() else 10**9
    return number, series.description, series.uid


def _contrasts(slices: Sequence[DicomSlice]) -> list[tuple[int, list[DicomSlice]]]:
    """Slices by contrast, numbered in the order of echoes and kinds."""
    groups = _grouped(slices, _CONTRAST)
    groups.sort(key=lambda group: (group[0].echo or 0.0, group[0].kind))
    return list(enumerate(groups, 1))


def _named(volume: DicomVolume, all_of_series: Sequence[DicomVolume]) -> DicomVolume:
    """With the part of its name that no other volume of the series has."""
    others = [one for one in all_of_series if one.number != volume.number]
    words = sorted(_words_of(volume) - {word for one in others for word in _words_of(one)}, key=_plain_first)
    echo = volume.slices[0].echo
    if words:
        part = words[0]
    elif echo is not None and not any(_alike(one.slices[0].echo, echo) for one in others):
        part = f"TE{echo:g}"
    else:
        part = str(volume.number)
    return DicomVolume(volume.series, volume.slices, part, volume.number, volume.set_aside)


def _words_of(volume: DicomVolume) -> set[str]:
    kinds = {word.casefold() for word in volume.slices[0].kind}
    return kinds | {_DIXON[word] for word in kinds if word in _DIXON}


def _plain_first(word: str) -> tuple[bool, str]:
    return word not in _DIXON.values(), word


def _grouped(
    slices: Sequence[DicomSlice], properties: dict[str, Callable[[DicomSlice], object]]
) -> list[list[DicomSlice]]:
    groups: list[list[DicomSlice]] = []
    for one in slices:
        same = next((group for group in groups if not _difference(one, group[0], properties)), None)
        if same is None:
            groups.append([one])
        else:
            same.append(one)
    return groups


def _difference(a: DicomSlice, b: DicomSlice, properties: dict[str, Callable[[DicomSlice], object]]) -> str:
    """What two slices differ in; nothing if they agree."""
    return next((what for what, of in properties.items() if not _alike(of(a), of(b))), "")


def _alike(a: object, b: object) -> bool:
    if a is None or b is None or isinstance(a, str) or isinstance(b, str):
        return a == b
    return bool(np.allclose(np.asarray(a), np.asarray(b), rtol=_ROUNDING, atol=_ROUNDING))
