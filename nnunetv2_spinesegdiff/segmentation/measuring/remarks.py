"""What the column `remark` may say: fixed words, so that tables can be filtered by them."""

from __future__ import annotations

from collections.abc import Iterable

EDGE = "touches the edge of the image"
NOT_FOUND = "not found"
CRUMBS = "small part left out"
STRAY = "part of no disc left out"
SHAPE = "not the shape of a single disc or vertebra: not measured"
NO_CANAL = "no canal: its place told by the discs"
NO_COURSE = "no canal, no disc: single vertebrae not measured"
NONE_BELOW = "no whole vertebra below: index not computed"
NONE_ABOVE = "no whole vertebra above: index not computed"
NO_LEVEL = "no canal at this level"
INTERRUPTED = "canal interrupted near this level: no narrowest width"
CLIPPED = "CSF signal clipped: no ratio"

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
    """A remark with how often it applies, `small part left out (2)`; None where it does not."""
    return f"{remark} ({count})" if count else None


def joined(remarks: Iterable[str | None]) -> str:
    """All that apply in one cell."""
    return "; ".join(remark for remark in remarks if remark)
