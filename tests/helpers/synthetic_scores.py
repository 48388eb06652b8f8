"""Scores and gradings of patients who were never segmented, with effects that are known."""

from __future__ import annotations

import numpy as np
import pandas as pd

from dataset_conversion.phantom.gradings import draw_gradings
from dataset_conversion.phantom.tables import GRADING_COLUMNS

STRUCTURES = ("spinal_canal", "vertebrae", "ivd")
MEANS = {"spinal_canal": 0.92, "vertebrae": 0.92, "ivd": 0.90}
BETWEEN, WITHIN = 0.03, 0.015
"""Standard deviations of Dice between patients, and between two cases of a patient; the paper's tables have
0.02 to 0.06 over cases."""
SLIP_EFFECT = -0.06
CONTRASTS = {"T1w": -0.005, "T2w": 0.005}
DISCS = 7


def synthetic_gradings(rng: np.random.Generator, patients: int = 80) -> pd.DataFrame:
    """A table like SPIDER's, drawn as for phantoms."""
    rows = []
    for patient in range(1, patients + 1):
        for level, d in enumerate(draw_gradings(rng, DISCS), start=1):
            findings = (
                d.modic,
                d.upper_endplate,
                d.lower_endplate,
                d.slip,
                d.herniation,
                d.narrowing,
                d.bulging,
            )
            rows.append((patient, level, *map(int, findings), d.pfirrmann))
    return pd.DataFrame(rows, columns=list(GRADING_COLUMNS))


def synthetic_scores(
    rng: np.random.Generator,
    gradings: pd.DataFrame,
    slip_effect: float = SLIP_EFFECT,
    system: str = "synthetic",
) -> pd.DataFrame:
    """Two cases a patient, alike by their patient. Spondylolisthesis changes Dice of discs, nothing else."""
    slips = gradings.groupby("Patient")["Spondylolisthesis"].max()
    rows = []
    for patient, slip in slips.items():
        for structure in STRUCTURES:
            patient_mean = (
                MEANS[structure] + rng.normal(0, BETWEEN) + slip_effect * slip * (structure == "ivd")
            )
            for contrast, shift in CONTRASTS.items():
                dice = float(np.clip(patient_mean + shift + rng.normal(0, WITHIN), 0, 1))
                rows.append((*_case(system, patient, contrast), structure, dice))
    columns = ["system", "data", "fold", "case", "patient", "contrast", "dim", "structure", "dice"]
    return pd.DataFrame(rows, columns=columns)


def synthetic_level_scores(
    rng: np.random.Generator,
    gradings: pd.DataFrame,
    slip_effect: float = SLIP_EFFECT,
    system: str = "synthetic",
) -> pd.DataFrame:
    """The same for the discs one by one: only the disc of the slip is worse."""
    rows = []
    for patient, discs in gradings.groupby("Patient"):
        patient_mean = MEANS["ivd"] + rng.normal(0, BETWEEN)
        for level, slip in zip(discs["IVD label"], discs["Spondylolisthesis"], strict=True):
            disc_mean = patient_mean + rng.normal(0, BETWEEN) + slip_effect * slip
            for contrast, shift in CONTRASTS.items():
                dice = float(np.clip(disc_mean + shift + rng.normal(0, WITHIN), 0, 1))
                rows.append((*_case(system, patient, contrast), level, dice))
    columns = ["system", "data", "fold", "case", "patient", "contrast", "dim", "level", "dice"]
    return pd.DataFrame(rows, columns=columns)


def _case(system: str, patient: int, contrast: str) -> tuple[str, ...]:
    return system, "", "0", f"SPIDER_{patient:03d}_{contrast[:2].lower()}", str(patient), contrast, "2D"
