"""The random parameters of one patient's spine and of the tissue around it: drawn here, used elsewhere.

Lengths in mm, angles in radians. Levels count upward: vertebra 0 is L5, disc 0 is L5/S1.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .gradings import DiscGrading, draw_gradings

# Typical adult sizes, L5 first; levels above the last take the last. Width grows downward.
_BODY_HEIGHT = (27.5, 27.5, 27.5, 27.0, 26.0, 24.5, 23.0, 21.5, 20.5, 20.0)
_BODY_DEPTH = (34.5, 34.5, 34.0, 33.0, 31.5, 30.0, 29.0, 28.5, 28.0, 27.0)
_BODY_WIDTH = (51.0, 49.0, 46.0, 43.5, 41.5, 40.0, 38.0, 36.0, 34.0, 33.0)
_BODY_WEDGE_DEG = (8.0, 2.5, 0.5, -1.0, -2.0, -3.0, -3.0, -3.5, -3.5, -3.5)
_DISC_HEIGHT = (10.0, 11.5, 11.0, 10.0, 8.8, 7.2, 6.0, 5.2, 4.8, 4.6)
_DISC_WEDGE_DEG = (14.0, 11.0, 9.0, 6.5, 4.5, 2.0, 0.5, 0.0, 0.0, 0.0)

# Disc height that is left at Pfirrmann 1..5.
_HEIGHT_LEFT = (1.0, 0.97, 0.86, 0.64, 0.36)

# SPIDER's numbers of vertebrae, a partially visible one included, as shares of its patients.
_COUNTS, _COUNT_SHARES = (6, 7, 8, 9), (0.34, 0.40, 0.22, 0.04)


@dataclass(frozen=True)
class Endplate:
    """How one endplate departs from a smooth dish."""

    dish: float  # depth of the dish at its middle
    node_depth: float  # of a dent (Schmorl's node); 0 where there is none
    node_radius: float
    node_front: float  # where the dent is, forward and left of the middle
    node_left: float
    waves: float  # amplitude of waviness
    modic: int  # Modic type of the marrow under it, 0 to 3
    modic_reach: float  # how deep that change goes


@dataclass(frozen=True)
class VertebraShape:
    """A vertebra: its body and what hangs on it."""

    height: float  # at the middle of the body
    depth: float  # front to back
    width: float
    wedge: float  # angle between its endplates, positive where the front is taller
    pedicles: float  # distance of each pedicle's axis from the midline
    waist: float  # share of the depth that the walls are hollowed by at mid-height
    spur: float  # length of the bony spurs at the front rims
    upper: Endplate
    lower: Endplate
    spinous_length: float
    spinous_height: float
    spinous_drop: float  # downward angle of the spinous process
    shade: float  # factor of its marrow signal


@dataclass(frozen=True)
class DiscShape:
    """A disc between the endplates of two vertebrae."""

    grading: DiscGrading
    height: float  # at the middle
    wedge: float  # angle between its endplates, positive where the front is taller
    bulge: float  # how far it stands out beyond the vertebrae
    hernia: float  # how far a herniation stands out beyond that; 0 where there is none
    hernia_left: float  # where it leaves the disc, from the middle of the posterior edge
    hernia_up: float
    slip: float  # how far the vertebra above is shifted forward
    cleft: float  # 0..1, strength of the dark cleft in the nucleus
    shade: float  # factor of its signal


@dataclass(frozen=True)
class SoftTissue:
    """Everything around the bone."""

    canal_depth: float  # inner size of the dural sac at L3
    canal_width: float
    conus_level: float  # where the cord ends, in vertebrae above L5 (4.0 is the middle of L1)
    fat_behind: float  # thickness of the fat under the skin of the back at L3
    fat_low: float  # what comes on top of it at the sacrum
    belly: float  # distance from the vertebrae to the skin of the belly
    muscle_fat: float  # 0..1, share of the back muscle that is fat
    marrow_fat: float  # 0 red marrow, 1 fatty marrow
    aorta_left: float  # offset from the midline
    aorta_radius: float
    gas: float  # 0..1, share of bowel that holds gas
    root_seed: int  # of the nerve roots' courses
    texture_seed: int  # of all textures


@dataclass(frozen=True)
class Anatomy:
    """One patient."""

    sex: str  # "F" or "M"
    visible: int  # number of vertebrae wholly inside the field of view
    partial: float  # share of the next vertebra's body inside as well; 0 where the edge passes below it
    vertebrae: tuple[VertebraShape, ...]  # L5 first; one more than can be seen
    discs: tuple[DiscShape, ...]  # L5/S1 first; discs[k] lies under vertebrae[k]
    sacral_slope: float  # tilt of the upper endplate of S1
    scoliosis: float  # amplitude of the sideways curve
    scoliosis_phase: float  # where along the spine it is greatest
    soft: SoftTissue

    @property
    def num_vertebrae(self) -> int:
        """Vertebrae that carry a number, a partially visible one included."""
        return self.visible + (self.partial > 0)

    @property
    def num_discs(self) -> int:
        """Discs that carry a number: each is completely inside the field of view."""
        return self.num_vertebrae


def draw_anatomy(rng: np.random.Generator) -> Anatomy:
    """Draw one patient."""
    sex = str(rng.choice(["F", "M"], p=[0.62, 0.38]))
    size = float(np.clip(rng.normal(0.97 if sex == "F" else 1.06, 0.04), 0.86, 1.18))
    count = int(rng.choice(_COUNTS, p=_COUNT_SHARES))
    partial = float(rng.uniform(0.3, 0.75)) if rng.random() < 0.3 else 0.0
    visible = count - (partial > 0)
    levels = visible + 1
    gradings = draw_gradings(rng, levels)
    lordosis = float(np.clip(rng.normal(1.0, 0.18), 0.55, 1.4))
    curved = rng.random() < 0.25
    soft = _draw_soft_tissue(rng, size)
    vertebrae = (_draw_vertebra(rng, level, gradings, size, soft.canal_width) for level in range(levels))
    return Anatomy(
        sex=sex,
        visible=visible,
        partial=partial,
        vertebrae=tuple(vertebrae),
        discs=tuple(_draw_disc(rng, level, graded, size, lordosis) for level, graded in enumerate(gradings)),
        sacral_slope=float(np.radians(np.clip(38 * lordosis**0.7 + rng.normal(0, 4), 22, 56))),
        scoliosis=float(rng.uniform(3, 9) * rng.choice([-1, 1])) if curved else float(rng.normal(0, 0.8)),
        scoliosis_phase=float(rng.uniform(-0.5, 0.5)),
        soft=soft,
    )


def _draw_vertebra(
    rng: np.random.Generator, level: int, gradings: tuple[DiscGrading, ...], size: float, canal_width: float
) -> VertebraShape:
    below = gradings[level]
    above = gradings[level + 1] if level + 1 < len(gradings) else None
    worst = max(below.pfirrmann, above.pfirrmann if above else 1)
    lumbar = level < 5
    width = _at(_BODY_WIDTH, level) * size * rng.normal(1, 0.02)
    return VertebraShape(
        height=_at(_BODY_HEIGHT, level) * size * rng.normal(1, 0.025),
        depth=_at(_BODY_DEPTH, level) * size * rng.normal(1, 0.02),
        width=width,
        wedge=float(np.radians(_at(_BODY_WEDGE_DEG, level) + rng.normal(0, 1.2))),
        # Never so close together that they would stand in the canal.
        pedicles=max(0.29 * width, canal_width / 2 + 5.0),
        waist=float(rng.uniform(0.06, 0.12)),
        spur=float(max(0.0, rng.normal(0.9 * (worst - 2.5), 0.7))),
        upper=_draw_endplate(rng, above.modic if above else 0, bool(above and above.lower_endplate)),
        lower=_draw_endplate(rng, below.modic, below.upper_endplate),
        spinous_length=float((29 if lumbar else 27) * size * rng.normal(1, 0.07) * (1 if level else 0.8)),
        spinous_height=float((20 if lumbar else 13) * size * rng.normal(1, 0.07) * (1 if level else 0.75)),
        spinous_drop=float(np.radians(rng.normal(14 if lumbar else 35, 4))),
        shade=float(rng.normal(1, 0.03)),
    )


def _draw_endplate(rng: np.random.Generator, modic: int, irregular: bool) -> Endplate:
    return Endplate(
        dish=float(rng.uniform(1.0, 2.2)),
        node_depth=float(rng.uniform(2.0, 5.0)) if irregular else 0.0,
        node_radius=float(rng.uniform(3.0, 7.0)),
        node_front=float(rng.normal(-2, 5)),
        node_left=float(rng.normal(0, 4)),
        waves=float(rng.uniform(0.4, 0.9)) if irregular else float(rng.uniform(0.05, 0.2)),
        modic=modic,
        modic_reach=float(rng.uniform(4, 10)),
    )


def _draw_disc(
    rng: np.random.Generator, level: int, grading: DiscGrading, size: float, lordosis: float
) -> DiscShape:
    left = _HEIGHT_LEFT[grading.pfirrmann - 1] * (0.85 if grading.narrowing else 1.0) * rng.normal(1, 0.05)
    # A collapsed disc has lost its wedge as well.
    wedge = _at(_DISC_WEDGE_DEG, level) * lordosis * (0.4 + 0.6 * min(left, 1)) + rng.normal(0, 1)
    return DiscShape(
        grading=grading,
        height=float(max(2.2, _at(_DISC_HEIGHT, level) * size * left)),
        wedge=float(np.radians(wedge)),
        bulge=float(rng.uniform(1.8, 3.6)) if grading.bulging else float(rng.uniform(-0.3, 0.7)),
        hernia=float(rng.uniform(3.5, 7.5)) if grading.herniation else 0.0,
        hernia_left=float(rng.normal(0, 4)),
        hernia_up=float(rng.normal(-1.5, 2.0)),
        slip=float(rng.uniform(4.5, 9.5)) if grading.slip else float(rng.normal(0, 0.4)),
        cleft=float(rng.uniform(0.2, 0.8)),
        shade=float(rng.normal(1, 0.06)),
    )


def _draw_soft_tissue(rng: np.random.Generator, size: float) -> SoftTissue:
    return SoftTissue(
        canal_depth=float(13.2 * size * rng.normal(1, 0.08)),
        canal_width=float(20.0 * size * rng.normal(1, 0.06)),
        conus_level=float(rng.normal(4.3, 0.35)),
        fat_behind=float(np.clip(rng.gamma(4, 4), 5, 45)),
        fat_low=float(rng.uniform(6, 22)),
        belly=float(rng.uniform(75, 150)),
        muscle_fat=float(np.clip(rng.beta(2, 4), 0.05, 0.8)),
        marrow_fat=float(rng.beta(2.5, 2.5)),
        aorta_left=float(rng.normal(13, 5)),
        aorta_radius=float(rng.uniform(7, 10)),
        gas=float(rng.uniform(0, 0.5)),
        root_seed=int(rng.integers(2**31)),
        texture_seed=int(rng.integers(2**31)),
    )


def _at(by_level: tuple[float, ...], level: int) -> float:
    return by_level[min(level, len(by_level) - 1)]
