"""How a patient is scanned: series, geometry on disk and image quality, drawn at random; nothing rendered."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nnunetv2_spinesegdiff.images.grid import Grid

from .anatomy import Anatomy
from .canvas import Lattice
from .placement import Spine
from .protocols import FINEST_RENDERED_PIXEL, SCANNERS, SPACE, Protocol, Scanner

# Which series patients have, and how many of SPIDER's 218 patients.
_SERIES = (
    (("t1", "t2"), 151),
    (("t1", "t2", "t2_SPACE"), 39),
    (("t2",), 20),
    (("t1",), 6),
    (("t2_SPACE",), 2),
)

# The file's array axes, slowest first, as axes of (slices, rows, columns).
_AXIS_ORDERS = ((0, 1, 2), (1, 2, 0))

# Half of the oblique series are so because the patient lies askew and the slices follow the spine; in the
# other half somebody turned the slices away from the spine.
_ASKEW_SHARE = 0.04
_MISALIGNED_SHARE = 0.04
_OBLIQUE_DEG = (8.0, 20.0)
# Seen from the front, slices turned further than this would miss one end of the spine.
_MOST_LEAN_DEG = 4.0


@dataclass(frozen=True)
class Pose:
    """Pose of a patient: world = offset + rotation @ patient, both left-posterior-superior, in mm."""

    rotation: np.ndarray  # (3, 3)
    offset: np.ndarray  # (3,)


@dataclass(frozen=True)
class Quality:
    """What the scanner does to the signal."""

    level: float  # scanner units of signal 1
    noise: float  # standard deviation relative to signal 1
    coil: float  # 0..1, strength of the fall of signal away from the back
    coil_reach: float  # in mm
    saturation: float  # 0..1, how much a saturation band darkens the belly
    blur: float  # 0..0.25, weight of each neighbor in the in-plane blur
    ghost: float  # strength of a motion ghost
    ghost_shift: float  # its distance along the rows, in parts of the field
    shading: tuple[float, float, float]  # linear fall-off along slices, rows and columns
    seed: int  # of the noise


@dataclass(frozen=True)
class Acquisition:
    """One series."""

    sequence: str  # "t1", "t2" or "t2_SPACE"
    scanner: Scanner
    protocol: Protocol
    lattice: Lattice  # in the patient's frame; slices run to the left, rows down, columns backward
    pose: Pose
    axis_order: tuple[int, int, int]  # the file's array axes, slowest first, among (slices, rows, columns)
    flips: tuple[bool, bool, bool]  # whether (slices, rows, columns) run the other way in the file
    zoom: int  # 1, or 2 where the image is interpolated from a lattice of twice the pixel spacing
    quality: Quality

    @property
    def voxels(self) -> Lattice:
        """The voxels of the file, before its axes are permuted and flipped."""
        n, rows, columns = self.lattice.shape
        step = self.lattice.steps[1:] / self.zoom
        origin = self.lattice.origin - (self.zoom - 1) / 2 * step.sum(axis=0)
        steps = np.stack([self.lattice.steps[0], *step])
        return Lattice((n, rows * self.zoom, columns * self.zoom), origin, steps)

    @property
    def obliquity_deg(self) -> float:
        """Angle between the slice normal and the left-right axis of the world."""
        normal = self.pose.rotation @ self.lattice.steps[0]
        return _degrees_from_left(normal)

    @property
    def misalignment_deg(self) -> float:
        """Angle between the slice normal and the left-right axis of the patient."""
        return _degrees_from_left(self.lattice.steps[0])

    def to_file_axes(self, array: np.ndarray) -> np.ndarray:
        """Permute and flip an array (slices, rows, columns) into the file's axes."""
        flipped = array[tuple(slice(None, None, -1 if flip else 1) for flip in self.flips)]
        return np.ascontiguousarray(flipped.transpose(self.axis_order))

    def file_grid(self) -> Grid:
        """Grid of the file."""
        voxels = self.voxels
        corner = np.array([n - 1 if flip else 0 for n, flip in zip(voxels.shape, self.flips, strict=True)])
        origin = self.pose.offset + self.pose.rotation @ (voxels.origin + corner @ voxels.steps)
        signs = np.where(self.flips, -1.0, 1.0)[:, None]
        steps = (signs * voxels.steps @ self.pose.rotation.T)[list(self.axis_order)][::-1]
        spacing = np.linalg.norm(steps, axis=1)
        direction = (steps / spacing[:, None]).T
        x, y, z = (voxels.shape[axis] for axis in self.axis_order[::-1])
        return Grid(
            (x, y, z), tuple(spacing.tolist()), tuple(origin.tolist()), tuple(direction.ravel().tolist())
        )


def draw_series_names(rng: np.random.Generator) -> tuple[str, ...]:
    """Which series a patient has, in SPIDER's shares."""
    counts = np.array([count for _, count in _SERIES], float)
    return _SERIES[int(rng.choice(len(_SERIES), p=counts / counts.sum()))][0]


def draw_acquisitions(
    rng: np.random.Generator, turns: np.random.Generator, anatomy: Anatomy, spine: Spine
) -> tuple[Acquisition, ...]:
    """Draw all series of a patient: one scanner and one pose, each series with its own field of view.

    Args:
        turns: which slices are turned away from the spine, and how far; all else comes from `rng`.
    """
    names = draw_series_names(rng)
    shares = np.array([s.space_patients if "t2_SPACE" in names else s.patients for s in SCANNERS], float)
    scanner = SCANNERS[int(rng.choice(len(SCANNERS), p=shares / shares.sum()))]
    pose = _draw_pose(rng)
    order = _AXIS_ORDERS[int(rng.integers(2))]
    return tuple(_draw_acquisition(rng, turns, name, scanner, pose, order, anatomy, spine) for name in names)


