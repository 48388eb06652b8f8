"""Measurements of a segmented midsagittal slice: one row per structure, disc and vertebra."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...labels import BACKGROUND, CLASSES
from . import remarks as words
from .canal import Level, canal_width, csf_signal, level_of, narrowest_width
from .course import Course
from .edges import beyond_edge
from .found import Found, find
from .levels import Levels
from .parts import Part
from .shapes import central, ends
from .sizes import (
    disc_length,
    disc_signal,
    disc_space,
    looks_like_body,
    looks_like_disc,
    neighbours,
)
from .trust import dice, mean_inside, neighbourhoods

COLUMNS = (
    "structure",
    "number",
    "level",
    "parts",
    "area_mm2",
    "height_mm",
    "anterior_height_mm",
    "posterior_height_mm",
    "width_mm",
    "disc_height_index",
    "signal_relative_to_csf",
    "canal_width_mm",
    "canal_narrowest_mm",
    "mean_uncertainty",
    "agreement",
    "low_agreement",
    "remark",
)

LOW_AGREEMENT = 0.8
"""Stage 1 and the mask disagree if their Dice is below this value."""

Row = dict[str, Any]


def measure_slice(
    mask: np.ndarray,
    image: np.ndarray,
    spacing: Sequence[float],
    uncertainty: np.ndarray | None = None,
    stage1: np.ndarray | None = None,
    flag_below: float = LOW_AGREEMENT,
    levels: Levels | None = None,
) -> list[Row]:
    """Measure the structures, discs and vertebrae of a midsagittal slice.

    - `number`: discs ("ivd") and vertebrae are numbered upward along the spine, from 1 for the lowest one.
      The row of a whole structure has no number. `level`: name of a disc or vertebra.
    - `parts`: number of connected parts, without those smaller than `parts.SMALLEST_MM2`. The posterior
      elements of vertebrae count.
    - `height_mm`: mean height over the central 80 % of the length, perpendicular to the middle line between
      the upper and the lower edge (a bisector, as in Frobin et al. 1997, Clinical Biomechanics 12 Suppl. 1,
      S1-S63). It is an area divided by a length, so the pixel steps of a mask hardly change it. The length
      of a disc is that of the space between its vertebrae (`sizes.disc_space`): bulges and herniations
      outside this space do not count, dents in the endplates do. `anterior_height_mm` and
      `posterior_height_mm` are means over 10 % to 20 % of the length, from the front and from the back.
    - `width_mm`: anteroposterior length of a disc, including bulges (`sizes.disc_length`).
    - `disc_height_index`: height of a disc divided by the mean height of the vertebrae above and below
      (after Masuda et al. 2005, doi 10.1097/01.brs.0000148152.04401.20). Both must be completely visible.
    - `signal_relative_to_csf`: mean signal of the central 80 % of the disc (`sizes.disc_signal`) divided by
      the signal of the cerebrospinal fluid at its level (`canal.csf_signal`). It is meant for T2w images
      (King et al. 2023, doi 10.1002/jsp2.1278, adjust the signal of discs in the same way). In T1w images
      the fluid is dark and the value is unrelated to the water content of the disc. It is None if the signal
      of the fluid is clipped.
    - `canal_width_mm`: width of the canal where the middle line of the disc meets it (`canal.canal_width`).
      `canal_narrowest_mm`: smallest width within 8 mm of that level (`canal.narrowest_width`).
    - `mean_uncertainty`: mean of the map inside the structure. `agreement`: Dice of the mask and stage 1,
      for discs and vertebrae within their neighborhood (`trust.neighbourhoods`). `low_agreement`: whether
      it is below `flag_below`.

    A vertebra is measured by its body. Spinous processes have the same label and are located behind the
    canal. Discs and bodies that touch the edge of the image, or do not have the shape of one, have an area
    but no heights.

    Args:
        mask: (H, W) labels, rows from head to foot and columns from front to back.
        image: (H, W) intensities, at least 0; 0 outside the scan.
        spacing: (row, column) in mm.
        uncertainty: (H, W) map.
        stage1: (H, W) labels of stage 1.
        flag_below: limit of `low_agreement`, Dice from 0 to 1.
        levels: numbers and names of the mask's vertebrae and discs.

    Returns:
        Rows with the keys of `COLUMNS`: one per structure of `labels.CLASSES`, then discs, then vertebrae.
        Lengths are in mm, areas in mm2. A value that cannot be measured is None, and `remark` states why.

    Raises:
        ValueError: the shapes differ, or a spacing is not positive.

    Examples:
        A canal of 4 mm x 60 mm, in pixels of 1 mm:

        >>> mask = np.zeros((60, 40), np.uint8)
        >>> mask[:, 30:34] = 1
        >>> canal, vertebrae, discs = measure_slice(mask, np.ones(mask.shape), (1.0, 1.0))
        >>> canal["structure"], canal["parts"], canal["area_mm2"]
        ('spinal_canal', 1, 240.0)
        >>> discs["area_mm2"], discs["remark"]
        (0.0, 'not found')
    """
    _check(mask, image, spacing, uncertainty, stage1)
    found = find(mask, (float(spacing[0]), float(spacing[1])))
    trust = _Trust(mask, uncertainty, stage1, flag_below)
    rows = [
        _row(name, None, **_structure(found, name, mask), **trust.of(name, mask == label))
        for name, label in CLASSES.items()
        if label != BACKGROUND
    ]
    cut_off = beyond_edge(image)
    if found.course is None:
        return rows
    bodies = {body: _body(body, found.course, cut_off) for body in found.bodies}
    discs = {disc: _disc(found, found.course, disc, bodies, image, cut_off) for disc in found.discs}
    for name, sizes in (("ivd", discs), ("vertebrae", bodies)):
        around = neighbourhoods(mask == CLASSES[name], [part.shape for part in sizes])
        for number, ((part, own), near) in enumerate(zip(sizes.items(), around, strict=True), start=1):
            level = levels and levels.name_of(part.shape.inside)
            rows.append(_row(name, number, level=level, **own, **trust.of(name, part.shape.inside, near)))
    return rows


@dataclass(frozen=True)
class _Trust:
    mask: np.ndarray
    uncertainty: np.ndarray | None
    stage1: np.ndarray | None
    flag_below: float

    def of(self, name: str, inside: np.ndarray, near: np.ndarray | None = None) -> Row:
        agreement = None
        if self.stage1 is not None:
            other = self.stage1 == CLASSES[name]
            agreement = dice(inside, other if near is None else other & near)
        return {
            "mean_uncertainty": mean_inside(self.uncertainty, inside),
            "agreement": agreement,
            "low_agreement": None if agreement is None else agreement < self.flag_below,
        }


def _check(mask: np.ndarray, image: np.ndarray, spacing: Sequence[float], *maps: np.ndarray | None) -> None:
    if mask.ndim != 2 or len(spacing) != 2 or min(spacing) <= 0:
        raise ValueError(f"expected (H, W) and two spacings above 0, got {mask.shape} and {tuple(spacing)}")
    for name, array in zip(("image", "uncertainty", "stage 1"), (image, *maps), strict=True):
        if array is not None and array.shape != mask.shape:
            raise ValueError(f"mask of shape {mask.shape}, {name} of shape {array.shape}")


def _row(name: str, number: int | None, **values: Any) -> Row:
    return dict.fromkeys(COLUMNS) | {"structure": name, "number": number} | values


def _structure(found: Found, name: str, mask: np.ndarray) -> Row:
    area = int((mask == CLASSES[name]).sum()) * found.canal.spacing[0] * found.canal.spacing[1]
    remarks = [words.counted(words.CRUMBS, found.crumbs[name])]
    if not area:
        remarks.append(words.NOT_FOUND)
    elif name == "vertebrae" and found.course is None:
        remarks.append(words.NO_COURSE)
    elif name == "vertebrae" and not found.from_canal:
        remarks.append(words.NO_CANAL)
    if name == "ivd":
        remarks.append(words.counted(words.STRAY, found.stray))
    return {"parts": found.parts[name], "area_mm2": area, "remark": words.joined(remarks)}


def _body(body: Part, course: Course, cut_off: np.ndarray) -> Row:
    row: Row = {"area_mm2": body.shape.area, "remark": ""}
    if cut_off[body.shape.inside].any():
        return row | {"remark": words.EDGE}
    if not looks_like_body(body, course):
        return row | {"remark": words.SHAPE}
    return row | _heights(body, body.profile.extent())


def _heights(part: Part, stretch: tuple[float, float]) -> dict[str, float]:
    front, rear = ends(stretch)
    return {
        "height_mm": part.profile.height(central(stretch)),
        "anterior_height_mm": part.profile.height(front),
        "posterior_height_mm": part.profile.height(rear),
    }


def _disc(
    found: Found,
    course: Course,
    disc: Part,
    bodies: Mapping[Part, Row],
    image: np.ndarray,
    cut_off: np.ndarray,
) -> Row:
    row: Row = {"area_mm2": disc.shape.area}
    adjacent = neighbours(disc, found.discs, found.bodies)
    if cut_off[disc.shape.inside].any():
        return row | {"remark": words.EDGE}
    if not looks_like_disc(disc, course, adjacent):
        return row | {"remark": words.SHAPE}
    space = disc_space(disc.profile, adjacent)
    heights = _heights(disc, space)
    width = disc_length(disc.profile)
    beside = [None if body is None else bodies[body].get("height_mm") for body in adjacent]
    index = _index(heights["height_mm"], beside)
    signal = disc_signal(disc, central(space), image)
    canal, lost = _at_canal(found, level_of(disc.frame, course), signal, image, cut_off)
    sides = zip((words.NONE_BELOW, words.NONE_ABOVE), beside, strict=True)
    remark = words.joined([*(remark for remark, height in sides if height is None), *lost])
    return row | heights | {"width_mm": width, "disc_height_index": index} | canal | {"remark": remark}


def _index(height: float, beside: Sequence[float | None]) -> float | None:
    known = [value for value in beside if value is not None]
    return height / (sum(known) / 2) if len(known) == 2 else None


def _at_canal(
    found: Found, level: Level | None, signal: float | None, image: np.ndarray, cut_off: np.ndarray
) -> tuple[Row, list[str]]:
    """Cells for what is measured where a disc's plane meets the canal, and remarks on what is not."""
    width = canal_width(level, found.canal, cut_off) if level else None
    narrowest = narrowest_width(level, found.mended_canal, cut_off) if level and width is not None else None
    fluid = csf_signal(level, found.canal, image) if level else None
    # The signal is clipped if the percentile equals the brightest pixel.
    clipped = fluid is not None and fluid >= float(image.max())
    ratio = signal / fluid if signal is not None and fluid and not clipped else None
    found_out = (
        (words.NO_LEVEL, width is None),
        (words.INTERRUPTED, width is not None and narrowest is None),
        (words.CLIPPED, clipped),
    )
    remarks = [remark for remark, applies in found_out if applies]
    sizes = {"canal_width_mm": width, "canal_narrowest_mm": narrowest}
    return {**sizes, "signal_relative_to_csf": ratio}, remarks
