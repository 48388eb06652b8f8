"""Files of folds, and published folds brought to the cases of a converted dataset.

Two shapes are read, both a JSON list with one object per fold:

- the paper's: `{"train": [...], "test": [...]}` with names `SPIDER_002` (every series of that patient in the
  dataset) or `SPIDER_002_t1_084` (patient, contrast, a running number of no meaning here);
- nnU-Net's: `{"train": [...], "val": [...]}` with the case names of a converted dataset, `SPIDER_002_t1`, or
  `SPIDER_002_t1_s05` of a single slice.

A name stands for a patient and, where it has one, a contrast, so folds published for `t2` serve a dataset
made with `t2_SPACE` too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from nnunetv2_spinesegdiff.errors import UserError
from nnunetv2_spinesegdiff.files import load_json
from nnunetv2_spinesegdiff.text import reason_of

from .folds import Splits
from .names import Entry, Series, parse_entry, parse_name, patient_order


@dataclass(frozen=True)
class Fold:
    """Names of cases, each once; `repeated` of them were listed again."""

    train: tuple[str, ...]
    val: tuple[str, ...]
    repeated: int = 0

    @property
    def train_patients(self) -> set[str]:
        return {entry.patient for entry in _entries(self.train)}

    @property
    def val_patients(self) -> set[str]:
        return {entry.patient for entry in _entries(self.val)}


def read_published_folds(path: Path) -> list[Fold]:
    """Read folds for a conversion, whose names follow `names.parse_entry`; see `read_folds`."""
    return _parse(_read_json(path), str(path), parse_entry)


def read_folds(path: Path) -> list[Fold]:
    """Read and check a file of folds.

    Raises:
        UserError: not such a file, a name without patient, or a patient who is validated on in two folds or
            trained and validated on in the same fold; the message names them.
    """
    return parse_folds(_read_json(path), str(path))


def parse_folds(content: object, source: str) -> list[Fold]:
    """Check what a file of folds holds; names follow `names.parse_name`.

    Args:
        content: of the JSON file.
        source: what messages call the file.

    Raises:
        UserError: as in `read_folds`.
    """
    return _parse(content, source, parse_name)


def apply_published_folds(folds: list[Fold], series: Iterable[Series]) -> Splits:
    """nnU-Net splits over the cases at hand.

    Published folds are used as they are: a name without a series drops out, and a series that no name
    means is in no list, neither trained nor validated on, since either would make another experiment of it
    (and training on it could leak its patient).
    """
    series = list(series)

    def cases(names: Iterable[str]) -> list[str]:
        entries = _entries(names)
        return sorted(s.case for s in series if not entries.isdisjoint(_meant_by(s)))

    return [{"train": cases(fold.train), "val": cases(fold.val)} for fold in folds]


def names_without_series(folds: list[Fold], series: Iterable[Series]) -> list[Entry]:
    """Names of the file that mean no series at hand, each once."""
    present = {entry for s in series for entry in _meant_by(s)}
    return sorted(_named(folds) - present, key=lambda entry: (entry.patient, entry.contrast or ""))


def series_without_name(folds: list[Fold], series: Iterable[Series]) -> list[str]:
    """Cases at hand that the file does not name in any fold."""
    named = _named(folds)
    return sorted(s.case for s in series if named.isdisjoint(_meant_by(s)))


def _entries(names: Iterable[str]) -> set[Entry]:
    return {entry for name in names if (entry := parse_name(name))}


def _named(folds: list[Fold]) -> set[Entry]:
    return {entry for fold in folds for entry in _entries(fold.train + fold.val)}


def _meant_by(series: Series) -> tuple[Entry, Entry]:
    """Entries that mean the series."""
    return Entry(series.patient, None), Entry(series.patient, series.contrast)


def _read_json(path: Path) -> object:
    try:
        return load_json(path)
    except (OSError, ValueError) as error:
        raise UserError(
            path, f"cannot be read as JSON ({reason_of(error)})", "give a file of folds"
        ) from error


def _parse(content: object, source: str, parse: Callable[[str], Entry | None]) -> list[Fold]:
    if not isinstance(content, list) or not content:
        raise UserError(
            source, "is not a list of folds, each with train and val (or test)", "give a splits_final.json"
        )
    folds = []
    for number, fold in enumerate(content):
        keys = {"val", "test"} & set(fold) if isinstance(fold, dict) else set()
        if len(keys) != 1 or "train" not in fold:
            raise UserError(source, f"fold {number} must have train and one of val and test", "correct it")
        train, val = (_names(fold[key], number, source, parse) for key in ("train", keys.pop()))
        once = tuple(dict.fromkeys(train)), tuple(dict.fromkeys(val))
        folds.append(Fold(*once, len(train) + len(val) - sum(map(len, once))))
    _check_no_leak(folds, source)
    return folds


def _names(names: object, number: int, source: str, parse: Callable[[str], Entry | None]) -> list[str]:
    if not isinstance(names, list):
        raise UserError(source, f"fold {number} must list names of cases, found {type(names).__name__}")
    for name in names:
        if not isinstance(name, str) or parse(name) is None:
            raise UserError(
                source,
                f"{name!r} in fold {number} is not the name of a case",
                "expected names such as SPIDER_002, SPIDER_002_t1 or SPIDER_002_t1_084",
            )
    return names


def _check_no_leak(folds: list[Fold], source: str) -> None:
    validated_in: dict[str, int] = {}
    for number, fold in enumerate(folds):
        validated = fold.val_patients
        if both := fold.train_patients & validated:
            raise UserError(
                source,
                f"patient {min(both, key=patient_order)} is trained and validated on in fold {number}",
                "put all cases of a patient on one side",
            )
        for patient in sorted(validated, key=patient_order):
            if patient in validated_in:
                raise UserError(
                    source,
                    f"patient {patient} is validated on in folds {validated_in[patient]} and {number}",
                    "keep one of them",
                )
            validated_in[patient] = number
