"""Which slice of a scan is the midsagittal one, by what stage 1 sees in it."""

from __future__ import annotations

import SimpleITK as sitk

from ..dataset_conversion.geometry import extract_slice
from ..labels import CLASSES, VERTEBRAE
from .model import SliceModel

STEP_MM = 4.0
"""Between the slices that are looked at; a lumbar canal is wider than three of these."""
ENOUGH = 0.9
"""Share of the largest canal that leaves the slice nearest to the middle its place."""


def find_midsagittal(scaled: sitk.Image, model: SliceModel) -> tuple[int, str]:
    """Find the slice with the largest canal, the nearest to the middle of those that come close to it.

    The slices of the middle half are looked at, further ones as long as the canal grows towards them, and all
    if there is none.

    Args:
        scaled: scan with scaled intensities.
        model: of single slices, with a stage 1.

    Returns:
        The slice's number, 0 = leftmost, and why it is not the middle one; nothing if it is.
    """
    view = extract_slice(scaled)
    count, middle, apart = view.oriented.size[2], view.first_slice, view.oriented.spacing[2]
    step = max(1, round(STEP_MM / apart))
    areas: dict[int, int] = {}

    def look_at(number: int) -> None:
        if number not in areas and 0 <= number < count:
            one = extract_slice(scaled, slices=number).image
            mask = model.predictor.first_look(sitk.GetArrayFromImage(one), one.GetSpacing()[::-1])
            areas[number] = int((mask == CLASSES["spinal_canal"]).sum()) if (mask == VERTEBRAE).any() else 0

    steps = range(middle % step, count, step)
    for number in steps:
        if abs(number - middle) <= max(count / 4, step):
            look_at(number)
    if not any(areas.values()):
        for number in steps:
            look_at(number)
    while True:
        best, looked_at = max(areas, key=areas.__getitem__), len(areas)
        look_at(best - step)
        look_at(best + step)
        if len(areas) == looked_at:
            break
    if not areas[best]:
        return middle, f"no spinal canal was found in {len(areas)} slices; the middle one was segmented"
    close = [number for number, area in areas.items() if area >= ENOUGH * areas[best]]
    chosen = min(close, key=lambda number: abs(number - middle))
    if chosen == middle:
        return middle, ""
    return chosen, (
        f"slice {chosen} was segmented and not the middle one ({middle}): its spinal canal is larger; "
        "--slices middle takes the middle one"
    )
