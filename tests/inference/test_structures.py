"""Structures by name, in the order of the heads that nnU-Net gives them."""

from __future__ import annotations

from typing import Any

import pytest
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from nnunetv2_spinesegdiff.inference.structures import channels_of, structures_of

from ..helpers.model_plans import small_plans


@pytest.mark.parametrize(
    ("labels", "order", "expected"),
    [
        ({"background": 0, "canal": 1, "ivd": 2}, None, {"canal": 1, "ivd": 2}),
        ({"background": 0, "ivd": 2, "canal": 1, "ignore": 3}, None, {"canal": 1, "ivd": 2}),
        ({"background": 0, "whole": [1, 2], "core": 2}, [1, 2], {"whole": (1, 2), "core": 2}),
        ({"background": 0, "whole": [1, 2], "core": [2]}, [1, 2], {"whole": (1, 2), "core": 2}),
        ({"background": 0, "canal": [1], "ivd": [2]}, None, {"canal": 1, "ivd": 2}),
    ],
)
def test_names_follow_the_heads(labels, order, expected):
    dataset: dict[str, Any] = {"labels": labels, "file_ending": ".nii.gz", "channel_names": {"0": "MRI"}}
    if order:
        dataset["regions_class_order"] = order
    manager = PlansManager(small_plans()).get_label_manager(dataset)
    found = structures_of(manager, dataset)
    as_one = {n: v[0] if isinstance(v, tuple | list) and len(v) == 1 else v for n, v in found.items()}
    assert as_one == expected
    assert list(found) == list(expected)
    heads = manager.num_segmentation_heads
    assert channels_of(manager) == list(range(heads))[-len(expected) :]
