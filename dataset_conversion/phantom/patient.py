"""A synthetic patient: everything about them follows from a seed and their number."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .acquisition import Acquisition, draw_acquisitions
from .anatomy import Anatomy, draw_anatomy
from .placement import Spine, place


@dataclass(frozen=True)
class Patient:
    """The drawn parameters of a patient, where they put everything, and how it is scanned."""

    number: int  # from 1
    anatomy: Anatomy
    spine: Spine
    acquisitions: tuple[Acquisition, ...]  # t1 before t2 before t2_SPACE

    def stem(self, acquisition: Acquisition) -> str:
        """File name without its ending, `12_t2_SPACE`."""
        return f"{self.number}_{acquisition.sequence}"


def draw_patient(seed: int, number: int) -> Patient:
    """Draw a patient without rendering anything.

    The same seed and number give the same patient, whoever else is drawn.
    """
    for_anatomy, for_scans, for_turns = map(
        np.random.default_rng, np.random.SeedSequence((seed, number)).spawn(3)
    )
    anatomy = draw_anatomy(for_anatomy)
    spine = place(anatomy)
    acquisitions = draw_acquisitions(for_scans, for_turns, anatomy, spine)
    return Patient(number, anatomy, spine, acquisitions)