def rotation(axis: np.ndarray, degrees: float) -> np.ndarray:
    """(3, 3) rotation about an axis (3,), by Rodrigues' formula."""
    x, y, z = axis / np.linalg.norm(axis)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    angle = np.radians(degrees)
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross


def _degrees_from_left(direction: np.ndarray) -> float:
    return float(np.degrees(np.arccos(min(1.0, abs(direction[0]) / np.linalg.norm(direction)))))


def _draw_pose(rng: np.random.Generator) -> Pose:
    around = rng.uniform(0, 2 * np.pi)
    # About an axis across left-right, so that the whole angle shows between slice normal and left-right.
    axis = np.array([0, np.cos(around), np.sin(around)])
    askew = rng.random() < _ASKEW_SHARE
    degrees = rng.uniform(*_OBLIQUE_DEG) if askew else abs(rng.normal(0, 1.5))
    return Pose(rotation(axis, degrees), rng.uniform((-40, -80, -60), (40, 60, 60)))


def _draw_acquisition(
    rng: np.random.Generator, turns: np.random.Generator, name: str, scanner: Scanner, pose: Pose,
    order: tuple[int, int, int], anatomy: Anatomy, spine: Spine,
) -> Acquisition:  # fmt: skip
    protocol = SPACE if name == "t2_SPACE" else getattr(scanner, name)
    # Whoever placed the slices did not always hit the spine's own plane.
    misfit = rng.normal(0, 1.5) if rng.random() < 0.25 else 0.0
    turn = rotation(np.array([0, rng.normal(), rng.normal()]), misfit)
    if _degrees_from_left(pose.rotation[:, 0]) < _OBLIQUE_DEG[0]:
        turn = _draw_turn(turns) @ turn
    zoom = 2 if protocol.pixel < FINEST_RENDERED_PIXEL else 1
    lattice = _draw_lattice(rng, protocol, protocol.pixel * zoom, turn, anatomy, spine)
    return Acquisition(
        sequence=name,
        scanner=scanner,
        protocol=protocol,
        lattice=lattice,
        pose=pose,
        axis_order=order,
        flips=(bool(rng.random() < 0.5), bool(rng.random() < 0.15), bool(rng.random() < 0.15)),
        zoom=zoom,
        quality=_draw_quality(rng, name, scanner),
    )


def _draw_turn(rng: np.random.Generator) -> np.ndarray:
    """For most series none; for some a rotation of the slices far away from the spine's own plane."""
    if rng.random() >= _MISALIGNED_SHARE:
        return np.eye(3)
    around = rng.choice([-1, 1]) * rng.uniform(*_OBLIQUE_DEG)
    lean = rng.uniform(-_MOST_LEAN_DEG, _MOST_LEAN_DEG)
    return rotation(np.array([0, 1, 0]), lean) @ rotation(np.array([0, 0, 1]), around)


def _draw_lattice(
    rng: np.random.Generator, protocol: Protocol, pixel: float, turn: np.ndarray, anatomy: Anatomy,
    spine: Spine,
) -> Lattice:  # fmt: skip
    below = rng.uniform(45, 75)
    deep = rng.uniform(185, 235)
    across = rng.uniform(54, 66)
    most = 17 if protocol.slice_step > 2 else 64
    slices = int(np.clip(round(across / protocol.slice_step), 11, most))
    rows, columns = (2 * round(length / pixel / 2) for length in (spine.top + below, deep))
    steps = np.stack([
        turn @ np.array([protocol.slice_step, 0, 0]),
        turn @ np.array([0, 0, -pixel]),
        turn @ np.array([0, pixel, 0]),
    ])  # fmt: skip
    # The back of the field lies a little behind the skin; the spine is centred from side to side.
    skin = float(spine.back.values.max()) + anatomy.soft.fat_behind + anatomy.soft.fat_low
    last_column = min(skin + rng.uniform(4, 22), deep - 70)
    # An even number of slices has none in its middle: one of the two beside it is put on the midline.
    across = spine.sideways.mean(0, spine.top) + rng.normal(0, 1)
    across += protocol.slice_step / 2 * (1 - slices % 2)
    down = spine.top - pixel / 2 - (rows - 1) / 2 * pixel
    middle = np.array([across, last_column - deep / 2, down])
    # Slices are turned about the spine, which stays in the middle one.
    spinal = np.array([across, (spine.front.mean(0, spine.top) + spine.canal.mean(0, spine.top)) / 2, down])
    middle = spinal + turn @ (middle - spinal)
    half = (np.array([slices, rows, columns]) - 1) / 2
    return Lattice((slices, rows, columns), middle - half @ steps, steps)


def _draw_quality(rng: np.random.Generator, name: str, scanner: Scanner) -> Quality:
    moved = rng.random() < 0.3
    return Quality(
        level=float(scanner.level * rng.uniform(0.75, 1.15)),
        noise=float(scanner.noise * rng.uniform(0.7, 1.5) * (1.3 if name == "t2_SPACE" else 1)),
        coil=float(np.clip(scanner.surface_coil + rng.normal(0, 0.1), 0.05, 0.95)),
        coil_reach=float(rng.uniform(55, 95)),
        saturation=float(rng.uniform(0.4, 0.8)) if rng.random() < 0.7 else 0.0,
        blur=float(rng.uniform(0.06, 0.2)),
        ghost=float(rng.uniform(0.01, 0.04)) if moved else 0.0,
        ghost_shift=float(rng.uniform(0.1, 0.4)),
        shading=tuple(float(v) for v in rng.normal(0, (0.05, 0.08, 0.04))),  # type: ignore[arg-type]
        seed=int(rng.integers(2**63)),
    )
