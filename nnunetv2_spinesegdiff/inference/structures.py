"""Structures by name, in the order of the segmentation heads."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nnunetv2.utilities.label_handling.label_handling import LabelManager

Structures = dict[str, int | tuple[int, ...]]


def structures_of(labels: LabelManager, dataset_json: dict[str, Any]) -> Structures:
    """Name to label, or to the labels of a region, of all heads but the background's.

    Args:
        labels: nnU-Net's label manager of the dataset.
    """
    names = {_plain(value): name for name, value in dataset_json["labels"].items()}
    heads = labels.foreground_regions if labels.has_regions else labels.foreground_labels
    return {names[_plain(head)]: _plain(head) for head in heads}


def _plain(value: int | list[int] | tuple[int, ...]) -> int | tuple[int, ...]:
    """A label, or the labels of a region; nnU-Net takes [1] for 1 where there are no regions."""
    if isinstance(value, list | tuple):
        return tuple(value) if len(value) > 1 else value[0]
    return value


def channels_of(labels: LabelManager) -> list[int]:
    """The heads of `structures_of` among all heads."""
    if labels.has_regions:
        return list(range(labels.num_segmentation_heads))
    return list(labels.foreground_labels)
