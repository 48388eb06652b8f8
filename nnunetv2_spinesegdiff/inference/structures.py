"""Structures by name, in the order of the segmentation heads."""

from __future__ import annotations

from typing import Any

Structures = dict[str, int | tuple[int, ...]]


def structures_of(labels: Any, dataset_json: dict[str, Any]) -> Structures:
    """Name to label, or to the labels of a region, of all heads but the background's.

    Args:
        labels: nnU-Net's label manager of the dataset.
    """
    names = {
        tuple(value) if isinstance(value, list | tuple) else value: name
        for name, value in dataset_json["labels"].items()
    }
    if labels.has_regions:
        return {names[region]: region for region in labels.foreground_regions}
    return {names[label]: label for label in labels.foreground_labels}


def channels_of(labels: Any) -> list[int]:
    """The heads of `structures_of` among all heads."""
    if labels.has_regions:
        return list(range(labels.num_segmentation_heads))
    return list(labels.foreground_labels)
