"""Random contrasts, so that a network does not rely on which tissue is bright in its training images."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from batchgeneratorsv2.transforms.base.basic_transform import ImageOnlyTransform
from torch import Tensor


class RandomContrastTransform(ImageOnlyTransform):
    """Map intensities by a random piecewise linear curve, the same for all pixels of an image.

    The curve has `num_knots` equally spaced knots between the smallest and the largest intensity, and each
    has a random value in that range. It need not rise, so dark tissue may become bright as between T1w and
    T2w. Mean and standard deviation of the image stay what they were.
    """

    def __init__(self, num_knots: tuple[int, int] = (3, 6)):
        """
        Args:
            num_knots: smallest and largest number of knots, both included; at least 2.
        """
        super().__init__()
        self.num_knots = num_knots

    def get_parameters(self, **data_dict: Any) -> dict[str, Any]:
        """Draw the values of the knots in [0, 1], for every channel the same."""
        low, high = self.num_knots
        count = int(torch.randint(low, high + 1, ()))
        return {"knots": torch.rand(count)}

    def _apply_to_image(self, img: Tensor, **params: Any) -> Tensor:
        """img (C, *spatial), any range; a new tensor of the same shape, mean and standard deviation."""
        return torch.stack([mapped(channel, params["knots"]) for channel in img])


def mapped(image: Tensor, knots: Tensor) -> Tensor:
    """The image (*spatial) on the curve through `knots` (values in [0, 1], equally spaced)."""
    low, high = image.min(), image.max()
    if high <= low:
        return image.clone()
    places = np.linspace(float(low), float(high), len(knots))
    curve = torch.from_numpy(np.interp(image.numpy(), places, knots.numpy())).to(image.dtype)
    spread = curve.std()
    if spread < 1e-6:  # all knots are alike
        return image.clone()
    return (curve - curve.mean()) / spread * image.std() + image.mean()
