from __future__ import annotations

import numpy as np
import pytest
from nnunetv2_spinesegdiff.dataset_conversion.label_rules import map_labels

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


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        *(([1.0, n], "unknown label") for n in (-1, 256, 301, 1000, 0.5, 100.25, np.nan, np.inf)),
        ([200, 1, 26, 100, 99], "26, 99, 200:"),
        ([0, 0], "empty"),
    ],
)
def test_invalid_masks_are_rejected(mask, message):
    with pytest.raises(ValueError, match=message):
        map_labels(np.array(mask))


def test_advice_on_a_number_that_may_stand_for_unannotated_pixels():
    with pytest.raises(ValueError, match="--ignore_label 255"):
        map_labels(np.array([1, 255]))
    for mask in ([1, 26, 255], [1.0, 0.5]):
        with pytest.raises(ValueError, match="unknown label number") as caught:
            map_labels(np.array(mask))
        assert "--ignore_label" not in str(caught.value)
