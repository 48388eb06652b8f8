from __future__ import annotations

import numpy as np
import pytest
from nnunetv2_spinesegdiff.dataset_conversion.label_rules import dataset_labels, map_labels

CANAL, VERTEBRAE, IVD, IGNORE = 1, 2, 3, 4
OPTIONS = {"vertebra": VERTEBRAE, "background": 0, "ignore": IGNORE}


def expected_class(number: int, partial: str) -> int | None:
    """The rule once more, written as a reader of SPIDER's paper would."""
    if number == 0:
        return 0
    if number == 100:
        return CANAL
    if 1 <= number <= 25:
        return VERTEBRAE
    if 101 <= number <= 125:
        return OPTIONS[partial]
    return IVD if 201 <= number <= 225 else None


@pytest.mark.parametrize("partial", OPTIONS)
@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32])
def test_every_number_up_to_255(partial, dtype):
    for number in range(256):
        # 7 keeps the mask from being empty where the number is 0.
        mask = np.array([[7, number]], dtype=dtype)
        expected = expected_class(number, partial)
        if expected is None:
            with pytest.raises(ValueError, match=rf"unknown label number {number}:"):
                map_labels(mask, partial)
        else:
            mapped = map_labels(mask, partial)
            assert mapped.dtype == np.uint8
            assert mapped.tolist() == [[VERTEBRAE, expected]]


@pytest.mark.parametrize("number", [-1, 256, 301, 1000, 0.5, 100.25, np.nan, np.inf])
def test_what_is_no_label_number_at_all(number):
    with pytest.raises(ValueError, match="unknown label number"):
        map_labels(np.array([1.0, number]))


def test_all_unknown_numbers_are_named():
    with pytest.raises(ValueError, match="unknown label number 26, 99, 200:"):
        map_labels(np.array([200, 1, 26, 100, 99]))


def test_an_empty_mask_is_refused():
    with pytest.raises(ValueError, match="empty"):
        map_labels(np.zeros((4, 4), np.uint8))


def test_unknown_option():
    with pytest.raises(ValueError, match="partial_vertebrae"):
        map_labels(np.ones(3), "keep")


def test_ignore_is_declared_only_where_it_occurs():
    four = {"background": 0, "spinal_canal": CANAL, "vertebrae": VERTEBRAE, "ivd": IVD}
    assert dataset_labels("vertebra") == dataset_labels("background") == four
    assert dataset_labels("ignore") == {**four, "ignore": IGNORE}
