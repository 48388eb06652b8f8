"""What does not look like a spine is found; spines, odd ones as well, are not reported."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import SimpleITK as sitk
from nnunetv2_spinesegdiff.dataset_conversion.geometry import extract_slice
from nnunetv2_spinesegdiff.dataset_conversion.label_rules import map_labels
from scipy import ndimage

from nnunetv2_spinesegdiff.labels import BACKGROUND, IGNORE, IVD, SPINAL_CANAL, VERTEBRAE
from nnunetv2_spinesegdiff.segmentation.measuring.plausible import (
    CANAL_IN_FRONT,
    NO_COLUMN,
    SIZE,
    Plausibility,
    check_plausibility,
)

from ...helpers.drawn_spine import MM, DrawnSpine
from ...helpers.phantom_truth import Series, series_of
from ...helpers.spider_series import SHARED_DATA

NOTHING = Plausibility([], [])
STRUCTURES = {SPINAL_CANAL: "spinal_canal", VERTEBRAE: "vertebrae", IVD: "ivd"}
GRIDS = [(0.7, 0.9), MM, (2.0, 1.0)]

# Rows and columns in mm of the drawn spine: bodies 93 to 127, canal 130 to 144, spinous processes to 174.
FRONT, BEHIND, MIDDLE = 60.0, 205.0, 130.0


def box(mask: np.ndarray, spacing: tuple[float, float], at: tuple[float, float], label: int) -> np.ndarray:
    """A copy of a mask with a box of 16 mm by 20 mm (320 mm²) around a place in mm."""
    (top, left), (bottom, right) = (
        [round((middle + side * half) / mm) for middle, half, mm in zip(at, (8, 10), spacing, strict=True)]
        for side in (-1, 1)
    )
    mask = mask.copy()
    mask[top:bottom, left:right] = label
    return mask


def spine(**changes) -> np.ndarray:
    return DrawnSpine(**changes).mask()


@pytest.mark.parametrize("spacing", GRIDS)
@pytest.mark.parametrize("angle", [-25, 0, 35])
def test_a_drawn_spine_is_plausible(spacing, angle):
    assert check_plausibility(DrawnSpine(angle=angle).mask(spacing), spacing) == NOTHING


@pytest.mark.parametrize("spacing", GRIDS[1:])
@pytest.mark.parametrize("label", STRUCTURES)
@pytest.mark.parametrize("column", [FRONT, BEHIND])
@pytest.mark.parametrize("row", [60.0, 190.0])
def test_a_part_in_front_or_far_behind_is_found_measured_and_removed(spacing, label, column, row):
    clean = DrawnSpine().mask(spacing)
    mask = box(clean, spacing, (row, column), label)
    found = check_plausibility(mask, spacing)
    (part,) = found.outside
    assert not found.reasons
    assert part.structure == STRUCTURES[label]
    assert part.shape.area == pytest.approx(320, rel=0.1)
    assert part.shape.centre == pytest.approx((row, column), abs=1.5)
    np.testing.assert_array_equal(np.where(part.shape.inside, BACKGROUND, mask), clean)
    assert (mask != clean).any()


def test_crumbs_are_reported_only_if_asked_for():
    mask = spine()
    mask[100:103, 40:43] = VERTEBRAE
    assert check_plausibility(mask, MM) == NOTHING
    assert len(check_plausibility(mask, MM, smallest=0.0).outside) == 1


def test_a_disc_behind_the_canal_and_one_far_from_all_vertebrae_are_found():
    assert check_plausibility(box(spine(), MM, (MIDDLE, 190.0), IVD), MM).outside
    mask = np.roll(spine(discs=(8.0, 10.0, 6.0)), -40, axis=0)
    lowest = np.flatnonzero((mask == IVD).any(axis=1)).max()
    assert check_plausibility(box(mask, MM, (lowest + 45.0, 110.0), IVD), MM).outside
    assert not check_plausibility(box(mask, MM, (lowest + 45.0, 110.0), VERTEBRAE), MM).outside


def hernia(mask: np.ndarray) -> None:
    mask[128:132, 125:141] = IVD
    mask[140:150, 131:139] = IVD  # sequestered


def slip(mask: np.ndarray) -> None:
    mask[:130, :148] = np.roll(mask[:130, :148], -15, axis=1)


def interrupted_canal(mask: np.ndarray) -> None:
    canal = mask == SPINAL_CANAL
    canal[:80], canal[190:] = False, False
    mask[canal] = 0


def no_canal(mask: np.ndarray) -> None:
    mask[mask == SPINAL_CANAL] = 0


def disc_taken_out(mask: np.ndarray) -> None:
    mask[120:140][mask[120:140] == IVD] = 0


def fused(mask: np.ndarray) -> None:
    mask[90:150][mask[90:150] == IVD] = VERTEBRAE


def pedicles(mask: np.ndarray) -> None:
    mask[mask == SPINAL_CANAL] = 0
    for row in range(50, 220, 34):
        mask[row : row + 12, 110:160] = VERTEBRAE


def sacrum_and_coccyx(mask: np.ndarray) -> None:
    for step in range(9):
        row, column = 214 + 5 * step, 100 + 9 * step
        mask[row : row + 4, column : column + 24] = VERTEBRAE


def cut_off_at_both_ends(mask: np.ndarray) -> None:
    mask[:60], mask[200:] = 0, 0
    mask[58:60, 95:125] = VERTEBRAE


ODD = [
    *(hernia, slip, interrupted_canal, no_canal, disc_taken_out, fused, pedicles),
    *(sacrum_and_coccyx, cut_off_at_both_ends),
]


@pytest.mark.parametrize("change", ODD, ids=lambda change: change.__name__)
def test_findings_of_patients_are_plausible(change):
    mask = spine()
    before = mask.copy()
    change(mask)
    assert (mask != before).any()
    assert check_plausibility(mask, MM) == NOTHING


def disc_shaped(radii: dict[int, float]) -> np.ndarray:
    """Labels in circles about the middle, the later over the earlier."""
    mask = np.zeros((320, 320), np.uint8)
    away = np.hypot(*(np.indices(mask.shape) - 160))
    for label, radius in radii.items():
        mask[away < radius] = label
    return mask


def axial() -> np.ndarray:
    mask = np.zeros((320, 320), np.uint8)
    mask[140:175, 135:185] = VERTEBRAE
    mask[150:165, 145:175] = IVD
    mask[178:192, 150:170] = SPINAL_CANAL
    mask[195:230, 154:166] = VERTEBRAE
    return mask


IMPLAUSIBLE = {
    "empty": (np.zeros((320, 320), np.uint8), NO_COLUMN),
    "one row": (np.eye(1, 320, 160, dtype=np.uint8) * VERTEBRAE, NO_COLUMN),
    "canal only": (disc_shaped({SPINAL_CANAL: 60}), NO_COLUMN),
    "bottle": (disc_shaped({VERTEBRAE: 70}), NO_COLUMN),
    "rings": (disc_shaped({VERTEBRAE: 80, IVD: 60, SPINAL_CANAL: 20}), SIZE),
    "brain": (disc_shaped({IVD: 90, VERTEBRAE: 70, SPINAL_CANAL: 20}), NO_COLUMN),
    "axial": (axial(), NO_COLUMN),
    "axial, turned": (axial().T, NO_COLUMN),
    "two vertebrae": (spine(discs=(8.0, 8.0)), NO_COLUMN),
    "lying": (spine().T, NO_COLUMN),
    "leaning by 55 degrees": (spine(angle=55), NO_COLUMN),
    "front and back swapped": (spine()[:, ::-1], CANAL_IN_FRONT),
    "turned upside down": (spine()[::-1, ::-1], CANAL_IN_FRONT),
}


@pytest.mark.parametrize("name", IMPLAUSIBLE)
def test_what_is_no_sagittal_spine_is_reported(name):
    mask, reason = IMPLAUSIBLE[name]
    assert check_plausibility(mask, MM) == Plausibility([reason], [])


@pytest.mark.parametrize("seed", range(16))
def test_blobs_of_any_kind_are_reported(seed):
    """Ellipses at random: what a network may see in an image of anything."""
    rng = np.random.default_rng(seed)
    mask = np.zeros((320, 320), np.uint8)
    rows, columns = np.indices(mask.shape)
    for _ in range(rng.integers(1, 25)):
        row, column = rng.uniform(40, 280, 2)
        height, width = rng.uniform(4, 50, 2)
        inside = ((rows - row) / height) ** 2 + ((columns - column) / width) ** 2 <= 1
        mask[inside] = rng.choice(list(STRUCTURES))
    found = check_plausibility(mask, MM)
    assert found.reasons or found.outside


@cache
def phantoms(few: bool) -> list[Series]:
    patients = [(1, 3), (2, 5)] if few else [*((5, n) for n in range(1, 13)), (6, 3), (2, 5), (4, 6)]
    return [series for patient in patients for series in series_of(*patient)]


@pytest.mark.parametrize("few", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_phantoms_with_hernias_and_slips_are_plausible(few):
    discs = [disc for series in phantoms(few) for disc in series.patient.anatomy.discs]
    assert max(disc.hernia for disc in discs) > (2 if few else 5)
    assert max(abs(disc.slip) for disc in discs) > (2 if few else 7)
    for series in phantoms(few):
        assert check_plausibility(series.mask, MM) == NOTHING, series.name
        assert check_plausibility(series.own_mask, series.own_spacing) == NOTHING, series.name


def planted(mask: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, int] | None:
    """A mask with an ellipse in front of the spine or far behind it, the ellipse, and its label."""
    label = int(rng.choice(list(STRUCTURES)))
    radii = rng.uniform(4, 18, 2)
    used = np.argwhere(np.isin(mask, (VERTEBRAE, IVD)))
    row = rng.uniform(used[:, 0].min(), used[:, 0].max())
    near = used[np.abs(used[:, 0] - row) <= radii[0] + 5, 1]
    front = near.min()
    if rng.random() < 0.5:
        column = front - radii[1] - rng.uniform(8, 60)
    else:
        # Behind the posterior elements, up to 55 mm behind the bodies' rear.
        column = front + 35 + {SPINAL_CANAL: 90, VERTEBRAE: 100, IVD: 55}[label] + rng.uniform(0, 15)
    rows, columns = np.indices(mask.shape)
    inside = ((rows - row) / radii[0]) ** 2 + ((columns - column) / radii[1]) ** 2 <= 1
    within = radii[1] < column < mask.shape[1] - radii[1]
    touches = np.any(mask[ndimage.binary_dilation(inside, iterations=2)])
    if not within or touches:
        return None
    return np.where(inside, label, mask).astype(np.uint8), inside, label


@pytest.mark.parametrize("seed", range(8))
def test_planted_parts_are_found_and_nothing_else(seed):
    rng = np.random.default_rng(seed)
    count = 0
    while count < 4:
        series = phantoms(True)[rng.integers(len(phantoms(True)))]
        if (plant := planted(series.mask, rng)) is None:
            continue
        mask, inside, label = plant
        found = check_plausibility(mask, MM)
        assert [part.structure for part in found.outside] == [STRUCTURES[label]], series.name
        np.testing.assert_array_equal(found.outside[0].shape.inside, inside)
        assert not found.reasons
        count += 1


def real_slices(folder: str) -> list[tuple[str, np.ndarray]]:
    """Name and labels (320, 320) of every slice; what is unknown is background."""
    slices = []
    for path in sorted((SHARED_DATA / folder / "masks").glob("*.mha")):
        image = sitk.ReadImage(str(path))
        labels = map_labels(sitk.GetArrayFromImage(image), ignore_label=255)
        classes = sitk.GetImageFromArray(np.where(labels == IGNORE, 0, labels))
        classes.CopyInformation(image)
        cut = sitk.GetArrayFromImage(extract_slice(classes, slices="all", is_label=True).image)
        slices += [(f"{path.stem} {number}", mask) for number, mask in enumerate(cut)]
    return slices


@pytest.mark.parametrize(
    ("folder", "fewest", "most_without_column"),
    [
        pytest.param("spider_space", 200, 0, marks=pytest.mark.slow),
        ("spider_weak", 35, 0),
        ("spider_t2w", 33, 10),
    ],
)
def test_real_masks_are_plausible(folder, fewest, most_without_column):
    """Many slices of spider_t2w show transverse processes only, or hardly anything."""
    if not (SHARED_DATA / folder).is_dir():
        pytest.skip(f"{folder} is not here")
    found = {name: check_plausibility(mask, MM) for name, mask in real_slices(folder)}
    reported = {name: result for name, result in found.items() if result != NOTHING}
    assert len(found) >= fewest
    assert all(result == Plausibility([NO_COLUMN], []) for result in reported.values()), reported
    assert len(reported) <= most_without_column
