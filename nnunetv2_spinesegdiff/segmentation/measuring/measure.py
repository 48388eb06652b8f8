"""The numbers of a segmented midsagittal slice: a row a structure, a disc and a vertebra."""

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
"""Dice of stage 1 and the mask below which they disagree."""

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
    """Rows of `COLUMNS`: one a structure of `labels.CLASSES`, one a disc and one a vertebra.

    A structure's row has no `number`; discs ("ivd") and vertebrae are numbered from 1, the lowest, upward
    along the spine. What cannot be measured is None, and `remark` states why (`remarks.REMARKS`).

    - `level`: name of a disc or vertebra.
    - `parts`: connected parts without crumbs (`parts.SMALLEST_MM2`), posterior elements of vertebrae
      included. Of a structure that is not found it is 0, like its area.
    - `height_mm`: mean height over the central 80 % of the length, square to the middle line between the
      upper and the lower edge (a bisector, as in Frobin et al. 1997, Clinical Biomechanics 12 Suppl. 1,
      S1-S63): an area by a length, which a mask's steps hardly change. A disc's length is that of the space
      between its vertebrae (`sizes.disc_space`), so bulges and herniations beyond it do not count; dents of
      the endplates do. `anterior_height_mm` and `posterior_height_mm` are means from 10 to 20 % of
      the length off the front and off the back.
    - `width_mm` of a disc: its anteroposterior length, bulges included (`sizes.disc_length`).
    - `disc_height_index`: its height by the mean height of the vertebrae above and below (after Masuda et al.
      2005, doi 10.1097/01.brs.0000148152.04401.20), both of which must be whole.
    - `signal_relative_to_csf`: mean signal of the central 80 % of the disc (`sizes.disc_signal`) by that of
      the cerebrospinal fluid at its level (`canal.csf_signal`). Meant for T2w images (King et al. 2023,
      doi 10.1002/jsp2.1278, adjust the signal of discs for that of the fluid); on T1w, where the fluid is
      dark, it is unrelated to a disc's water. None where the image's scale cuts the fluid off, as
      `scale_intensities` does in a third of T2w scans: an image that is scaled alike but not clipped will do.
    - `canal_width_mm`: see `canal.canal_width`; at the level where the disc's middle line meets the canal.
      `canal_narrowest_mm`: the least within 8 mm of that level (`canal.narrowest_width`).
    - `mean_uncertainty`: of the map, inside. `agreement`: Dice with stage 1, of a disc or vertebra within its
      neighborhood (`trust.neighbourhoods`); `low_agreement`: below `flag_below`.

    A vertebra is its body: spinous processes, which share the label, are behind the canal. Discs and bodies
    that touch the edge of the picture, or that are nothing like one, have an area but no heights.

    Args:
        mask: (H, W) labels, rows from head to foot and columns from front to back.
        image: (H, W) intensities from 0, which is also what is outside the scan.
        spacing: (row, column) in mm.
        uncertainty: (H, W) map.
        stage1: (H, W) labels of stage 1.
        levels: of the mask.

    Raises:
        ValueError: the shapes do not fit together, or a spacing is not positive.
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
    # A percentile that is as high as the brightest pixel was cut off there.
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
