"""The scanners and protocols of synthetic series; figures as in SPIDER's `overview.csv`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Protocol:
    """One sequence of one scanner; lengths in mm, times in ms."""

    pixel: float  # in-plane spacing
    slice_step: float  # distance of neighboring slices
    thickness: float  # of a slice
    echo_time: float
    repetition_time: float
    echo_train: int


@dataclass(frozen=True)
class Scanner:
    """A scanner with its protocols; scanners that SPIDER has once count with their like."""

    patients: int  # of SPIDER without a SPACE series
    space_patients: int  # of SPIDER with one
    manufacturer: str
    model: str
    field: float  # in tesla
    level: float  # signal of the brightest tissue, in the scanner's units
    surface_coil: float  # 0..1, how much of the fall of signal away from the back it leaves uncorrected
    noise: float  # standard deviation, relative to the brightest tissue
    t1: Protocol
    t2: Protocol


SCANNERS = (
    Scanner(90, 0, "Philips Healthcare", "Ingenia", 3.0, 1700, 0.25, 0.012,
            Protocol(0.625, 3.3, 3.0, 13.837, 716.2, 7), Protocol(0.625, 3.3, 3.0, 120.0, 3563.1, 25)),
    Scanner(19, 0, "Philips Medical Systems", "Ingenia", 1.5, 1250, 0.35, 0.016,
            Protocol(0.5859375, 3.3, 3.0, 8.0, 600.0, 5), Protocol(0.5859375, 3.3, 3.0, 100.0, 3000.0, 17)),
    Scanner(25, 39, "SIEMENS", "Avanto_fit", 1.5, 520, 0.55, 0.020,
            Protocol(0.7291667, 4.4, 4.0, 11.0, 550.0, 3), Protocol(0.7291667, 4.4, 4.0, 114.0, 3500.0, 17)),
    Scanner(21, 0, "SIEMENS", "SymphonyTim", 1.5, 430, 0.75, 0.026,
            Protocol(0.875, 4.8, 4.0, 12.0, 456.0, 2), Protocol(0.67708333, 4.8, 4.0, 102.0, 4000.0, 19)),
    Scanner(17, 0, "SIEMENS", "Aera", 1.5, 640, 0.45, 0.016,
            Protocol(0.47826087, 4.4, 4.0, 9.8, 600.0, 3), Protocol(0.47826087, 4.4, 4.0, 95.0, 3800.0, 17)),
    Scanner(5, 2, "SIEMENS", "Skyra_fit", 3.0, 900, 0.40, 0.014,
            Protocol(0.3125, 4.4, 4.0, 9.8, 497.0, 5), Protocol(0.36458333, 4.4, 4.0, 102.0, 4200.0, 21)),
)  # fmt: skip

SPACE = Protocol(0.46875, 1.0, 0.9, 124.0, 1000.0, 60)
"""The 3D T2 protocol, the same on every scanner that has it."""

FINEST_RENDERED_PIXEL = 0.47
"""Finer images are interpolated from twice the spacing, as scanners do by zero-filling, in mm."""
