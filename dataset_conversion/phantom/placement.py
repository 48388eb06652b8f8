"""From the shapes of a patient's vertebrae to their places: pure geometry, nothing random.

The frame is the patient's: x left, y posterior, z superior, in mm, with the middle of the upper endplate of
S1 at its origin. A tilt is the angle by which a body's axis leans forward: its axis points along
(y, z) = (-sin, cos), its front along (-cos, -sin).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .anatomy import Anatomy, DiscShape, VertebraShape

# Sacral segments S1..S5: height, depth at the top, depth at the bottom, width and further tilt (degrees).
_SACRUM = (
    (30.0, 33.0, 23.0, 52.0, 4.0),
    (25.0, 21.5, 16.0, 40.0, 8.0),
    (21.0, 15.0, 12.0, 32.0, 0.0),
    (18.0, 11.5, 9.5, 26.0, -14.0),
    (15.0, 9.0, 7.0, 20.0, -30.0),
)
_SACRAL_GAP = 2.5

Z_RANGE = (-220.0, 460.0)
"""Where tables over z are defined, in mm."""

_TABLE_STEP = 0.5


@dataclass(frozen=True)
class Frame:
    """Place of a body or disc in the midsagittal plane."""

    y: float  # of the middle, in mm
    z: float
    tilt: float  # forward lean of its axis, in radians

    def at(self, front: float, up: float) -> tuple[float, float]:
        """(y, z) of the point so far in front of and above the middle."""
        sin, cos = np.sin(self.tilt), np.cos(self.tilt)
        return self.y - front * cos - up * sin, self.z - front * sin + up * cos

    def reach(self, front: float, up: float) -> tuple[float, float]:
        """Half sizes along y and z of the upright box around a box of these half sizes."""
        sin, cos = abs(np.sin(self.tilt)), abs(np.cos(self.tilt))
        return front * cos + up * sin, front * sin + up * cos

    def local(self, y: np.ndarray, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(front, up) of points in the patient's frame; float32 in, float32 out."""
        sin, cos = np.float32(np.sin(self.tilt)), np.float32(np.cos(self.tilt))
        dy, dz = y - np.float32(self.y), z - np.float32(self.z)
        return -cos * dy - sin * dz, -sin * dy + cos * dz


@dataclass(frozen=True)
class PlacedVertebra:
    level: int
    frame: Frame
    shape: VertebraShape


@dataclass(frozen=True)
class PlacedDisc:
    """A disc; depth and width are those of the vertebra above it, unless the slip makes it longer."""

    level: int
    frame: Frame
    shape: DiscShape
    depth: float
    width: float


@dataclass(frozen=True)
class SacralSegment:
    frame: Frame
    height: float
    depth_above: float
    depth_below: float
    width: float


class Table:
    """A smooth function of z, looked up quickly: values by linear interpolation of `knots`, then smoothed."""

    def __init__(self, z: np.ndarray, values: np.ndarray, smooth_mm: float = 0.0) -> None:
        """
        Args:
            z: (n,) knots in mm, in any order.
            values: (n,) values at the knots; constant beyond the first and last.
            smooth_mm: standard deviation of the smoothing.
        """
        order = np.argsort(z)
        at = self.heights()
        table = np.interp(at, np.asarray(z, float)[order], np.asarray(values, float)[order])
        if smooth_mm:
            reach = int(3 * smooth_mm / _TABLE_STEP)
            kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) * _TABLE_STEP / smooth_mm) ** 2)
            table = np.convolve(np.pad(table, reach, mode="edge"), kernel / kernel.sum(), mode="valid")
        self.values = table.astype(np.float32)

    def __call__(self, z: np.ndarray) -> np.ndarray:
        """Values at z, the same shape, float32; constant outside Z_RANGE."""
        index = ((z - np.float32(Z_RANGE[0])) * np.float32(1 / _TABLE_STEP)).astype(np.int32)
        return self.values[np.clip(index, 0, len(self.values) - 1)]

    def lean(self) -> Table:
        """Cosine of the angle between the curve and the z axis."""
        return Table.of(1 / np.sqrt(1 + np.gradient(self.values, _TABLE_STEP) ** 2))

    def mean(self, low: float, high: float) -> float:
        """Mean value between two heights, in mm."""
        z = self.heights()
        return float(self.values[(z >= low) & (z <= high)].mean())

    @staticmethod
    def heights() -> np.ndarray:
        """z of the table's own points, in mm."""
        return np.arange(Z_RANGE[0], Z_RANGE[1], _TABLE_STEP)

    @classmethod
    def of(cls, values: np.ndarray, smooth_mm: float = 0.0) -> Table:
        """Table of values at `heights()`."""
        return cls(cls.heights(), values, smooth_mm)

    @classmethod
    def peaks(cls, centres: Sequence[float], width: float) -> Table:
        """Gaussian peaks of height 1 around places, with exp(-1) at `width` mm from each."""
        apart = cls.heights()[:, None] - np.asarray(centres)
        return cls.of(np.exp(-((apart / width) ** 2)).max(axis=1))


