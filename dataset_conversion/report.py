"""What a conversion did and left out, in sentences for its user."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

from .cases import CaseFacts


@dataclass(frozen=True)
class Failure:
    """Something that was left out, with the reason and what to do, in one line that names the file."""

    file: str
    reason: str

    def __str__(self) -> str:
        return self.reason


@dataclass
class ConversionReport:
    """What a conversion did.

    Attributes:
        dataset: folder of the raw dataset.
        splits_file: the splits_final.json that training reads.
        cases: the cases of the dataset, by patient; empty if there is no dataset.
        failures: what is missing from it. Not empty means exit status 1, though the dataset stands.
        notes: sentences for the log: every decision about a case that is not a failure.
        counts: numbers behind the notes: `converted`, `kept` (whole from an earlier run), `removed` (of an
            earlier run with other options), `unlabelled` (slices without any label), `oblique` (left out of
            validation), `not_in_splits`, `only_in_splits`, `ignored_files`.
    """

    dataset: Path
    splits_file: Path
    cases: list[CaseFacts] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)

    def note(self, count: str, affected: Collection[object], sentence: str) -> None:
        """Count cases or files, and add a note about them if there are any."""
        self.counts[count] = len(affected)
        if affected:
            self.notes.append(sentence)
