"""Names of SPIDER's files, of nnU-Net's cases made from them, and of cases in files of folds.

A series is named `<patient>_<t1|t2|t2_SPACE>`, for example `12_t1` or `A12_t2_SPACE`. A file that holds a
single slice of it adds `_s<slice>`, for example `12_t2_s05`. The name of a patient consists of letters,
digits and hyphens. Case matters; leading zeros of a number do not. The case of a series is called
`SPIDER_<series>`, with at least three digits if the patient is a number.

Pure functions; no other module parses these names.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NamedTuple

SEQUENCES = ("t1", "t2", "t2_SPACE")
PREFIX = "SPIDER_"

# A patient called SPIDER would make the file name SPIDER_t1, which also means all series of patient t1.
_PATIENT = r"(?P<patient>(?!SPIDER(?:_|$))[A-Za-z0-9-]+)"
_SEQUENCE = rf"(?P<sequence>{'|'.join(SEQUENCES)})"
_SLICE = r"_s(?P<number>[0-9]+)"
_SERIES = re.compile(rf"{_PATIENT}_{_SEQUENCE}(?:{_SLICE})?")
_IN_FOLDS = re.compile(rf"{PREFIX}{_PATIENT}(?:_{_SEQUENCE}_[0-9]+)?")
_NUMBERED = re.compile(
    rf"(?:{PREFIX})?(?P<patient>\d+)(?:_(?P<contrast>t1|t2)(?![^_]))?(?:_.*)?", re.IGNORECASE
)
_WHOLE_NUMBER = re.compile(r"(\d+)(?:\.0*)?")


@dataclass(frozen=True)
class Series:
    """One MR series of one patient.

    Attributes:
        patient: see `canonical_patient`.
        sequence: "t1", "t2" or "t2_SPACE".
        stem: the file name without `.mha`, the same for image and mask.
        slice_number: of a single slice of the series; None for the series itself.
    """

    patient: str
    sequence: str
    stem: str
    slice_number: int | None = None

    @property
    def contrast(self) -> str:
        """ "t1" or "t2"; a SPACE series is T2-weighted."""
        return self.sequence[:2]

    @property
    def case(self) -> str:
        """nnU-Net case name: `SPIDER_001_t1`, `SPIDER_136_t2_SPACE`, or `SPIDER_108_t2_s05` of one slice."""
        patient = self.patient.zfill(3) if self.patient.isdigit() else self.patient
        single = "" if self.slice_number is None else f"_s{self.slice_number:02d}"
        return f"{PREFIX}{patient}_{self.sequence}{single}"

    @property
    def file_name(self) -> str:
        return f"{self.stem}.mha"

    @property
    def sort_key(self) -> tuple[tuple[int, str], str, int]:
        """By patient (see `patient_order`); T1 before T2; slices by number."""
        number = -1 if self.slice_number is None else self.slice_number
        return (patient_order(self.patient), self.sequence, number)


class Entry(NamedTuple):
    """Series that a name in a list stands for.

    Attributes:
        patient: see `canonical_patient`.
        contrast: "t1" or "t2"; None for all series of the patient.
    """

    patient: str
    contrast: str | None


def canonical_patient(name: object) -> str:
    """Write a patient as in all tables: "7" for 7, 7.0, "007" and " 7 "; other names stay as they are."""
    text = str(name).strip()
    return str(int(match[1])) if (match := _WHOLE_NUMBER.fullmatch(text)) else text


def patient_order(patient: str) -> tuple[int, str]:
    """Key to sort canonical patients: numbers in numerical order, then names."""
    return (int(patient) if patient.isdecimal() else 10**12, patient)


def parse_series(name: str) -> Series | None:
    """Read the name of a file of SPIDER, `12_t1` or `12_t1.mha`; None for any other name."""
    stem = name.removesuffix(".mha")
    match = _SERIES.fullmatch(stem)
    if match is None:
        return None
    number = None if match["number"] is None else int(match["number"])
    return Series(canonical_patient(match["patient"]), match["sequence"], stem, number)


def parse_case(name: str) -> Series | None:
    """Read the name of a converted case, `SPIDER_012_t1` or `SPIDER_012_t2_s05`; None for any other name."""
    match = _SERIES.fullmatch(name.removeprefix(PREFIX)) if name.startswith(PREFIX) else None
    return match and parse_series(match[0])


def parse_entry(name: str) -> Entry | None:
    """Read a name in a file of folds; None for any other name.

    These are converted cases, `SPIDER_012` for every series of a patient, and names of the paper's authors
    such as `SPIDER_012_t1_084`, whose last number has no meaning here.
    """
    if series := parse_case(name):
        return Entry(series.patient, series.contrast)
    match = _IN_FOLDS.fullmatch(name)
    return match and Entry(canonical_patient(match["patient"]), match["sequence"] and match["sequence"][:2])


def parse_name(name: str) -> Entry | None:
    """Read any name of a case that shows its patient; None for any other name.

    In addition to `parse_entry`, names of series are read without `SPIDER_`. If the patient is a number, case
    does not matter and more may follow: `spider_002_T1`, `2_t1_predicted`. Other patients need exact names:
    `spine_t2_001` and `spine_t2_002` may be scans of two patients.
    """
    if entry := parse_entry(name):
        return entry
    if match := _NUMBERED.fullmatch(name):
        return Entry(canonical_patient(match["patient"]), match["contrast"] and match["contrast"].lower())
    match = _SERIES.fullmatch(name)
    return match and Entry(canonical_patient(match["patient"]), match["sequence"][:2])


def patient_of(name: str) -> str | None:
    """Patient of a case or file, see `parse_name`."""
    entry = parse_name(name)
    return entry and entry.patient


def without_slice(case: str) -> str:
    """Name of the series of a single slice: `SPIDER_005_t2_s03` belongs to `SPIDER_005_t2`."""
    return re.sub(rf"{_SLICE}$", "", case)
