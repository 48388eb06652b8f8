"""Masks lie beside scans, in files of the same kinds, and are no scans."""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk

from .refusal import Refusal

MOST_LABELS = 32
"""Distinct values that a mask may have; SPIDER's have 20 or so, scans hundreds."""
_SAMPLE = 50_000


def refuse_mask(image: sitk.Image) -> None:
    """Refuse whole numbers of which there are few; a constant image is left to who looks for signal.

    Raises:
        Refusal: 2 to `MOST_LABELS` distinct values, all of them whole numbers, in any type of voxel.
    """
    found = _few_values(sitk.GetArrayViewFromImage(image))
    if found is None or len(found) < 2 or not _whole(found):
        return
    raise Refusal(
        f"looks like a mask, not a scan: its voxels have only {len(found)} values, all whole numbers "
        f"({found[0]:g} to {found[-1]:g}); give the scan that it belongs to"
    )


def _few_values(voxels: np.ndarray) -> np.ndarray | None:
    """The distinct values, sorted; None where they are more than labels would be.

    Of scans only a sample is looked at: more values in a part are more values in the whole.
    """
    flat = voxels.reshape(-1)
    found = np.unique(flat[:: max(1, flat.size // _SAMPLE)])
    for part in (flat[start : start + _SAMPLE] for start in range(0, flat.size, _SAMPLE)):
        if len(found) > MOST_LABELS:
            return None
        found = np.union1d(found, part)
    return found if len(found) <= MOST_LABELS else None


def _whole(found: np.ndarray) -> bool:
    return bool(np.isfinite(found).all() and (found == np.round(found)).all())
