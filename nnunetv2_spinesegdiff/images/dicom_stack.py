"""Slices of a DICOM series as one grid."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .dicom_files import DicomSlice
from .examination import MAX_SHEAR_DEG, ROUNDING_DEG
from .grid import TOLERANCE_MM
from .scan import Refusal

_ROUNDING = 1e-3


def check_placed(slices: Sequence[DicomSlice]) -> None:
    """Check that position and size of every slice in the patient are given.

    Raises:
        Refusal: a slice has no position or orientation, or no PixelSpacing; that of the detector
            (ImagerPixelSpacing) is not the patient's.
    """
    lost = [one.name for one in slices if one.orientation is None or one.position is None]
    if lost:
        raise Refusal(f"no position or orientation in the patient for {lost[0]}; use the original images")
    unmeasured = [one.name for one in slices if one.spacing is None]
    if unmeasured:
        raise Refusal(f"no PixelSpacing for {unmeasured[0]}, so its size in mm is unknown: use the originals")


def stack(
    positions: np.ndarray, normal: np.ndarray, names: Sequence[str]
) -> tuple[list[int], float, tuple[str, ...]]:
    """Order parallel slices along their normal, and check that they are a volume.

    Args:
        positions: (n, 3), LPS in mm of the first voxel of each slice.
        normal: (3,), unit vector at right angles to the slices.
        names: of the slices in messages.

    Returns:
        (indices of the slices in order, mm between neighbors, warnings); NaN mm for a single slice.

    Raises:
        Refusal: two slices are at the same position, one is more than 0.1 mm off its place in an even stack,
            or the slices are not straight above each other.
    """
    order = np.argsort(positions @ normal, kind="stable")
    if len(order) < 2:
        return [0], float("nan"), ()
    positions = positions[order]
    places, names = positions @ normal, [names[k] for k in order]
    steps = np.diff(places)
    usual = float(np.median(steps))
    same = np.flatnonzero(steps <= max(_ROUNDING, _ROUNDING * usual))
    if same.size:
        k = int(same[0])
        raise Refusal(
            f"its slices {names[k]} and {names[k + 1]} are at the same position, one of {same.size} such "
            "pairs (duplicates, several echoes or time points): export each volume as a series of its own"
        )
    if np.abs(places - np.linspace(places[0], places[-1], len(places))).max() > TOLERANCE_MM:
        k = int(steps.argmax() if steps.max() - usual >= usual - steps.min() else steps.argmin())
        raise Refusal(
            f"its slices are not evenly spaced, {steps[k]:.2f} mm after slice {k + 1} ({names[k]}) and "
            f"{usual:.2f} mm elsewhere: is one missing? Export the series again"
        )
    along = (positions[-1] - positions[0]) / (places[-1] - places[0])
    off_line = positions - (positions[0] + (places - places[0])[:, None] * along)
    sideways = off_line - (off_line @ normal)[:, None] * normal
    if np.linalg.norm(sideways, axis=1).max() > TOLERANCE_MM:
        raise Refusal("its slices are not in one line: export the series again")
    degrees = float(np.degrees(np.arccos(np.clip(1 / np.linalg.norm(along), -1, 1))))
    if degrees > MAX_SHEAR_DEG:
        raise Refusal(
            f"the slice stack is sheared by {degrees:.1f} degrees (gantry tilt): resample it to a grid "
            "without shear"
        )
    warning = f"the slice stack is sheared by {degrees:.2f} degrees; this was ignored"
    distance = float(places[-1] - places[0]) / (len(places) - 1)
    return order.tolist(), distance, (warning,) if degrees > ROUNDING_DEG else ()
