"""Made-up spines whose sizes are known: their middle slices, and the truth sampled from their own formulas.

Nothing of `measuring` is used here. Sizes are measured in the plane of the slice, which a scoliosis or turned
slices take off the midline, on points 0.1 mm apart or less.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk
from nnunetv2_spinesegdiff.dataset_conversion.geometry import extract_slice
from nnunetv2_spinesegdiff.dataset_conversion.label_rules import map_labels
from nnunetv2_spinesegdiff.dataset_conversion.phantom.acquisition import Acquisition
from nnunetv2_spinesegdiff.dataset_conversion.phantom.bones import (
    _crest_distance,
    _posterior_distance,
    _sacral_distance,
    body_distance,
)
from nnunetv2_spinesegdiff.dataset_conversion.phantom.canvas import Lattice
from nnunetv2_spinesegdiff.dataset_conversion.phantom.discs import disc_distance
from nnunetv2_spinesegdiff.dataset_conversion.phantom.patient import Patient, draw_patient
from nnunetv2_spinesegdiff.dataset_conversion.phantom.placement import (
    Frame,
    PlacedVertebra,
    SacralSegment,
    place,
)
from nnunetv2_spinesegdiff.dataset_conversion.phantom.render import render

from nnunetv2_spinesegdiff.images.intensities import scale_intensities

_STEP = 0.1
_SLAB_MM = 4.0


@dataclass(frozen=True)
class Series:
    """A series of one slice, the one that the converter would cut out, with its image, labels and numbers.

    Attributes:
        image, mask: (320, 320), as the converter makes them; numbers: (320, 320), SPIDER's numbers.
        own_mask: the labels in the scan's own pixels, of `own_spacing` (row, column) in mm.
    """

    patient: Patient
    acquisition: Acquisition
    image: np.ndarray
    mask: np.ndarray
    numbers: np.ndarray
    own_mask: np.ndarray
    own_spacing: tuple[float, float]

    @property
    def name(self) -> str:
        return self.patient.stem(self.acquisition)


def series_of(seed: int, number: int, flat: bool = False, most: int | None = None) -> list[Series]:
    """All series of a synthetic patient, or the first ones; `flat` without any bulge or herniation."""
    patient = draw_patient(seed, number)
    if flat:
        discs = tuple(dataclasses.replace(disc, bulge=0.0, hernia=0.0) for disc in patient.anatomy.discs)
        anatomy = dataclasses.replace(patient.anatomy, discs=discs)
        patient = dataclasses.replace(patient, anatomy=anatomy, spine=place(anatomy))
    return [_series(patient, _middle_only(acquisition)) for acquisition in patient.acquisitions[:most]]


def series_with_lumbar(seed: int, number: int, lumbar: int) -> Series:
    """The first series of a synthetic patient with four lumbar vertebrae (no L3), five, or six (two L3)."""
    patient = draw_patient(seed, number)
    levels = {4: (0, 1, *range(3, 20)), 5: tuple(range(20)), 6: (0, 1, 2, *range(2, 20))}[lumbar]
    kept = [level for level in levels if level < len(patient.anatomy.vertebrae)]
    anatomy = dataclasses.replace(
        patient.anatomy,
        visible=patient.anatomy.visible + lumbar - 5,
        vertebrae=tuple(patient.anatomy.vertebrae[level] for level in kept),
        discs=tuple(patient.anatomy.discs[level] for level in kept),
    )
    patient = dataclasses.replace(patient, anatomy=anatomy, spine=place(anatomy))
    return _series(patient, _middle_only(patient.acquisitions[0]))


def _series(patient: Patient, acquisition: Acquisition) -> Series:
    image, numbers = render(patient.anatomy, patient.spine, acquisition)
    cut = extract_slice(scale_intensities(_volume(image, acquisition))).image
    classes = _volume(map_labels(numbers), acquisition)
    labels = extract_slice(classes, is_label=True)
    own = sitk.DICOMOrient(classes, "PIR")
    spider = extract_slice(_volume(numbers, acquisition), is_label=True).image
    image, mask, numbers = (sitk.GetArrayFromImage(volume)[0] for volume in (cut, labels.image, spider))
    columns, rows, _ = own.GetSpacing()
    return Series(patient, acquisition, image, mask, numbers, sitk.GetArrayFromImage(own)[0], (rows, columns))


def _middle_only(acquisition: Acquisition) -> Acquisition:
    # Slices run to the left here; the converter takes number n // 2, counted to the right.
    lattice = acquisition.lattice
    count = lattice.shape[0]
    origin = lattice.origin + (count - 1 - count // 2) * lattice.steps[0]
    one = Lattice((1, *lattice.shape[1:]), origin, lattice.steps)
    return dataclasses.replace(acquisition, lattice=one)


def _volume(array: np.ndarray, acquisition: Acquisition) -> sitk.Image:
    return acquisition.file_grid().image(acquisition.to_file_axes(array))


def body_heights(series: Series, level: int) -> np.ndarray:
    """(n,) heights in mm of a body at places over the central 80 % of its depth, front first."""
    vertebra = series.patient.spine.vertebrae[level]
    reach = 0.4 * vertebra.shape.depth
    front = np.linspace(reach, -reach, 41, dtype=np.float32)[:, None]
    up = np.arange(-30, 30, _STEP, dtype=np.float32)[None]
    return _in_body(series, vertebra, *_world(vertebra.frame, front, up)).sum(axis=1) * _STEP


def disc_height(series: Series, level: int) -> float:
    """Mean height in mm over the central 80 % of where the endplates above and below face each other."""
    spine = series.patient.spine
    disc, above = spine.discs[level], spine.vertebrae[level]
    below: PlacedVertebra | SacralSegment = spine.vertebrae[level - 1] if level else spine.sacrum[0]
    rims = [_rims(disc.frame, above, -1), _rims(disc.frame, below, 1)]
    rear, front = max(rim[0] for rim in rims), min(rim[1] for rim in rims)
    margin = 0.1 * (front - rear)
    return float(_disc_heights(series, level, np.linspace(rear + margin, front - margin, 41)).mean())


def disc_length(series: Series, level: int) -> float:
    """Length in mm between the first and the last place where a disc is half as high as within 3 mm of it."""
    step = 0.25
    places = np.arange(-35, 35, step)
    heights = _disc_heights(series, level, places)
    near = [heights[max(0, at - 12) : at + 13].max() for at in range(len(heights))]
    high = places[(heights > 0) & (heights >= np.array(near) / 2)]
    return float(high.max() - high.min() + step)


def _disc_heights(series: Series, level: int, places: np.ndarray) -> np.ndarray:
    """(n,) heights in mm of what is seen of a disc, at places (n,) in mm in front of its middle."""
    spine = series.patient.spine
    disc = spine.discs[level]
    front = places.astype(np.float32)[:, None]
    up = np.arange(-20, 20, _STEP / 2, dtype=np.float32)[None]
    y, z = _world(disc.frame, front, up)
    inside = disc_distance(disc, front + 0 * up, up + 0 * front, _left(series, y, z))[0] <= 0
    inside &= ~_in_body(series, spine.vertebrae[level], y, z)
    if level:
        inside &= ~_in_body(series, spine.vertebrae[level - 1], y, z)
    else:
        sacrum = spine.sacrum[0]
        inside &= ~(_sacral_distance(sacrum, *sacrum.frame.local(y, z), _left(series, y, z)) <= 0)
    return inside.sum(axis=1) * _STEP / 2


def canal_widths(series: Series, level: int, within: float) -> np.ndarray:
    """(n,) depths in mm of the visible canal, square to it, each the mean of 4 mm along it.

    From `within` mm below to as much above the point where the disc's plane meets the canal's middle.
    """
    spine = series.patient.spine
    course = spine.canal
    back = np.arange(10, 60, _STEP / 2, dtype=np.float32)
    y, z = _world(spine.discs[level].frame, -back, 0 * back)
    meeting = np.flatnonzero(y >= course(z))[0]
    at_y, at_z = float(y[meeting]), float(z[meeting])
    slope = float(course(np.float32(at_z + 2)) - course(np.float32(at_z - 2))) / 4
    along = np.arange(-within - _SLAB_MM / 2, within + _SLAB_MM / 2 + 0.1, 0.5)[:, None]
    across = np.arange(-16, 16, _STEP / 2)[None]
    norm = np.hypot(1, slope)
    y = (at_y + (across + slope * along) / norm).astype(np.float32)
    z = (at_z + (along - slope * across) / norm).astype(np.float32)
    widths = _in_canal(series, level, y, z).sum(axis=1) * _STEP / 2
    return np.convolve(widths, np.full(9, 1 / 9), mode="valid")


def _in_canal(series: Series, level: int, y: np.ndarray, z: np.ndarray) -> np.ndarray:
    spine, soft = series.patient.spine, series.patient.anatomy.soft
    left = _left(series, y, z)
    behind = (y - spine.canal(z)) * spine.canal.lean()(z)
    share = np.clip((z + 42) / 50, 0, 1)
    taper = np.maximum(np.sqrt(share) * (1 - 0.12 * (1 - share)), 1e-3)
    inside = np.hypot(behind / (soft.canal_depth / 2 * taper), left / (soft.canal_width / 2 * taper)) < 1
    for disc in spine.discs[max(0, level - 1) : level + 2]:
        inside &= ~(disc_distance(disc, *disc.frame.local(y, z), left)[0] <= 0)
    for vertebra in spine.vertebrae[max(0, level - 2) : level + 2]:
        front, up = vertebra.frame.local(y, z)
        behind_body = front + np.float32(vertebra.shape.depth / 2)
        inside &= ~(_posterior_distance(vertebra, behind_body, up, left) <= 0)
        inside &= ~_in_body(series, vertebra, y, z)
    for segment in spine.sacrum:
        inside &= ~(_crest_distance(segment, *segment.frame.local(y, z), left) <= 0)
    return inside


def _in_body(series: Series, vertebra: PlacedVertebra, y: np.ndarray, z: np.ndarray) -> np.ndarray:
    front, up = vertebra.frame.local(y, z)
    return body_distance(vertebra, front, up, _left(series, y, z))[0] <= 0


def _rims(disc: Frame, body: PlacedVertebra | SacralSegment, side: int) -> tuple[float, float]:
    """Rear and front rim of a body's lower (-1) or upper (1) endplate, in mm in front of a disc's middle."""
    if isinstance(body, PlacedVertebra):
        depth, height = body.shape.depth, body.shape.height
    else:
        depth, height = body.depth_above, body.height
    points = (body.frame.at(end * depth / 2, side * height / 2) for end in (-1, 1))
    rear, front = (float(disc.local(np.float64(y), np.float64(z))[0]) for y, z in points)
    return rear, front


def _left(series: Series, y: np.ndarray, z: np.ndarray) -> np.ndarray:
    """Distance from the midline of points in the slice's plane, in mm."""
    lattice = series.acquisition.lattice
    normal = np.cross(lattice.steps[1], lattice.steps[2])
    away = normal[1] * (y - lattice.origin[1]) + normal[2] * (z - lattice.origin[2])
    x = lattice.origin[0] - away / normal[0]
    return (x - series.patient.spine.sideways(np.asarray(z, np.float32))).astype(np.float32)


def _world(frame: Frame, front: np.ndarray, up: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    y, z = frame.at(front, up)
    return np.asarray(y, np.float32), np.asarray(z, np.float32)
