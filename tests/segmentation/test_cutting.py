from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import permutations

import numpy as np
import pytest
import SimpleITK as sitk

from nnunetv2_spinesegdiff.errors import UserError
from nnunetv2_spinesegdiff.images.grid import Grid, patient_axes
from nnunetv2_spinesegdiff.images.reading import scan_of
from nnunetv2_spinesegdiff.segmentation.segment import segment_scan

from ..helpers.model_spine import reading_model, spine, spine_labels

VERSIONS: dict[str, Callable[[sitk.Image], sitk.Image]] = {
    "as it is": sitk.Image,
    **{f"axes {order}": partial(sitk.PermuteAxes, order=order) for order in list(permutations(range(3)))[1:]},
    **{
        f"flipped {axis}": partial(sitk.Flip, flipAxes=[axis == other for other in range(3)])
        for axis in range(3)
    },
    "oblique": lambda image: turned(image, (8.0, -6.0, 11.0)),
}


def turned(image: sitk.Image, degrees: tuple[float, float, float]) -> sitk.Image:
    """The scan of a patient who lies turned: the voxels stay, their place in the world does not."""
    rotation = sitk.Euler3DTransform()
    rotation.SetRotation(*np.radians(degrees))
    image = sitk.Image(image)
    matrix = np.array(rotation.GetMatrix()).reshape(3, 3)
    image.SetDirection((matrix @ np.array(image.GetDirection()).reshape(3, 3)).ravel().tolist())
    return image


def labels_like(version: str) -> sitk.Image:
    image = spine()
    labels = sitk.GetImageFromArray(spine_labels())
    labels.CopyInformation(image)
    return VERSIONS[version](labels)


FEW = ("as it is", "axes (1, 2, 0)", "flipped 2", "oblique")
"""For what takes longer, and goes the same way."""


@pytest.mark.parametrize(("version", "dim"), [*((v, "2d") for v in VERSIONS), *((v, "3d") for v in FEW)])
def test_the_mask_of_all_slices_lies_where_the_structures_are(version, dim):
    image, truth = VERSIONS[version](spine()), labels_like(version)
    done = segment_scan(scan_of(image), "all", reading_model("all", dim))
    for made in (done.mask, done.uncertainty):
        assert made.GetSize() == image.GetSize()
        assert made.GetSpacing() == image.GetSpacing()
        assert made.GetOrigin() == image.GetOrigin()
        assert made.GetDirection() == image.GetDirection()
    mask, expected = sitk.GetArrayFromImage(done.mask), sitk.GetArrayFromImage(truth)
    # Between 4 mm slices a 1 mm volume interpolates what is bright there.
    assert (mask == expected).mean() > (0.99 if dim == "2d" else 0.96)
    found = sitk.GetArrayFromImage(done.uncertainty) > 0
    assert found[mask > 0].mean() > 0.98


@pytest.mark.parametrize(
    ("version", "slices", "dim", "wanted"),
    [
        *(
            (v, slices, "2d", wanted)
            for v in VERSIONS
            for slices, wanted in (("middle", "middle"), ("all", 2))
        ),
        *(
            (v, slices, "2d", wanted)
            for v in FEW[2:]
            for slices, wanted in (("all", "middle"), ("middle", 2))
        ),
        *((v, "all", "3d", wanted) for v, wanted in zip(FEW, ("middle", 2) * 2, strict=True)),
    ],
)
def test_one_slice_is_that_of_the_whole_and_the_others_are_empty(version, slices, dim, wanted):
    scan, model = scan_of(VERSIONS[version](spine())), reading_model(slices, dim)
    one, whole = segment_scan(scan, wanted, model), segment_scan(scan, "all", model)
    number = 3 if wanted == "middle" else wanted
    kept, every = (sitk.GetArrayFromImage(made.mask) for made in (one, whole))
    axes, flips = patient_axes(Grid.of(scan.image).cosines)
    axis = 2 - axes[2]
    at = kept.shape[axis] - 1 - number if flips[2] else number
    expected = np.zeros_like(kept)
    index = [slice(None)] * 3
    index[axis] = slice(at, at + 1)
    expected[tuple(index)] = every[tuple(index)]
    assert np.array_equal(kept, expected)
    assert kept.any()
    assert one.shown.mask.shape == one.shown.image.shape == one.shown.uncertainty.shape == (320, 320)
    assert {row["slice"] for row in one.measurements} == {number}
    assert {row["slice"] for row in whole.measurements} == {3}
    if number == 3:
        assert np.array_equal(one.shown.mask, whole.shown.mask)
    with pytest.raises(UserError, match="no slice 7"):
        segment_scan(scan, 7, model)
