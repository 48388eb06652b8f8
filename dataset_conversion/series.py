"""Choose the series of a dataset: pure functions over names, no disk access."""

from __future__ import annotations

from collections.abc import Iterable

from .names import Series, parse_series

CONTRASTS = ("t1", "t2", "t1t2")
T2_SOURCES = ("t2", "space", "both")


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
        ValueError: two names mean the same series (`1_t1` and `001_t1`).
    """
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
