"""SPIDER's two tables, for synthetic patients."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from nnunetv2_spinesegdiff.files import save_csv

from .acquisition import Acquisition
from .patient import Patient

OVERVIEW_COLUMNS = (
    "new_file_name", "num_vertebrae", "num_discs", "sex", "birth_date", "subset", "AngioFlag",
    "BodyPartExamined", "DeviceSerialNumber", "EchoNumbers", "EchoTime", "EchoTrainLength", "FlipAngle",
    "ImagedNucleus", "ImagingFrequency", "InPlanePhaseEncodingDirection", "MRAcquisitionType",
    "MagneticFieldStrength", "Manufacturer", "ManufacturerModelName", "NumberOfPhaseEncodingSteps",
    "PercentPhaseFieldOfView", "PercentSampling", "PhotometricInterpretation", "PixelBandwidth",
    "PixelSpacing", "RepetitionTime", "SAR", "SamplesPerPixel", "ScanningSequence", "SequenceName",
    "SeriesDescription", "SliceThickness", "SoftwareVersions", "SpacingBetweenSlices",
    "SpecificCharacterSet", "TransmitCoilName", "WindowCenter", "WindowWidth",
)  # fmt: skip

GRADING_COLUMNS = (
    "Patient", "IVD label", "Modic", "UP endplate", "LOW endplate", "Spondylolisthesis", "Disc herniation",
    "Disc narrowing", "Disc bulging", "Pfirrman grade",
)  # fmt: skip

_PROTON_MHZ_PER_TESLA = 42.5764


def write_tables(output: Path, patients: Iterable[Patient], stems: set[str]) -> None:
    """Write `overview.csv` (one row a series in `stems`) and `radiological_gradings.csv` (one row a disc).

    Columns that mean nothing here are left empty, as SPIDER does.
    """
    patients = [p for p in patients if any(p.stem(a) in stems for a in p.acquisitions)]
    overview = [overview_row(p, a) for p in patients for a in p.acquisitions if p.stem(a) in stems]
    gradings = [row for patient in patients for row in grading_rows(patient)]
    save_csv(OVERVIEW_COLUMNS, overview, output / "overview.csv")
    save_csv(GRADING_COLUMNS, gradings, output / "radiological_gradings.csv")


def overview_row(patient: Patient, acquisition: Acquisition) -> dict[str, object]:
    """One series; `num_vertebrae` counts a partially visible one, `num_discs` the discs with a number."""
    protocol, scanner = acquisition.protocol, acquisition.scanner
    volume = acquisition.sequence == "t2_SPACE"
    pixel = round(protocol.pixel, 7)
    return {
        "new_file_name": patient.stem(acquisition),
        "num_vertebrae": patient.anatomy.num_vertebrae,
        "num_discs": patient.anatomy.num_discs,
        "sex": patient.anatomy.sex,
        "subset": "validation" if patient.number % 5 == 0 else "training",
        "BodyPartExamined": "LSPINE",
        "EchoNumbers": 1,
        "EchoTime": protocol.echo_time,
        "EchoTrainLength": protocol.echo_train,
        "ImagedNucleus": "1H",
        "ImagingFrequency": round(_PROTON_MHZ_PER_TESLA * scanner.field, 3),
        "InPlanePhaseEncodingDirection": "COL",
        "MRAcquisitionType": "3D" if volume else "2D",
        "MagneticFieldStrength": scanner.field,
        "Manufacturer": scanner.manufacturer,
        "ManufacturerModelName": scanner.model,
        "PhotometricInterpretation": "MONOCHROME2",
        "PixelSpacing": f"[{pixel}, {pixel}]",
        "RepetitionTime": protocol.repetition_time,
        "SamplesPerPixel": 1,
        "ScanningSequence": "SE",
        "SeriesDescription": f"synthetic {acquisition.sequence}",
        "SliceThickness": protocol.thickness,
        "SpacingBetweenSlices": protocol.slice_step,
        "WindowCenter": round(0.45 * acquisition.quality.level),
        "WindowWidth": round(0.9 * acquisition.quality.level),
    }


def grading_rows(patient: Patient) -> list[dict[str, int]]:
    """One row a disc that the masks number, L5/S1 (label 1) first."""
    rows = []
    for level in range(patient.anatomy.num_discs):
        grading = patient.anatomy.discs[level].grading
        values = (
            patient.number, level + 1, grading.modic, grading.upper_endplate, grading.lower_endplate,
            grading.slip, grading.herniation, grading.narrowing, grading.bulging, grading.pfirrmann,
        )  # fmt: skip
        rows.append(dict(zip(GRADING_COLUMNS, (int(np.asarray(v)) for v in values), strict=True)))
    return rows
