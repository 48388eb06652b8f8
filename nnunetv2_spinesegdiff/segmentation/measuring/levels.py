"""Numbers and names of the vertebrae and discs of a mask: L5, L4 and so on, and the discs between them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ...labels import SPIDER_CANAL, SPINAL_CANAL
from .instances import Instances, find_instances
from .ladder import SPECK_MM2, Ladder, Rung
from .plausible import without_outside_parts
from .shapes import Shape

DISCS = 200
PARTIAL = 100
SACRUM = 25
"""Number of S1; `DISCS` more is the disc S1-S2. SPIDER does not use 25: C1 would be vertebra 24."""

HIGH, MODERATE, LOW, GIVEN = "high", "moderate", "low", "given"

_THORACIC, _CERVICAL = 12, 7
_SHORT_DISC = 0.6
_FEWEST_DISCS = 4
_STEEP_DEG = 15.0
_PROMONTORY_DEG = 25.0
_CANAL_NEAR_MM = 5.0
_EVEN_BODIES = slice(1, 4)
_SIXTH_BODY = 5
_LUMBAR_HEIGHT = 0.93


@dataclass(frozen=True)
class Lowest:
    """The level of the lowest disc of a mask.

    Attributes:
        lumbar: how many lumbar vertebrae the spine has.
        number: 1 for the disc on the sacrum, 2 for the next, 0 for S1-S2.
    """

    lumbar: int = 5
    number: int = 1

    def vertebra(self, number: int) -> str:
        """Return the name of a vertebra: 1 is the one on the sacrum, `SACRUM` and numbers below 1 are S1."""
        names = [f"L{n}" for n in range(self.lumbar, 0, -1)]
        names += [f"T{n}" for n in range(_THORACIC, 0, -1)] + [f"C{n}" for n in range(_CERVICAL, 0, -1)]
        return names[number - 1] if 1 <= number <= len(names) else "S1"

    def disc(self, number: int) -> str:
        """Return the name of a disc: 1 is the one on the sacrum."""
        if number < 1 or number == SACRUM:
            return "S1-S2"
        return f"{self.vertebra(number)}-{self.vertebra(number - 1)}"

    @property
    def name(self) -> str:
        return self.disc(self.number)


LOWEST_DISCS: dict[str, Lowest] = {
    lowest.name: lowest
    for lumbar in (6, 4, 5)
    for lowest in (Lowest(lumbar, number) for number in range(lumbar + _THORACIC + 1))
}
"""Accepted names of the lowest disc. An ambiguous name means five lumbar vertebrae."""


@dataclass(frozen=True)
class Levels:
    """Numbers and names of the vertebrae and discs of a mask.

    Attributes:
        numbers: uint8, in the shape of the mask, in SPIDER's numbering: vertebrae from 1, the lowest lumbar
            one, upward, 100 more if cut off by the edge of the image; discs from 201, the one on the sacrum;
            canal 100. S1 is 25 and the disc S1-S2 is 225, where the mask has them.
        names: of the numbers in the mask: "L5", "L5-S1", "spinal canal".
        confidence: of the names: "high", "moderate", "low", or "given" by the user.
        basis: how the levels were determined.
        warnings: what makes the names doubtful.
    """

    numbers: np.ndarray
    names: dict[int, str]
    confidence: str
    basis: str
    warnings: list[str]

    def name_of(self, inside: np.ndarray) -> str | None:
        """Return the name of most pixels in `inside` (bool, shaped like `numbers`), or None."""
        return self.names.get(int(np.bincount(self.numbers[inside], minlength=1).argmax()))


def number_levels(
    mask: np.ndarray,
    spacing: tuple[float, float],
    cut_off: np.ndarray | None = None,
    lowest_disc: str | None = None,
) -> Levels:
    """Number and name the vertebrae and discs of a sagittal slice, or of a stack of slices.

    Names are counted from the lowest disc. It is taken for L5-S1, unless a vertebral body is below it (then
    L4-L5) or it is much shorter than the disc above it (then S1-S2). Five lumbar vertebrae are assumed.
    Parts outside of the spine (`check_plausibility`) have no number.

    Args:
        mask: (H, W) or (n, H, W) labels, rows from head to foot, columns from front to back.
        spacing: (row, column) in mm.
        cut_off: bool, in the shape of the mask: where the image ends (`edges.beyond_edge`). Without it, the
            edge of the array.
        lowest_disc: name of the lowest disc, one of `LOWEST_DISCS`.

    Raises:
        ValueError: unknown name of a disc, or the shapes do not fit.
    """
    if lowest_disc is not None and lowest_disc not in LOWEST_DISCS:
        raise ValueError(f"unknown lowest disc {lowest_disc!r}, expected for example L5-S1, L4-L5 or L6-S1")
    slices = mask if mask.ndim == 3 else mask[None]
    stack = np.stack([without_outside_parts(one, spacing, SPECK_MM2) for one in slices])
    edge = _edge(stack.shape) if cut_off is None else np.reshape(cut_off, stack.shape)
    instances = find_instances(stack, spacing)
    ladder = instances.ladder
    lowest = LOWEST_DISCS[lowest_disc] if lowest_disc else _lowest(stack, instances, spacing)
    numbers = _numbers(instances, lowest)
    numbers[stack == SPINAL_CANAL] = SPIDER_CANAL
    warnings = _warnings(instances, lowest, numbers, edge) if lowest_disc is None else []
    for number in np.unique(numbers[edge & (numbers > 0) & (numbers < SPIDER_CANAL)]):
        numbers[numbers == number] = number + PARTIAL
    names = {int(n): _name(int(n), lowest) for n in np.unique(numbers) if n}
    basis = f"lowest disc given as {lowest_disc}" if lowest_disc else _basis(ladder, lowest)
    confidence = GIVEN if lowest_disc else _confidence(ladder, lowest, warnings)
    return Levels(numbers.reshape(mask.shape), names, confidence, basis, warnings)


def _edge(shape: tuple[int, ...]) -> np.ndarray:
    edge = np.zeros(shape, dtype=bool)
    edge[:, [0, -1]] = True
    return edge


def _name(number: int, lowest: Lowest) -> str:
    if number == SPIDER_CANAL:
        return "spinal canal"
    return lowest.disc(number - DISCS) if number > DISCS else lowest.vertebra(number % PARTIAL)


def _numbers(instances: Instances, lowest: Lowest) -> np.ndarray:
    """Number the vertebrae and discs (n, H, W) by their positions above the lowest disc."""
    counted = np.arange(1 + max(instances.vertebrae.max(), instances.discs.max()))
    vertebrae = counted - 2 + lowest.number
    discs = counted - 1 + lowest.number
    if lowest.number == 1:
        vertebrae = np.maximum(vertebrae, 1)  # a rim of the sacrum is not a vertebra
    vertebrae = np.where(vertebrae < 1, SACRUM, np.minimum(vertebrae, SACRUM)).astype(np.uint8)
    discs = (np.where(discs < 1, SACRUM, np.minimum(discs, SACRUM)) + DISCS).astype(np.uint8)
    vertebrae[0] = 0
    return np.where(instances.discs > 0, discs[instances.discs], vertebrae[instances.vertebrae])


def _lowest(stack: np.ndarray, instances: Instances, spacing: tuple[float, float]) -> Lowest:
    ladder = instances.ladder
    if ladder is None or not ladder.rungs:
        return Lowest()
    if ladder.body_below:
        return Lowest(number=2)
    return Lowest(number=0) if _is_below_promontory(stack, instances, ladder, spacing) else Lowest()


def _is_below_promontory(
    stack: np.ndarray, instances: Instances, ladder: Ladder, spacing: tuple[float, float]
) -> bool:
    """Check whether the lowest disc is short and the next one is as steep as L5-S1.

    On SPIDER's T2_SPACE series L4-L5 is at most 28 degrees steep, and L5-S1 at least 0.7 times as long. Only
    slices with a canal behind the second disc are judged, because others may cut the discs off the middle.
    """
    at = instances.reference
    found = [rung.found for rung in ladder.rungs]
    canal = Shape(stack[at] == SPINAL_CANAL, spacing)
    if sum(found) < _FEWEST_DISCS or not all(found[:2]) or not len(canal.pixels):
        return False
    if np.abs(ladder.rungs[1].above(canal.pixels)).min() > _CANAL_NEAR_MM:
        return False
    lowest, second = (Shape(instances.discs[at] == number, spacing).long_axis()[1] for number in (1, 2))
    return lowest < _SHORT_DISC * second and _steepness(ladder.rungs[1]) >= _PROMONTORY_DEG


def _steepness(rung: Rung) -> float:
    """Angle in degrees by which the front of a disc is lower than its back."""
    return float(np.degrees(np.arctan2(-rung.up[1], -rung.up[0])))


def _basis(ladder: Ladder | None, lowest: Lowest) -> str:
    if ladder is None or not ladder.rungs:
        return "no disc found: the lowest vertebra is taken for L5"
    found = "the lowest disc" if ladder.rungs[0].found else "the lowest gap between vertebrae"
    why = {
        0: ", because it is much shorter than the next one",
        1: "",
        2: ", because there is a vertebral body below it",
    }[lowest.number]
    return f"counted from {found}, taken for {lowest.name}{why}; five lumbar vertebrae assumed"


def _warnings(instances: Instances, lowest: Lowest, numbers: np.ndarray, edge: np.ndarray) -> list[str]:
    ladder, said = instances.ladder, []
    lower = edge.copy()
    lower[:, : edge.shape[1] // 2] = False
    if (lower & (numbers > 0) & (numbers != SPIDER_CANAL)).any():
        said.append(
            "the lowest vertebra or disc touches the lower edge of the image: levels may begin above L5-S1; "
            "set --lowest_disc"
        )
    if lowest.number == 0:
        said.append("a short disc below the promontory was taken for S1-S2; set --lowest_disc if it is L5-S1")
    if ladder is not None and _has_sixth_body(ladder):
        said.append(
            "possibly six lumbar vertebrae: the sixth is as high as the lumbar ones; see --lowest_disc"
        )
    return said


def _has_sixth_body(ladder: Ladder) -> bool:
    """Check whether the sixth vertebra with its discs is nearly as high as the second to fourth.

    On SPIDER's T2_SPACE series this ratio is 0.86, with a standard deviation of 0.035, because vertebrae are
    lower from T12 upward.
    """
    heights = np.diff([rung.along for rung in ladder.rungs])
    heights = heights[1:] if ladder.body_below else heights
    return bool(
        len(heights) > _SIXTH_BODY and heights[_SIXTH_BODY] > _LUMBAR_HEIGHT * heights[_EVEN_BODIES].mean()
    )


def _confidence(ladder: Ladder | None, lowest: Lowest, warnings: list[str]) -> str:
    """Return `HIGH` if the lowest disc is inclined like L5-S1, with at least four discs without a gap."""
    if ladder is None or warnings or sum(rung.found for rung in ladder.rungs) < _FEWEST_DISCS:
        return LOW
    regular = all(rung.found for rung in ladder.rungs) and lowest.number == 1
    return HIGH if regular and _steepness(ladder.rungs[0]) >= _STEEP_DEG else MODERATE
