"""A painter's canvas: shapes are laid over each other with their coverage; labels follow."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from .anatomy import Anatomy
from .placement import Spine, Table
from .signals import Signals
from .texture import Texture

Box = tuple[slice, slice, slice]
Points = tuple[np.ndarray, np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Scene:
    """A patient as one series shows them."""

    anatomy: Anatomy
    spine: Spine
    signals: Signals
    texture: Texture


@dataclass(frozen=True)
class Lattice:
    """Sample points of a series in the patient's frame, in mm."""

    shape: tuple[int, int, int]  # (slices, rows, columns)
    origin: np.ndarray  # (3,) x, y, z of sample (0, 0, 0)
    steps: np.ndarray  # (3, 3), row a is the step along array axis a

    @property
    def pixel(self) -> float:
        """In-plane sampling distance, in mm."""
        return float(np.linalg.norm(self.steps[1]))

    def refined(self, factor: int) -> Lattice:
        """`factor` samples a slice, spread evenly over its thickness (slices touch each other)."""
        step = self.steps[0] / factor
        steps = np.stack([step, self.steps[1], self.steps[2]])
        shape = (self.shape[0] * factor, *self.shape[1:])
        return Lattice(shape, self.origin - step * (factor - 1) / 2, steps)

    def box(self, centre: tuple[float, float, float], radii: tuple[float, float, float]) -> Box | None:
        """Samples within `radii` (mm along x, y and z) of a point; None where there is none."""
        inverse = np.linalg.inv(self.steps)
        middle = (np.asarray(centre) - self.origin) @ inverse
        reach = np.asarray(radii) @ np.abs(inverse)
        low = np.maximum(np.floor(middle - reach).astype(int), 0)
        high = np.minimum(np.ceil(middle + reach).astype(int) + 1, self.shape)
        if (low >= high).any():
            return None
        return slice(low[0], high[0]), slice(low[1], high[1]), slice(low[2], high[2])

    def points(self, box: Box | None = None) -> Points:
        """x, y and z of the samples of a box as float32 arrays of three axes that broadcast to its shape.

        Axes along which a coordinate does not change have length 1, which spares most of the work.
        """
        box = box or (slice(0, self.shape[0]), slice(0, self.shape[1]), slice(0, self.shape[2]))
        found = []
        for coordinate in range(3):
            total = np.full((1, 1, 1), self.origin[coordinate])
            for axis in range(3):
                step = self.steps[axis, coordinate]
                # A tenth of a millimetre from edge to edge does not show.
                if abs(step) * self.shape[axis] > 0.1:
                    along = np.arange(box[axis].start, box[axis].stop) * step
                    total = total + along.reshape([-1 if a == axis else 1 for a in range(3)])
            found.append(total.astype(np.float32))
        return found[0], found[1], found[2]


@dataclass
class Patch:
    """A part of a canvas that is being painted on."""

    points: Points  # x from the midline, which a scoliosis bends, y and z in mm; they broadcast to `signal`
    signal: np.ndarray  # what has been painted so far
    label: np.ndarray
    pixel: float  # in-plane sampling distance in mm

    def part(self, inside: np.ndarray) -> Patch:
        """The smallest run of slices and columns with all samples that are `inside` (full shape)."""
        slices, columns = (np.flatnonzero(inside.any(axis=axes)) for axes in ((1, 2), (0, 1)))
        if not len(slices):
            slices = columns = np.array([0])
        at = (slice(slices[0], slices[-1] + 1), slice(None), slice(columns[0], columns[-1] + 1))
        x, y, z = (np.broadcast_to(p, self.signal.shape)[at] for p in self.points)
        return Patch((x, y, z), self.signal[at], self.label[at], self.pixel)

    def coverage(self, distance: np.ndarray) -> np.ndarray:
        """Share of a pixel inside a shape, 0..1, from the signed distance in mm (negative inside)."""
        return np.clip(0.5 - distance * (1 / self.pixel), 0, 1)

    def paint(self, cover: np.ndarray, signal: np.ndarray | float, label: int | None = None) -> None:
        """Lay a signal over what is there; samples covered at least by half take the label if given."""
        self.signal += cover * (signal - self.signal)
        if label is not None:
            np.copyto(self.label, np.uint8(label), where=np.broadcast_to(cover >= 0.5, self.label.shape))


class Canvas:
    """Signal and label of every sample of a lattice.

    Attributes:
        lattice: the samples.
        signal: float32, the lattice's shape.
        label: uint8, the lattice's shape, SPIDER numbers.
    """

    def __init__(self, lattice: Lattice, signal: np.ndarray, sideways: Table) -> None:
        self.lattice = lattice
        self.signal = signal
        self.label = np.zeros(lattice.shape, np.uint8)
        self._sideways = sideways

    def around(self, y: float, z: float, radii: tuple[float, float, float]) -> Patch | None:
        """The patch within `radii` (mm along x, y and z) of a place on the midline; None if there is none."""
        shift = float(self._sideways(np.array([z], np.float32))[0])
        box = self.lattice.box((shift, y, z), radii)
        if box is None:
            return None
        px, py, pz = self.lattice.points(box)
        points = px - self._sideways(pz), py, pz
        return Patch(points, self.signal[box], self.label[box], self.lattice.pixel)

    @contextmanager
    def strip(self, course: Table, radii: tuple[float, float]) -> Iterator[Patch | None]:
        """A patch that follows a curve y = course(z) down the picture; None if out of the picture.

        Args:
            radii: its reach in mm along x and y.
        """
        bend = float(np.abs(self._sideways.values).max())
        tall = self.lattice.box((0, 0, 0), (radii[0] + bend, 1e4, 1e4))
        if tall is None:
            yield None
            return
        px, py, pz = self.lattice.points(tall)
        signal, label = self.signal[tall], self.label[tall]
        x, y, z = (np.broadcast_to(p, signal.shape) for p in (px, py, pz))
        width = min(round(2 * radii[1] / self.lattice.pixel), y.shape[2])
        # The first column of every row; of every slice, too, where the slices are turned against the curve.
        first = np.abs(py - course(pz)).argmin(axis=2) - width // 2
        columns = np.clip(first, 0, y.shape[2] - width)[:, :, None] + np.arange(width)
        slices, rows = (np.arange(n) for n in y.shape[:2])
        at = (slices[:, None, None], rows[:, None], columns)
        px, py, pz = x[at], y[at], z[at]
        patch = Patch((px - self._sideways(pz), py, pz), signal[at], label[at], self.lattice.pixel)
        yield patch
        signal[at], label[at] = patch.signal, patch.label
