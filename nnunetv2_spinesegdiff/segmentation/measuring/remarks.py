"""Values of the column `remark`. They are fixed, so that tables can be filtered by them."""

from __future__ import annotations

from collections.abc import Iterable

EDGE = "touches the edge of the image"
NOT_FOUND = "not found"
CRUMBS = "small part ignored"
STRAY = "part outside of all discs ignored"
SHAPE = "not the shape of a single disc or vertebra: not measured"
NO_CANAL = "canal not found: position inferred from the discs"
NO_COURSE = "neither canal nor discs found: single vertebrae not measured"
NONE_BELOW = "no complete vertebra below: index not computed"
NONE_ABOVE = "no complete vertebra above: index not computed"
NO_LEVEL = "no canal at this level"
INTERRUPTED = "canal interrupted near this level: narrowest width not measured"
CLIPPED = "CSF signal clipped: ratio not computed"

REMARKS = (
    *(
        EDGE,
        NOT_FOUND,
        CRUMBS,
        STRAY,
        SHAPE,
        NO_CANAL,
        NO_COURSE,
        NONE_BELOW,
        NONE_ABOVE,
        NO_LEVEL,
        INTERRUPTED,
        CLIPPED,
    ),
)


def counted(remark: str, count: int) -> str | None:
    """Return a remark with its count, such as `small part ignored (2)`; None for a count of 0."""
    return f"{remark} ({count})" if count else None


def joined(remarks: Iterable[str | None]) -> str:
    """Join the remarks that apply into one cell."""
    return "; ".join(remark for remark in remarks if remark)
