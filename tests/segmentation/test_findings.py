"""What a segmentation says of itself."""

from __future__ import annotations

import numpy as np
import pytest

from nnunetv2_spinesegdiff.segmentation.findings import level_warnings
from nnunetv2_spinesegdiff.segmentation.measuring.levels import Levels


@pytest.mark.parametrize(
    ("confidence", "warnings", "said"),
    [
        ("high", [], 0),
        ("moderate", [], 0),
        ("given", [], 0),
        ("low", [], 1),
        ("low", ["the lowest disc touches the edge"], 1),
    ],
)
def test_uncertain_names_of_levels_are_warned_of_once(confidence, warnings, said):
    found = level_warnings(Levels(np.zeros((4, 4), np.uint8), {}, confidence, "counted", warnings))
    assert len(found) == said
    assert found == warnings or "counted" in found[0]
