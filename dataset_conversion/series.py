"""SPIDER's file names and which of them make up a dataset: pure functions over names, no disk access.

A series is named `<patient>_<t1|t2|t2_SPACE>`, for example `12_t1` or `12_t2_SPACE`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

CONTRASTS = ("t1", "t2", "t1t2")
T2_SOURCES = ("t2", "space")

_STEM = re.compile(r"(?P<patient>[A-Za-z0-9-]+)_(?P<sequence>t1|t2|t2_SPACE)")


@dataclass(frozen=True)
class Series:
    """One MR series of one patient.

    Attributes:
        patient: canonical patient name; numbers lose their leading zeros, so that it joins SPIDER's tables.
        sequence: "t1", "t2" or "t2_SPACE".
        stem: the file name without `.mha`, the same for image and mask.
    """

    patient: str
    sequence: str
    stem: str

    @property
    def contrast(self) -> str:
        """ "t1" or "t2"; a SPACE series is T2-weighted."""
        return self.sequence[:2]

    @property
    def case(self) -> str:
        """nnU-Net case name, one per series: `SPIDER_001_t1`, `SPIDER_136_t2_SPACE`."""
        return f"SPIDER_{self.patient.zfill(3) if self.patient.isdigit() else self.patient}_{self.sequence}"

    @property
    def file_name(self) -> str:
        return f"{self.stem}.mha"

    @property
    def sort_key(self) -> tuple[int, str, str]:
        """Patients in numerical order, then named ones; T1 before T2."""
        return (int(self.patient) if self.patient.isdigit() else 10**12, self.patient, self.sequence)


def canonical_patient(name: str) -> str:
    """'007' -> '7'; names that are not numbers stay as they are."""
    return str(int(name)) if name.isdecimal() else name


def parse_series(name: str) -> Series | None:
    """Read `12_t1` or `12_t1.mha`; None for any other name."""
    stem = name.removesuffix(".mha")
    match = _STEM.fullmatch(stem)
    if match is None:
        return None
    return Series(canonical_patient(match["patient"]), match["sequence"], stem)


def select_series(names: Iterable[str], contrast: str = "t1t2", t2_source: str = "t2") -> list[Series]:
    """Choose the series of a dataset, at most one T1w and one T2w a patient.

    T1w is the `t1` series. T2w is the series that `t2_source` names where the patient has it and the other
    T2w series where not: by default `t2_SPACE` stands in for the patients without `t2`, and with "space" it
    is `t2` that stands in. Both take the same patients. "t1t2" takes both contrasts as cases of their own.

    Args:
        names: file or series names; names outside the grammar are passed over.
        contrast: "t1", "t2" or "t1t2".
        t2_source: "t2" or "space".

    Returns:
        The series, ordered by patient (numerically), then T1w before T2w.

    Raises:
        ValueError: two names mean the same series (`1_t1` and `001_t1`), or an argument is unknown.
    """
    if contrast not in CONTRASTS:
        raise ValueError(f"unknown contrast {contrast!r}, known: {', '.join(CONTRASTS)}")
    if t2_source not in T2_SOURCES:
        raise ValueError(f"unknown t2_source {t2_source!r}, known: {', '.join(T2_SOURCES)}")
    by_patient = _by_patient(names)
    t2_order = ("t2", "t2_SPACE") if t2_source == "t2" else ("t2_SPACE", "t2")
    chosen: list[Series] = []
    for sequences in by_patient.values():
        if "t1" in contrast and "t1" in sequences:
            chosen.append(sequences["t1"])
        t2 = next((sequences[s] for s in t2_order if s in sequences), None)
        if "t2" in contrast and t2 is not None:
            chosen.append(t2)
    return sorted(chosen, key=lambda series: series.sort_key)


def _by_patient(names: Iterable[str]) -> dict[str, dict[str, Series]]:
    by_patient: dict[str, dict[str, Series]] = {}
    for series in filter(None, map(parse_series, names)):
        sequences = by_patient.setdefault(series.patient, {})
        if series.sequence in sequences and sequences[series.sequence].stem != series.stem:
            other = sequences[series.sequence].file_name
            raise ValueError(f"{other} and {series.file_name} mean the same series: remove one")
        sequences[series.sequence] = series
    return by_patient