@dataclass(frozen=True)
class Spine:
    """Every part in its place."""

    vertebrae: tuple[PlacedVertebra, ...]  # L5 first
    discs: tuple[PlacedDisc, ...]  # L5/S1 first
    sacrum: tuple[SacralSegment, ...]  # S1 first
    top: float  # z of the upper edge of every field of view of this patient, in mm
    sideways: Table  # x of the midline over z
    front: Table  # y over z of the bodies' front
    canal: Table  # y over z of the canal's middle
    back: Table  # y over z of the spinous tips


def place(anatomy: Anatomy) -> Spine:
    """Stack a patient's vertebrae and discs on the sacrum."""
    vertebrae, discs = _stack(anatomy)
    sacrum = _place_sacrum(anatomy.sacral_slope)
    gap = anatomy.soft.canal_depth / 2 + 2.0
    front, canal, back = [], [], []
    for segment in sacrum:
        for side, depth in ((0.5, segment.depth_above), (-0.5, segment.depth_below)):
            up = side * 0.9 * segment.height
            front.append(segment.frame.at(depth / 2, up))
            canal.append(segment.frame.at(-depth / 2 - min(gap, 0.3 * depth + 1.5), up))
            back.append(segment.frame.at(-depth / 2 - 17, up))
    for vertebra in vertebrae:
        half = vertebra.shape.depth / 2
        for up in (-0.4 * vertebra.shape.height, 0.4 * vertebra.shape.height):
            front.append(vertebra.frame.at(half, up))
            canal.append(vertebra.frame.at(-half - gap, up))
        back.append(vertebra.frame.at(-half - 20 - vertebra.shape.spinous_length, -10))
    return Spine(
        vertebrae=vertebrae,
        discs=discs,
        sacrum=sacrum,
        top=_top(anatomy, vertebrae, discs),
        sideways=_sideways(anatomy, vertebrae),
        front=_table(front, 4),
        canal=_table(canal, 5),
        back=_table(back, 8),
    )


def _stack(anatomy: Anatomy) -> tuple[tuple[PlacedVertebra, ...], tuple[PlacedDisc, ...]]:
    vertebrae, discs = [], []
    y = z = 0.0
    tilt = anatomy.sacral_slope
    for level, (disc, vertebra) in enumerate(zip(anatomy.discs, anatomy.vertebrae, strict=True)):
        disc_frame = Frame(y, z, tilt - disc.wedge / 2)
        middle = Frame(*disc_frame.at(disc.slip / 2, disc.height / 2), disc_frame.tilt)
        discs.append(PlacedDisc(level, middle, disc, vertebra.depth + 0.5 * abs(disc.slip), vertebra.width))
        y, z = disc_frame.at(disc.slip, disc.height)
        tilt -= disc.wedge
        body_frame = Frame(y, z, tilt - vertebra.wedge / 2)
        centre = Frame(*body_frame.at(0, vertebra.height / 2), body_frame.tilt)
        vertebrae.append(PlacedVertebra(level, centre, vertebra))
        y, z = body_frame.at(0, vertebra.height)
        tilt -= vertebra.wedge
    return tuple(vertebrae), tuple(discs)


def _place_sacrum(slope: float) -> tuple[SacralSegment, ...]:
    segments = []
    y = z = 0.0
    for height, above, below, width, turn in _SACRUM:
        top = Frame(y, z, slope + np.radians(turn))
        segments.append(SacralSegment(Frame(*top.at(0, -height / 2), top.tilt), height, above, below, width))
        y, z = top.at(0, -height - _SACRAL_GAP)
    return tuple(segments)


def _top(anatomy: Anatomy, vertebrae: tuple[PlacedVertebra, ...], discs: tuple[PlacedDisc, ...]) -> float:
    above = vertebrae[anatomy.visible]
    if anatomy.partial:
        return above.frame.at(0, (anatomy.partial - 0.5) * above.shape.height)[1]
    return discs[anatomy.visible].frame.z


def _sideways(anatomy: Anatomy, vertebrae: tuple[PlacedVertebra, ...]) -> Table:
    z = np.linspace(-60, vertebrae[-1].frame.z + 30, 40)
    along = np.clip(z / vertebrae[-1].frame.z, 0, 1)
    bow = np.sin(np.pi * (along + 0.4 * anatomy.scoliosis_phase * along * (1 - along)))
    return Table(z, anatomy.scoliosis * bow, 10)


def _table(points: list[tuple[float, float]], smooth_mm: float) -> Table:
    y, z = np.array(points).T
    return Table(z, y, smooth_mm)
