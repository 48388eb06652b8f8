"""Small synthetic volumes in SPIDER's layout."""

from __future__ import annotations

from itertools import permutations, product
from pathlib import Path

import numpy as np
import SimpleITK as sitk

SHARED_DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data"

# Columns: LPS directions of the SimpleITK axes. Two orders that SPIDER-like data has.
SLICES_FIRST = np.array([[-1.0, 0, 0], [0, 1, 0], [0, 0, -1]])
SLICES_LAST = np.array([[0.0, 0, -1], [1, 0, 0], [0, -1, 0]])
ALL_48 = [
    np.eye(3)[list(axes)] * signs for axes in permutations(range(3)) for signs in product([1, -1], repeat=3)
]


def rotation(degrees: tuple[float, float, float]) -> np.ndarray:
    """Rotation about the x, y and z axes of the world, in that order."""
    matrix = np.eye(3)
    for axis, angle in enumerate(np.radians(degrees)):
        turn = np.eye(3)
        i, j = [k for k in range(3) if k != axis]
        turn[[i, i, j, j], [i, j, i, j]] = np.cos(angle), -np.sin(angle), np.sin(angle), np.cos(angle)
        matrix = turn @ matrix
    return matrix


def volume(
    array: np.ndarray, cosines: np.ndarray, spacing: tuple[float, ...], origin: tuple[float, ...]
) -> sitk.Image:
    """SimpleITK image of an array indexed (x, y, z)."""
    image = sitk.GetImageFromArray(np.ascontiguousarray(array.T))
    image.SetSpacing(spacing)
    image.SetOrigin(origin)
    image.SetDirection(cosines.ravel().tolist())
    return image


def world_positions(image: sitk.Image) -> np.ndarray:
    """LPS position in mm of every voxel, shape (x, y, z, 3), computed apart from the package."""
    indices = np.stack(np.meshgrid(*map(np.arange, image.GetSize()), indexing="ij"), axis=-1)
    cosines = np.array(image.GetDirection()).reshape(3, 3)
    return np.array(image.GetOrigin()) + (indices * np.array(image.GetSpacing())) @ cosines.T


def write_series(
    root: Path,
    name: str,
    *,
    cosines: np.ndarray = SLICES_LAST,
    numbers: tuple[int, ...] = (1, 100, 201),
    seed: int = 0,
    apart_mm: float = 4.0,
) -> None:
    """One series of 5 slices of 48 x 40 voxels, with a block of each label number through all slices."""
    rng = np.random.default_rng(seed)
    sagittal = rng.integers(50, 900, (48, 40, 5)).astype(np.int16)
    mask = np.zeros(sagittal.shape, np.uint8)
    for k, number in enumerate(numbers):
        mask[4 + 10 * k : 12 + 10 * k, 10:30] = number
    # The same patient in either axis order: array axis j of the file is that axis of the sagittal stack.
    order = (0, 1, 2) if cosines is SLICES_LAST else (2, 0, 1)
    spacing = tuple((1.5, 1.2, apart_mm)[axis] for axis in order)
    for folder, array in (("images", sagittal), ("masks", mask)):
        (root / folder).mkdir(parents=True, exist_ok=True)
        image = volume(array.transpose(order), cosines, spacing, (10.0, -20.0, 30.0))
        sitk.WriteImage(image, str(root / folder / f"{name}.mha"), useCompression=True)


def write_cohort(root: Path, patients: int = 6) -> list[str]:
    """Patients 1, 2, ... with t1 and t2 each, axis orders alternating; returns the series' names."""
    names = [f"{patient}_{sequence}" for patient in range(1, patients + 1) for sequence in ("t1", "t2")]
    for seed, name in enumerate(names):
        write_series(root, name, cosines=SLICES_FIRST if seed % 2 else SLICES_LAST, seed=seed)
    return names
