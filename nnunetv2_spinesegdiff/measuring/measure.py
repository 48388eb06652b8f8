"""The numbers of a segmented midsagittal slice: a row a structure, a disc and a vertebra."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..labels import BACKGROUND, CLASSES
from . import remarks as words
from .canal import canal_width, csf_signal, level_of
from .edges import beyond_edge
from .found import Found, find
from .parts import Part
from .shapes import central, ends
from .sizes import disc_length, disc_signal, disc_space, neighbours
from .trust import dice, mean_inside, neighbourhoods

COLUMNS = (
    "structure",
    "number",
    "parts",
    "area_mm2",
    "height_mm",
    "anterior_height_mm",
    "posterior_height_mm",
    "width_mm",
    "disc_height_index",
    "signal_relative_to_csf",
    "canal_width_mm",
    "mean_uncertainty",
    "agreement",
    "low_agreement",
    "remark",
)

LOW_AGREEMENT = 0.8
TOP_OF_SCALE = 255.0

Row = dict[str, Any]


def measure_slice(
    mask: np.ndarray,
    image: np.ndarray,
    spacing: Sequence[float],
    uncertainty: np.ndarray | None = None,
    stage1: np.ndarray | None = None,
) -> list[Row]:
    """Rows of `COLUMNS`: one for each structure of `labels.CLASSES`, one for each disc, one for each vertebra.

    A structure's row has no `number`; discs ("ivd") and vertebrae are numbered from 1, the lowest, upward
    along the spine. What cannot be measured is None, and `remark` says why (`remarks.REMARKS`).

    - `parts`: connected parts that are no crumbs (`parts.SMALLEST_MM2`); of vertebrae posterior elements count.
      Of a structure that is not found 0, like its area.
    - `height_mm`: mean height over the central 80 % of the length, square to the middle line between the upper
      and the lower edge: an area by a length, which a mask's steps hardly change (Frobin et al. 1997,
      doi 10.1016/s0268-0033(96)00067-8, measure square to the same bisector). A disc's length is that of the
      space between its vertebrae, so bulges, herniations and lips beyond it do not count; dents of the
      endplates do. `anterior_height_mm` and `posterior_height_mm` are means from 10 to 20 % of the length off
      the front and the back.
    - `width_mm` of a disc: its anteroposterior length, bulges included, over the middle half of its height.
    - `disc_height_index`: its height by the mean height of the vertebrae above and below (after Masuda et al.
      2005, doi 10.1097/01.brs.0000148001.45432.a9), both of which must be whole.
    - `signal_relative_to_csf`: mean signal of the central 80 % of the disc, without a rim of one pixel where
      the disc is thick enough, by that of the cerebrospinal fluid at its level (`canal.csf_signal`). Made for
      T2w images (Salamat et al. 2016, doi 10.1186/s40064-016-2542-5); on T1w, where the fluid is dark, it only
      compares scans of one protocol.
    - `canal_width_mm`: see `canal.canal_width`; at the level where the disc's middle line meets the canal.
    - `mean_uncertainty`: of the map, inside. `agreement`: Dice with stage 1, of a disc or vertebra within its
      neighbourhood (`trust.neighbourhoods`); `low_agreement`: below 0.8.

    A vertebra is its body: spinous processes, which share the label, lie behind the canal. Discs and bodies
    that touch the edge of the picture have an area, but no heights.

    Args:
        mask: (H, W) labels, rows from head to foot and columns from front to back.
        image: (H, W) intensities [0, 255], 0 outside the scan.
        spacing: (row, column) in mm.
        uncertainty: (H, W) map.
        stage1: (H, W) labels of stage 1.

    Raises:
        ValueError: the shapes do not fit together, or a spacing is not positive.
    """
    _check(mask, image, spacing, uncertainty, stage1)
    found = find(mask, (float(spacing[0]), float(spacing[1])))
    trust = _Trust(mask, uncertainty, stage1)
    rows = [
        _row(name, None, **_structure(found, name, mask), **trust.of(name, mask == label))
        for name, label in CLASSES.items()
        if label != BACKGROUND
    ]
    cut_off = beyond_edge(image)
    discs = [_disc(found, disc, image, cut_off) for disc in found.discs]
    bodies = [_body(body, cut_off) for body in found.bodies]
    for name, parts, sizes in (("ivd", found.discs, discs), ("vertebrae", found.bodies, bodies)):
        around = neighbourhoods(mask == CLASSES[name], [part.shape for part in parts])
        for number, (part, own, near) in enumerate(zip(parts, sizes, around, strict=True), start=1):
            rows.append(_row(name, number, **own, **trust.of(name, part.shape.inside, near)))
    return rows


@dataclass(frozen=True)
class _Trust:
    mask: np.ndarray
    uncertainty: np.ndarray | None
    stage1: np.ndarray | None

    def of(self, name: str, inside: np.ndarray, near: np.ndarray | None = None) -> Row:
        agreement = None
        if self.stage1 is not None:
            other = self.stage1 == CLASSES[name]
            agreement = dice(inside, other if near is None else other & near)
        return {
            "mean_uncertainty": mean_inside(self.uncertainty, inside),
            "agreement": agreement,
            "low_agreement": None if agreement is None else agreement < LOW_AGREEMENT,
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


def _body(body: Part, cut_off: np.ndarray) -> Row:
    area = {"area_mm2": body.shape.area}
    if cut_off[body.shape.inside].any():
        return {**area, "remark": words.EDGE}
    return {**area, **_heights(body, body.profile.extent()), "remark": ""}


def _heights(part: Part, stretch: tuple[float, float]) -> Row:
    front, rear = ends(stretch)
    return {
        "height_mm": part.profile.height(central(stretch)),
        "anterior_height_mm": part.profile.height(front),
        "posterior_height_mm": part.profile.height(rear),
    }


def _disc(found: Found, disc: Part, image: np.ndarray, cut_off: np.ndarray) -> Row:
    area = {"area_mm2": disc.shape.area}
    if cut_off[disc.shape.inside].any():
        return {**area, "remark": words.EDGE}
    adjacent = neighbours(disc, found.discs, found.bodies)
    space = disc_space(disc.profile, adjacent)
    heights = _heights(disc, space)
    index, missing = _index(heights["height_mm"], adjacent, cut_off)
    signals, lost = _at_canal(found, disc, central(space), image, cut_off)
    return {
        **area,
        **heights,
        "width_mm": disc_length(disc, heights["height_mm"]),
        "disc_height_index": index,
        **signals,
        "remark": words.joined([*missing, *lost]),
    }


def _index(
    height: float, adjacent: tuple[Part | None, Part | None], cut_off: np.ndarray
) -> tuple[float | None, list[str]]:
    whole = [None if body is None else _body(body, cut_off).get("height_mm") for body in adjacent]
    below, above = whole
    missing = [word for word, body in ((words.NONE_BELOW, below), (words.NONE_ABOVE, above)) if body is None]
    if below is None or above is None:
        return None, missing
    return height / ((below + above) / 2), missing


def _at_canal(
    found: Found, disc: Part, stretch: tuple[float, float], image: np.ndarray, cut_off: np.ndarray
) -> tuple[Row, list[str]]:
    level = level_of(disc.frame, found.course) if found.course else None
    width = canal_width(level, found.canal, cut_off) if level else None
    fluid = csf_signal(level, found.canal, image) if level else None
    row = {"canal_width_mm": width, "signal_relative_to_csf": None}
    if fluid:
        row["signal_relative_to_csf"] = disc_signal(disc, stretch, image) / fluid
    clipped = fluid is not None and fluid >= TOP_OF_SCALE
    return row, [words.NO_LEVEL] * (width is None) + [words.CLIPPED] * clipped
