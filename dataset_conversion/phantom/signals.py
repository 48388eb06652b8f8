"""How bright each tissue is on each contrast: relative signal, 0 (air) to about 1 (the brightest tissue)."""

from __future__ import annotations

from dataclasses import dataclass

from .anatomy import Anatomy


@dataclass(frozen=True)
class Signals:
    """Relative signals of one series."""

    csf: float
    cord: float
    root: float
    fat: float
    epidural_fat: float
    marrow: float
    cortex: float
    muscle: float
    ligament: float
    vessel: float
    bowel: float
    skin: float
    vein: float
    nucleus: tuple[float, ...]  # of a disc's nucleus at Pfirrmann 1..5
    annulus: tuple[float, ...]
    modic: tuple[float, ...]  # what Modic type 0..3 adds to the marrow


def signals_of(sequence: str, anatomy: Anatomy) -> Signals:
    """Signals of a patient's tissues.

    Args:
        sequence: "t1", "t2" or "t2_SPACE".
        anatomy: its marrow may be red or fatty.
    """
    fatty = anatomy.soft.marrow_fat
    if sequence == "t1":
        return Signals(
            csf=0.19, cord=0.36, root=0.29, fat=0.92, epidural_fat=0.80, marrow=0.46 + 0.20 * fatty,
            cortex=0.12, muscle=0.30, ligament=0.13, vessel=0.10, bowel=0.32, skin=0.40, vein=0.34,
            nucleus=(0.32, 0.32, 0.31, 0.29, 0.25), annulus=(0.27, 0.27, 0.27, 0.26, 0.24),
            modic=(0.0, -0.16, 0.20, -0.22),
        )  # fmt: skip
    fat = 0.72 if sequence == "t2" else 0.58
    return Signals(
        csf=0.98, cord=0.42, root=0.46, fat=fat, epidural_fat=0.9 * fat, marrow=0.27 + 0.13 * fatty,
        cortex=0.07, muscle=0.16, ligament=0.07, vessel=0.05, bowel=0.30, skin=0.28, vein=0.55,
        nucleus=(0.70, 0.58, 0.33, 0.18, 0.13), annulus=(0.14, 0.13, 0.12, 0.10, 0.09),
        modic=(0.0, 0.16, 0.14, -0.14),
    )  # fmt: skip
