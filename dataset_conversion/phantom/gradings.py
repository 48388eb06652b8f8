"""Radiological gradings of the discs: how often what occurs, and together with what.

The shares are those of SPIDER's `radiological_gradings.csv` (1520 discs of 218 patients).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

# Shares of the Pfirrmann grades 1..5 by level, L5/S1 first; levels above the last row take the last row.
_GRADE_SHARES = (
    (0.11, 0.13, 0.27, 0.22, 0.27),
    (0.10, 0.12, 0.33, 0.26, 0.19),
    (0.14, 0.20, 0.32, 0.22, 0.12),
    (0.18, 0.23, 0.32, 0.16, 0.11),
    (0.22, 0.29, 0.24, 0.17, 0.08),
    (0.27, 0.34, 0.25, 0.11, 0.03),
)
# By level, L5/S1 first.
_HERNIATION = (0.10, 0.16, 0.05, 0.02, 0.005, 0.005)
_SLIP = (0.087, 0.05, 0.018, 0.014, 0.014, 0.01)
# By Pfirrmann grade 1..5.
_NARROWING = (0.07, 0.06, 0.33, 0.64, 0.99)
_BULGING = (0.13, 0.20, 0.60, 0.78, 0.88)
_GRADE_WEIGHT = (0.55, 0.7, 1.0, 1.25, 1.4)

# Modic and endplate changes run in patients: most discs of some, none of others.
_MODIC_PATIENTS, _MODIC_RATE = 0.70, 0.48
_ENDPLATE_PATIENTS, _ENDPLATE_RATE = 0.83, 0.48
_MODIC_TYPES, _MODIC_TYPE_SHARES = (1, 2, 3), (0.06, 0.90, 0.04)

# Share of the variance of degeneration that is the patient's (age above all) and not the disc's.
_PATIENT_SHARE = 0.5


@dataclass(frozen=True)
class DiscGrading:
    """What a radiologist records of one disc; field by field a column of SPIDER's table."""

    modic: int  # Modic type of the adjoining endplates, 0 (none) to 3
    upper_endplate: bool  # whether the endplate above the disc is irregular
    lower_endplate: bool
    slip: bool  # spondylolisthesis of the vertebra above
    herniation: bool
    narrowing: bool
    bulging: bool
    pfirrmann: int  # 1 (healthy) to 5 (collapsed)


def draw_gradings(rng: np.random.Generator, discs: int) -> tuple[DiscGrading, ...]:
    """Draw the gradings of one patient, L5/S1 first."""
    patient = rng.standard_normal()
    modic_rate = _MODIC_RATE * (rng.random() < _MODIC_PATIENTS)
    endplate_rate = _ENDPLATE_RATE * (rng.random() < _ENDPLATE_PATIENTS)
    return tuple(_draw_disc(rng, level, patient, modic_rate, endplate_rate) for level in range(discs))


def _draw_disc(
    rng: np.random.Generator, level: int, patient: float, modic_rate: float, endplate_rate: float
) -> DiscGrading:
    severity = np.sqrt(_PATIENT_SHARE) * patient + np.sqrt(1 - _PATIENT_SHARE) * rng.standard_normal()
    grade = _grade(level, severity)
    weight = _GRADE_WEIGHT[grade - 1]
    has_modic = rng.random() < min(modic_rate * weight, 0.95)
    modic = int(rng.choice(_MODIC_TYPES, p=_MODIC_TYPE_SHARES)) if has_modic else 0
    upper, lower = (bool(rng.random() < min(endplate_rate * weight, 0.95)) for _ in range(2))
    herniation = bool(rng.random() < _at(_HERNIATION, level))
    return DiscGrading(
        modic=modic,
        upper_endplate=upper,
        lower_endplate=lower,
        slip=bool(rng.random() < _at(_SLIP, level)),
        herniation=herniation,
        narrowing=bool(rng.random() < _NARROWING[grade - 1]),
        bulging=bool(rng.random() < _BULGING[grade - 1]) or herniation,
        pfirrmann=grade,
    )


def _grade(level: int, severity: float) -> int:
    # A standard normal severity falls between the normal quantiles of the level's cumulative shares.
    shares = np.array(_GRADE_SHARES[min(level, len(_GRADE_SHARES) - 1)])
    return 1 + int(np.searchsorted(np.cumsum(shares)[:-1], _normal_cdf(severity)))


def _normal_cdf(value: float) -> float:
    # Logistic approximation, wrong by less than 0.01.
    return float(1 / (1 + np.exp(-1.702 * value)))


def _at(by_level: tuple[float, ...], level: int) -> float:
    return by_level[min(level, len(by_level) - 1)]
