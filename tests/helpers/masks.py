"""Folders of synthetic masks, labels and images, as nnU-Net's commands leave them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from nnunetv2_spinesegdiff.images.dicom_seg import CODES, Segment

LABELS = {"background": 0, "spinal_canal": 1, "vertebrae": 2, "ivd": 3}
SPACING = (1.5, 0.75, 4.0)
"""x, y, z in mm."""
ORIGIN = (3.0, -4.0, 5.0)
PIR = (0.0, 0.0, -1.0, 1.0, 0.0, 0.0, 0.0, -1.0, 0.0)
"""Direction of converted slices: posterior, inferior, right."""


def label_map(seed: int, shape: Sequence[int] = (1, 24, 20)) -> np.ndarray:
    """A canal, two vertebrae and a disc between them, at places of their own."""
    rng = np.random.default_rng(seed)
    array = np.zeros(shape, np.uint8)
    shift = int(rng.integers(0, 3))
    array[:, 1:22, 14 + shift : 17 + shift] = 1
    array[:, 2 + shift : 8 + shift, 3:12] = 2
    array[:, 11 + shift : 17 + shift, 3:12] = 2
    array[:, 8 + shift : 11 + shift, 3:12] = 3
    return array


def segments_of(labels: Mapping[str, int]) -> list[Segment]:
    """Whole structures as segments, for a DICOM segmentation."""
    return [
        Segment(label, name, (20 * label, 200, 100), CODES[name]) for name, label in labels.items() if label
    ]


def worsened(array: np.ndarray, seed: int, share: float) -> np.ndarray:
    """Some of its voxels become background."""
    return np.where(np.random.default_rng(seed).random(array.shape) < share, 0, array).astype(np.uint8)


def write_volume(
    array: np.ndarray,
    path: Path,
    origin: Sequence[float] = ORIGIN,
    *,
    spacing: Sequence[float] = SPACING,
    direction: Sequence[float] | np.ndarray = PIR,
) -> Path:
    """Write an array (Z, Y, X) or (Y, X); places in ITK's order x, y, z."""
    image = sitk.GetImageFromArray(array)
    image.SetSpacing(tuple(spacing)[: array.ndim])
    image.SetOrigin(tuple(origin)[: array.ndim])
    if array.ndim == 3:
        image.SetDirection(np.ravel(direction).tolist())
    path.parent.mkdir(parents=True, exist_ok=True)
    sitk.WriteImage(image, str(path))
    return path


def raw_dataset(folder: Path, cases: Sequence[str], labels: Mapping = LABELS) -> Path:
    """Images, labels and dataset.json."""
    for i, case in enumerate(cases):
        truth = label_map(i)
        write_volume(truth, folder / "labelsTr" / f"{case}.nii.gz")
        noise = np.random.default_rng(i).normal(0, 5, truth.shape)
        write_volume((truth * 60 + noise).astype(np.float32), folder / "imagesTr" / f"{case}_0000.nii.gz")
    (folder / "dataset.json").write_text(json.dumps({"labels": dict(labels), "file_ending": ".nii.gz"}))
    return folder


def predictions(folder: Path, dataset: Path, share: float, cases: Sequence[str] | None = None) -> Path:
    """Masks of the dataset's cases, worse with a larger share, and nnU-Net's dataset.json next to them."""
    folder.mkdir(parents=True, exist_ok=True)
    for i, label in enumerate(sorted((dataset / "labelsTr").iterdir())):
        if cases is None or label.name.removesuffix(".nii.gz") in cases:
            truth = sitk.GetArrayFromImage(sitk.ReadImage(str(label)))
            write_volume(worsened(truth, i, share), folder / label.name)
    (folder / "dataset.json").write_text((dataset / "dataset.json").read_text())
    return folder


def summary(folder: Path, dataset: Path, elsewhere: bool = False) -> Path:
    """nnU-Net's summary.json of a folder of masks; `elsewhere` with paths of another machine."""
    entries = []
    for mask in sorted(folder.glob("*.nii.gz")):
        label = dataset / "labelsTr" / mask.name
        a, b = (sitk.GetArrayFromImage(sitk.ReadImage(str(path))) for path in (label, mask))
        metrics = {}
        for value in (1, 2, 3):
            t, p = a == value, b == value
            metrics[str(value)] = {
                "Dice": 2 * float((t & p).sum()) / float(t.sum() + p.sum()),
                "IoU": float((t & p).sum()) / float((t | p).sum()),
                "n_ref": int(t.sum()),
                "n_pred": int(p.sum()),
            }
        files = (Path("/elsewhere") / path.name if elsewhere else path for path in (label, mask))
        named = dict(zip(("reference_file", "prediction_file"), map(str, files), strict=True))
        entries.append({"metrics": metrics, **named})
    path = folder / "summary.json"
    path.write_text(json.dumps({"metric_per_case": entries, "mean": {}}))
    return path
