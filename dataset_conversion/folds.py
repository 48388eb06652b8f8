"""Cross-validation folds by patient: all series of a patient are on the same side of every fold.

nnU-Net by itself splits by case, which with T1 and T2 of one patient as cases of their own trains on the
patients it validates on. Hence a splits_final.json with every converted dataset.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterable, Mapping

from nnunetv2_spinesegdiff.errors import UserError

NUM_FOLDS = 5

Splits = list[dict[str, list[str]]]


def patient_folds(
    patients: Iterable[str], seed: int, stratum: Callable[[str], int] = lambda patient: 0
) -> list[list[str]]:
    """Deal patients into folds, at random but reproducibly.

    Patients are ordered by a hash of seed and name, so the folds depend on nothing but these: not on the
    order of the input or a library's random generator. Give all patients of a cohort, whichever contrast is
    converted: left out, a single one would move others to other folds.

    Args:
        stratum: of a patient. Strata are dealt one after the other, so the patients of neighboring strata
            are spread over the folds as evenly as all are.

    Returns:
        Five disjoint sorted lists whose lengths differ by at most 1.

    Raises:
        UserError: there are fewer patients than folds.
    """

    def key(patient: str) -> tuple[int, str, str]:
        return stratum(patient), hashlib.sha256(f"{seed}:{patient}".encode()).hexdigest(), patient

    shuffled = sorted(set(patients), key=key)
    if len(shuffled) < NUM_FOLDS:
        cause = f"{len(shuffled)} patients are too few for {NUM_FOLDS} folds"
        raise UserError(None, cause, "add some, or name folds of your own with --splits")
    return [sorted(shuffled[fold::NUM_FOLDS]) for fold in range(NUM_FOLDS)]


def splits_by_patient(patient_of: Mapping[str, str], folds: list[list[str]]) -> Splits:
    """nnU-Net's splits: each fold is validated on the cases of its patients and trained on all others.

    Args:
        patient_of: patient of each case.
        folds: patients of each fold; patients without a case are skipped.
    """
    return [
        {
            "train": sorted(case for case, patient in patient_of.items() if patient not in fold),
            "val": sorted(case for case, patient in patient_of.items() if patient in fold),
        }
        for fold in map(set, folds)
    ]


def without_validation_of(splits: Splits, cases: Collection[str]) -> Splits:
    """Take cases out of every validation list; they stay where they are trained on.

    They do not move into the training list of the fold that held them out: their patient may have another
    case in its validation list.
    """
    left_out = set(cases)
    return [
        {"train": list(fold["train"]), "val": [case for case in fold["val"] if case not in left_out]}
        for fold in splits
    ]
