"""SPIDER's file names and which of them make up a dataset: pure functions over names, no disk access.

A series is named `<patient>_<t1|t2|t2_SPACE>`, for example `12_t1` or `12_t2_SPACE`. A file that holds single
slices of it adds `_s<slice>`, for example `12_t2_s05`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

CONTRASTS = ("t1", "t2", "t1t2")
T2_SOURCES = ("t2", "space", "both")

_STEM = re.compile(r"(?P<patient>[A-Za-z0-9-]+)_(?P<sequence>t1|t2|t2_SPACE)(?:_s(?P<number>[0-9]+))?")


@dataclass(frozen=True)
class Series:
    """One MR series of one patient.

    Attributes:
        patient: canonical patient name; numbers lose their leading zeros, so that it joins SPIDER's tables.
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
        return f"SPIDER_{patient}_{self.sequence}{single}"

    @property
    def file_name(self) -> str:
        return f"{self.stem}.mha"

    @property
    def sort_key(self) -> tuple[int, str, str, int]:
        """Patients in numerical order, then named ones; T1 before T2; slices by number."""
        number = -1 if self.slice_number is None else self.slice_number
        return (int(self.patient) if self.patient.isdigit() else 10**12, self.patient, self.sequence, number)


def canonical_patient(name: str) -> str:
    """'007' -> '7'; names that are not numbers stay as they are."""
    return str(int(name)) if name.isdecimal() else name


def parse_series(name: str) -> Series | None:
    """Read `12_t1` or `12_t1.mha`; None for any other name."""
    stem = name.removesuffix(".mha")
    match = _STEM.fullmatch(stem)
    if match is None:
        return None
    number = None if match["number"] is None else int(match["number"])
    return Series(canonical_patient(match["patient"]), match["sequence"], stem, number)


def select_series(names: Iterable[str], contrast: str = "t1t2", t2_source: str = "t2") -> list[Series]:
    """Choose the series of a dataset.

    T1w is the `t1` series. T2w is the series that `t2_source` names where the patient has it and the other
    T2w series where not: by default `t2_SPACE` stands in for the patients without `t2`, and with "space" it
    is `t2` that stands in. Both take the same patients. "both" takes `t2` and `t2_SPACE` as cases of their
    own. "t1t2" takes both contrasts as cases of their own. Single slices of a series go with the series.

    Args:
        names: file or series names; names outside the grammar are skipped.
        contrast: "t1", "t2" or "t1t2".
        t2_source: "t2", "space" or "both".

    Returns:
        The series, ordered by patient (numerically), then T1w before T2w.

    Raises:
        ValueError: two names mean the same series (`1_t1` and `001_t1`), or an argument is unknown.
    """
    if contrast not in CONTRASTS:
        raise ValueError(f"unknown contrast {contrast!r}, known: {', '.join(CONTRASTS)}")
    if t2_source not in T2_SOURCES:
        raise ValueError(f"unknown t2_source {t2_source!r}, known: {', '.join(T2_SOURCES)}")
    chosen: list[Series] = []
    for sequences in _by_patient(names).values():
        if "t1" in contrast:
            chosen += sequences.get("t1", [])
        if "t2" in contrast:
            chosen += _t2w(sequences, t2_source)
    return sorted(chosen, key=lambda series: series.sort_key)


def _t2w(sequences: dict[str, list[Series]], t2_source: str) -> list[Series]:
    t2, space = sequences.get("t2", []), sequences.get("t2_SPACE", [])
    if t2_source == "both":
        return t2 + space
    return (t2 or space) if t2_source == "t2" else (space or t2)


def _by_patient(names: Iterable[str]) -> dict[str, dict[str, list[Series]]]:
    by_patient: dict[str, dict[str, list[Series]]] = {}
    by_case: dict[str, Series] = {}
    for series in filter(None, map(parse_series, names)):
        other = by_case.setdefault(series.case, series)
        if other is series:
            by_patient.setdefault(series.patient, {}).setdefault(series.sequence, []).append(series)
        elif other.stem != series.stem:
            raise ValueError(f"{other.file_name} and {series.file_name} mean the same series: remove one")
    return by_patient
